//! The SHA-256 of the whole, trailing behind the pieces in order.
//!
//! Owns: how far the hash is. Never: runs on an async thread by itself. After a crash: starts over at the first piece,
//! which at 2 GiB/s costs less than keeping its state would.
//!
//! A piece that is lost after it was hashed makes the hash start over (`rehash` of the state says so).

use std::io;
use std::ops::Range;
use std::sync::TryLockError;

use darner_lfs::verify::RunningPiece;
use darner_lfs::{Layout, Oid, PieceDigest, PieceIndex, RunningSha256};

use super::growing::Growing;
use crate::guard::lock;

/// Bytes read and hashed at a time: they stay in a core's own cache between the two. A whole piece at a time costs a
/// fresh buffer, and the page faults of it, per piece.
const STEP_BYTES: usize = 256 << 10;

/// How far the hash is.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    hash: RunningSha256,
    next: PieceIndex,
    rehash: u64,
    buffer: Vec<u8>,
}

impl Growing {
    /// Goes on with the hash; false when another thread does, or nothing new is whole.
    pub(crate) fn hash_more(&self) -> bool {
        let mut trail = match self.trail.try_lock() {
            Ok(trail) => trail,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let mut advanced = false;
        while self.hash_one(&mut trail) {
            advanced = true;
        }
        advanced
    }

    /// The digest of the whole, when every piece is here and went into it.
    pub(crate) fn hash_all(&self, trail: &mut Trail) -> Option<Oid> {
        while self.hash_one(trail) {}
        trail.buffer = Vec::new();
        let complete = self.look(|growth| growth.missing() == 0 && growth.rehash() == trail.rehash);
        complete.then(|| trail.hash.clone().finish())
    }

    /// Checks every piece against its own digest; how many are damaged.
    pub(crate) fn recheck(&self) -> u32 {
        let count = self.look(|growth| growth.layout().piece_count().unwrap_or_default());
        let mut damaged = 0;
        for piece in 0..count {
            let (layout, digest) = self.look(|growth| (growth.layout(), growth.digest(piece)));
            let Some(range) = layout.piece_range(piece) else { continue };
            let sound = self.body().range(&layout, &range);
            if sound.is_ok_and(|bytes| Some(PieceDigest::of(&bytes)) == digest) {
                continue;
            }
            self.lose(piece);
            damaged += 1;
        }
        damaged
    }

    /// Whether there is a whole piece that did not go into the hash yet.
    pub(crate) fn has_unhashed(&self) -> bool {
        let Ok(trail) = self.trail.try_lock() else { return false };
        self.look(|growth| {
            let next = if growth.rehash() == trail.rehash { trail.next } else { 0 };
            growth.outcome().is_none() && growth.whole().contains(next)
        })
    }

    fn hash_one(&self, trail: &mut Trail) -> bool {
        let step = self.look(|growth| {
            if growth.rehash() != trail.rehash {
                *trail = Trail { rehash: growth.rehash(), ..Trail::default() };
            }
            let here = growth.whole().contains(trail.next);
            let layout = growth.layout();
            let range = layout.piece_range(trail.next).filter(|_| here && growth.outcome().is_none());
            range.map(|range| (layout, range, growth.to_prove(trail.next)))
        });
        let Some((layout, range, to_prove)) = step else { return false };
        match self.with_piece(trail, (&layout, &range), to_prove) {
            Ok(Some(hash)) => trail.hash = hash,
            Ok(None) => {
                self.lose(trail.next);
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, key = %self.key(), "a partial cannot be read");
                return false;
            }
        }
        if to_prove.is_some() {
            self.change(|state| state.growth.prove(trail.next));
        }
        trail.next += 1;
        self.hashed_to(range.end);
        true
    }

    /// The hash with one piece more; `None` when the piece is cut short, or not what it is expected to be.
    fn with_piece(
        &self,
        trail: &mut Trail,
        (layout, range): (&Layout, &Range<u64>),
        expected: Option<PieceDigest>,
    ) -> io::Result<Option<RunningSha256>> {
        let mut hash = trail.hash.clone();
        let mut piece = expected.map(|_| RunningPiece::default());
        let length = usize::try_from(range.end - range.start).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        if trail.buffer.len() < length {
            trail.buffer.resize(length, 0);
        }
        let mut at = range.start;
        while at < range.end {
            let wanted = usize::try_from(range.end - at).unwrap_or(STEP_BYTES).min(trail.buffer.len());
            let space = trail.buffer.get_mut(..wanted).unwrap_or_default();
            if self.body().fill(layout, at, space)? < wanted {
                return Ok(None);
            }
            hash.update(space);
            if let Some(piece) = &mut piece {
                piece.update(space);
            }
            at = at.saturating_add(u64::try_from(wanted).unwrap_or(u64::MAX));
        }
        Ok((piece.map(|piece| piece.digest()) == expected).then_some(hash))
    }

    fn hashed_to(&self, offset: u64) {
        if self.body().is_memory() {
            self.change(|state| state.growth.hashed(offset));
            self.let_go();
        }
    }

    /// Drops what a memory-backed object needs no more.
    pub(crate) fn let_go(&self) {
        let first_kept = self.look(|growth| growth.layout().piece_of(growth.let_go()));
        self.body().drop_before(first_kept);
    }

    /// Takes the hash for oneself.
    pub(crate) fn finishing(&self) -> std::sync::MutexGuard<'_, Trail> {
        lock(&self.trail)
    }
}
