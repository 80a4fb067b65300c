//! What a running daemon follows: the manager's feed and the membership.
//!
//! The feed narrows what the node's own configuration allows and never widens it, but for the upstreams that the node's
//! own file lets the cluster add. Which upstreams are left is followed by `darner_seeding::narrow_upstreams`, the budget
//! by the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use darner_chassis::settings::Host;
use darner_transfer::cluster::Cluster;
use darner_transfer::feed::Feed;
use darner_transfer::trust::Trust;

use crate::config::{Config, Fallback};
use crate::gate::Switches;
use crate::proof::Proof;

/// What the feed may turn.
pub(super) struct Followed {
    pub(super) own: Config,
    pub(super) switches: Arc<Switches>,
    pub(super) proof: Arc<Proof>,
    pub(super) alone: Arc<AtomicBool>,
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
            if version.version > 0 {
                tracing::info!(version = version.version, "pushed configuration in force");
            }
            if pushed.changed().await.is_err() {
                return;
            }
        }
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
