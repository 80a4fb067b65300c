//! What happens to an object whose file is not what it was, and to one that is to go.
//!
//! Owns: quarantine and purge. Never: keeps a damaged object in the index, never throws away pieces that may be sound.
//! After a crash: a quarantine that was cut short leaves an object without a record or a partial with its journal;
//! both are checked before they are used.

use std::io;
use std::sync::Arc;

use darner_lfs::{ObjectKey, PieceDigest, PieceIndex};

use super::room::Room;
use crate::disk::places::{Places, remove_quietly};
use crate::disk::stamp::Checked;
use crate::guard::lock;
use crate::index::Write;
use crate::ledger::Charge;
use crate::partial::growing::{Growing, Snapshot, pieces_within};
use crate::record::Change;
use crate::shelves::{Held, Shelves, What};

impl Room {
    /// Takes a damaged object out of the index. Its pieces but the damaged one become a partial, each to be checked
    /// before its next use.
    pub(crate) fn quarantine(&self, key: &ObjectKey, checked: &Arc<Checked>, damaged: Option<PieceIndex>) {
        {
            let mut shelves = lock(&self.shelves);
            let snapshot = match shelves.get(key).map(|held| &held.what) {
                Some(What::Finished(it)) if Arc::ptr_eq(&it.checked, checked) => self.known(key, it),
                // Another reader was first.
                _ => return,
            };
            tracing::warn!(%key, ?damaged, "an object is damaged on disk and was taken out");
            let keep = shelves.get(key).map(|held| held.keep).unwrap_or_default();
            if let Some((held, emptied)) = shelves.remove(key) {
                shelves.ledger.give(held.charge);
                self.index.note(*key, Write::default());
                self.tell(Change::Removed(*key));
                let salvaged = snapshot.map(|snapshot| self.salvage(&mut shelves, key, &snapshot, damaged));
                if !matches!(salvaged, Some(Ok(true))) {
                    remove_quietly(&self.places.object(key));
                    remove_quietly(&self.places.partial(key));
                    remove_quietly(&self.places.journal(key));
                }
                if let Some(Err(error)) = salvaged {
                    tracing::warn!(%error, %key, "nothing could be saved of a damaged object");
                }
                if emptied {
                    self.places.remove_empty_parents(key);
                }
                if let Some(held) = shelves.get_mut(key) {
                    held.keep = keep;
                }
            }
        }
        // The journal takes a little room of its own.
        self.settle();
    }

    /// Removes an object, in use or not.
    pub(crate) fn purge(&self, key: &ObjectKey) {
        let (taken, partial, volatile) = {
            let mut shelves = lock(&self.shelves);
            let taken = self.take_down(&mut shelves, key);
            let partial = taken.as_ref().and_then(|(held, _)| match &held.what {
                What::Partial(growing) => Some(Arc::clone(growing)),
                _ => None,
            });
            (taken, partial, shelves.volatile.remove(key).and_then(|growing| growing.upgrade()))
        };
        for growing in partial.iter().chain(&volatile) {
            drop(growing.fail("purged"));
        }
        if let Some((held, scraps)) = taken {
            self.clear_away(&held, &scraps);
        }
    }

    /// The keys whose provenance lies under a prefix: the upstream itself, or a path below it.
    pub(super) fn keys_from(&self, prefix: &str) -> Vec<ObjectKey> {
        let prefix = prefix.trim_end_matches('/');
        let under = |upstream: &String| {
            upstream.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let shelves = lock(&self.shelves);
        let from = shelves.iter().filter(|(_, held)| match &held.what {
            What::Finished(it) => it.entry.upstreams.iter().any(under),
            What::Partial(growing) => growing.look(|growth| growth.upstreams().iter().any(under)),
            What::Pending(_) => false,
        });
        from.map(|(key, _)| *key).collect()
    }

    fn known(&self, key: &ObjectKey, it: &crate::shelves::Finished) -> Option<Snapshot> {
        let digests = PieceDigest::list(&self.index.digests(key)?)?;
        Some(Snapshot { layout: it.entry.cut()?, entry: it.entry.clone(), digests, attestation: None })
    }

    /// Makes a partial of the sound part of a file; false when nothing is left of it.
    fn salvage(
        &self,
        shelves: &mut Shelves,
        key: &ObjectKey,
        snapshot: &Snapshot,
        damaged: Option<PieceIndex>,
    ) -> io::Result<bool> {
        let from = self.places.object(key);
        let length = std::fs::symlink_metadata(&from)?.len();
        let mut claimed = pieces_within(&snapshot.layout, length);
        claimed.retain(|piece| Some(*piece) != damaged);
        if claimed.is_empty() {
            return Ok(false);
        }
        Places::shift(&from, &self.places.partial(key))?;
        let growing = Growing::salvage(&self.places, *key, snapshot, &claimed)?;
        let charge = Charge::of_partial(snapshot.entry.size, snapshot.layout.piece_bytes());
        shelves.ledger.take(charge);
        let what = What::Partial(Arc::new(growing));
        shelves.insert(*key, Held::new(what, snapshot.entry.keep, charge, self.now()));
        self.tell(Change::Added(*key));
        Ok(true)
    }
}
