//! The one writer of one piece.
//!
//! Owns: the ticket and the running digest. Never: makes bytes readable before they are in the file. After a crash:
//! an unfinished piece is absent.

use std::fmt;

use darner_lfs::verify::RunningPiece;
use darner_lfs::{PieceDigest, PieceIndex};

use super::Partial;
use super::body::Place;
use super::growth::Ticket;
use crate::disk::space::is_full;
use crate::error::WriteError;
use crate::journal::Line;

/// The one writer of one piece. Dropping it unfinished abandons the piece.
pub struct PieceWriter {
    partial: Partial,
    ticket: Ticket,
    hash: RunningPiece,
    written: u64,
    full: bool,
}

impl PieceWriter {
    /// A writer; `full` when there is no room for the piece, which its first write says.
    pub(super) fn new(partial: Partial, ticket: Ticket, full: bool) -> Self {
        Self { partial, ticket, hash: RunningPiece::default(), written: 0, full }
    }

    /// The piece.
    pub fn piece(&self) -> PieceIndex {
        self.ticket.piece
    }

    /// Appends bytes to the piece; they are readable when this returns.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.full {
            return Err(WriteError::Full);
        }
        let growing = self.partial.growing();
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let _writing = growing.writing();
        let place = growing.look(|growth| {
            let start = growth.layout().piece_start(self.ticket.piece);
            growth.place(&self.ticket).map(|(offset, room)| (start, offset, room))
        });
        let Some((start, offset, room)) = place else { return Err(WriteError::Stale) };
        if count > room {
            return Err(WriteError::Long { wanted: offset - start + room });
        }
        let place = Place { piece: self.ticket.piece, start, offset };
        growing
            .body()
            .write(place, bytes)
            .map_err(|error| if is_full(&error) { WriteError::Full } else { WriteError::Io(error) })?;
        growing.change(|state| state.growth.grow(&self.ticket, count));
        self.hash.update(bytes);
        self.written += count;
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the piece; it is whole when its digest is the expected one and the attested one, where there are such.
    pub fn finish(self, expected: Option<PieceDigest>) -> Result<PieceDigest, WriteError> {
        let got = self.hash.digest();
        let first = self.partial.growing().change(|state| {
            state.growth.complete(&self.ticket, got, expected)?;
            state.note(&Line::piece(self.ticket.piece, &got));
            Ok::<bool, WriteError>(state.growth.whole().count() == 1)
        })?;
        if first {
            self.partial.first_piece();
        }
        Ok(got)
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        self.partial.growing().change(|state| state.growth.abandon(&self.ticket));
    }
}

impl fmt::Debug for PieceWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PieceWriter({} of {}, {} bytes)", self.ticket.piece, self.partial.key(), self.written)
    }
}
