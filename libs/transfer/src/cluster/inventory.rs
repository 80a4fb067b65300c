//! What this node holds, as the streams need it: a whole list at the start, then the keys that changed.
//!
//! Never: reads content. The store implements it; tests use a memory body.

use std::pin::Pin;

use darner_lfs::{Holding, ObjectKey};
use darner_proto::v1;
use darner_store::{Change, Item, Store};
use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

/// News of the holdings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// This object came, grew or went.
    Changed(ObjectKey),
    /// News were lost: the whole list is announced again.
    Lost,
}

/// The holdings of a node.
pub trait Inventory: Send + Sync + 'static {
    /// Everything that is here. May take a while: called off the async threads.
    fn all(&self) -> Vec<Item>;
    /// One object, as it is now.
    fn one(&self, key: &ObjectKey) -> Option<Item>;
    /// What changes from now on.
    fn news(&self) -> Pin<Box<dyn Stream<Item = Announced> + Send>>;
}

impl Inventory for Store {
    fn all(&self) -> Vec<Item> {
        self.inventory()
    }

    fn one(&self, key: &ObjectKey) -> Option<Item> {
        let record = self.record(key)?;
        let growing = || self.live_partial(key).map(|partial| partial.holding()).unwrap_or_default();
        let holding = if record.complete { Holding::empty() } else { growing() };
        Some(Item { key: *key, layout: record.layout, complete: record.complete, holding })
    }

    fn news(&self) -> Pin<Box<dyn Stream<Item = Announced> + Send>> {
        Box::pin(BroadcastStream::new(self.changes()).map(|change| match change {
            Ok(Change::Added(key) | Change::Removed(key)) => Announced::Changed(key),
            Err(BroadcastStreamRecvError::Lagged(_)) => Announced::Lost,
        }))
    }
}

/// An object as the schedulers hear of it.
pub(super) fn held(item: &Item) -> v1::Held {
    let pieces = if item.complete { Vec::new() } else { item.holding.as_bytes().to_vec() };
    v1::Held {
        key: Some(item.key.into()),
        layout: Some(item.layout.into()),
        complete: item.complete,
        pieces: pieces.into(),
    }
}
