//! From an origin's answer into a growing object, piece by piece, each attested as it completes.
//!
//! Owns: the position in the object and the one open piece, both of which survive a cut. Never: the choice of a
//! credential. Bytes already here are skipped when an origin begins at the start again.

use bytes::Bytes;
use darner_lfs::PieceDigest;
use darner_origin::{OriginError, Reading};
use darner_proto::v1;
use darner_store::{Partial, PieceWriter, WriteError};
use tokio::sync::Notify;

use crate::statements::{Scribe, Subject, told};

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
    pub(crate) hashing: std::sync::Arc<Notify>,
    scribe: Scribe,
    /// How much of a memory-backed object is kept.
    window_bytes: u64,
    writer: Option<PieceWriter>,
    at: u64,
}

impl Pour {
    pub(crate) fn new(partial: Partial, (reading, window_bytes): (u64, u64), scribe: Scribe) -> Self {
        let hashing = std::sync::Arc::default();
        let pour = Self { partial, reading, hashing, scribe, window_bytes, writer: None, at: 0 };
        pour.announce();
        pour
    }

    /// Forgets everything that came.
    pub(crate) fn begin_anew(&mut self, why: &str, reading: u64) {
        self.writer = None;
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
        let from = if self.writer.is_some() { self.at } else { layout.piece_start(first) };
        let next_held = holding.iter().find(|piece| *piece > layout.piece_of(from));
        Some((from, next_held.map(|piece| layout.piece_start(piece))))
    }

    /// Takes an answer to its end.
    pub(crate) async fn take(&mut self, answer: &mut Reading, from: u64) -> Result<(), PourError> {
        if answer.start != from {
            // The whole object again: the bytes of the open piece are skipped with the rest.
            tracing::debug!(key = %self.partial.key(), from, "the origin began at the start again");
        }
        if self.writer.is_none() {
            self.at = from;
        }
        let mut position = answer.start;
        while let Some(bytes) = answer.next().await? {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let skip = self.at.saturating_sub(position).min(length);
            position += length;
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            self.write(bytes.slice(skip.min(bytes.len())..)).await?;
        }
        if self.partial.layout().size().is_none() {
            self.partial.fix_size(self.at);
            self.complete()?;
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), PourError> {
        while !bytes.is_empty() {
            let layout = self.partial.layout();
            let piece = layout.piece_of(self.at);
            let range = layout.piece_range(piece).ok_or(PourError::TooLong)?;
            if self.writer.is_none() && self.at == range.start {
                self.writer = self.begin(piece, range.end).await;
            }
            let room = usize::try_from(range.end - self.at).unwrap_or(usize::MAX);
            let part = bytes.split_to(room.min(bytes.len()));
            if let Some(writer) = &mut self.writer {
                writer.write(&part)?;
            }
            self.at += u64::try_from(part.len()).unwrap_or(u64::MAX);
            if self.at == range.end {
                if self.writer.is_none() {
                    self.vouch(piece);
                }
                self.complete()?;
            }
        }
        Ok(())
    }

    /// Takes the piece for writing; `None` when it is here already. A memory-backed object first lets go of old pieces.
    async fn begin(&self, piece: u32, end: u64) -> Option<PieceWriter> {
        if !self.partial.is_volatile() {
            return self.partial.begin(piece, true);
        }
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

    /// The open piece is whole: name its digest and sign it.
    fn complete(&mut self) -> Result<(), PourError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let piece = writer.piece();
        writer.finish(None)?;
        self.vouch(piece);
        self.hashing.notify_one();
        Ok(())
    }

    /// Signs a piece that somebody else wrote meanwhile (a daemon's own download, while it acts as a seed).
    fn vouch(&self, piece: u32) {
        if let Some(digest) = self.partial.digest(piece).filter(|_| self.partial.has(piece)) {
            self.say(piece, &[digest], v1::AttestationState::Provisional);
        }
    }

    /// Signs what is here and was not signed by this read: pieces of an earlier life of this process.
    pub(crate) fn attest_held(&self) {
        for piece in self.partial.holding().iter() {
            self.vouch(piece);
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
        Some(self.scribe.attest(&self.subject(), 0, &digests?, v1::AttestationState::Confirmed))
    }

    fn subject(&self) -> Subject {
        Subject { key: self.partial.key(), layout: self.partial.layout(), reading: self.reading }
    }

    fn say(&self, first: u32, digests: &[PieceDigest], state: v1::AttestationState) {
        let said = self.scribe.attest(&self.subject(), first, digests, state);
        if !self.partial.attest(first, digests, told(&said), self.reading, &self.scribe.node.id) {
            tracing::warn!(key = %self.partial.key(), first, "a statement of this seed was not taken by its own store");
        }
    }
}
