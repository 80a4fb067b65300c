//! Which piece to ask of which parent next: a pure function of what is known, without sockets or clock.
//!
//! Owns: the state of each piece (missing, being taken, here) and the view of each parent (what it holds, what it
//! is receiving, how often it failed). Rules, in order:
//! 1. the reader comes first: missing pieces right behind its position are taken in order;
//! 2. behind that window the piece that fewest peers hold comes first, ties broken differently on every node;
//! 3. a seed is spared: a piece that only a seed has is taken from it by the *designated* taker (first by rendezvous
//!    among the peers one knows and oneself); the others wait `grace_ms` for that one to announce it and take it
//!    from there while it arrives. The very first piece is taken from the seed by everybody;
//! 4. a parent of last resort is asked only for what no other parent has had on offer for `grace_ms`.

mod parent;

pub use parent::{Failure, ParentView, Supply};

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use darner_lfs::layout::PieceIndex;
use darner_lfs::{Holding, ObjectKey};

/// Pieces right behind the reader that are taken in order.
const HEAD_WINDOW: u32 = 8;
/// How far behind the reader pieces are considered at all; bounds the work of one choice.
const LOOKAHEAD: u32 = 512;

/// What is fixed for one download.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Pieces asked of one parent at a time.
    pub lanes: u32,
    /// How long a piece is left to its designated taker, milliseconds.
    pub grace_ms: u64,
    /// How long a parent that stalled is left alone, milliseconds.
    pub aside_ms: u64,
    /// Failures after which a parent is not asked again.
    pub strikes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lanes: 3, grace_ms: 60, aside_ms: 2_000, strikes: 3 }
    }
}

/// The answer to "what shall I ask this parent?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Take this piece; it now counts as being taken.
    Take(PieceIndex),
    /// Nothing now; ask again at this time (milliseconds) or when something changes.
    WaitUntil(u64),
    /// Nothing until something changes.
    Idle,
}

#[derive(Debug, Clone)]
enum Piece {
    /// Since when somebody has it on offer.
    Missing {
        offered_ms: Option<u64>,
    },
    Taking {
        parent: String,
    },
    Here,
}

/// The plan of one download.
#[derive(Debug)]
pub struct Plan {
    own: String,
    key: ObjectKey,
    limits: Limits,
    pieces: Vec<Piece>,
    parents: BTreeMap<String, ParentView>,
    head: PieceIndex,
}

impl Plan {
    /// A plan for the node `own` that has `held` already. `count` is the number of pieces known so far.
    pub fn new(own: &str, key: ObjectKey, count: u32, held: &Holding, limits: Limits) -> Self {
        let mut plan =
            Self { own: own.to_owned(), key, limits, pieces: Vec::new(), parents: BTreeMap::new(), head: 0 };
        plan.resize(count);
        held.iter().for_each(|piece| plan.arrived(piece));
        plan
    }

    /// The number of pieces has become known (or, while the length is unknown, larger).
    pub fn resize(&mut self, count: u32) {
        self.pieces.resize(to_usize(count), Piece::Missing { offered_ms: None });
    }

    /// How many pieces the plan speaks of.
    pub fn count(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }

    /// Whether every piece is here.
    pub fn is_complete(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Here))
    }

    /// The position of the reader that comes first.
    pub fn set_head(&mut self, head: PieceIndex) {
        self.head = head;
    }

    /// A new parent, or a change of what is known about one.
    pub fn offer(&mut self, id: &str, supply: Supply, last_resort: bool) -> &mut ParentView {
        match self.parents.entry(id.to_owned()) {
            Entry::Occupied(known) => {
                let view = known.into_mut();
                view.last_resort = last_resort;
                view
            }
            Entry::Vacant(new) => new.insert(ParentView::new(supply, last_resort)),
        }
    }

    /// The view of a parent.
    pub fn parent(&mut self, id: &str) -> Option<&mut ParentView> {
        self.parents.get_mut(id)
    }

    /// The ids of all parents.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.parents.keys().map(String::as_str)
    }

    /// A parent is gone: what was being taken from it is missing again.
    pub fn withdraw(&mut self, id: &str) {
        self.parents.remove(id);
        for piece in &mut self.pieces {
            if matches!(piece, Piece::Taking { parent } if parent == id) {
                *piece = Piece::Missing { offered_ms: None };
            }
        }
    }

    /// Whether any parent could still be asked, now or later.
    pub fn has_parents(&self) -> bool {
        self.parents.values().any(|view| view.strikes < self.limits.strikes)
    }

    /// A piece is here and checked.
    pub fn arrived(&mut self, piece: PieceIndex) {
        let Some(slot) = self.pieces.get_mut(to_usize(piece)) else { return };
        if let Piece::Taking { parent } = std::mem::replace(slot, Piece::Here)
            && let Some(view) = self.parents.get_mut(&parent)
        {
            view.succeeded();
        }
    }

    /// A piece could not be had from a parent; it is missing again.
    pub fn failed(&mut self, piece: PieceIndex, id: &str, failure: Failure, now_ms: u64) {
        if let Some(slot) = self.pieces.get_mut(to_usize(piece))
            && matches!(slot, Piece::Taking { parent } if parent == id)
        {
            *slot = Piece::Missing { offered_ms: None };
        }
        let limits = self.limits;
        if let Some(view) = self.parents.get_mut(id) {
            view.failed(piece, failure, now_ms, limits);
        }
    }

    /// A piece that was asked for is not taken after all, through nobody's fault.
    pub fn put_back(&mut self, piece: PieceIndex) {
        if let Some(slot) = self.pieces.get_mut(to_usize(piece))
            && let Piece::Taking { parent } = slot
        {
            if let Some(view) = self.parents.get_mut(parent) {
                view.taking = view.taking.saturating_sub(1);
            }
            *slot = Piece::Missing { offered_ms: None };
        }
    }

    /// A piece that was here is not any more (it was damaged).
    pub fn lost(&mut self, piece: PieceIndex) {
        if let Some(slot) = self.pieces.get_mut(to_usize(piece)) {
            *slot = Piece::Missing { offered_ms: None };
        }
    }

    /// What to ask of a parent now.
    pub fn next(&mut self, id: &str, now_ms: u64) -> Next {
        let Some(view) = self.parents.get(id) else { return Next::Idle };
        if view.strikes >= self.limits.strikes || view.taking >= self.limits.lanes {
            return Next::Idle;
        }
        if let Some(until) = view.aside_until_ms.filter(|until| *until > now_ms) {
            return Next::WaitUntil(until);
        }
        let first = self.first_missing();
        let mut wait: Option<u64> = None;
        let mut best: Option<(Rank, PieceIndex)> = None;
        for piece in first..self.count().min(first.saturating_add(LOOKAHEAD)) {
            if !self.is_missing(piece) || !self.supplies(id, piece) {
                continue;
            }
            match self.admits(id, piece, first, now_ms) {
                Ok(()) => {
                    let rank = self.rank(piece, first);
                    if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                        best = Some((rank, piece));
                    }
                }
                Err(Some(until)) => wait = Some(wait.map_or(until, |known| known.min(until))),
                Err(None) => {}
            }
        }
        match (best, wait) {
            (Some((_, piece)), _) => self.take(piece, id),
            (None, Some(until)) => Next::WaitUntil(until),
            (None, None) => Next::Idle,
        }
    }

    fn take(&mut self, piece: PieceIndex, id: &str) -> Next {
        if let Some(slot) = self.pieces.get_mut(to_usize(piece)) {
            *slot = Piece::Taking { parent: id.to_owned() };
        }
        if let Some(view) = self.parents.get_mut(id) {
            view.taking += 1;
        }
        Next::Take(piece)
    }

    /// Whether this piece may be asked of this parent now; if not, when to look again.
    fn admits(
        &mut self,
        id: &str,
        piece: PieceIndex,
        first: PieceIndex,
        now_ms: u64,
    ) -> Result<(), Option<u64>> {
        let Some(view) = self.parents.get(id) else { return Err(None) };
        let (seed, last_resort) = (view.supply == Supply::Seed, view.last_resort);
        if !seed && !last_resort {
            return Ok(());
        }
        let offered = self.offered_since(piece, now_ms);
        let waited = now_ms >= offered.saturating_add(self.limits.grace_ms);
        let peer_holds = self.others(id, now_ms).any(|view| view.has(piece));
        if piece == 0 && first == 0 && !peer_holds {
            return Ok(());
        }
        let ours = !last_resort && !peer_holds && self.designated(piece, id);
        if ours || waited { Ok(()) } else { Err(Some(offered.saturating_add(self.limits.grace_ms))) }
    }

    /// The parents beside `id` that can be asked now and are no seed.
    fn others<'a>(&'a self, id: &'a str, now_ms: u64) -> impl Iterator<Item = &'a ParentView> {
        let strikes = self.limits.strikes;
        self.parents
            .iter()
            .filter(move |(other, view)| {
                other.as_str() != id && view.supply == Supply::Peer && view.is_usable(strikes, now_ms)
            })
            .map(|(_, view)| view)
    }

    /// Whether this node is first by rendezvous among itself and the peers it takes this object from.
    fn designated(&self, piece: PieceIndex, seed: &str) -> bool {
        let own = weight(&self.key, piece, &self.own);
        let peers =
            self.parents.iter().filter(|(id, view)| view.supply == Supply::Peer && id.as_str() != seed);
        peers.into_iter().all(|(id, view)| view.complete || weight(&self.key, piece, id) <= own)
    }

    fn offered_since(&mut self, piece: PieceIndex, now_ms: u64) -> u64 {
        match self.pieces.get_mut(to_usize(piece)) {
            Some(Piece::Missing { offered_ms }) => *offered_ms.get_or_insert(now_ms),
            _ => now_ms,
        }
    }

    fn first_missing(&self) -> PieceIndex {
        let from_head = (self.head..self.count()).find(|piece| self.is_open(*piece));
        from_head
            .or_else(|| (0..self.head.min(self.count())).find(|piece| self.is_open(*piece)))
            .unwrap_or_else(|| self.count())
    }

    fn is_open(&self, piece: PieceIndex) -> bool {
        !matches!(self.pieces.get(to_usize(piece)), Some(Piece::Here) | None)
    }

    fn is_missing(&self, piece: PieceIndex) -> bool {
        matches!(self.pieces.get(to_usize(piece)), Some(Piece::Missing { .. }))
    }

    fn supplies(&self, id: &str, piece: PieceIndex) -> bool {
        self.parents.get(id).is_some_and(|view| view.offers(piece))
    }

    fn rank(&self, piece: PieceIndex, first: PieceIndex) -> Rank {
        let behind = piece.saturating_sub(first);
        if behind < HEAD_WINDOW {
            return Rank { class: 0, rarity: u64::from(behind), tie: 0 };
        }
        let holders = self.parents.values().filter(|view| view.has(piece)).count();
        let rarity = u64::try_from(holders).unwrap_or(u64::MAX);
        Rank { class: 1, rarity, tie: weight(&self.key, piece, &self.own) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: u8,
    rarity: u64,
    tie: u64,
}

/// A number all nodes compute alike for (object, piece, node).
fn weight(key: &ObjectKey, piece: PieceIndex, node: &str) -> u64 {
    let mut hash = FNV_OFFSET;
    let bytes = key.digest().iter().copied().chain(piece.to_be_bytes()).chain(node.bytes());
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }
    // FNV leaves the last bytes in the low bits: spread them.
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn to_usize(piece: PieceIndex) -> usize {
    usize::try_from(piece).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
