//! Group commit: everything noted within 200 ms is one durable transaction.
//!
//! Owns: the notes not committed yet and the thread that commits them. Never: loses a note while the process lives; a
//! commit that fails (a full disk) is tried again. After a crash: at most 200 ms of records are missing; their objects
//! are adopted after hashing. Bounded: one note per object.
//!
//! A commit needs about 1 ms of fsync, so 15,000 small objects cost 75 commits rather than 15,000. Objects of 4 MiB
//! and more are written back by the same thread, off everybody's path, so that a power cut costs little of them;
//! smaller ones are left to the kernel and to the digest that is checked at their first read, unless they are the only
//! copy: `flush` after `set_authoritative` returns when their bytes are on the disk.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use darner_lfs::ObjectKey;
use tokio::sync::oneshot;

use super::entry::Entry;
use super::tables::{Beside, Records, Tables};
use crate::disk::places::remove_quietly;
use crate::error::StoreError;
use crate::guard::lock;

/// How long notes are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// How long a failed commit waits.
const RETRY: Duration = Duration::from_secs(2);

/// A note: what the index is to hold of one object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Write {
    /// The record; absent: nothing is to be held.
    pub(crate) entry: Option<Entry>,
    /// New digests, if they changed.
    pub(crate) digests: Option<Bytes>,
    /// A new attestation, if it changed.
    pub(crate) attestation: Option<Bytes>,
    /// A new object under this key: nothing of an older one stays.
    pub(crate) anew: bool,
    /// A file that is needless once this is committed.
    pub(crate) then_remove: Option<PathBuf>,
    /// A file to write back.
    pub(crate) then_sync: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct Notes {
    waiting: HashMap<ObjectKey, Write>,
    committing: HashMap<ObjectKey, Write>,
    flushes: Vec<oneshot::Sender<()>>,
    /// The thread has heard of a first note and takes the others when its time is over.
    gathering: bool,
    closing: bool,
}

#[derive(Debug)]
struct Desk {
    tables: Tables,
    notes: Mutex<Notes>,
    rung: Condvar,
}

/// The index and its thread; the last note is committed when it is dropped.
#[derive(Debug)]
pub(crate) struct Index {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Index {
    /// Opens or makes it; with every record committed before.
    pub(crate) fn open(path: &Path) -> Result<(Self, Records), StoreError> {
        let (tables, records) = Tables::open(path)?;
        let desk = Arc::new(Desk { tables, notes: Mutex::default(), rung: Condvar::new() });
        let commits = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("darner-index".to_owned())
            .spawn(move || commits.run())
            .map_err(|source| StoreError::Io { doing: "starting the index thread", source })?;
        Ok((Self { desk, thread: Some(thread) }, records))
    }

    /// Notes what is to be held; merged with what is noted and not committed yet.
    pub(crate) fn note(&self, key: ObjectKey, write: Write) {
        let mut notes = lock(&self.desk.notes);
        let merged = match notes.waiting.remove(&key) {
            Some(before) => merge(before, write),
            None => write,
        };
        notes.waiting.insert(key, merged);
        let gathering = notes.gathering;
        drop(notes);
        if !gathering {
            self.desk.rung.notify_one();
        }
    }

    /// The piece digests of an object, one after the other.
    pub(crate) fn digests(&self, key: &ObjectKey) -> Option<Bytes> {
        self.beside(key, Beside::Digests)
    }

    /// The attestation of an object.
    pub(crate) fn attestation(&self, key: &ObjectKey) -> Option<Bytes> {
        self.beside(key, Beside::Attestation)
    }

    /// Rings for a commit; the receiver hears when all notes up to now are durable.
    pub(crate) fn flush(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.desk.notes).flushes.push(sender);
        self.desk.rung.notify_one();
        receiver
    }

    fn beside(&self, key: &ObjectKey, which: Beside) -> Option<Bytes> {
        {
            let notes = lock(&self.desk.notes);
            for noted in [&notes.waiting, &notes.committing] {
                let Some(write) = noted.get(key) else { continue };
                let bytes = match which {
                    Beside::Digests => &write.digests,
                    Beside::Attestation => &write.attestation,
                };
                if bytes.is_some() || write.anew || write.entry.is_none() {
                    return bytes.clone();
                }
            }
        }
        self.desk.tables.beside(key, which).unwrap_or_else(|error| {
            tracing::warn!(%error, %key, "the index cannot be read");
            None
        })
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        lock(&self.desk.notes).closing = true;
        self.desk.rung.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the index thread panicked");
        }
    }
}

impl Desk {
    fn run(&self) {
        loop {
            let closing = self.gather();
            let failed = self.commit();
            if closing {
                return;
            }
            if failed {
                let notes = lock(&self.notes);
                let waited = self.rung.wait_timeout_while(notes, RETRY, |notes| !notes.closing);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Waits for a first note and then for more; whether the index closes.
    fn gather(&self) -> bool {
        let idle = |notes: &mut Notes| notes.waiting.is_empty() && notes.flushes.is_empty() && !notes.closing;
        let mut notes = self.rung.wait_while(lock(&self.notes), idle).unwrap_or_else(PoisonError::into_inner);
        let patient = |notes: &mut Notes| notes.flushes.is_empty() && !notes.closing;
        notes.gathering = true;
        let (mut notes, _) =
            self.rung.wait_timeout_while(notes, GATHER, patient).unwrap_or_else(PoisonError::into_inner);
        notes.gathering = false;
        notes.closing
    }

    /// Commits what is noted; whether that failed.
    fn commit(&self) -> bool {
        let (writes, flushes) = {
            let mut notes = lock(&self.notes);
            notes.committing = std::mem::take(&mut notes.waiting);
            (notes.committing.clone(), std::mem::take(&mut notes.flushes))
        };
        let committed = if writes.is_empty() { Ok(()) } else { self.tables.commit(writes.iter()) };
        let failed = committed.is_err();
        if let Err(error) = committed {
            tracing::warn!(%error, records = writes.len(), "the index could not be written; it is tried again");
            let mut notes = lock(&self.notes);
            let older = std::mem::take(&mut notes.committing);
            for (key, before) in older {
                let merged = match notes.waiting.remove(&key) {
                    Some(newer) => merge(before, newer),
                    None => before,
                };
                notes.waiting.insert(key, merged);
            }
        } else {
            lock(&self.notes).committing.clear();
            for (key, write) in &writes {
                // A newer note may belong to a new partial, whose journal has the same name.
                let overtaken = lock(&self.notes).waiting.get(key).is_some_and(|newer| newer.entry.is_none());
                write.settle(overtaken);
            }
        }
        for flush in flushes {
            if flush.send(()).is_err() {
                tracing::trace!("nobody waits for this flush any more");
            }
        }
        failed
    }
}

impl Write {
    fn settle(&self, overtaken: bool) {
        if let Some(path) = &self.then_remove
            && !overtaken
        {
            remove_quietly(path);
        }
        if let (Some(file), Some(entry)) = (&self.then_sync, &self.entry)
            && entry.is_written_back()
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(%error, "an object could not be written back");
        }
    }
}

fn merge(before: Write, after: Write) -> Write {
    if after.anew || after.entry.is_none() {
        return after;
    }
    Write {
        entry: after.entry,
        digests: after.digests.or(before.digests),
        attestation: after.attestation.or(before.attestation),
        anew: before.anew || before.entry.is_none(),
        then_remove: after.then_remove.or(before.then_remove),
        then_sync: after.then_sync.or(before.then_sync),
    }
}
