//! Who takes how much of the budget, as plain arithmetic.
//!
//! Owns: the sum of everything taken or reserved, directories included. Never: I/O, and never more than the limits
//! once `fits` was asked before each `take`. After a crash: rebuilt from what lies on disk.
//!
//! Sizes count as disk blocks of 4 KiB, since 15,000 objects of 1 KiB fill 60 MB; a directory counts as a block and
//! an inode, since the same 15,000 objects need almost as many directories.

use std::collections::HashMap;

use darner_lfs::ObjectKey;

/// What files and directories are counted in.
const BLOCK_BYTES: u64 = 4096;
/// Journal bytes per piece: its own line and its share of a statement with its digest.
const JOURNAL_BYTES_PER_PIECE: u64 = 512;

/// A share of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Charge {
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Files and directories.
    pub(crate) inodes: u64,
}

impl Charge {
    /// A finished object, its directories not counted.
    pub(crate) const fn of_object(size: u64) -> Self {
        Self { bytes: size.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES), inodes: 1 }
    }

    /// A finished object together with directories it may need.
    pub(crate) const fn of_new_object(size: u64) -> Self {
        Self::of_object(size).plus(Self { bytes: 2 * BLOCK_BYTES, inodes: 2 })
    }

    /// A partial: its bytes, its journal, and the directories it may need in the end.
    pub(crate) fn of_partial(size: u64, piece_bytes: u32) -> Self {
        let pieces = size.div_ceil(u64::from(piece_bytes.max(1)));
        let journal = Self::of_object(pieces.saturating_mul(JOURNAL_BYTES_PER_PIECE).saturating_add(1));
        Self::of_new_object(size).plus(journal)
    }

    /// Both.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    /// What is left without the other.
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }

    /// Whether it lies within the other.
    pub(crate) const fn within(self, other: Self) -> bool {
        self.bytes <= other.bytes && self.inodes <= other.inodes
    }
}

/// A directory of the trees: kind of key and one or two bytes of the digest.
type Dir = (bool, u8, Option<u8>);

/// The sum.
#[derive(Debug)]
pub(crate) struct Ledger {
    limits: Charge,
    taken: Charge,
    dirs: HashMap<Dir, u32>,
}

impl Ledger {
    /// Nothing taken yet.
    pub(crate) fn new(limits: Charge) -> Self {
        Self { limits, taken: Charge::default(), dirs: HashMap::new() }
    }

    /// The budget.
    pub(crate) const fn limits(&self) -> Charge {
        self.limits
    }

    /// Sets the budget, once what is held is known.
    pub(crate) const fn set_limits(&mut self, limits: Charge) {
        self.limits = limits;
    }

    /// What is taken.
    pub(crate) const fn taken(&self) -> Charge {
        self.taken
    }

    /// Whether this much more stays within the budget.
    pub(crate) const fn fits(&self, more: Charge) -> bool {
        self.taken.plus(more).within(self.limits)
    }

    /// Takes.
    pub(crate) const fn take(&mut self, charge: Charge) {
        self.taken = self.taken.plus(charge);
    }

    /// Gives back.
    pub(crate) const fn give(&mut self, charge: Charge) {
        self.taken = self.taken.minus(charge);
    }

    /// An object lies in its tree now: takes the directories that are new.
    pub(crate) fn shelve(&mut self, key: &ObjectKey) {
        for dir in dirs_of(key) {
            let here = self.dirs.entry(dir).or_default();
            *here += 1;
            if *here == 1 {
                self.take(Charge { bytes: BLOCK_BYTES, inodes: 1 });
            }
        }
    }

    /// An object left its tree: gives back the directories that are empty; true when there are such.
    pub(crate) fn unshelve(&mut self, key: &ObjectKey) -> bool {
        let mut emptied = false;
        for dir in dirs_of(key) {
            let Some(here) = self.dirs.get_mut(&dir) else { continue };
            *here -= 1;
            if *here == 0 {
                self.dirs.remove(&dir);
                self.give(Charge { bytes: BLOCK_BYTES, inodes: 1 });
                emptied = true;
            }
        }
        emptied
    }
}

fn dirs_of(key: &ObjectKey) -> [Dir; 2] {
    let [first, second, ..] = *key.digest();
    let url = key.oid().is_none();
    [(url, first, Some(second)), (url, first, None)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;
    use std::collections::BTreeSet;

    fn key(first: u8, second: u8, last: u8) -> ObjectKey {
        let mut digest = [0; 32];
        (digest[0], digest[1], digest[31]) = (first, second, last);
        ObjectKey::Sha256(Oid::from_bytes(digest))
    }

    #[test]
    fn a_small_object_takes_a_block_and_an_inode() {
        assert_eq!(Charge::of_object(1), Charge { bytes: 4096, inodes: 1 });
        assert_eq!(Charge::of_object(0), Charge { bytes: 0, inodes: 1 });
        assert_eq!(Charge::of_object(4097), Charge { bytes: 8192, inodes: 1 });
    }

    #[test]
    fn a_partial_has_room_to_become_an_object() {
        let partial = Charge::of_partial(10 << 20, 256 << 10);
        assert!(Charge::of_new_object(10 << 20).within(partial));
    }

    #[test]
    fn the_budget_counts_inodes_as_well() {
        let mut ledger = Ledger::new(Charge { bytes: u64::MAX, inodes: 2 });
        ledger.take(Charge::of_object(1));
        assert!(ledger.fits(Charge::of_object(1)));
        ledger.take(Charge::of_object(1));
        assert!(!ledger.fits(Charge::of_object(1)));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_counting_everything_again(
            steps in proptest::collection::vec((0u8..3, 0u8..3, 0u8..3, 0u64..20_000), 0..200),
        ) {
            let mut ledger = Ledger::new(Charge { bytes: u64::MAX, inodes: u64::MAX });
            let mut model = std::collections::BTreeMap::new();
            for (first, second, last, size) in steps {
                let key = key(first, second, last);
                if let Some(size) = model.remove(&key) {
                    ledger.give(Charge::of_object(size));
                    ledger.unshelve(&key);
                } else {
                    ledger.take(Charge::of_object(size));
                    ledger.shelve(&key);
                    model.insert(key, size);
                }
                let mut dirs: BTreeSet<Dir> = BTreeSet::new();
                let mut expected = Charge::default();
                for (key, size) in &model {
                    expected = expected.plus(Charge::of_object(*size));
                    dirs.extend(dirs_of(key));
                }
                let count = dirs.len() as u64;
                expected = expected.plus(Charge { bytes: 4096 * count, inodes: count });
                proptest::prop_assert_eq!(ledger.taken(), expected);
            }
        }
    }
}
