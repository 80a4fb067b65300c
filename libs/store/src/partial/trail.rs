//! The SHA-256 of the whole, trailing behind the pieces in order.
//!
//! Owns: how far the hash is. Never: runs on an async thread by itself. After a crash: starts over at the first piece,
//! which at 2 GiB/s costs less than keeping its state would.
//!
//! A piece that is lost after it was hashed makes the hash start over (`rehash` of the state says so).

use std::sync::TryLockError;

use darner_lfs::{Oid, PieceDigest, PieceIndex, RunningSha256};

use super::growing::Growing;
use crate::guard::lock;

/// How far the hash is.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    hash: RunningSha256,
    next: PieceIndex,
    rehash: u64,
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
        let full = usize::try_from(range.end - range.start).ok();
        let bytes = match self.body().range(&layout, &range) {
            Ok(bytes) if Some(bytes.len()) == full => bytes,
            Ok(_) => {
                self.lose(trail.next);
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, key = %self.key(), "a partial cannot be read");
                return false;
            }
        };
        if let Some(expected) = to_prove {
            if PieceDigest::of(&bytes) != expected {
                self.lose(trail.next);
                return false;
            }
            self.change(|state| state.growth.prove(trail.next));
        }
        trail.hash.update(&bytes);
        trail.next += 1;
        self.hashed_to(range.end);
        true
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
