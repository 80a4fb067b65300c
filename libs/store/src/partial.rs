//! A growing object: the hub between whoever writes its pieces and whoever reads them.
//!
//! Owns: the public handle. Never: fetches anything, and never calls an object finished unless it hashed to its name.
//! After a crash: `Store::partial` resumes it with the pieces its journal lists, each checked by its digest at its
//! first read. After a full disk: `Store::volatile` is the same thing in memory. Clones share one object; the last
//! clone dropped leaves an unfinished one on disk for the next caller.

pub(crate) mod body;
pub(crate) mod growing;
pub(crate) mod growth;
mod mark;
mod reading;
mod said;
mod trail;
mod writer;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::{Holding, Layout, ObjectKey, PieceIndex};
use tokio::sync::watch;

use crate::error::FinishError;
use crate::store::room::Room;
use crate::stored::Stored;
use growing::{Growing, Shared};

pub use mark::ReaderMark;
pub use writer::PieceWriter;

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

/// A growing object. The methods that are not `async` never wait for the disk longer than a write to the page cache,
/// except those that say that they block.
#[derive(Clone)]
pub struct Partial {
    growing: Shared,
    room: Arc<Room>,
}

impl Partial {
    pub(crate) fn new(growing: Shared, room: Arc<Room>) -> Self {
        Self { growing, room }
    }

    pub(crate) fn growing(&self) -> &Growing {
        &self.growing
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.growing
    }

    /// The object.
    pub fn key(&self) -> ObjectKey {
        self.growing.key()
    }

    /// Its cut as known now.
    pub fn layout(&self) -> Layout {
        self.growing.look(growth::Growth::layout)
    }

    /// The length is known now; false when another one was known before.
    pub fn fix_size(&self, size: u64) -> bool {
        let fixed = self.growing.change_alone(|state| {
            let news = state.growth.layout().size().is_none();
            let fixed = state.growth.fix_size(size);
            if news {
                state.note(&crate::journal::Line::Size(size));
            }
            fixed
        });
        self.room.resized(&self.growing);
        fixed
    }

    /// The whole pieces, those a memory-backed partial let go of included: what need not be fetched.
    pub fn holding(&self) -> Holding {
        self.growing.look(|growth| growth.whole().clone())
    }

    /// The whole pieces that can be read now: what can be offered to others.
    pub fn servable(&self) -> Holding {
        self.growing.look(growth::Growth::servable)
    }

    /// Whether a piece is whole.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.growing.look(|growth| growth.whole().contains(piece))
    }

    /// Whether every piece is whole; never while the length is unknown.
    pub fn is_whole(&self) -> bool {
        self.growing.look(|growth| growth.missing() == 0)
    }

    /// The pieces being written.
    pub fn under_way(&self) -> Vec<PieceIndex> {
        self.growing.look(growth::Growth::under_way)
    }

    /// The pieces being written straight from a seed or an origin: those others may be let wait for, since nobody they
    /// depend on can depend on them.
    pub fn at_edge(&self) -> Vec<PieceIndex> {
        self.growing.look(growth::Growth::at_edge)
    }

    /// Whether it lives in memory only.
    pub fn is_volatile(&self) -> bool {
        self.growing.body().is_memory()
    }

    /// Bytes it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.growing.body().memory_bytes()
    }

    /// Lets a memory-backed partial drop the pieces before this offset once `hash_more` has passed them; this moves
    /// its window. Nothing happens to one on disk.
    pub fn forget_before(&self, offset: u64) {
        if self.is_volatile() {
            self.growing.change(|state| state.growth.forget_before(offset));
            self.growing.let_go();
        }
    }

    /// A reader of a memory-backed partial: what lies before every reader may be let go.
    pub fn reader(&self) -> ReaderMark {
        ReaderMark::new(self.clone())
    }

    /// Whether both are the same growing object.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.growing, &other.growing)
    }

    /// Changes at every change of anything here.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.growing.subscribe()
    }

    /// Takes a piece for writing; `None` when it is whole, being written, outside of the object or of the window,
    /// or when the partial has ended. `edge`: the bytes come straight from a seed or an origin and may be released
    /// to git before the piece is checked.
    pub fn begin(&self, piece: PieceIndex, edge: bool) -> Option<PieceWriter> {
        let ticket = self.growing.change(|state| state.growth.begin(piece, edge))?;
        let full = !self.room.grow_for(&self.growing, piece);
        Some(PieceWriter::new(self.clone(), ticket, full))
    }

    /// Drops all pieces, digests and statements: the whole was corrupt, or what was attested is revoked.
    pub fn reset(&self, why: &str) {
        tracing::info!(key = %self.key(), why, "partial reset");
        self.growing.reset();
    }

    /// Counts the resets; a subscriber that sees it change forgets what it knew.
    pub fn era(&self) -> u64 {
        self.growing.look(growth::Growth::era)
    }

    /// Advances the in-order SHA-256 over the whole pieces; true when it advanced. Blocks on reads and hashing: call
    /// it where blocking is allowed.
    pub fn hash_more(&self) -> bool {
        self.growing.hash_more()
    }

    /// Whether `hash_more` would find something to hash. Cheap: asked before a thread is taken for it.
    pub fn has_unhashed(&self) -> bool {
        self.growing.has_unhashed()
    }

    /// Makes it a finished object: hashes what is left, compares, moves the file. Blocks. A mismatch leaves the
    /// partial for the caller to `reset`; a disk that damaged pieces makes it incomplete instead.
    pub fn finish(&self) -> Result<Outcome, FinishError> {
        self.finish_with(None, &[])
    }

    /// As [`Partial::finish`], with an attestation and a provenance that are there from the first moment on at which the
    /// finished object can be seen.
    pub fn finish_with(
        &self,
        attestation: Option<Bytes>,
        upstreams: &[String],
    ) -> Result<Outcome, FinishError> {
        let mut trail = self.growing.finishing();
        match self.outcome() {
            Some(Outcome::Failed(why)) => return Err(FinishError::Failed(why)),
            Some(outcome) => return Ok(outcome),
            None => {}
        }
        let incomplete =
            || FinishError::Incomplete { missing: self.growing.look(growth::Growth::missing).max(1) };
        let got = self.growing.hash_all(&mut trail).ok_or_else(incomplete)?;
        if self.key().oid().is_some_and(|oid| oid != got) {
            let damaged = if self.is_volatile() { 0 } else { self.growing.recheck() };
            return Err(if damaged > 0 { incomplete() } else { FinishError::Mismatch { got } });
        }
        if self.is_volatile() {
            self.growing.conclude(Outcome::Confirmed);
            return Ok(Outcome::Confirmed);
        }
        // The hash is known: from here on they count.
        for upstream in upstreams {
            self.add_upstream(upstream);
        }
        let snapshot = self.growing.snapshot().ok_or_else(incomplete)?;
        let snapshot = growing::Snapshot { attestation, ..snapshot };
        let outcome = Outcome::Finished(self.room.keep(&self.growing, snapshot)?);
        self.growing.conclude(outcome.clone());
        Ok(outcome)
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        self.growing.look(|growth| growth.outcome().cloned())
    }

    /// Ends it as failed for everybody who watches it. What is whole stays on disk: the next `Store::partial` goes on
    /// with it.
    pub fn fail(&self, why: &str) {
        self.room.fail(&self.growing, why);
    }

    fn first_piece(&self) {
        if !self.is_volatile() {
            self.room.tell(crate::record::Change::Added(self.key()));
        }
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, missing) = self.growing.look(|growth| (growth.whole().count(), growth.missing()));
        write!(f, "Partial({}, {whole} pieces whole, {missing} missing)", self.key())
    }
}

#[cfg(test)]
mod tests;
