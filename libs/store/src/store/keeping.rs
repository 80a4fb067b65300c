//! How something becomes a finished object.
//!
//! Owns: the move into the tree and the record that goes with it. Never: moves what was not hashed. After a crash:
//! between the move and the commit of its record an object has no record; it is adopted after hashing, with what its
//! journal (removed only after the commit) says of its origin. Until that commit, 200 ms at most, the journal is the
//! one file that is not counted in the budget any more.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::{Bytes, BytesMut};
use darner_lfs::{Layout, ObjectKey, Oid, PieceDigest, RunningSha256};

use super::room::{Looked, Room};
use crate::disk::places::{Places, remove_quietly};
use crate::disk::space::is_full;
use crate::disk::stamp::{Checked, Stamp};
use crate::error::{FinishError, StoreError};
use crate::guard::lock;
use crate::index::{Entry, Write};
use crate::ledger::Charge;
use crate::partial::Outcome;
use crate::partial::growing::{Growing, Snapshot};
use crate::record::Change;
use crate::shelves::{Finished, Held, Shelves, What};
use crate::stored::{Object, SMALL_BYTES, Stored};

impl Room {
    /// A growing object that was hashed becomes a finished one.
    pub(crate) fn keep(
        self: &Arc<Self>,
        growing: &Growing,
        snapshot: Snapshot,
    ) -> Result<Stored, FinishError> {
        let key = growing.key();
        let file = growing.body().file()?;
        if file.metadata()?.len() != snapshot.entry.size {
            file.set_len(snapshot.entry.size)?;
        }
        let kept = {
            let mut shelves = lock(&self.shelves);
            match shelves.get(&key).map(|held| &held.what) {
                Some(What::Partial(here)) if std::ptr::eq(Arc::as_ptr(here), growing) => {
                    self.move_in(&file, &self.places.partial(&key), &key)?;
                    let keep = shelves.get(&key).map(|held| held.keep).unwrap_or_default();
                    if let Some((held, _)) = shelves.remove(&key) {
                        shelves.ledger.give(held.charge);
                    }
                    let snapshot = Snapshot { entry: Entry { keep, ..snapshot.entry }, ..snapshot };
                    Some(self.shelve(&mut shelves, key, snapshot, (&file, true))?)
                }
                Some(What::Finished(_)) => None,
                _ => return Err(FinishError::Failed("purged meanwhile".to_owned())),
            }
        };
        if let Some(object) = kept {
            return Ok(Stored::new(object, Arc::clone(self)));
        }
        match self.look(&key) {
            Looked::Here(stored) => Ok(stored),
            _ => Err(FinishError::Io(io::ErrorKind::NotFound.into())),
        }
    }

    /// Keeps a small whole object.
    pub(super) fn put(
        self: &Arc<Self>,
        oid: Oid,
        content: &[u8],
        upstream: Option<&str>,
    ) -> Result<Stored, StoreError> {
        let key = ObjectKey::Sha256(oid);
        let mut hash = RunningSha256::default();
        hash.update(content);
        let got = hash.finish();
        if got != oid {
            return Err(StoreError::Mismatch { wanted: oid, got });
        }
        let kept = if self.contains(&key) {
            None
        } else {
            let mut snapshot = snapshot_of(content);
            snapshot.entry.upstreams.extend(upstream.map(str::to_owned));
            let room = Charge::of_new_object(snapshot.entry.size);
            self.reserve(room)?;
            self.put_file(key, content, snapshot, room).map_err(|source| {
                if is_full(&source) {
                    StoreError::Full { wanted: room.bytes, budget: lock(&self.shelves).ledger.limits().bytes }
                } else {
                    StoreError::Io { doing: "keeping an object", source }
                }
            })?
        };
        if let Some(object) = kept {
            let stored = Stored::new(object, Arc::clone(self));
            // It was just hashed, and whoever fetched it reads it soon.
            if stored.size() <= SMALL_BYTES
                && let Ok(stamp) = stored.file().and_then(|file| Stamp::of(&file))
            {
                stored.reside(stamp, Bytes::copy_from_slice(content));
            }
            return Ok(stored);
        }
        if let Some(upstream) = upstream {
            self.add_upstream(&key, upstream);
        }
        match self.look(&key) {
            Looked::Here(stored) => Ok(stored),
            _ => Err(StoreError::Io { doing: "opening an object", source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// Writes and moves in; the room reserved for it is given back in the same step that takes what it really needs.
    /// Nothing when somebody else kept it meanwhile.
    fn put_file(
        self: &Arc<Self>,
        key: ObjectKey,
        content: &[u8],
        snapshot: Snapshot,
        room: Charge,
    ) -> io::Result<Option<Arc<Object>>> {
        let scrap = self.scrap();
        let create = || File::options().create_new(true).read(true).write(true).open(&scrap);
        let written = create().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.places.partials()).and_then(|()| create())
            }
            _ => Err(error),
        });
        let written = written.and_then(|mut file| file.write_all(content).map(|()| Arc::new(file)));
        let file = written.inspect_err(|_| {
            remove_quietly(&scrap);
            self.release(room);
        })?;
        let mut shelves = lock(&self.shelves);
        shelves.ledger.give(room);
        let overtaken = match shelves.get(&key).map(|held| &held.what) {
            Some(What::Finished(_)) => {
                remove_quietly(&scrap);
                return Ok(None);
            }
            Some(What::Partial(growing)) => Some(Arc::clone(growing)),
            _ => None,
        };
        self.move_in(&file, &scrap, &key)?;
        if let Some((held, _)) = shelves.remove(&key) {
            remove_quietly(&self.places.partial(&key));
            shelves.ledger.give(held.charge);
        }
        let object = self.shelve(&mut shelves, key, snapshot, (&file, overtaken.is_some()))?;
        drop(shelves);
        // Whoever was still fetching it reads the object instead.
        if let Some(growing) = overtaken {
            growing.change_alone(|state| state.growth.fix_size(object.size));
            growing.body().replace(file);
            growing.conclude(Outcome::Finished(Stored::new(Arc::clone(&object), Arc::clone(self))));
        }
        Ok(Some(object))
    }

    /// Renames a file into the tree. One that was deleted under us is copied from its handle.
    fn move_in(&self, file: &File, from: &Path, key: &ObjectKey) -> io::Result<()> {
        let to = self.places.object(key);
        match Places::shift(from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.places.partials())?;
                let scrap = self.scrap();
                let mut copy = File::create_new(&scrap)?;
                let mut source = file.try_clone()?;
                io::Seek::rewind(&mut source)?;
                let copied = io::copy(&mut source, &mut copy);
                let moved = copied.and_then(|_| Places::shift(&scrap, &to));
                moved.inspect_err(|_| remove_quietly(&scrap))
            }
            other => other,
        }
    }

    /// Puts a hashed file, which lies in its place, on the shelf and in the index: the object, open. One that grew
    /// leaves a journal behind.
    pub(super) fn shelve(
        &self,
        shelves: &mut Shelves,
        key: ObjectKey,
        snapshot: Snapshot,
        (file, grew): (&Arc<File>, bool),
    ) -> io::Result<Arc<Object>> {
        let Snapshot { mut entry, layout, digests, attestation } = snapshot;
        entry.used_ms = self.now();
        // Should another file lie in its place by now, the next look at it tells.
        let checked = Arc::new(Checked::all(Stamp::of(file)?, layout.piece_count().unwrap_or_default()));
        let charge = Charge::of_object(entry.size);
        shelves.ledger.take(charge);
        let write = Write {
            entry: Some(entry.clone()),
            digests: Some(joined(&digests)),
            attestation: attestation.clone(),
            anew: true,
            then_remove: grew.then(|| self.places.journal(&key)),
            then_sync: entry.is_written_back().then(|| Arc::clone(file)),
        };
        let object = Arc::new(Object {
            key,
            layout,
            size: entry.size,
            file: Mutex::new(Some(Arc::clone(file))),
            checked: Arc::clone(&checked),
            digests,
            attestation: Mutex::new(attestation),
            content: OnceLock::new(),
        });
        let (keep, used_ms) = (entry.keep, entry.used_ms);
        let what = What::Finished(Finished { entry, checked, open: Arc::downgrade(&object), resident: None });
        shelves.insert(key, Held::new(what, keep, charge, used_ms));
        self.index.note(key, write);
        self.tell(Change::Added(key));
        Ok(object)
    }

    /// Whether the finished object is here.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        matches!(lock(&self.shelves).get(key).map(|held| &held.what), Some(What::Finished(_)))
    }
}

fn snapshot_of(content: &[u8]) -> Snapshot {
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let layout = Layout::of_size(size);
    let piece = usize::try_from(layout.piece_bytes()).unwrap_or(usize::MAX);
    let digests = content.chunks(piece).map(PieceDigest::of).collect();
    Snapshot { entry: Entry::new(size, &layout), layout, digests, attestation: None }
}

fn joined(digests: &[PieceDigest]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(digests.len() * 32);
    for digest in digests {
        bytes.extend_from_slice(digest.as_bytes());
    }
    bytes.freeze()
}
