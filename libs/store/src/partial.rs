//! Skeleton.
use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::{Holding, Layout, ObjectKey, PieceDigest, PieceIndex};
use tokio::sync::watch;

use crate::error::{FinishError, ReadError, WriteError};
use crate::record::Media;
use crate::stored::Stored;

/// Which bytes of pieces still being written count as readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchecked {
    /// None: whole pieces only.
    None,
    /// Those of edge writers, whose bytes come straight from a seed or an origin.
    Edge,
    /// All.
    Any,
}

/// How a partial ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is a finished object now.
    Finished(Stored),
    /// It was memory-backed and its content is confirmed; nothing was kept.
    Confirmed,
    /// It failed, in words.
    Failed(String),
}

/// A growing object.
#[derive(Debug, Clone)]
pub struct Partial(Arc<()>);

/// The one writer of one piece. Dropping it unfinished abandons the piece.
#[derive(Debug)]
pub struct PieceWriter(Arc<()>);

impl PieceWriter {
    /// The piece.
    pub fn piece(&self) -> PieceIndex {
        unimplemented!("{:?}", self.0)
    }
    /// Appends bytes to the piece.
    pub fn write(&mut self, _bytes: &[u8]) -> Result<(), WriteError> {
        unimplemented!()
    }
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        unimplemented!()
    }
    /// Ends the piece; it is whole when its digest is the expected (or the attested) one.
    pub fn finish(self, _expected: Option<PieceDigest>) -> Result<PieceDigest, WriteError> {
        unimplemented!()
    }
}

impl Partial {
    /// The object.
    pub fn key(&self) -> ObjectKey {
        unimplemented!("{:?}", self.0)
    }
    /// Its cut as known now.
    pub fn layout(&self) -> Layout {
        unimplemented!()
    }
    /// The length is known now; false when another one was fixed before.
    pub fn fix_size(&self, _size: u64) -> bool {
        unimplemented!()
    }
    /// The whole pieces (those a memory-backed partial let go of included).
    pub fn holding(&self) -> Holding {
        unimplemented!()
    }
    /// The whole pieces that can be read now.
    pub fn servable(&self) -> Holding {
        unimplemented!()
    }
    /// Whether a piece is whole.
    pub fn has(&self, _piece: PieceIndex) -> bool {
        unimplemented!()
    }
    /// Every piece is whole.
    pub fn is_whole(&self) -> bool {
        unimplemented!()
    }
    /// The pieces being written.
    pub fn under_way(&self) -> Vec<PieceIndex> {
        unimplemented!()
    }
    /// Whether it lives in memory only.
    pub fn is_volatile(&self) -> bool {
        unimplemented!()
    }
    /// Lets a memory-backed partial drop the pieces before this offset (once they are hashed).
    pub fn forget_before(&self, _offset: u64) {
        unimplemented!()
    }
    /// Changes at every change of anything below.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }
    /// Takes a piece for writing; `None` when it is whole, being written, or outside of the object (or of the window).
    pub fn begin(&self, _piece: PieceIndex, _edge: bool) -> Option<PieceWriter> {
        unimplemented!()
    }
    /// The end of the contiguous readable bytes from `from`.
    pub fn readable(&self, _from: u64, _unchecked: Unchecked) -> u64 {
        unimplemented!()
    }
    /// At most `max` bytes from `offset`; the caller stays below `readable`.
    pub async fn read(&self, _offset: u64, _max: usize) -> Result<Bytes, ReadError> {
        unimplemented!()
    }
    /// Digests somebody vouches for, with the signed statement; false when they are refused.
    pub fn attest(
        &self,
        _first: PieceIndex,
        _digests: &[PieceDigest],
        _statement: Bytes,
        _reading: u64,
        _attester: &str,
    ) -> bool {
        unimplemented!()
    }
    /// The known digest of a piece.
    pub fn digest(&self, _piece: PieceIndex) -> Option<PieceDigest> {
        unimplemented!()
    }
    /// The statements from the `from`-th on.
    pub fn statements(&self, _from: usize) -> Vec<Bytes> {
        unimplemented!()
    }
    /// The reading the statements belong to and who attested it.
    pub fn reading(&self) -> Option<(u64, String)> {
        unimplemented!()
    }
    /// Drops all pieces, digests and statements.
    pub fn reset(&self, _why: &str) {
        unimplemented!()
    }
    /// Counts the resets.
    pub fn era(&self) -> u64 {
        unimplemented!()
    }
    /// Advances the in-order SHA-256 over the whole pieces; true when it advanced. Blocks: not for an async task.
    pub fn hash_more(&self) -> bool {
        unimplemented!()
    }
    /// Makes it a finished object. Blocks: not for an async task.
    pub fn finish(&self) -> Result<Outcome, FinishError> {
        unimplemented!()
    }
    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        unimplemented!()
    }
    /// Ends it as failed; what is whole stays on disk for the next one.
    pub fn fail(&self, _why: &str) {
        unimplemented!()
    }
    /// Adds to its provenance.
    pub fn add_upstream(&self, _upstream: &str) {
        unimplemented!()
    }
    /// Where its bytes came from.
    pub fn upstreams(&self) -> Vec<String> {
        unimplemented!()
    }
    /// Notes what the origin said of it.
    pub fn set_media(&self, _media: Media) {
        unimplemented!()
    }
    /// What the origin said of it.
    pub fn media(&self) -> Media {
        unimplemented!()
    }
}
