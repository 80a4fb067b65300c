//! What the doors of the manager (REST for people, gRPC for nodes) share.
//!
//! Owns: the order in which a change happens: first in the catalog, then told to the nodes' streams and to whoever
//! watches. After a crash in between, nodes hear of it when they attach again. Never: an HTTP or gRPC word.

use std::sync::Arc;

use darner_chassis::clock::{Clock, Random};
use darner_chassis::tasks::Drain;
use tokio::sync::{Semaphore, watch};

use crate::access::Caller;
use crate::access::attempts::Attempts;
use crate::access::password::Passwords;
use crate::catalog::{Catalog, CatalogError, Change, Configuration, JsonText, Purge, Purged, stored};
use crate::cluster::Cluster;
use crate::events::{Events, Topic};

/// Streams of events at once.
const WATCHERS: usize = 64;

/// The shared state; clones are handles of the same one.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    catalog: Catalog,
    events: Events,
    configuration: watch::Sender<Arc<Configuration>>,
    last_tombstone: watch::Sender<i64>,
    passwords: Passwords,
    attempts: Attempts,
    watchers: Arc<Semaphore>,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    drain: Drain,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("catalog", &self.0.catalog).finish_non_exhaustive()
    }
}

impl Control {
    /// The state over a catalog, with the configuration and the tombstones it holds.
    pub async fn new(
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        drain: Drain,
    ) -> Result<Self, CatalogError> {
        let configuration = watch::Sender::new(Arc::new(catalog.configuration().await?));
        let last_tombstone = watch::Sender::new(catalog.last_tombstone().await?);
        Ok(Self(Arc::new(Inner {
            catalog,
            events: Events::default(),
            configuration,
            last_tombstone,
            passwords: Passwords::default(),
            attempts: Attempts::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            cluster: Cluster::default(),
            clock,
            random,
            drain,
        })))
    }

    /// The database.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// Where events are told.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// The configuration in force, now and at every change.
    pub fn configuration(&self) -> watch::Receiver<Arc<Configuration>> {
        self.0.configuration.subscribe()
    }

    /// The number of the last purge, now and at every purge.
    pub fn last_tombstone(&self) -> watch::Receiver<i64> {
        self.0.last_tombstone.subscribe()
    }

    /// Where passwords are computed.
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Recent failures to sign in.
    pub fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    /// A place among the watchers of events is a permit of this.
    pub fn watchers(&self) -> &Arc<Semaphore> {
        &self.0.watchers
    }

    /// What the cluster tells the nodes.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// Random bytes.
    pub fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    /// Says when the process leaves.
    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        stored(self.0.clock.now_ms())
    }

    /// Put a configuration in force and push it, if `expected` is still the newest version.
    pub async fn configure(
        &self,
        expected: i64,
        config: &JsonText,
        author: &str,
    ) -> Result<Option<Configuration>, CatalogError> {
        let changed = self.0.catalog.configure(expected, config, author, self.now_ms()).await?;
        if let Some(changed) = &changed {
            // Two changes may come here in the other order than the catalog took them: the newer one stays.
            self.0.configuration.send_if_modified(|current| {
                let newer = changed.version > current.version;
                if newer {
                    *current = Arc::new(changed.clone());
                }
                newer
            });
            self.0.events.tell(Topic::Config, changed);
        }
        Ok(changed)
    }

    /// Write a purge down and tell the nodes.
    pub async fn purge(&self, purged: &Purged, author: &str) -> Result<Purge, CatalogError> {
        let purge = self.0.catalog.add_tombstone(purged, author, self.now_ms()).await?;
        self.0.last_tombstone.send_if_modified(|last| {
            let newer = purge.sequence > *last;
            *last = (*last).max(purge.sequence);
            newer
        });
        self.0.events.tell(Topic::Purges, &purge);
        Ok(purge)
    }

    /// Write down what a caller did. The change is done by then, so a failing audit is logged and does not undo it.
    pub async fn audit(&self, caller: &Caller, action: &'static str, target: &str) {
        let via = caller.via.name();
        self.audit_change(Change { actor: &caller.user, via, action, target, outcome: "done" }).await;
    }

    /// The same for a change of any outcome.
    pub async fn audit_change(&self, change: Change<'_>) {
        if let Err(error) = self.0.catalog.audit(change, self.now_ms()).await {
            tracing::error!(%error, action = change.action, "a change could not be written to the audit");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use darner_chassis::clock::{Manual, Seeded};

    use super::*;
    use crate::catalog::tests::catalog;

    /// A control over a catalog of its own, at one second past the epoch.
    pub(crate) async fn control() -> (tempfile::TempDir, Control) {
        let (dir, catalog) = catalog().await;
        let (clock, random) = (Arc::new(Manual::at(1000)), Arc::new(Seeded::new(7)));
        (dir, Control::new(catalog, clock, random, Drain::new()).await.unwrap())
    }

    #[tokio::test]
    async fn a_change_reaches_the_catalog_the_streams_and_the_watchers() {
        let (_dir, control) = control().await;
        let (mut streams, mut watcher) = (control.configuration(), control.events().watch());
        let config = JsonText::from("{\"serve\":false}".to_owned());
        control.configure(0, &config, "admin").await.unwrap().unwrap();
        assert_eq!(streams.borrow_and_update().config, config);
        assert_eq!(watcher.recv().await.unwrap().topic, Topic::Config);
        assert!(control.configure(0, &config, "admin").await.unwrap().is_none());
        assert!(!streams.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_purge_wakes_the_streams() {
        let (_dir, control) = control().await;
        let mut streams = control.last_tombstone();
        let purge = control.purge(&Purged::Upstream("https://h/o".to_owned()), "admin").await.unwrap();
        streams.changed().await.unwrap();
        assert_eq!(*streams.borrow(), purge.sequence);
    }
}
