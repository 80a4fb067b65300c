//! What is held, in the order it was used, and what it takes.
//!
//! Owns: the map of objects, the order of eviction, the ledger. Never: I/O; never names as victim what is being read,
//! pinned or authoritative. After a crash: rebuilt from the index and the directories.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use darner_lfs::ObjectKey;

use crate::disk::stamp::Checked;
use crate::index::Entry;
use crate::journal::{Keep, Line};
use crate::ledger::{Charge, Ledger};
use crate::partial::growing::{Growing, Shared};
use crate::stored::Object;

/// What lies here of one object.
#[derive(Debug)]
pub(crate) enum What {
    /// All of it.
    Finished(Finished),
    /// A growing one.
    Partial(Shared),
    /// A file without a record, to be hashed before it counts. The lock lets one thread hash it.
    Pending(Pending),
}

/// A finished object.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) entry: Entry,
    pub(crate) checked: Arc<Checked>,
    pub(crate) open: Weak<Object>,
    /// The same, where its content stays in memory; set by [`Shelves::reside`] alone.
    pub(crate) resident: Option<Arc<Object>>,
}

impl Finished {
    /// Whether nobody reads it.
    fn is_idle(&self) -> bool {
        self.open.strong_count() == usize::from(self.resident.is_some())
    }
}

/// A file without a record.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) size: u64,
    pub(crate) hints: Arc<Vec<Line>>,
    pub(crate) turnstile: Arc<Mutex<()>>,
}

/// One object on the shelf.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) what: What,
    pub(crate) keep: Keep,
    pub(crate) charge: Charge,
    pub(crate) used_ms: u64,
    turn: u64,
}

impl Held {
    /// Something that takes this much. Its turn comes with the shelf.
    pub(crate) const fn new(what: What, keep: Keep, charge: Charge, used_ms: u64) -> Self {
        Self { what, keep, charge, used_ms, turn: 0 }
    }

    /// Whether it may go.
    fn may_go(&self) -> bool {
        !self.keep.forever()
            && match &self.what {
                What::Finished(finished) => finished.is_idle(),
                What::Partial(growing) => Arc::strong_count(growing) == 1,
                What::Pending(_) => true,
            }
    }
}

/// Bytes of small objects in memory.
const RESIDENT_BYTES: u64 = 32 << 20;
/// How many of them; one that left early counts until its turn.
const RESIDENTS: usize = 32_768;

/// The small objects whose content is in memory, oldest first.
#[derive(Debug, Default)]
struct Residents {
    keys: VecDeque<ObjectKey>,
    bytes: u64,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Shelves {
    held: HashMap<ObjectKey, Held>,
    order: BTreeMap<u64, ObjectKey>,
    turn: u64,
    finished: u64,
    residents: Residents,
    /// Memory-backed partials somebody holds.
    pub(crate) volatile: HashMap<ObjectKey, Weak<Growing>>,
    /// Who takes how much.
    pub(crate) ledger: Ledger,
}

impl Shelves {
    /// Nothing.
    pub(crate) fn new(limits: Charge) -> Self {
        Self {
            held: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            finished: 0,
            residents: Residents::default(),
            volatile: HashMap::new(),
            ledger: Ledger::new(limits),
        }
    }

    /// Finished objects.
    pub(crate) const fn finished(&self) -> u64 {
        self.finished
    }

    /// What is held of an object.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Held> {
        self.held.get(key)
    }

    /// The same, to change.
    pub(crate) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Held> {
        self.held.get_mut(key)
    }

    /// The finished object.
    pub(crate) fn finished_mut(&mut self, key: &ObjectKey) -> Option<&mut Finished> {
        match self.held.get_mut(key).map(|held| &mut held.what) {
            Some(What::Finished(finished)) => Some(finished),
            _ => None,
        }
    }

    /// Everything held.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Held)> {
        self.held.iter()
    }

    /// Puts something on the shelf as the one used last. Its charge is taken already; an object in its tree takes its
    /// directories here.
    pub(crate) fn insert(&mut self, key: ObjectKey, mut held: Held) {
        self.turn += 1;
        held.turn = self.turn;
        if !matches!(held.what, What::Partial(_)) {
            self.ledger.shelve(&key);
        }
        self.finished += u64::from(matches!(held.what, What::Finished(_)));
        self.order.insert(held.turn, key);
        self.held.insert(key, held);
    }

    /// Takes something off the shelf. Its charge stays taken until its file is gone; whether its directories are
    /// empty now.
    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<(Held, bool)> {
        self.let_go(key);
        let held = self.held.remove(key)?;
        self.order.remove(&held.turn);
        self.finished -= u64::from(matches!(held.what, What::Finished(_)));
        let in_tree = !matches!(held.what, What::Partial(_));
        let emptied = in_tree && self.ledger.unshelve(key);
        Some((held, emptied))
    }

    /// Keeps the content of an object in memory, if it is the one on the shelf. Those kept for longest make room; they
    /// come back when they are read again.
    pub(crate) fn reside(&mut self, object: &Arc<Object>) {
        let Some(finished) = self.finished_mut(&object.key) else { return };
        if finished.resident.is_some() || !std::ptr::eq(finished.open.as_ptr(), Arc::as_ptr(object)) {
            return;
        }
        finished.resident = Some(Arc::clone(object));
        self.residents.bytes += object.size;
        self.residents.keys.push_back(object.key);
        while self.residents.bytes > RESIDENT_BYTES || self.residents.keys.len() > RESIDENTS {
            let Some(oldest) = self.residents.keys.pop_front() else { return };
            self.let_go(&oldest);
        }
    }

    /// The content of an object need not stay in memory any more.
    pub(crate) fn let_go(&mut self, key: &ObjectKey) {
        if let Some(object) = self.finished_mut(key).and_then(|finished| finished.resident.take()) {
            self.residents.bytes = self.residents.bytes.saturating_sub(object.size);
        }
    }

    /// It was used.
    pub(crate) fn touch(&mut self, key: &ObjectKey, now_ms: u64) {
        let Some(held) = self.held.get_mut(key) else { return };
        held.used_ms = now_ms;
        if held.turn == self.turn {
            // It is the one used last already.
            return;
        }
        self.turn += 1;
        self.order.remove(&held.turn);
        held.turn = self.turn;
        self.order.insert(self.turn, *key);
    }

    /// What was used longest ago among what may go.
    pub(crate) fn victim(&self) -> Option<ObjectKey> {
        self.order.values().find(|key| self.held.get(*key).is_some_and(Held::may_go)).copied()
    }

    /// All that may go, added up.
    pub(crate) fn evictable(&self) -> Charge {
        let may_go = self.held.values().filter(|held| held.may_go());
        may_go.fold(Charge::default(), |sum, held| sum.plus(held.charge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::{Layout, Oid};

    fn key(n: u8) -> ObjectKey {
        ObjectKey::Sha256(Oid::from_bytes([n; 32]))
    }

    fn object(keep: Keep) -> Held {
        let entry = Entry::new(10, &Layout::of_size(10));
        let finished = Finished { entry, checked: Arc::default(), open: Weak::new(), resident: None };
        Held::new(What::Finished(finished), keep, Charge::of_object(10), 0)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut shelves = Shelves::new(Charge { bytes: 1 << 20, inodes: 100 });
        for n in 0..3 {
            shelves.insert(key(n), object(Keep::default()));
        }
        shelves.touch(&key(0), 5);
        assert_eq!(shelves.victim(), Some(key(1)));
        shelves.remove(&key(1));
        assert_eq!((shelves.victim(), shelves.finished()), (Some(key(2)), 2));
    }

    #[test]
    fn what_is_pinned_or_the_only_copy_or_in_use_never_goes() {
        let mut shelves = Shelves::new(Charge::default());
        shelves.insert(key(0), object(Keep { pinned: true, authoritative: false }));
        shelves.insert(key(1), object(Keep { pinned: false, authoritative: true }));
        let growing = Arc::new(Growing::volatile(key(2), Layout::of_size(1), 0));
        let what = What::Partial(Arc::clone(&growing));
        shelves.insert(key(2), Held::new(what, Keep::default(), Charge::of_object(1), 0));
        assert_eq!((shelves.victim(), shelves.evictable()), (None, Charge::default()));
        drop(growing);
        assert_eq!(shelves.victim(), Some(key(2)));
    }

    proptest::proptest! {
        #[test]
        fn the_order_agrees_with_a_plain_list(
            steps in proptest::collection::vec((0u8..4, 0u8..6), 0..100),
        ) {
            let mut shelves = Shelves::new(Charge::default());
            let mut model: Vec<(ObjectKey, bool)> = Vec::new();
            for (step, n) in steps {
                let key = key(n);
                let at = model.iter().position(|(held, _)| *held == key);
                match (step, at) {
                    (0, None) => {
                        shelves.insert(key, object(Keep::default()));
                        model.push((key, false));
                    }
                    (1, Some(at)) => {
                        shelves.remove(&key);
                        model.remove(at);
                    }
                    (2, Some(at)) => {
                        shelves.touch(&key, 0);
                        let held = model.remove(at);
                        model.push(held);
                    }
                    (3, Some(at)) => {
                        shelves.get_mut(&key).unwrap().keep.pinned ^= true;
                        model[at].1 ^= true;
                    }
                    _ => {}
                }
                let expected = model.iter().find(|(_, pinned)| !pinned).map(|(key, _)| *key);
                proptest::prop_assert_eq!(shelves.victim(), expected);
                let free = model.iter().filter(|(_, pinned)| !pinned).count() as u64;
                proptest::prop_assert_eq!(shelves.evictable().inodes, free);
                proptest::prop_assert_eq!(shelves.finished(), model.len() as u64);
            }
        }
    }
}
