//! What a download knows of one parent.

use darner_lfs::Holding;
use darner_lfs::layout::PieceIndex;

use super::Limits;

/// What kind of node a parent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// A seed: it reads the origin; spare it.
    Seed,
    /// Another daemon.
    Peer,
}

/// What went wrong with a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No byte for a stall interval, or the connection broke.
    Stalled,
    /// The piece was not what the attestation says: this parent is not asked again.
    Corrupt,
    /// The parent said it does not have it.
    Absent,
}

/// The view of one parent.
#[derive(Debug, Clone)]
pub struct ParentView {
    /// Seed or peer.
    pub supply: Supply,
    /// Ask only for what nobody else has.
    pub last_resort: bool,
    /// It has every piece.
    pub complete: bool,
    /// Whole pieces it has.
    pub holding: Holding,
    /// Pieces it is receiving now.
    pub under_way: Holding,
    pub(super) taking: u32,
    pub(super) strikes: u32,
    pub(super) aside_until_ms: Option<u64>,
}

impl ParentView {
    pub(super) const fn new(supply: Supply, last_resort: bool) -> Self {
        Self {
            supply,
            last_resort,
            complete: false,
            holding: Holding::empty(),
            under_way: Holding::empty(),
            taking: 0,
            strikes: 0,
            aside_until_ms: None,
        }
    }

    /// Whether it has the whole piece.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.complete || self.holding.contains(piece)
    }

    /// Whether it can be asked for the piece: it has it, or is receiving it.
    pub fn offers(&self, piece: PieceIndex) -> bool {
        self.has(piece) || self.under_way.contains(piece)
    }

    /// Whether it can be asked at all now.
    pub fn is_usable(&self, strikes: u32, now_ms: u64) -> bool {
        self.strikes < strikes && self.aside_until_ms.is_none_or(|until| until <= now_ms)
    }

    pub(super) fn succeeded(&mut self) {
        self.taking = self.taking.saturating_sub(1);
        self.strikes = 0;
    }

    pub(super) fn failed(&mut self, piece: PieceIndex, failure: Failure, now_ms: u64, limits: Limits) {
        self.taking = self.taking.saturating_sub(1);
        match failure {
            Failure::Corrupt => self.strikes = limits.strikes,
            Failure::Stalled => {
                self.strikes += 1;
                self.aside_until_ms = Some(now_ms.saturating_add(limits.aside_ms));
            }
            Failure::Absent => {
                self.complete = false;
                self.holding.remove(piece);
                self.under_way.remove(piece);
            }
        }
    }
}
