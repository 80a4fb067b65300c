//! Everything that can go wrong in the store, in words an operator can act on.
//!
//! Owns: the error enums. Never: decides what a caller does about them. After a crash: nothing to say.

use std::io;
use std::path::PathBuf;

use darner_lfs::{Oid, PieceDigest, PieceIndex};

/// Why the store as a whole, or one of its objects, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made, read or written.
    #[error(
        "the data directory {path} cannot be used: {source}; check that it exists on a writable volume and belongs to this user"
    )]
    Unusable {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("the data directory {path} is in use by another process{holder}; give each process a directory of its own", holder = holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, as it wrote down itself.
        holder: Option<u32>,
    },
    /// The directory was written by a newer Darner.
    #[error(
        "{path} was written by a newer version of darner (format {found}, this one knows {known}); upgrade, or start with an empty directory"
    )]
    NewerVersion {
        /// The index.
        path: PathBuf,
        /// The format number on disk.
        found: u64,
        /// The newest format number known here.
        known: u64,
    },
    /// The index cannot be read or written.
    #[error("the index {path} cannot be used: {reason}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What its library said.
        reason: String,
    },
    /// No room, even after evicting everything that may be evicted.
    #[error("no room for {wanted} bytes: the budget is {budget} bytes and nothing more can be evicted")]
    Full {
        /// Bytes asked for.
        wanted: u64,
        /// The budget.
        budget: u64,
    },
    /// The object is here, or growing here, with another size.
    #[error("the object has {held} bytes here, {asked} were announced")]
    Size {
        /// Bytes of the object here.
        held: u64,
        /// Bytes announced by the caller.
        asked: u64,
    },
    /// The content is not what its name says.
    #[error("the content hashes to {got}, not to {wanted}")]
    Mismatch {
        /// The name.
        wanted: Oid,
        /// What it hashes to.
        got: Oid,
    },
    /// An operation on a file failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on disk are not those that were checked once; the piece is no longer held.
    #[error("piece {piece} is damaged on disk")]
    Damaged {
        /// The piece that does not match its digest.
        piece: PieceIndex,
    },
    /// The bytes asked for are not here (yet), or the object ends before them.
    #[error("no byte at offset {offset}")]
    Beyond {
        /// The offset asked for.
        offset: u64,
    },
    /// A memory-backed partial has let go of these bytes.
    #[error("the bytes at offset {offset} were let go")]
    Forgotten {
        /// The offset asked for.
        offset: u64,
    },
    /// The partial failed or was purged.
    #[error("the object is gone: {why}")]
    Gone {
        /// Why.
        why: String,
    },
    /// The system refused to read.
    #[error("reading the object: {0}")]
    Io(#[from] io::Error),
}

/// Why a piece was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes are not those the digest names.
    #[error("the piece hashes to {got:?}, not to {expected:?}")]
    Mismatch {
        /// What was attested.
        expected: PieceDigest,
        /// What came.
        got: PieceDigest,
    },
    /// Fewer bytes were written than the piece has.
    #[error("{written} bytes of a piece of {wanted} were written")]
    Short {
        /// Bytes written.
        written: u64,
        /// Bytes of the piece.
        wanted: u64,
    },
    /// More bytes were given than the piece has.
    #[error("more bytes than the {wanted} of the piece")]
    Long {
        /// Bytes of the piece.
        wanted: u64,
    },
    /// The partial was reset, failed or finished meanwhile.
    #[error("the partial was reset meanwhile")]
    Stale,
    /// No room on the disk or in the budget.
    #[error("the disk is full")]
    Full,
    /// The system refused to write.
    #[error("writing the piece: {0}")]
    Io(#[source] io::Error),
}

/// Why a partial could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Pieces are missing; pieces found damaged on disk while finishing count among them.
    #[error("{missing} pieces are missing")]
    Incomplete {
        /// How many, 1 when the length is not known.
        missing: u32,
    },
    /// Every piece is here and the whole is not the object.
    #[error("the whole hashes to {got}")]
    Mismatch {
        /// What it hashes to.
        got: Oid,
    },
    /// The partial failed before, for this reason.
    #[error("the partial failed: {0}")]
    Failed(String),
    /// The system refused.
    #[error("keeping the object: {0}")]
    Io(#[from] io::Error),
}
