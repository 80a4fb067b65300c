//! What is known of a growing object, as plain state: no file, no clock, no lock.
//!
//! Owns: which pieces are whole, being written, vouched for. Never: I/O. After a crash: rebuilt from the journal, with
//! every piece `unproved` until it was read and hashed once.
//!
//! A piece is in one of four states: absent -> being written (by the holder of one ticket) -> whole; a whole piece
//! that turns out damaged, or contradicts an attestation, is absent again. `rehash` counts those losses, so that the
//! trailing SHA-256 starts over.

mod attesting;
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use darner_lfs::{Holding, Layout, PieceDigest, PieceIndex};

use super::Outcome;
use crate::error::WriteError;
use crate::record::Media;

pub(crate) use reading::ReadPlan;

/// How far ahead of the first missing piece an object of unknown length may be written or attested: such reads are
/// in order, and a peer must not make a bitmap of any size.
const UNKNOWN_AHEAD_PIECES: u32 = 4096;
/// Upstreams remembered per object.
pub(crate) const MAX_UPSTREAMS: usize = 64;

/// The right to write one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) piece: PieceIndex,
    turn: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pen {
    turn: u64,
    written: u64,
    edge: bool,
}

/// How much of a memory-backed object is kept.
#[derive(Debug, Clone, Copy)]
struct Window {
    bytes: u64,
    forgotten: u64,
    hashed: u64,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Growth {
    layout: Layout,
    whole: Holding,
    unproved: Holding,
    writing: BTreeMap<PieceIndex, Pen>,
    turn: u64,
    digests: BTreeMap<PieceIndex, PieceDigest>,
    attested: Holding,
    statements: Vec<Bytes>,
    reading: Option<(u64, String)>,
    upstreams: BTreeSet<String>,
    media: Media,
    era: u64,
    rehash: u64,
    outcome: Option<Outcome>,
    window: Option<Window>,
}

impl Growth {
    /// Nothing yet.
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            whole: Holding::empty(),
            unproved: Holding::empty(),
            writing: BTreeMap::new(),
            turn: 0,
            digests: BTreeMap::new(),
            attested: Holding::empty(),
            statements: Vec::new(),
            reading: None,
            upstreams: BTreeSet::new(),
            media: Media::default(),
            era: 0,
            rehash: 0,
            outcome: None,
            window: None,
        }
    }

    /// Nothing yet, and only a window of it will be kept in memory: at least two pieces, so that one can be read
    /// while the next is written.
    pub(crate) fn in_memory(layout: Layout, window_bytes: u64) -> Self {
        let bytes = window_bytes.max(2 * u64::from(layout.piece_bytes()));
        let window = Some(Window { bytes, forgotten: 0, hashed: 0 });
        Self { window, ..Self::new(layout) }
    }

    /// All of it, finished already.
    pub(crate) fn finished(layout: Layout, digests: &[PieceDigest], outcome: Outcome) -> Self {
        let mut growth = Self::new(layout);
        growth.know(0, digests);
        growth.conclude(outcome);
        growth
    }

    /// The same object after this one failed: what is whole stays, who was writing is out.
    pub(crate) fn successor(&mut self, why: &str) -> Self {
        let next = Self {
            whole: self.whole.clone(),
            unproved: self.unproved.clone(),
            digests: self.digests.clone(),
            attested: self.attested.clone(),
            statements: self.statements.clone(),
            reading: self.reading.clone(),
            upstreams: self.upstreams.clone(),
            media: self.media.clone(),
            era: self.era + 1,
            ..Self::new(self.layout)
        };
        self.writing.clear();
        self.outcome = Some(Outcome::Failed(why.to_owned()));
        next
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) const fn era(&self) -> u64 {
        self.era
    }

    pub(crate) const fn rehash(&self) -> u64 {
        self.rehash
    }

    pub(crate) const fn whole(&self) -> &Holding {
        &self.whole
    }

    pub(crate) const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    pub(crate) fn under_way(&self) -> Vec<PieceIndex> {
        self.writing.keys().copied().collect()
    }

    /// The pieces being written straight from a seed or an origin.
    pub(crate) fn at_edge(&self) -> Vec<PieceIndex> {
        self.writing.iter().filter(|(_, pen)| pen.edge).map(|(piece, _)| *piece).collect()
    }

    /// How many pieces are missing; unknown length: one at least.
    pub(crate) fn missing(&self) -> u32 {
        self.layout.piece_count().map_or(1, |count| count.saturating_sub(self.whole.count()))
    }

    /// It ended. A finished one holds all pieces.
    pub(crate) fn conclude(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Finished(_)) {
            self.whole = Holding::full(self.layout.piece_count().unwrap_or_default());
            self.unproved = Holding::empty();
        }
        self.writing.clear();
        self.outcome = Some(outcome);
    }

    /// Another cut for an object of which nothing is here.
    pub(crate) fn recut(&mut self, layout: Layout) {
        self.reset();
        self.layout = layout;
    }

    /// The length is known now. Pieces that do not fit it are dropped; false when another length was known.
    pub(crate) fn fix_size(&mut self, size: u64) -> bool {
        if let Some(known) = self.layout.size() {
            return known == size;
        }
        let before = self.layout;
        self.layout = before.with_size(size);
        let fits = |piece: PieceIndex| self.layout.piece_range(piece) == before.piece_range(piece);
        let wrong: Vec<PieceIndex> = self.whole.iter().filter(|piece| !fits(*piece)).collect();
        let layout = self.layout;
        self.writing.retain(|piece, pen| {
            layout.piece_range(*piece).is_some_and(|range| pen.written <= range.end - range.start)
        });
        for piece in wrong {
            self.lose(piece);
        }
        let count = self.layout.piece_count().unwrap_or_default();
        self.digests.retain(|piece, _| *piece < count);
        true
    }

    /// Takes a piece for writing.
    pub(crate) fn begin(&mut self, piece: PieceIndex, edge: bool) -> Option<Ticket> {
        let free = self.outcome.is_none()
            && !self.whole.contains(piece)
            && !self.writing.contains_key(&piece)
            && self.reaches(piece)
            && self.in_window(piece);
        if !free {
            return None;
        }
        self.turn += 1;
        let turn = self.turn;
        self.writing.insert(piece, Pen { turn, written: 0, edge });
        Some(Ticket { piece, turn })
    }

    /// Where the holder of a ticket writes next and how much fits; `None` when the ticket is void.
    pub(crate) fn place(&self, ticket: &Ticket) -> Option<(u64, u64)> {
        let pen = self.pen(ticket)?;
        let range = self.layout.piece_range(ticket.piece)?;
        let at = range.start + pen.written;
        Some((at, range.end.saturating_sub(at)))
    }

    /// Bytes were written.
    pub(crate) fn grow(&mut self, ticket: &Ticket, bytes: u64) {
        if let Some(pen) = self.writing.get_mut(&ticket.piece)
            && pen.turn == ticket.turn
        {
            pen.written += bytes;
        }
    }

    /// Ends a piece: whole when it is full and its digest is the one expected and the one attested.
    pub(crate) fn complete(
        &mut self,
        ticket: &Ticket,
        got: PieceDigest,
        expected: Option<PieceDigest>,
    ) -> Result<(), WriteError> {
        let Some(pen) = self.pen(ticket) else { return Err(WriteError::Stale) };
        self.writing.remove(&ticket.piece);
        let wanted = self.layout.piece_range(ticket.piece).map_or(0, |range| range.end - range.start);
        if pen.written != wanted {
            return Err(WriteError::Short { written: pen.written, wanted });
        }
        let attested = self.attested.contains(ticket.piece).then(|| self.digest(ticket.piece)).flatten();
        for expected in [expected, attested].into_iter().flatten() {
            if expected != got {
                return Err(WriteError::Mismatch { expected, got });
            }
        }
        self.digests.insert(ticket.piece, got);
        self.whole.insert(ticket.piece);
        Ok(())
    }

    /// The writer went away.
    pub(crate) fn abandon(&mut self, ticket: &Ticket) {
        if self.pen(ticket).is_some() {
            self.writing.remove(&ticket.piece);
        }
    }

    /// A piece lies on disk by the word of an earlier process: whole, once its digest was checked.
    pub(crate) fn claim(&mut self, piece: PieceIndex, digest: PieceDigest) {
        if self.reaches(piece) {
            self.digests.insert(piece, digest);
            self.whole.insert(piece);
            self.unproved.insert(piece);
        }
    }

    /// A claimed piece was read and hashed.
    pub(crate) fn prove(&mut self, piece: PieceIndex) {
        self.unproved.remove(piece);
    }

    /// The digest a claimed piece is to be checked against.
    pub(crate) fn to_prove(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.unproved.contains(piece).then(|| self.digest(piece)).flatten()
    }

    /// A piece is not whole after all; true when it was.
    pub(crate) fn lose(&mut self, piece: PieceIndex) -> bool {
        if self.outcome.is_some() || !self.whole.remove(piece) {
            return false;
        }
        self.unproved.remove(piece);
        if !self.attested.contains(piece) {
            self.digests.remove(&piece);
        }
        self.rehash += 1;
        true
    }

    /// Drops everything but the cut: what was wrong came through its upstreams, too.
    pub(crate) fn reset(&mut self) {
        self.whole = Holding::empty();
        self.unproved = Holding::empty();
        self.writing.clear();
        self.forget_attestations();
        self.digests.clear();
        self.upstreams.clear();
        self.era += 1;
        self.rehash += 1;
        if let Some(window) = &mut self.window {
            (window.forgotten, window.hashed) = (0, 0);
        }
    }

    /// Where the bytes came from; bounded, the first ones stay. True when it is new.
    pub(crate) fn add_upstream(&mut self, upstream: &str) -> bool {
        self.upstreams.len() < MAX_UPSTREAMS && self.upstreams.insert(upstream.to_owned())
    }

    pub(crate) const fn upstreams(&self) -> &BTreeSet<String> {
        &self.upstreams
    }

    pub(crate) fn set_media(&mut self, media: Media) {
        self.media = media;
    }

    pub(crate) const fn media(&self) -> &Media {
        &self.media
    }

    fn pen(&self, ticket: &Ticket) -> Option<Pen> {
        self.writing.get(&ticket.piece).copied().filter(|pen| pen.turn == ticket.turn)
    }

    /// Whether the object can have this piece.
    fn reaches(&self, piece: PieceIndex) -> bool {
        match self.layout.piece_count() {
            Some(count) => piece < count,
            None => piece < self.whole.first_missing().saturating_add(UNKNOWN_AHEAD_PIECES),
        }
    }
}

#[cfg(test)]
mod tests;
