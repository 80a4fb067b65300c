//! What a seed tells the control plane and hears from it, as far as there is one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::Started;
use darner_chassis::metrics::{Kind, Metrics, Role, Source};
use darner_proto::{PROTOCOL_VERSION, features, v1};
use darner_store::Store;
use darner_transfer::cluster::Cluster;
use darner_transfer::feed::{Feed, FeedConfig};

use crate::config::Config;

/// How often schedulers hear how busy the seed is.
const LOAD_EVERY: Duration = Duration::from_secs(5);

/// Attaches to the manager, honours purges, reports load.
pub(crate) fn start(started: &Started<Config>, data: &Path, cluster: &Cluster, store: &Store) {
    let config = FeedConfig {
        manager: started.config.value.manager.clone(),
        component: "seed-peer".to_owned(),
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
    let (metrics, held, drain) = (started.metrics.clone(), store.clone(), started.drain.clone());
    let told = Arc::new(move || stats(&metrics, &held, drain.is_draining()));
    let feed = Feed::start(config, hello, told, &started.tasks);
    started.tasks.spawn("feed purges", feed.purge(store.clone()));
    started.tasks.spawn("load", load(cluster.clone(), store.clone()));
}

fn stats(metrics: &Metrics, store: &Store, draining: bool) -> v1::NodeStats {
    let usage = store.usage();
    let requests = |kind: Kind| (kind.label().to_owned(), metrics.origin_requests_so_far(kind, Role::Seed));
    let bytes = |kind: Kind| (kind.label().to_owned(), metrics.origin_bytes_so_far(kind, Role::Seed));
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

async fn load(cluster: Cluster, store: Store) {
    let mut every = tokio::time::interval(LOAD_EVERY);
    loop {
        every.tick().await;
        cluster.load(v1::Load { stored_bytes: store.usage().bytes, ..Default::default() });
    }
}
