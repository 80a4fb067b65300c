//! From an origin's answer into a growing object, piece by piece, each attested as it completes.
//!
//! Owns: the position in the object and the one open piece, both of which survive a cut. Never: the choice of a
//! credential. Bytes already here are skipped when an origin begins at the start again. Writing, digests and signatures
//! are done on a thread that may block, while the next bytes arrive: done beside the sockets they would keep every
//! taker waiting for its turn.

mod pen;

use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::PieceDigest;
use darner_origin::{OriginError, Reading};
use darner_proto::v1;
use darner_store::{Partial, PieceWriter, WriteError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::statements::{Scribe, Subject, told};
use pen::Pen;

/// Bytes gathered while the ones before are being written; a full hand slows the origin.
const GATHER_BYTES: usize = 512 << 10;
/// Up to this many bytes a write is cheaper done at once than handed over.
const INLINE_BYTES: usize = 64 << 10;

/// Why bytes stopped coming.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PourError {
    /// The origin.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The origin sends more than it said.
    #[error("the origin sends more bytes than it said")]
    TooLong,
    /// This node's store.
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// An object being written in order.
#[derive(Debug)]
pub(crate) struct Pour {
    pub(crate) partial: Partial,
    pub(crate) reading: u64,
    /// Wakes whoever hashes along.
    pub(crate) hashing: Arc<Notify>,
    scribe: Scribe,
    /// How much of a memory-backed object is kept.
    window_bytes: u64,
    /// With the writing thread while that writes.
    pen: Option<Pen>,
    writing: Option<JoinHandle<(Pen, Result<(), PourError>)>>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// The next byte to come.
    at: u64,
}

impl Pour {
    pub(crate) fn new(partial: Partial, (reading, window_bytes): (u64, u64), scribe: Scribe) -> Self {
        let pour = Self {
            partial,
            reading,
            hashing: Arc::default(),
            scribe,
            window_bytes,
            pen: None,
            writing: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            at: 0,
        };
        pour.announce();
        pour
    }

    /// Forgets everything that came.
    pub(crate) fn begin_anew(&mut self, why: &str, reading: u64) {
        self.pen = None;
        self.at = 0;
        self.reading = reading;
        self.partial.reset(why);
        self.announce();
    }

    /// Names the read before its first byte: grants are bound to it, at every node that takes from it.
    fn announce(&self) {
        if self.partial.reading().is_none() {
            self.say(0, &[], v1::AttestationState::Provisional);
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == 0 && self.partial.holding().count() == 0
    }

    /// The next byte to come.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// What to ask for next: the missing bytes up to the next piece that is here. `None` when all is here.
    pub(crate) fn missing(&self) -> Option<(u64, Option<u64>)> {
        if self.partial.is_whole() {
            return None;
        }
        let (layout, holding) = (self.partial.layout(), self.partial.holding());
        let first = holding.first_missing();
        let is_open = self.pen.as_ref().is_some_and(Pen::is_open);
        let from = if is_open { self.at } else { layout.piece_start(first) };
        let next_held = holding.iter().find(|piece| *piece > layout.piece_of(from));
        Some((from, next_held.map(|piece| layout.piece_start(piece))))
    }

    /// Takes an answer to its end.
    pub(crate) async fn take(&mut self, answer: &mut Reading, from: u64) -> Result<(), PourError> {
        if answer.start != from {
            // The whole object again: the bytes of the open piece are skipped with the rest.
            tracing::debug!(key = %self.partial.key(), from, "the origin began at the start again");
        }
        if !self.pen.as_ref().is_some_and(Pen::is_open) {
            self.at = from;
            let mut pen = Pen::new(self, from);
            if !self.partial.is_volatile() {
                pen.begin();
            }
            self.pen = Some(pen);
        }
        let drained = self.drain(answer).await;
        // What came before a cut is written, too.
        let written = self.settle().await;
        self.at = self.pen.as_ref().map_or(from, Pen::at);
        drained.and(written)?;
        if self.partial.layout().size().is_none() {
            self.partial.fix_size(self.at);
            self.pen.iter_mut().try_for_each(Pen::complete)?;
        }
        Ok(())
    }

    async fn drain(&mut self, answer: &mut Reading) -> Result<(), PourError> {
        let mut position = answer.start;
        loop {
            let is_waiting = self.writing.is_some() && !self.gathered.is_empty();
            let next = tokio::select! {
                written = self.written(), if is_waiting => {
                    written?;
                    self.hand_over()?;
                    continue;
                }
                next = answer.next() => next?,
            };
            let Some(bytes) = next else { return Ok(()) };
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let skip = self.at.saturating_sub(position).min(length);
            position += length;
            self.at += length - skip;
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            self.write(bytes.slice(skip.min(bytes.len())..)).await?;
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), PourError> {
        if self.partial.is_volatile() {
            return self.keep_in_memory(bytes).await;
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= GATHER_BYTES {
            self.written().await?;
        }
        if self.writing.is_none() { self.hand_over() } else { Ok(()) }
    }

    /// Writes what was gathered: at once where it is little, else on another thread.
    fn hand_over(&mut self) -> Result<(), PourError> {
        let Some(mut pen) = self.pen.take() else { return Err(WriteError::Stale.into()) };
        let (gathered, bytes) = (std::mem::take(&mut self.gathered), self.gathered_bytes);
        self.gathered_bytes = 0;
        if bytes <= INLINE_BYTES {
            let written = gathered.into_iter().try_for_each(|bytes| pen.write(bytes));
            self.pen = Some(pen);
            return written;
        }
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = gathered.into_iter().try_for_each(|bytes| pen.write(bytes));
            (pen, written)
        }));
        Ok(())
    }

    /// Waits for the writing thread. May be dropped while it waits.
    async fn written(&mut self) -> Result<(), PourError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let ended = writing.await;
        self.writing = None;
        let written = match ended {
            Ok((pen, written)) => {
                self.pen = Some(pen);
                written
            }
            Err(_panicked) => Err(WriteError::Stale.into()),
        };
        if written.is_err() {
            // What came behind has lost its place.
            self.gathered.clear();
            self.gathered_bytes = 0;
        }
        written
    }

    async fn settle(&mut self) -> Result<(), PourError> {
        self.written().await?;
        if !self.gathered.is_empty() {
            self.hand_over()?;
        }
        self.written().await
    }

    /// A memory-backed object first lets go of old pieces, which may take until its readers went on.
    async fn keep_in_memory(&mut self, mut bytes: Bytes) -> Result<(), PourError> {
        while !bytes.is_empty() {
            let due = self.pen.as_ref().map(Pen::due).transpose()?.flatten();
            let taken = match due {
                Some((piece, end)) => Some(self.room_for(piece, end).await),
                None => None,
            };
            let Some(pen) = &mut self.pen else { return Err(WriteError::Stale.into()) };
            if let Some(writer) = taken {
                pen.open(writer);
            }
            pen.part(&mut bytes)?;
        }
        Ok(())
    }

    /// Takes the piece for writing; `None` when it is here already.
    async fn room_for(&self, piece: u32, end: u64) -> Option<PieceWriter> {
        let mut changes = self.partial.subscribe();
        loop {
            changes.borrow_and_update();
            self.partial.forget_before(end.saturating_sub(self.window_bytes));
            if let Some(writer) = self.partial.begin(piece, true) {
                return Some(writer);
            }
            if self.partial.has(piece) || self.partial.outcome().is_some() {
                return None;
            }
            // The hash has not passed the oldest piece yet: it cannot be let go.
            self.hashing.notify_one();
            changes.changed().await.ok()?;
        }
    }

    /// Signs what is here and was not signed by this read: pieces of an earlier life of this process.
    pub(crate) fn attest_held(&self) {
        let pen = Pen::new(self, 0);
        for piece in self.partial.holding().iter() {
            pen.vouch(piece);
        }
    }

    /// The statement that takes everything back.
    pub(crate) fn revoke(&self) {
        self.say(0, &[], v1::AttestationState::Revoked);
    }

    /// The statement that the whole has been hashed; `None` while pieces are missing.
    pub(crate) fn confirmed(&self) -> Option<v1::Attestation> {
        let pieces = 0..self.partial.layout().piece_count()?;
        let digests: Option<Vec<PieceDigest>> = pieces.map(|piece| self.partial.digest(piece)).collect();
        let subject = Subject::of(&self.partial, self.reading);
        Some(self.scribe.attest(&subject, 0, &digests?, v1::AttestationState::Confirmed))
    }

    fn say(&self, first: u32, digests: &[PieceDigest], state: v1::AttestationState) {
        say(&self.scribe, (&self.partial, self.reading), (first, digests), state);
    }
}

/// Signs a statement and gives it to the object's own watchers.
fn say(
    scribe: &Scribe,
    (partial, reading): (&Partial, u64),
    (first, digests): (u32, &[PieceDigest]),
    state: v1::AttestationState,
) {
    let said = scribe.attest(&Subject::of(partial, reading), first, digests, state);
    if !partial.attest(first, digests, told(&said), reading, &scribe.node.id) {
        tracing::warn!(key = %partial.key(), first, "a statement of this seed was not taken by its own store");
    }
}
