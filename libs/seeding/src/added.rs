//! Upstreams that the cluster adds, on a node whose own file lets it.
//!
//! Owns: the task that puts each list in force and tells what became of it. Called by: the wiring of a service, when its
//! file says `upstreamsFromCluster`; without that word nothing of this runs and no list counts. After a crash: the feed
//! kept the last list, so that a node starts under it with no manager reachable (I8).

use darner_origin::{Added, Origin};
use darner_proto::v1;
use darner_transfer::feed::Feed;

/// Put every list of the cluster in force, for as long as the feed lives.
pub async fn take_upstreams(origin: Origin, feed: Feed) {
    let mut told = feed.upstreams();
    loop {
        let list = told.borrow_and_update().clone();
        let refused = origin.add(&list.upstreams.iter().map(added).collect::<Vec<_>>());
        for (name, reason) in &refused {
            tracing::warn!(name, reason, "an upstream of the cluster is refused");
        }
        tracing::info!(
            revision = list.revision,
            added = list.upstreams.len() - refused.len(),
            "upstreams of the cluster are in force"
        );
        let refused =
            refused.into_iter().map(|(name, reason)| v1::RefusedUpstream { name, reason }).collect();
        feed.took(v1::UpstreamsState { revision: list.revision.clone(), refused });
        if told.changed().await.is_err() {
            return;
        }
    }
}

/// What the origin is told of one.
fn added(one: &v1::ClusterUpstream) -> Added {
    Added {
        name: one.name.clone(),
        entry: one.entry.clone(),
        redirects_to: one.redirects_to.clone(),
        ca_pem: one.ca_pem.clone(),
    }
}
