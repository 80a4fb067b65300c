//! What the operator wants, on this node: the client side of the manager's one stream.
//!
//! Owns: the attachment to the manager (re-dialled for ever, with growing pauses), the last configuration that was
//! understood, the number of the last tombstone honoured, and the file that keeps both. Reports what the node does
//! and holds. Never: a decision that waits for the manager. A node starts and serves with none reachable, under the
//! last configuration it had (I8).
//!
//! Called by: the wiring of a daemon or seed. After a crash: the state file is replaced atomically, so it holds the
//! old or the new state; a tombstone counts as honoured only after [`Feed::applied`], so it is sent again otherwise.
//! A full queue loses reports of downloads (they are for people), never a tombstone (the stream is opened anew).

mod around;
mod attach;
mod holdings;
mod kept;
mod pause;
mod rollup;
mod state;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darner_chassis::tasks::Tasks;
use darner_chassis::tls::Wire;
use darner_proto::v1;
use darner_proto::wanted::Wanted;
use darner_store::Store;
use tokio::sync::{mpsc, watch};

use around::Around;
pub use holdings::Purged;
use rollup::{Rollup, is_small_hit};

/// Downloads that may wait to be reported; more are lost.
const WAITING_DOWNLOADS: usize = 1024;
/// Tombstones that may wait to be honoured. More than the manager sends before it sees one applied (500).
const WAITING_TOMBSTONES: usize = 1024;

/// Where the manager is and what the node tells of itself.
#[derive(Debug, Clone, Default)]
pub struct FeedConfig {
    /// host:port of the manager's gRPC service; absent: the node keeps to its own file and what is on disk.
    pub manager: Option<String>,
    /// `seed-peer` or `peer-daemon`.
    pub component: String,
    /// host:port of the admin port.
    pub admin_address: String,
    /// Where the last configuration is kept; absent: nowhere.
    pub state_file: Option<PathBuf>,
    /// Where what the cluster said is kept; absent: nowhere.
    pub surroundings_file: Option<PathBuf>,
    /// The store whose holdings are reported; absent: none are.
    pub store: Option<Store>,
    /// How the manager is spoken to.
    pub wire: Wire,
}

/// The numbers a node reports every few seconds.
pub type Stats = Arc<dyn Fn() -> v1::NodeStats + Send + Sync>;

/// A pushed configuration that was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigVersion {
    /// The manager's number; 0 before the first.
    pub version: u64,
    /// What the operator wants: meet it with the node's own values.
    pub wanted: Wanted,
    /// The text it was read from.
    json: Vec<u8>,
}

/// The node's end of the feed; clones are handles of the same one.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("manager", &self.0.manager)
            .field("connected", &self.connected())
            .finish()
    }
}

struct Inner {
    manager: Option<String>,
    component: String,
    admin_address: String,
    store: Option<Store>,
    wire: Wire,
    hello: v1::Hello,
    stats: Stats,
    connected: AtomicBool,
    config: watch::Sender<Arc<ConfigVersion>>,
    around: Around,
    applied: watch::Sender<u64>,
    downloads: mpsc::Sender<v1::Download>,
    hits: Mutex<Rollup>,
    tombstones: mpsc::Sender<v1::Tombstone>,
    unclaimed: Mutex<Option<mpsc::Receiver<v1::Tombstone>>>,
}

impl Feed {
    /// Read what is on disk and keep attached to the manager from now on. Returns at once.
    pub fn start(config: FeedConfig, hello: v1::Hello, stats: Stats, tasks: &Tasks) -> Self {
        let kept = config.state_file.as_deref().map(state::read).unwrap_or_default();
        let (downloads, reported) = mpsc::channel(WAITING_DOWNLOADS);
        let (tombstones, unclaimed) = mpsc::channel(WAITING_TOMBSTONES);
        let feed = Self(Arc::new(Inner {
            manager: config.manager,
            component: config.component,
            admin_address: config.admin_address,
            store: config.store,
            wire: config.wire,
            hello,
            stats,
            connected: AtomicBool::new(false),
            config: watch::Sender::new(Arc::new(kept.config)),
            around: Around::kept(config.surroundings_file.as_deref()),
            applied: watch::Sender::new(kept.tombstone_sequence),
            downloads,
            hits: Mutex::default(),
            tombstones,
            unclaimed: Mutex::new(Some(unclaimed)),
        }));
        if let Some(path) = config.state_file {
            tasks.spawn("feed state", state::keep(path, feed.config(), feed.0.applied.subscribe()));
        }
        if let Some(path) = config.surroundings_file {
            let (upstreams, zone) = (feed.0.around.upstreams.subscribe(), feed.0.around.zone.subscribe());
            tasks.spawn("feed surroundings", around::keep(path, upstreams, zone));
        }
        if feed.0.manager.is_some() {
            tasks.spawn("feed", attach::keep_attached(feed.clone(), reported));
        }
        feed
    }

    /// The configuration in force, now and at every change.
    pub fn config(&self) -> watch::Receiver<Arc<ConfigVersion>> {
        self.0.config.subscribe()
    }

    /// The upstreams that the cluster adds, now and at every change. Whether they count is for the node's own file to
    /// say; a node that takes them tells what became of each by [`Feed::took`].
    pub fn upstreams(&self) -> watch::Receiver<Arc<v1::ClusterUpstreams>> {
        self.0.around.upstreams.subscribe()
    }

    /// This is what the node made of the upstreams.
    pub fn took(&self, state: v1::UpstreamsState) {
        self.0.around.taken.send_replace(Some(state));
    }

    /// The zone of the node's machine as the cluster knows it, now and at every change; empty when it does not.
    pub fn zone(&self) -> watch::Receiver<String> {
        self.0.around.zone.subscribe()
    }

    /// The tombstones to honour, in order; the first caller gets them. Answer each with [`Feed::applied`].
    pub fn tombstones(&self) -> Option<mpsc::Receiver<v1::Tombstone>> {
        self.0.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Everything up to this tombstone is honoured here: it is written down and not sent again.
    pub fn applied(&self, sequence: u64) {
        self.0.applied.send_if_modified(|applied| {
            let newer = sequence > *applied;
            *applied = (*applied).max(sequence);
            newer
        });
    }

    /// Honour tombstones by purging `store`, until the feed ends. `forget` is told what was purged once it is gone:
    /// whoever was believed about it must be believed anew. A tombstone counts as applied after both.
    pub async fn purge(self, store: Store, forget: impl Fn(&Purged) + Send) {
        let Some(mut tombstones) = self.tombstones() else { return };
        while let Some(tombstone) = tombstones.recv().await {
            if let Some(purged) = holdings::purge(&store, &tombstone).await {
                forget(&purged);
            }
            self.applied(tombstone.sequence);
        }
    }

    /// Report a download (its start, its progress, its end); lost when too many wait. Small ones from the node's own
    /// disk are added up and told once a second: they may come a hundred thousand times faster than rows are written.
    pub fn download(&self, download: v1::Download) {
        if self.0.manager.is_none() {
            return;
        }
        let is_taken = if is_small_hit(&download) {
            self.hits().add(download)
        } else {
            self.0.downloads.try_send(download).is_ok()
        };
        if !is_taken {
            tracing::debug!("too many downloads wait to be reported, one is lost");
        }
    }

    fn hits(&self) -> MutexGuard<'_, Rollup> {
        self.0.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the manager hears this node now.
    pub fn connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    /// The manager's address, as configured.
    pub fn manager(&self) -> Option<&str> {
        self.0.manager.as_deref()
    }
}

#[cfg(test)]
mod tests;
