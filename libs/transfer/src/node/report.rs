//! What a node tells the control plane of itself, as far as there is one.

use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::Started;
use darner_chassis::metrics::{self, Metrics, Role, Source};
use darner_proto::{PROTOCOL_VERSION, features, v1};
use darner_store::Store;

use super::Node;
use crate::cluster::Cluster;
use crate::feed::{Feed, FeedConfig};

/// Between two words to the schedulers about how busy this node is.
const LOAD_EVERY: Duration = Duration::from_secs(5);

impl Node {
    /// Attaches to the manager; absent: the feed says what is kept on disk.
    pub fn attach<C>(&self, started: &Started<C>, manager: Option<String>) -> Feed {
        let config = FeedConfig {
            manager,
            component: self.kind.component().to_owned(),
            admin_address: started.admin.address().to_string(),
            state_file: Some(self.data.join("feed.json")),
            surroundings_file: Some(self.data.join("surroundings")),
            store: Some(self.store.clone()),
            wire: self.cluster.wire().clone(),
        };
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            features: features::ALL,
            node: Some(self.cluster.identity().clone()),
            clock_ms: System.now_ms(),
        };
        let (metrics, store, drain) = (started.metrics.clone(), self.store.clone(), started.drain.clone());
        let role = self.kind.reads_as();
        let told = Arc::new(move || v1::NodeStats {
            draining: drain.is_draining(),
            ..stats(role, &metrics, &store)
        });
        Feed::start(config, hello, told, &started.tasks)
    }
}

fn stats(role: Role, metrics: &Metrics, store: &Store) -> v1::NodeStats {
    let usage = store.usage();
    let requests =
        |kind: metrics::Kind| (kind.label().to_owned(), metrics.origin_requests_so_far(kind, role));
    let bytes = |kind: metrics::Kind| (kind.label().to_owned(), metrics.origin_bytes_so_far(kind, role));
    let served = |source: Source| (source.label().to_owned(), metrics.served_so_far(source));
    v1::NodeStats {
        at_ms: System.now_ms(),
        served_bytes: Source::ALL.into_iter().map(served).collect(),
        origin_bytes: metrics::Kind::ALL.into_iter().map(bytes).collect(),
        origin_requests: metrics::Kind::ALL.into_iter().map(requests).collect(),
        stored_bytes: usage.bytes,
        stored_objects: usage.objects,
        budget_bytes: usage.budget_bytes,
        ..Default::default()
    }
}

/// Tells the schedulers how busy this node is; `downloads` counts those under way.
pub(super) async fn load(cluster: Cluster, store: Store, downloads: impl Fn() -> usize + Send) {
    let mut every = tokio::time::interval(LOAD_EVERY);
    loop {
        every.tick().await;
        cluster.load(v1::Load {
            downloads: u32::try_from(downloads()).unwrap_or(u32::MAX),
            stored_bytes: store.usage().bytes,
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::metrics::Kind;
    use darner_store::StoreConfig;

    #[tokio::test]
    async fn a_node_reports_the_reads_on_its_own_account() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::at(data.path())).await.unwrap();
        let metrics = Metrics::new();
        metrics.origin_bytes(Kind::Content, Role::Seed, 5);
        metrics.origin_request(Kind::Batch, Role::Daemon);
        let (seed, daemon) = (stats(Role::Seed, &metrics, &store), stats(Role::Daemon, &metrics, &store));
        assert_eq!((seed.origin_bytes["content"], daemon.origin_bytes["content"]), (5, 0));
        assert_eq!((seed.origin_requests["batch"], daemon.origin_requests["batch"]), (0, 1));
        assert_eq!((seed.stored_objects, seed.draining), (0, false));
    }
}
