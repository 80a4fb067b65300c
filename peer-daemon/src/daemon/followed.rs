//! What a running daemon follows: the manager's feed, the membership, its own load.
//!
//! The feed narrows what the node's own configuration allows and never widens it; a wish that cannot be met is logged
//! and the last good state stays.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::Started;
use darner_chassis::metrics::{Kind, Metrics, Role, Source};
use darner_chassis::settings::Host;
use darner_origin::Origin;
use darner_proto::{PROTOCOL_VERSION, features, v1};
use darner_store::Store;
use darner_transfer::cluster::Cluster;
use darner_transfer::download::Downloads;
use darner_transfer::feed::{Feed, FeedConfig};
use darner_transfer::trust::Trust;

use crate::config::{Config, Fallback};
use crate::gate::Switches;
use crate::proof::Proof;

/// Between two words to the schedulers about how busy this node is.
const LOAD_EVERY: Duration = Duration::from_secs(5);

/// What the feed may turn.
pub(super) struct Followed {
    pub(super) own: Config,
    pub(super) switches: Arc<Switches>,
    pub(super) proof: Arc<Proof>,
    pub(super) alone: Arc<AtomicBool>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Followed {
    /// Applies every configuration the manager pushes, beginning with the one kept on disk.
    pub(super) async fn follow(self, feed: Feed) {
        let mut pushed = feed.config();
        loop {
            let version = pushed.borrow_and_update().clone();
            let wanted = &version.wanted;
            let own = &self.own;
            self.switches.bypass.store(own.git.bypass || !wanted.serves(), Ordering::Relaxed);
            self.switches.no_prefetch.store(!wanted.prefetch_on_batch(true), Ordering::Relaxed);
            let alone = wanted.fallback_to_origin(own.fallback == Fallback::Origin);
            self.alone.store(alone, Ordering::Relaxed);
            self.proof.set_public(&wanted.public(&own.public));
            self.narrow(&wanted.upstreams(&own.upstreams));
            if version.version > 0 {
                tracing::info!(version = version.version, "pushed configuration in force");
            }
            if pushed.changed().await.is_err() {
                return;
            }
        }
    }

    fn narrow(&self, upstreams: &[String]) {
        if upstreams.len() == self.own.upstreams.len() {
            self.switches.narrow(None);
            return;
        }
        // Never dialled through: its allow-list alone is asked, so its counters count nothing.
        match Origin::new(
            &super::origin_config(&self.own, upstreams),
            Metrics::new(),
            Arc::clone(&self.clock),
        ) {
            Ok(narrowed) => self.switches.narrow(Some(narrowed)),
            Err(words) => tracing::error!(%words, "the pushed `upstreams` cannot be read"),
        }
    }
}

/// Attaches to the manager.
pub(super) fn feed(started: &Started<Config>, data: &Path, store: &Store, cluster: &Cluster) -> Feed {
    let config = FeedConfig {
        manager: started.config.value.manager.clone(),
        component: "peer-daemon".to_owned(),
        admin_address: started.admin.address().to_string(),
        state_file: Some(data.join("feed.json")),
        store: Some(store.clone()),
    };
    let hello = v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        features: features::ALL,
        node: Some(cluster.identity().clone()),
        clock_ms: System.now_ms(),
    };
    let (metrics, store, drain) = (started.metrics.clone(), store.clone(), started.drain.clone());
    let stats = Arc::new(move || stats(&metrics, &store, drain.is_draining()));
    Feed::start(config, hello, stats, &started.tasks)
}

fn stats(metrics: &Metrics, store: &Store, draining: bool) -> v1::NodeStats {
    let usage = store.usage();
    let requests = |kind: Kind| (kind.label().to_owned(), metrics.origin_requests_so_far(kind, Role::Daemon));
    let bytes = |kind: Kind| (kind.label().to_owned(), metrics.origin_bytes_so_far(kind, Role::Daemon));
    let served = |source: Source| (source.label().to_owned(), metrics.served_so_far(source));
    v1::NodeStats {
        at_ms: System.now_ms(),
        served_bytes: Source::ALL.into_iter().map(served).collect(),
        origin_bytes: Kind::ALL.into_iter().map(bytes).collect(),
        origin_requests: Kind::ALL.into_iter().map(requests).collect(),
        stored_bytes: usage.bytes,
        stored_objects: usage.objects,
        budget_bytes: usage.budget_bytes,
        draining,
        ..Default::default()
    }
}

/// Learns the public key of every member: what it attests while it acts as a seed is checked with it.
pub(super) async fn learn(cluster: Cluster, trust: Trust) {
    let mut members = cluster.watch_membership();
    loop {
        let now = members.borrow_and_update().clone();
        now.seeds.iter().chain(&now.daemons).for_each(|node| trust.learn(node));
        if members.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the schedulers how busy this node is.
pub(super) async fn load(cluster: Cluster, store: Store, downloads: Downloads) {
    let mut every = tokio::time::interval(LOAD_EVERY);
    loop {
        every.tick().await;
        cluster.load(v1::Load {
            downloads: u32::try_from(downloads.list().len()).unwrap_or(u32::MAX),
            stored_bytes: store.usage().bytes,
            ..Default::default()
        });
    }
}

/// The names the port's own certificate is made for.
pub(super) fn names(host: &Host, listening: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listening.ip().is_unspecified() {
        names.push(listening.ip().to_string());
    }
    names.extend([&host.advertise, &host.name].into_iter().flatten().cloned());
    names.dedup();
    names
}
