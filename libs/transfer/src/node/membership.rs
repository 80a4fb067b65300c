//! Whether a node that starts knows the others yet, told where its readiness is asked.
//!
//! A daemon that is used before it knows the seeds looks for them longer than it has to, and a rollout that goes on
//! before the new node is a member takes the old ones away too early. Never: holds anything up for longer than
//! [`PATIENCE`]: a node is as good alone as it can be then (I8).

use std::time::Duration;

use darner_chassis::admin::Readiness;
use darner_chassis::command::Started;
use tokio::time::{Instant, sleep};

use super::Node;
use crate::cluster::Cluster;

/// A node that has not joined by then is ready alone. Longer than a scheduler's pod and its name take to appear beside
/// the node's own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Its name among the parts of readiness.
const PART: &str = "membership";

impl Node {
    /// Has the node ready once it knows the others, or has waited for them long enough.
    pub fn tell_joined<C>(&self, started: &Started<C>) {
        let readiness = started.admin.readiness().clone();
        if self.cluster.is_joined() {
            return;
        }
        readiness.set(PART, false, "no scheduler has named the members yet");
        started.tasks.spawn("membership", tell(self.cluster.clone(), readiness));
    }
}

async fn tell(cluster: Cluster, readiness: Readiness) {
    let until = Instant::now() + PATIENCE;
    while !cluster.is_joined() && Instant::now() < until {
        sleep(LOOK).await;
    }
    let words = if cluster.is_joined() { "known" } else { "no scheduler answers: this node goes on alone" };
    readiness.set(PART, true, words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;
    use darner_chassis::tasks::Tasks;
    use darner_chassis::tls::Wire;

    #[tokio::test(start_paused = true)]
    async fn a_node_without_any_scheduler_in_reach_is_ready_after_a_while() {
        let (data, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let store = darner_store::Store::open(darner_store::StoreConfig::at(data.path())).await.unwrap();
        let config = ClusterConfig {
            identity: darner_proto::v1::NodeIdentity { id: "a".to_owned(), ..Default::default() },
            schedulers: vec!["127.0.0.1:1".to_owned()],
            seed_peers: Vec::new(),
            state_file: None,
            wire: Wire::clear(),
        };
        let cluster = Cluster::start(config, store, &tasks);
        assert!(!cluster.is_joined());
        let readiness = Readiness::default();
        readiness.set(PART, false, "");
        let begun = Instant::now();
        tell(cluster, readiness.clone()).await;
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2);
        assert!(readiness.is_ready() && readiness.words().contains("alone"), "{}", readiness.words());
        tasks.close().await;
    }
}
