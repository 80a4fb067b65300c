//! Which bytes of a growing object can be read, and which a memory-backed one has let go of.
//!
//! Owns: the arithmetic of reading. Never: reads. After a crash: nothing to say.

use std::ops::Range;

use darner_lfs::{Holding, PieceDigest, PieceIndex};

use super::Growth;
use crate::error::ReadError;
use crate::partial::{Outcome, Unchecked};

/// What a read has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadPlan {
    /// Read these bytes.
    Plain(Range<u64>),
    /// First check this piece against its digest.
    Check(PieceIndex, Range<u64>, PieceDigest),
}

impl Growth {
    /// The end of the contiguous readable bytes from `from`.
    pub(crate) fn readable(&self, from: u64, unchecked: Unchecked) -> u64 {
        if from < self.let_go() {
            return from;
        }
        let mut end = from;
        let mut piece = self.layout.piece_of(from);
        loop {
            let Some(range) = self.layout.piece_range(piece) else { return end };
            let here = if self.whole.contains(piece) { range.end } else { self.grown_to(piece, unchecked) };
            end = end.max(here);
            if here < range.end {
                return end;
            }
            piece += 1;
        }
    }

    /// How far a piece being written counts as readable.
    fn grown_to(&self, piece: PieceIndex, unchecked: Unchecked) -> u64 {
        let counted = self.writing.get(&piece).filter(|pen| match unchecked {
            Unchecked::None => false,
            Unchecked::Edge => pen.edge,
            Unchecked::Any => true,
        });
        self.layout.piece_start(piece) + counted.map_or(0, |pen| pen.written)
    }

    /// How to read at most `max` bytes from an offset.
    pub(crate) fn plan(&self, offset: u64, max: u64) -> Result<ReadPlan, ReadError> {
        if let Some(Outcome::Failed(why)) = &self.outcome {
            return Err(ReadError::Gone { why: why.clone() });
        }
        if offset < self.let_go() {
            return Err(ReadError::Forgotten { offset });
        }
        let readable = self.readable(offset, Unchecked::Any);
        if readable <= offset {
            return Err(ReadError::Beyond { offset });
        }
        let first = self.layout.piece_of(offset);
        if let (Some(digest), Some(range)) = (self.to_prove(first), self.layout.piece_range(first)) {
            return Ok(ReadPlan::Check(first, range, digest));
        }
        let end = readable.min(offset.saturating_add(max));
        let doubtful = self.layout.pieces_of(&(offset..end)).find(|piece| self.unproved.contains(*piece));
        let end = doubtful.map_or(end, |piece| self.layout.piece_start(piece));
        Ok(ReadPlan::Plain(offset..end))
    }

    /// The whole pieces that can be read now.
    pub(crate) fn servable(&self) -> Holding {
        let gone = self.let_go();
        if gone == 0 {
            return self.whole.clone();
        }
        self.whole.iter().filter(|piece| self.layout.piece_start(*piece) >= gone).collect()
    }

    /// The bytes before this offset are not needed by readers any more.
    pub(crate) fn forget_before(&mut self, offset: u64) {
        if let Some(window) = &mut self.window {
            window.forgotten = window.forgotten.max(offset);
        }
    }

    /// The bytes before this offset went into the hash of the whole.
    pub(crate) fn hashed(&mut self, offset: u64) {
        if let Some(window) = &mut self.window {
            window.hashed = window.hashed.max(offset);
        }
    }

    /// Everything before this offset is let go of: forgotten, hashed, and a whole piece.
    pub(crate) fn let_go(&self) -> u64 {
        let Some(window) = &self.window else { return 0 };
        let offset = window.forgotten.min(window.hashed);
        match self.layout.size() {
            Some(size) if offset >= size => size,
            _ => self.layout.piece_start(self.layout.piece_of(offset)),
        }
    }

    /// Whether a newcomer can read it from the start.
    pub(crate) fn joinable(&self) -> bool {
        self.outcome.is_none() && self.let_go() == 0
    }

    /// Whether a memory-backed object has room for this piece now.
    pub(super) fn in_window(&self, piece: PieceIndex) -> bool {
        let Some(window) = &self.window else { return true };
        let end = self.layout.piece_start(piece) + u64::from(self.layout.piece_bytes());
        end <= self.let_go() + window.bytes
    }
}
