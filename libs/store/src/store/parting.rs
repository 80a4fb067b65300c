//! How partials come, are joined, grow and fail.
//!
//! Owns: that a key has one partial. Never: fetches. After a crash: what lies in the partial directory is resumed at
//! the next opening.

use std::io;
use std::sync::{Arc, Weak};

use darner_lfs::{Layout, ObjectKey, PieceIndex};

use super::room::{Looked, Room};
use crate::disk::space::{is_full, preallocate};
use crate::error::StoreError;
use crate::guard::lock;
use crate::journal::Keep;
use crate::ledger::Charge;
use crate::partial::body::Body;
use crate::partial::growing::{Growing, Shared};
use crate::partial::growth::Growth;
use crate::partial::{Outcome, Partial};
use crate::shelves::{Held, What};
use crate::stored::Stored;

/// Partials on disk whose files may stay open while nobody uses them.
const OPEN_IDLE_PARTIALS: usize = 128;

impl Room {
    /// The one partial of a key: joined, resumed or made. Blocks.
    pub(super) fn partial(self: &Arc<Self>, key: ObjectKey, layout: Layout) -> Result<Partial, StoreError> {
        loop {
            match self.look(&key) {
                Looked::Here(stored) => return Ok(self.already_finished(&stored)),
                Looked::Pending(pending) => self.adopt(&key, &pending),
                Looked::Absent => {}
            }
            if let Some(partial) = self.live(&key, Growth::joinable) {
                return Self::agree(partial, layout);
            }
            let charge = opening_charge(&layout);
            self.reserve(charge)?;
            match self.create(key, layout, charge) {
                Ok(Some(partial)) => return Ok(partial),
                Ok(None) => self.release(charge),
                Err(source) => {
                    self.release(charge);
                    return Err(self.refusal(source, charge));
                }
            }
        }
    }

    /// The partial of this key: the one in memory, if it suits, else the one on disk.
    pub(super) fn live(
        self: &Arc<Self>,
        key: &ObjectKey,
        suits: impl Fn(&Growth) -> bool,
    ) -> Option<Partial> {
        let mut shelves = lock(&self.shelves);
        let volatile = shelves.volatile.get(key).and_then(Weak::upgrade);
        let growing = volatile.filter(|growing| growing.look(&suits)).or_else(|| {
            match shelves.get(key).map(|held| &held.what) {
                Some(What::Partial(growing)) => Some(Arc::clone(growing)),
                _ => None,
            }
        })?;
        self.used(&mut shelves, key);
        Some(Partial::new(growing, Arc::clone(self)))
    }

    /// A partial in memory: the one that lives already, unless it ended or let go of its start, which a newcomer
    /// needs.
    pub(super) fn volatile(self: &Arc<Self>, key: ObjectKey, layout: Layout, window_bytes: u64) -> Partial {
        let mut shelves = lock(&self.shelves);
        shelves.volatile.retain(|_, growing| growing.strong_count() > 0);
        let living = shelves.volatile.get(&key).and_then(Weak::upgrade);
        let growing = living.filter(|growing| growing.look(Growth::joinable)).unwrap_or_else(|| {
            let growing = Arc::new(Growing::volatile(key, layout, window_bytes));
            shelves.volatile.insert(key, Arc::downgrade(&growing));
            growing
        });
        Partial::new(growing, Arc::clone(self))
    }

    /// Ends a partial as failed and puts its successor in its place, in one step.
    pub(crate) fn fail(&self, growing: &Shared, why: &str) {
        let key = growing.key();
        let mut shelves = lock(&self.shelves);
        let next = growing.fail(why);
        if shelves.volatile.get(&key).is_some_and(|here| std::ptr::eq(here.as_ptr(), Arc::as_ptr(growing))) {
            shelves.volatile.remove(&key);
        }
        if let (Some(next), Some(held)) = (next, shelves.get_mut(&key))
            && matches!(&held.what, What::Partial(here) if Arc::ptr_eq(here, growing))
        {
            held.what = What::Partial(Arc::new(next));
        }
    }

    /// Takes the room a piece needs, where the partial has not got it yet; false when there is none.
    pub(crate) fn grow_for(&self, growing: &Shared, piece: PieceIndex) -> bool {
        if growing.body().is_memory() {
            return true;
        }
        let layout = growing.look(Growth::layout);
        let Some(range) = layout.piece_range(piece) else { return false };
        let needed = Charge::of_partial(range.end, layout.piece_bytes());
        let key = growing.key();
        let has = match lock(&self.shelves).get(&key) {
            Some(held) if is_this(&held.what, growing) => held.charge,
            // It failed, finished or was purged: the write will say so.
            _ => return true,
        };
        let more = needed.minus(has);
        if more == Charge::default() {
            return true;
        }
        if self.reserve(more).is_err() {
            return false;
        }
        let mut shelves = lock(&self.shelves);
        match shelves.get_mut(&key) {
            Some(held) if is_this(&held.what, growing) => held.charge = held.charge.plus(more),
            _ => shelves.ledger.give(more),
        }
        true
    }

    /// The length became known: what was taken beyond it is given back.
    pub(crate) fn resized(&self, growing: &Shared) {
        let layout = growing.look(Growth::layout);
        let Some(size) = layout.size() else { return };
        let needed = Charge::of_partial(size, layout.piece_bytes());
        let mut shelves = lock(&self.shelves);
        let Some(held) = shelves.get_mut(&growing.key()) else { return };
        if !is_this(&held.what, growing) {
            return;
        }
        let spare = held.charge.minus(needed);
        held.charge = held.charge.minus(spare);
        shelves.ledger.give(spare);
    }

    fn already_finished(self: &Arc<Self>, stored: &Stored) -> Partial {
        let path = self.places.object(&stored.key());
        let body = stored.file().map_or_else(|_gone| Body::at(&path), |file| Body::open(&path, file));
        let outcome = Outcome::Finished(stored.clone());
        let growth = Growth::finished(stored.layout(), &stored.object().digests, outcome);
        let growing = Growing::finished(stored.key(), body, growth);
        Partial::new(Arc::new(growing), Arc::clone(self))
    }

    /// The caller's idea of the object and ours: an unknown length gives way to a known one, and a wrong one of which
    /// nothing is here to the caller's.
    fn agree(partial: Partial, layout: Layout) -> Result<Partial, StoreError> {
        let Some(asked) = layout.size() else { return Ok(partial) };
        if partial.layout().size().is_none() {
            partial.fix_size(asked);
        }
        let held = partial.layout().size().unwrap_or(asked);
        if held == asked {
            return Ok(partial);
        }
        let room = partial.room();
        let untouched =
            partial.growing().look(|growth| growth.whole().count() == 0 && growth.under_way().is_empty());
        // The shelf and this caller.
        let alone = Arc::strong_count(partial.shared()) <= 2;
        if untouched && alone && !partial.is_volatile() {
            partial.growing().recut(layout);
            room.resized(partial.shared());
            return Ok(partial);
        }
        Err(StoreError::Size { held, asked })
    }

    /// Makes the files; `None` when another caller was first.
    fn create(
        self: &Arc<Self>,
        key: ObjectKey,
        layout: Layout,
        charge: Charge,
    ) -> io::Result<Option<Partial>> {
        let growing = {
            let mut shelves = lock(&self.shelves);
            if shelves.get(&key).is_some() {
                return Ok(None);
            }
            let made = Growing::create(&self.places, key, layout);
            let made = match made {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir_all(self.places.partials())?;
                    Growing::create(&self.places, key, layout)
                }
                made => made,
            };
            let growing = Arc::new(made?);
            let what = What::Partial(Arc::clone(&growing));
            shelves.insert(key, Held::new(what, Keep::default(), charge, self.now()));
            close_idle(&shelves);
            growing
        };
        let taken =
            growing.body().file().and_then(|file| preallocate(&file, layout.size().unwrap_or_default()));
        if let Err(error) = taken {
            self.purge(&key);
            // The purge gave the room back; the caller gives it back as well.
            lock(&self.shelves).ledger.take(charge);
            return Err(error);
        }
        Ok(Some(Partial::new(growing, Arc::clone(self))))
    }

    fn refusal(&self, source: io::Error, charge: Charge) -> StoreError {
        if is_full(&source) {
            StoreError::Full { wanted: charge.bytes, budget: lock(&self.shelves).ledger.limits().bytes }
        } else {
            StoreError::Io { doing: "making a partial", source }
        }
    }
}

/// What a partial takes at first: all of a known length, one piece of an unknown one.
fn opening_charge(layout: &Layout) -> Charge {
    let size = layout.size().unwrap_or_else(|| u64::from(layout.piece_bytes()));
    Charge::of_partial(size, layout.piece_bytes())
}

fn is_this(what: &What, growing: &Shared) -> bool {
    matches!(what, What::Partial(here) if Arc::ptr_eq(here, growing))
}

/// Closes the files of partials nobody uses when there are many.
fn close_idle(shelves: &crate::shelves::Shelves) {
    let idle = || {
        shelves.iter().filter_map(|(_, held)| match &held.what {
            What::Partial(growing) if Arc::strong_count(growing) == 1 => Some(growing),
            _ => None,
        })
    };
    if idle().nth(OPEN_IDLE_PARTIALS).is_some() {
        idle().for_each(|growing| growing.body().close());
    }
}
