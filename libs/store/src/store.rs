//! Skeleton.
use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, Oid};
use tokio::sync::broadcast;

use crate::config::StoreConfig;
use crate::error::StoreError;
use crate::partial::Partial;
use crate::record::{Change, Item, Record, ScrubReport, Usage};
use crate::stored::Stored;

/// The store of one node.
#[derive(Debug, Clone)]
pub struct Store(Arc<()>);

impl Store {
    /// Opens the directory: takes its lock, reads its index, finds its partials.
    pub async fn open(_config: StoreConfig) -> Result<Store, StoreError> {
        unimplemented!()
    }
    /// A finished object, pinned while the answer or a clone of it lives.
    pub async fn get(&self, _key: &ObjectKey) -> Option<Stored> {
        unimplemented!("{:?}", self.0)
    }
    /// Whether the finished object is here.
    pub fn contains(&self, _key: &ObjectKey) -> bool {
        unimplemented!()
    }
    /// What is known of an object, finished or partial.
    pub fn record(&self, _key: &ObjectKey) -> Option<Record> {
        unimplemented!()
    }
    /// The one partial of this key. One that is finished already comes back with its outcome.
    pub async fn partial(&self, _key: ObjectKey, _layout: Layout) -> Result<Partial, StoreError> {
        unimplemented!()
    }
    /// The partial of this key, if one is growing.
    pub fn live_partial(&self, _key: &ObjectKey) -> Option<Partial> {
        unimplemented!()
    }
    /// A memory-backed partial, for a full disk.
    pub fn volatile(&self, _key: ObjectKey, _layout: Layout, _window_bytes: u64) -> Partial {
        unimplemented!()
    }
    /// Keeps a small whole object.
    pub async fn put(
        &self,
        _oid: Oid,
        _content: Bytes,
        _upstream: Option<&str>,
    ) -> Result<Stored, StoreError> {
        unimplemented!()
    }
    /// Whether the object has been read from, or shown equal through, this upstream.
    pub fn has_upstream(&self, _key: &ObjectKey, _upstream: &str) -> bool {
        unimplemented!()
    }
    /// Adds to the provenance of an object.
    pub fn add_upstream(&self, _key: &ObjectKey, _upstream: &str) {
        unimplemented!()
    }
    /// Removes an object, being read or not.
    pub async fn purge(&self, _key: &ObjectKey) {
        unimplemented!()
    }
    /// Removes every object whose provenance holds this prefix; how many.
    pub async fn purge_upstream(&self, _prefix: &str) -> usize {
        unimplemented!()
    }
    /// Keeps a finished object from eviction, or gives it free.
    pub fn pin(&self, _key: &ObjectKey, _pinned: bool) {
        unimplemented!()
    }
    /// Marks a finished object as the only copy (never evicted), or gives it free.
    pub fn set_authoritative(&self, _key: &ObjectKey, _authoritative: bool) {
        unimplemented!()
    }
    /// Everything that can be read here.
    pub fn inventory(&self) -> Vec<Item> {
        unimplemented!()
    }
    /// Changes of the inventory from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        unimplemented!()
    }
    /// How full it is.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }
    /// Reads everything at this pace and quarantines what is damaged.
    pub async fn scrub(&self, _bytes_per_second: u64) -> ScrubReport {
        unimplemented!()
    }
    /// Returns when everything said before is in the index durably.
    pub async fn flush(&self) {
        unimplemented!()
    }
}
