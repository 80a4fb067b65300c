//! Files without a record: hashed, then adopted or removed.
//!
//! Owns: the thread that does so after an opening. Never: trusts a name. After a crash: the next opening finds the same
//! files again. Whoever asks for such an object before its turn has it hashed at once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Weak};

use darner_lfs::{Layout, ObjectKey, PieceDigest, RunningSha256};

use super::room::Room;
use crate::guard::lock;
use crate::index::Entry;
use crate::journal::Line;
use crate::partial::growing::{Snapshot, replay_all};
use crate::shelves::{Pending, What};

impl Room {
    /// Hashes a file without a record and adopts it when it is what its name says. Blocks.
    pub(super) fn adopt(&self, key: &ObjectKey, pending: &Pending) {
        adopt_one(key, pending, &self.places.object(key), || Some(self));
    }

    /// Starts the thread that goes through all files without a record. It does not keep the store open.
    pub(super) fn adopt_in_background(self: &Arc<Self>) -> io::Result<()> {
        let waiting: Vec<(ObjectKey, Pending)> = lock(&self.shelves)
            .iter()
            .filter_map(|(key, held)| match &held.what {
                What::Pending(pending) => Some((*key, pending.clone())),
                _ => None,
            })
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        tracing::info!(objects = waiting.len(), "objects without a record are hashed");
        let room = Arc::downgrade(self);
        let places = self.places.clone();
        let run = move || {
            for (key, pending) in waiting {
                if room.strong_count() == 0 {
                    return;
                }
                adopt_one(&key, &pending, &places.object(&key), || Weak::upgrade(&room));
            }
        };
        std::thread::Builder::new().name("darner-adopt".to_owned()).spawn(run).map(drop)
    }

    fn adopted(&self, key: &ObjectKey, found: io::Result<Option<(Snapshot, Arc<File>)>>) {
        let mut shelves = lock(&self.shelves);
        if !matches!(shelves.get(key).map(|held| &held.what), Some(What::Pending(_))) {
            return;
        }
        match found {
            Ok(Some((snapshot, file))) => {
                let keep = shelves.get(key).map(|held| held.keep).unwrap_or_default();
                if let Some((held, _)) = shelves.remove(key) {
                    shelves.ledger.give(held.charge);
                }
                let snapshot = Snapshot { entry: Entry { keep, ..snapshot.entry }, ..snapshot };
                if let Err(error) = self.shelve(&mut shelves, *key, snapshot, (&file, true)) {
                    tracing::warn!(%error, %key, "an object without a record vanished");
                }
            }
            Ok(None) => {
                tracing::warn!(%key, "a file is not the object its name says and is removed");
                if let Some((held, scraps)) = self.take_down(&mut shelves, key) {
                    drop(shelves);
                    self.clear_away(&held, &scraps);
                }
            }
            Err(error) => {
                tracing::warn!(%error, %key, "an object without a record cannot be read");
                self.forget(&mut shelves, key);
            }
        }
    }
}

fn adopt_one<R: std::ops::Deref<Target = Room>>(
    key: &ObjectKey,
    pending: &Pending,
    path: &Path,
    room: impl Fn() -> Option<R>,
) {
    let _alone = lock(&pending.turnstile);
    let waits =
        |room: R| matches!(lock(&room.shelves).get(key).map(|held| &held.what), Some(What::Pending(_)));
    if !room().is_some_and(waits) {
        return;
    }
    let found = examine(key, pending, path, || room().is_some());
    if let Some(room) = room() {
        room.adopted(key, found);
    }
}

/// What the file is; `None` when it is not what its name says.
fn examine(
    key: &ObjectKey,
    pending: &Pending,
    path: &Path,
    go_on: impl Fn() -> bool,
) -> io::Result<Option<(Snapshot, Arc<File>)>> {
    let hints = replay_all(pending.hints.iter().cloned().collect::<Vec<Line>>()).map(|(growth, _)| growth);
    let size = pending.size;
    let hinted = hints.as_ref().map(crate::partial::growth::Growth::layout);
    let layout = hinted.filter(|layout| layout.size() == Some(size)).unwrap_or_else(|| Layout::of_size(size));
    let mut file = File::open(path)?;
    let mut hash = RunningSha256::default();
    let mut digests = Vec::new();
    for piece in 0..layout.piece_count().unwrap_or_default() {
        let Some(range) = layout.piece_range(piece) else { break };
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut bytes = Vec::new();
        file.by_ref().take(range.end - range.start).read_to_end(&mut bytes)?;
        hash.update(&bytes);
        digests.push(PieceDigest::of(&bytes));
    }
    let sound = hash.fed() == size
        && match key.oid() {
            Some(oid) => hash.finish() == oid,
            // Content of a URL has no name to be compared with: only the digests written down while it came count.
            None => {
                hints.as_ref().and_then(crate::partial::growth::Growth::all_digests).as_ref()
                    == Some(&digests)
            }
        };
    let mut entry = Entry::new(size, &layout);
    if let Some(growth) = hints {
        entry.upstreams = growth.upstreams().iter().cloned().collect();
        entry.media = growth.media().clone();
    }
    Ok(sound.then(|| (Snapshot { entry, layout, digests, attestation: None }, Arc::new(file))))
}
