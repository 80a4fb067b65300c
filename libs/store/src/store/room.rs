//! What all handles of one store share.
//!
//! Owns: the shelves, the index, the lock file, the reader. Never: holds the shelves' lock over a hash or a copy of
//! many bytes; renames are made under it, so that a name and its record change together. After a crash: see `opening`.
//!
//! Lock order: shelves, then a partial's gate and state, then the notes of the index. Who holds a partial's state or
//! the notes takes no lock of the left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use darner_lfs::{ObjectKey, PieceDigest};
use tokio::sync::broadcast;

use super::putting::Puts;
use crate::config::Now;
use crate::disk::lock::LockFile;
use crate::disk::places::Places;
use crate::disk::read::Reader;
use crate::disk::stamp::Stamp;
use crate::guard::lock;
use crate::index::{Index, Write};
use crate::ledger::Charge;
use crate::partial::growth::MAX_UPSTREAMS;
use crate::record::{Change, Record};
use crate::shelves::{Held, Pending, Shelves, What};
use crate::stored::{Object, Stored};

/// A use is written to the index when the last one written is older; a restart then loses at most this much of the
/// order.
const USE_IS_NEWS_AFTER_MS: u64 = 60_000;

/// The shared part.
pub(crate) struct Room {
    pub(super) places: Places,
    pub(super) reader: Reader,
    pub(super) shelves: Mutex<Shelves>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) now: Now,
    pub(super) floor_bytes: u64,
    /// The budget of the configuration, which no later wish exceeds.
    pub(super) own: Charge,
    pub(super) puts: Puts,
    // Dropped in this order: the last commit is made while the directory is still locked.
    pub(super) index: Index,
    pub(super) _lock: LockFile,
}

/// What was found under a key.
#[derive(Debug)]
pub(crate) enum Looked {
    /// The finished object, open.
    Here(Stored),
    /// A file that has to be hashed first.
    Pending(Pending),
    /// No finished object.
    Absent,
}

impl Room {
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn now(&self) -> u64 {
        (self.now)()
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, change: Change) {
        // Nobody listening is no error.
        drop(self.changes.send(change));
    }

    /// Opens a finished object.
    pub(crate) fn look(self: &Arc<Self>, key: &ObjectKey) -> Looked {
        self.resident(key).map_or_else(|| self.look_on_disk(key), Looked::Here)
    }

    /// An object whose content is in memory and whose file is still the one it was read from. The file is looked at
    /// while the shelves are free for others.
    fn resident(self: &Arc<Self>, key: &ObjectKey) -> Option<Stored> {
        let object = match &lock(&self.shelves).get(key)?.what {
            What::Finished(it) => Arc::clone(it.resident.as_ref()?),
            _ => return None,
        };
        let on_disk = Stamp::from_metadata(&fs::symlink_metadata(self.places.object(key)).ok()?);
        let mut shelves = lock(&self.shelves);
        let is_kept = shelves.finished_mut(key).and_then(|it| it.resident.as_ref());
        if !is_kept.is_some_and(|kept| Arc::ptr_eq(kept, &object)) || !object.is_of(&on_disk) {
            return None;
        }
        self.used(&mut shelves, key);
        drop(shelves);
        Some(Stored::new(object, Arc::clone(self)))
    }

    fn look_on_disk(self: &Arc<Self>, key: &ObjectKey) -> Looked {
        let mut shelves = lock(&self.shelves);
        let (size, layout, checked, open) = match shelves.get(key).map(|held| &held.what) {
            Some(What::Finished(it)) => {
                let Some(layout) = it.entry.cut() else { return Looked::Absent };
                (it.entry.size, layout, Arc::clone(&it.checked), it.open.upgrade())
            }
            Some(What::Pending(pending)) => return Looked::Pending(pending.clone()),
            _ => return Looked::Absent,
        };
        let path = self.places.object(key);
        let on_disk = match fs::symlink_metadata(&path) {
            Ok(metadata) => Stamp::from_metadata(&metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(%key, "the file of an object is gone");
                self.forget(&mut shelves, key);
                return Looked::Absent;
            }
            Err(error) => {
                tracing::warn!(%error, %key, "an object cannot be looked at");
                return Looked::Absent;
            }
        };
        if on_disk.size() != size {
            drop(shelves);
            self.quarantine(key, &checked, None);
            return Looked::Absent;
        }
        let object = if let Some(object) = open.filter(|object| is_still(object, &on_disk)) {
            object
        } else {
            shelves.let_go(key);
            let Some(file) = opened(&path) else { return Looked::Absent };
            let digests = self.index.digests(key).and_then(|bytes| PieceDigest::list(&bytes));
            let complete =
                |digests: &Vec<PieceDigest>| u32::try_from(digests.len()).ok() == layout.piece_count();
            let Some(digests) = digests.filter(complete) else {
                return Looked::Pending(doubt(&mut shelves, key, size));
            };
            let file = Mutex::new(Some(file));
            let (attestation, content) = (Mutex::default(), OnceLock::new());
            let object = Object { key: *key, layout, size, file, checked, digests, attestation, content };
            let object = Arc::new(object);
            if let Some(it) = shelves.finished_mut(key) {
                it.open = Arc::downgrade(&object);
            }
            object
        };
        self.used(&mut shelves, key);
        Looked::Here(Stored::new(object, Arc::clone(self)))
    }

    /// Where the file of an object lies.
    pub(crate) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.places.object(key)
    }

    /// Keeps an object whose content is in memory there, if it is still the one on the shelf.
    pub(crate) fn reside(&self, object: &Arc<Object>) {
        lock(&self.shelves).reside(object);
    }

    /// Whether an object was read from, or shown equal through, this upstream.
    pub(crate) fn has_upstream(&self, key: &ObjectKey, upstream: &str) -> bool {
        match lock(&self.shelves).get(key).map(|held| &held.what) {
            Some(What::Finished(it)) => it.entry.upstreams.iter().any(|it| it == upstream),
            Some(What::Partial(growing)) => growing.look(|growth| growth.upstreams().contains(upstream)),
            _ => false,
        }
    }

    /// Notes a use.
    pub(super) fn used(&self, shelves: &mut Shelves, key: &ObjectKey) {
        let now = self.now();
        shelves.touch(key, now);
        if let Some(it) = shelves.finished_mut(key)
            && now.saturating_sub(it.entry.used_ms) >= USE_IS_NEWS_AFTER_MS
        {
            it.entry.used_ms = now;
            self.index.note(*key, Write { entry: Some(it.entry.clone()), ..Write::default() });
        }
    }

    /// The file of an object is gone: so is its record.
    pub(super) fn forget(&self, shelves: &mut Shelves, key: &ObjectKey) {
        if let Some((held, emptied)) = shelves.remove(key) {
            if emptied {
                self.places.remove_empty_parents(key);
            }
            shelves.ledger.give(held.charge);
            self.index.note(*key, Write::default());
            self.tell(Change::Removed(*key));
        }
    }

    /// What is known of an object.
    pub(crate) fn record(&self, key: &ObjectKey) -> Option<Record> {
        let shelves = lock(&self.shelves);
        let held = shelves.get(key)?;
        let (layout, complete, upstreams, media) = match &held.what {
            What::Finished(it) => (it.entry.cut()?, true, it.entry.upstreams.clone(), it.entry.media.clone()),
            What::Partial(growing) => growing.look(|growth| {
                let upstreams = growth.upstreams().iter().cloned().collect();
                (growth.layout(), false, upstreams, growth.media().clone())
            }),
            What::Pending(_) => return None,
        };
        let (pinned, authoritative) = (held.keep.pinned, held.keep.authoritative);
        Some(Record {
            key: *key,
            layout,
            complete,
            pinned,
            authoritative,
            upstreams,
            used_ms: held.used_ms,
            media,
        })
    }

    /// Changes the record of a finished object, and notes it when the change says so.
    pub(super) fn amend(
        &self,
        key: &ObjectKey,
        attestation: Option<Bytes>,
        amend: impl FnOnce(&mut crate::index::Entry) -> bool,
    ) {
        let mut shelves = lock(&self.shelves);
        if let Some(it) = shelves.finished_mut(key)
            && amend(&mut it.entry)
        {
            self.index.note(*key, Write { entry: Some(it.entry.clone()), attestation, ..Write::default() });
        }
    }

    /// The file of an object that is to be written back.
    pub(super) fn open_to_sync(&self, key: &ObjectKey) -> Option<Arc<File>> {
        opened(&self.places.object(key))
    }

    /// Keeps the attestation of a finished object.
    pub(crate) fn note_attestation(&self, key: &ObjectKey, attestation: Bytes) {
        self.amend(key, Some(attestation), |_| true);
    }

    /// Adds to the provenance of an object.
    pub(crate) fn add_upstream(&self, key: &ObjectKey, upstream: &str) {
        let partial = match lock(&self.shelves).get(key).map(|held| &held.what) {
            Some(What::Partial(growing)) => Some(Arc::clone(growing)),
            _ => None,
        };
        if let Some(growing) = partial {
            growing.add_upstream(upstream);
            return;
        }
        self.amend(key, None, |entry| {
            let new =
                entry.upstreams.len() < MAX_UPSTREAMS && !entry.upstreams.iter().any(|it| it == upstream);
            if new {
                entry.upstreams.push(upstream.to_owned());
            }
            new
        });
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("places", &self.places).finish_non_exhaustive()
    }
}

/// An object without digests has to be hashed again.
fn doubt(shelves: &mut Shelves, key: &ObjectKey, size: u64) -> Pending {
    let pending = Pending { size, hints: Arc::default(), turnstile: Arc::default() };
    if let Some((held, _)) = shelves.remove(key) {
        let what = What::Pending(pending.clone());
        shelves.insert(*key, Held::new(what, held.keep, held.charge, held.used_ms));
    }
    pending
}

/// Whether the file on disk is the one this object reads, or was read from.
fn is_still(object: &Arc<Object>, on_disk: &Stamp) -> bool {
    let is_open = |file: &Arc<File>| Stamp::of(file).is_ok_and(|stamp| stamp.same_file(on_disk));
    object.is_of(on_disk) || lock(&object.file).as_ref().is_some_and(is_open)
}

fn opened(path: &Path) -> Option<Arc<File>> {
    let file = File::open(path);
    file.inspect_err(|error| tracing::warn!(%error, "an object cannot be opened")).ok().map(Arc::new)
}
