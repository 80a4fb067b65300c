//! Making room.
//!
//! Owns: reservation and eviction. Never: lets the sum of what is taken pass the budget, not even for a moment: room is
//! given only after the victim's file is gone. After a crash: a victim that was renamed and not removed is scrap, which
//! the next opening removes.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use darner_lfs::ObjectKey;

use super::room::Room;
use crate::disk::places::{Places, remove_quietly};
use crate::disk::space::free;
use crate::error::StoreError;
use crate::guard::lock;
use crate::index::Write;
use crate::ledger::Charge;
use crate::record::Change;
use crate::shelves::{Held, Shelves, What};

/// Numbers the files about to be removed.
static SCRAP: AtomicU64 = AtomicU64::new(0);

impl Room {
    /// Takes room, evicting what was used longest ago. Blocks on the removal of files.
    pub(crate) fn reserve(&self, more: Charge) -> Result<(), StoreError> {
        loop {
            let mut shelves = lock(&self.shelves);
            let full = StoreError::Full { wanted: more.bytes, budget: shelves.ledger.limits().bytes };
            let on_disk = free(self.places.root());
            let free =
                Charge { bytes: on_disk.bytes.saturating_sub(self.floor_bytes), inodes: on_disk.inodes };
            if shelves.ledger.fits(more) && more.within(free) {
                shelves.ledger.take(more);
                return Ok(());
            }
            // Evicting for something that cannot fit in the end would only empty the cache.
            let evictable = shelves.evictable();
            let in_the_end = shelves.ledger.limits().minus(shelves.ledger.taken().minus(evictable));
            if !more.within(in_the_end) || !more.within(free.plus(evictable)) {
                return Err(full);
            }
            let Some(victim) = shelves.victim() else { return Err(full) };
            let Some((held, scraps)) = self.take_down(&mut shelves, &victim) else { return Err(full) };
            drop(shelves);
            tracing::debug!(key = %victim, bytes = held.charge.bytes, "evicted");
            self.clear_away(&held, &scraps);
        }
    }

    /// Sets the budget to `wanted` of the configured bytes and evicts down to it. Blocks on the removal of files.
    pub(super) fn limit(&self, wanted: impl FnOnce(u64) -> u64) {
        let bytes = wanted(self.own.bytes).min(self.own.bytes);
        lock(&self.shelves).ledger.set_limits(Charge { bytes, ..self.own });
        self.settle();
    }

    /// Evicts until what is held lies within the budget.
    pub(crate) fn settle(&self) {
        loop {
            let mut shelves = lock(&self.shelves);
            if shelves.ledger.fits(Charge::default()) {
                return;
            }
            let Some(victim) = shelves.victim() else { return };
            let Some((held, scraps)) = self.take_down(&mut shelves, &victim) else { return };
            drop(shelves);
            self.clear_away(&held, &scraps);
        }
    }

    /// Gives room back.
    pub(crate) fn release(&self, charge: Charge) {
        lock(&self.shelves).ledger.give(charge);
    }

    /// A path for a file on its way in or out.
    pub(super) fn scrap(&self) -> PathBuf {
        self.places.scrap(SCRAP.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes an object off the shelf and its files out of sight, under the lock, so that a new file of the same name
    /// cannot be meant.
    pub(super) fn take_down(&self, shelves: &mut Shelves, key: &ObjectKey) -> Option<(Held, Vec<PathBuf>)> {
        let (held, emptied) = shelves.remove(key)?;
        let files = match held.what {
            What::Partial(_) => vec![self.places.partial(key), self.places.journal(key)],
            What::Finished(_) | What::Pending(_) => vec![self.places.object(key), self.places.journal(key)],
        };
        let mut scraps = Vec::new();
        for file in files {
            let scrap = self.scrap();
            match fs::rename(&file, &scrap) {
                Ok(()) => scraps.push(scrap),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, %key, "a file could not be evicted"),
            }
        }
        if emptied {
            self.places.remove_empty_parents(key);
        }
        if !matches!(held.what, What::Partial(_)) {
            self.index.note(*key, Write::default());
        }
        self.tell(Change::Removed(*key));
        Some((held, scraps))
    }

    /// Removes the files and gives their room back.
    pub(super) fn clear_away(&self, held: &Held, scraps: &[PathBuf]) {
        for scrap in scraps {
            remove_quietly(scrap);
        }
        self.release(held.charge);
    }

    /// The budget where none was set: 90 % of what is free and what the store holds already, so that it stays the same
    /// from one start to the next.
    pub(super) fn default_limits(places: &Places, taken: Charge) -> Charge {
        let free = free(places.root());
        let all = Charge { bytes: free.bytes, inodes: free.inodes }.plus(taken);
        Charge { bytes: all.bytes / 10 * 9, inodes: all.inodes / 10 * 9 }
    }
}
