//! The public handle of the store.
//!
//! Owns: nothing but a share of the room. Never: blocks an async caller on a disk (work that may block goes to a
//! blocking thread). After a crash: `open` brings everything back, see `opening`.

mod adopting;
mod damage;
mod evicting;
mod keeping;
mod opening;
mod parting;
pub(crate) mod putting;
pub(crate) mod room;
mod scrubbing;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_lfs::{Holding, Layout, ObjectKey, Oid};
use tokio::sync::broadcast;

use crate::config::StoreConfig;
use crate::disk::read::blocking;
use crate::disk::space::free;
use crate::error::StoreError;
use crate::guard::lock;
use crate::index::Write;
use crate::journal::Keep;
use crate::ledger::Charge;
use crate::partial::Partial;
use crate::partial::growing::Shared;
use crate::partial::growth::Growth;
use crate::record::{Change, Item, Record, ScrubReport, Usage};
use crate::shelves::What;
use crate::stored::Stored;
use room::{Looked, Room};

/// How often, and how long at a time, an opening waits for a store of this very process that is still being dropped.
const OWN_CLOSING: (u32, Duration) = (200, Duration::from_millis(10));

/// The store of one node. Clones share it; the last one dropped commits the index and releases the directory.
#[derive(Clone)]
pub struct Store {
    room: Arc<Room>,
}

impl Store {
    /// Opens the directory: takes its lock, reads its index, finds its partials.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let (tries, pause) = OWN_CLOSING;
        for _ in 0..tries {
            match Self::try_open(config.clone()).await {
                Err(StoreError::Locked { holder, .. }) if holder == Some(std::process::id()) => {
                    tokio::time::sleep(pause).await;
                }
                other => return other,
            }
        }
        Self::try_open(config).await
    }

    async fn try_open(config: StoreConfig) -> Result<Self, StoreError> {
        let room = work(move || Room::open(config)).await?;
        Ok(Self { room })
    }

    /// A finished object, not evicted while the answer or a clone of it lives. One without a record yet is hashed
    /// first.
    pub async fn get(&self, key: &ObjectKey) -> Option<Stored> {
        let pending = match self.room.look(key) {
            Looked::Here(stored) => return Some(stored),
            Looked::Absent => return None,
            Looked::Pending(pending) => pending,
        };
        let (room, key) = (Arc::clone(&self.room), *key);
        let adopted = blocking(move || {
            room.adopt(&key, &pending);
            Ok(room.look(&key))
        });
        match adopted.await {
            Ok(Looked::Here(stored)) => Some(stored),
            _ => None,
        }
    }

    /// Whether the finished object is here, by the index.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.room.contains(key)
    }

    /// What is known of an object, finished or partial.
    pub fn record(&self, key: &ObjectKey) -> Option<Record> {
        self.room.record(key)
    }

    /// The one partial of this key: joins the live one, resumes the one on disk, or makes one and reserves its room,
    /// evicting what was used longest ago. When the object is finished already, the answer is a partial that says so.
    /// `StoreError::Full`: go on with `volatile`.
    pub async fn partial(&self, key: ObjectKey, layout: Layout) -> Result<Partial, StoreError> {
        let room = Arc::clone(&self.room);
        work(move || room.partial(key, layout)).await
    }

    /// The partial of this key that grows, or lies on disk to be resumed; also a memory-backed one that is confirmed,
    /// for as long as somebody holds it.
    pub fn live_partial(&self, key: &ObjectKey) -> Option<Partial> {
        self.room.live(key, |growth| matches!(growth.outcome(), None | Some(crate::Outcome::Confirmed)))
    }

    /// A memory-backed partial, for a full disk: the same thing, of which at most `window_bytes` (two pieces at least)
    /// are kept; `Partial::forget_before` and `Partial::hash_more` move the window. It is the live partial of its key
    /// while somebody holds it; a caller that comes after it let go of its start gets one of its own.
    pub fn volatile(&self, key: ObjectKey, layout: Layout, window_bytes: u64) -> Partial {
        self.room.volatile(key, layout, window_bytes)
    }

    /// Keeps a small whole object, once it hashed to its name. A partial of it ends as finished.
    pub async fn put(&self, oid: Oid, content: Bytes, upstream: Option<&str>) -> Result<Stored, StoreError> {
        self.room.put_soon(oid, content, upstream).await
    }

    /// Whether the object has been read from, or shown equal through, this upstream.
    pub fn has_upstream(&self, key: &ObjectKey, upstream: &str) -> bool {
        self.room.has_upstream(key, upstream)
    }

    /// Adds to the provenance of an object; the first 64 stay.
    pub fn add_upstream(&self, key: &ObjectKey, upstream: &str) {
        self.room.add_upstream(key, upstream);
    }

    /// Removes an object, being read or not; who reads it now may read to the end, a partial fails.
    pub async fn purge(&self, key: &ObjectKey) {
        let (room, key) = (Arc::clone(&self.room), *key);
        let purged = blocking(move || {
            room.purge(&key);
            Ok(())
        });
        if let Err(error) = purged.await {
            tracing::error!(%error, "an object could not be purged");
        }
    }

    /// Removes every object, finished or partial, whose provenance holds this upstream or one below it; how many.
    pub async fn purge_upstream(&self, prefix: &str) -> usize {
        let keys = self.room.keys_from(prefix);
        for key in &keys {
            self.purge(key).await;
        }
        keys.len()
    }

    /// Keeps an object from eviction, or gives it free.
    pub fn pin(&self, key: &ObjectKey, pinned: bool) {
        self.mark(key, |keep| keep.pinned = pinned);
    }

    /// Marks an object as the only copy, which is never evicted, or gives it free.
    pub fn set_authoritative(&self, key: &ObjectKey, authoritative: bool) {
        self.mark(key, |keep| keep.authoritative = authoritative);
    }

    fn mark(&self, key: &ObjectKey, mark: impl FnOnce(&mut Keep)) {
        let mut shelves = lock(&self.room.shelves);
        let Some(held) = shelves.get_mut(key) else { return };
        mark(&mut held.keep);
        let keep = held.keep;
        match &mut held.what {
            What::Finished(it) => {
                it.entry.keep = keep;
                let only_copy = keep.authoritative.then(|| self.room.open_to_sync(key)).flatten();
                let entry = Some(it.entry.clone());
                self.room.index.note(*key, Write { entry, then_sync: only_copy, ..Write::default() });
            }
            What::Partial(growing) => growing.mark(keep),
            What::Pending(_) => {}
        }
    }

    /// Everything that can be read here: finished objects, and partials with the pieces they have.
    pub fn inventory(&self) -> Vec<Item> {
        let shelves = lock(&self.room.shelves);
        let volatile = shelves.volatile.iter().filter_map(|(key, growing)| Some((*key, growing.upgrade()?)));
        let volatile: HashMap<ObjectKey, Shared> = volatile.collect();
        let mut items: Vec<Item> =
            volatile.iter().map(|(key, growing)| partial_item(*key, growing)).collect();
        for (key, held) in shelves.iter() {
            match &held.what {
                What::Finished(it) => items.extend(it.entry.cut().map(|layout| {
                    let holding = Holding::full(layout.piece_count().unwrap_or_default());
                    Item { key: *key, layout, complete: true, holding }
                })),
                What::Partial(growing) if !volatile.contains_key(key) => {
                    items.push(partial_item(*key, growing));
                }
                What::Partial(_) | What::Pending(_) => {}
            }
        }
        items
    }

    /// Changes of the inventory from now on. A receiver that lagged reads the inventory again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.room.changes.subscribe()
    }

    /// Sets the budget of bytes: `wanted` of the configured one, and never more. What is over it is evicted at once; true
    /// when it all went, false when something in use is left over (ask again).
    pub async fn limit(&self, wanted: impl FnOnce(u64) -> u64 + Send + 'static) -> bool {
        let room = Arc::clone(&self.room);
        let limited = blocking(move || {
            room.limit(wanted);
            let fits = lock(&room.shelves).ledger.fits(Charge::default());
            Ok(fits)
        });
        limited.await.unwrap_or(false)
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let free_bytes = free(self.room.places.root()).bytes;
        let shelves = lock(&self.room.shelves);
        let (taken, limits) = (shelves.ledger.taken(), shelves.ledger.limits());
        Usage {
            bytes: taken.bytes,
            inodes: taken.inodes,
            objects: shelves.finished(),
            budget_bytes: limits.bytes,
            budget_inodes: limits.inodes,
            free_bytes,
        }
    }

    /// Reads every finished object at this pace (0: as fast as it goes) and quarantines what is damaged.
    pub async fn scrub(&self, bytes_per_second: u64) -> ScrubReport {
        self.room.scrub(bytes_per_second).await
    }

    /// Returns when everything said before was offered to the disk durably.
    pub async fn flush(&self) {
        if self.room.index.flush().await.is_err() {
            tracing::error!("the index thread is gone");
        }
    }
}

fn partial_item(key: ObjectKey, growing: &Shared) -> Item {
    let (layout, holding) = growing.look(|growth: &Growth| (growth.layout(), growth.servable()));
    Item { key, layout, complete: false, holding }
}

/// Runs on a thread that may block.
async fn work<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let lost = |error| StoreError::Io { doing: "working for the store", source: io::Error::other(error) };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(lost(error)))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.room.places.root()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
