//! What writes an object in order: the open piece, and the signature below each that is whole.
//!
//! Owns: the position that is written. Never: waits for bytes or for room in memory; its methods block as long as a
//! write to the page cache does. Dropped, it abandons the open piece.

use std::sync::Arc;

use bytes::Bytes;
use darner_proto::v1;
use darner_store::{Partial, PieceWriter};
use tokio::sync::Notify;

use super::{Pour, PourError, say};
use crate::statements::Scribe;

/// The one writer of a read.
#[derive(Debug)]
pub(super) struct Pen {
    partial: Partial,
    reading: u64,
    hashing: Arc<Notify>,
    scribe: Scribe,
    writer: Option<PieceWriter>,
    at: u64,
}

impl Pen {
    /// A pen for what `pour` reads, at an offset.
    pub(super) fn new(pour: &Pour, at: u64) -> Self {
        let Pour { partial, reading, hashing, scribe, .. } = pour;
        let (hashing, scribe) = (Arc::clone(hashing), scribe.clone());
        Self { partial: partial.clone(), reading: *reading, hashing, scribe, writer: None, at }
    }

    /// Whether a piece is begun.
    pub(super) const fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// The next byte to write.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Writes bytes of an object on disk.
    pub(super) fn write(&mut self, mut bytes: Bytes) -> Result<(), PourError> {
        while !bytes.is_empty() {
            self.begin();
            self.part(&mut bytes)?;
        }
        Ok(())
    }

    /// Takes the next piece of an object on disk for writing; takers can wait for its bytes from now on.
    pub(super) fn begin(&mut self) {
        if let Ok(Some((piece, _))) = self.due() {
            self.writer = self.partial.begin(piece, true);
        }
    }

    /// The piece to take for writing before the next byte, and its end.
    pub(super) fn due(&self) -> Result<Option<(u32, u64)>, PourError> {
        let layout = self.partial.layout();
        let piece = layout.piece_of(self.at);
        let range = layout.piece_range(piece).ok_or(PourError::TooLong)?;
        Ok((self.writer.is_none() && self.at == range.start).then_some((piece, range.end)))
    }

    /// A piece was taken; `None` when it is here already.
    pub(super) fn open(&mut self, writer: Option<PieceWriter>) {
        self.writer = writer;
    }

    /// Writes up to the end of a piece.
    pub(super) fn part(&mut self, bytes: &mut Bytes) -> Result<(), PourError> {
        let layout = self.partial.layout();
        let piece = layout.piece_of(self.at);
        let range = layout.piece_range(piece).ok_or(PourError::TooLong)?;
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
        Ok(())
    }

    /// The open piece is whole: name its digest and sign it.
    pub(super) fn complete(&mut self) -> Result<(), PourError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let piece = writer.piece();
        writer.finish(None)?;
        self.vouch(piece);
        self.hashing.notify_one();
        Ok(())
    }

    /// Signs a piece; somebody else may have written it (a daemon's own download, while it acts as a seed).
    pub(super) fn vouch(&self, piece: u32) {
        if let Some(digest) = self.partial.digest(piece).filter(|_| self.partial.has(piece)) {
            let state = v1::AttestationState::Provisional;
            say(&self.scribe, (&self.partial, self.reading), (piece, &[digest]), state);
        }
    }
}
