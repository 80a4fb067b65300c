//! What the cluster around the nodes tells them through their streams: upstreams it adds, and where each node stands.
//!
//! Owns: the last list and the last places, and whoever waits for a change of them. Both are empty outside Kubernetes.
//! Never: the database; the API server is the one that remembers, and a list says itself which it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use darner_proto::v1;
use tokio::sync::watch;

/// One pod's address, by what runs there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// As a node calls itself.
    pub component: String,
    /// Its IP address.
    pub address: String,
}

/// Where a spot is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Zone of the machine; empty when it has none.
    pub zone: String,
    /// Name of the machine.
    pub machine: String,
}

/// All places that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Every pod of ours.
    pub spots: BTreeMap<Spot, Place>,
    /// host:port of every scheduler.
    pub schedulers: Vec<String>,
}

impl Places {
    /// The zone of the part that is reached at `reached` (host:port); none when it is not known.
    pub fn zone(&self, component: &str, reached: &str) -> Option<&str> {
        let address = reached.parse::<SocketAddr>().ok()?.ip().to_string();
        let spot = Spot { component: component.to_owned(), address };
        self.spots.get(&spot).map(|place| place.zone.as_str()).filter(|zone| !zone.is_empty())
    }
}

/// What the cluster tells.
#[derive(Debug)]
pub struct Cluster {
    upstreams: watch::Sender<Option<Arc<v1::ClusterUpstreams>>>,
    places: watch::Sender<Arc<Places>>,
    around: watch::Sender<u64>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            upstreams: watch::Sender::new(None),
            places: watch::Sender::new(Arc::default()),
            around: watch::Sender::new(0),
        }
    }
}

impl Cluster {
    /// This is the list from now on.
    pub fn give_upstreams(&self, list: v1::ClusterUpstreams) {
        self.upstreams.send_if_modified(|current| {
            let news = current.as_ref().is_none_or(|current| current.revision != list.revision);
            if news {
                tracing::info!(
                    revision = list.revision,
                    upstreams = list.upstreams.len(),
                    "upstreams of the cluster"
                );
                *current = Some(Arc::new(list));
            }
            news
        });
    }

    /// The list, now and at every change; none until it is known.
    pub fn upstreams(&self) -> watch::Receiver<Option<Arc<v1::ClusterUpstreams>>> {
        self.upstreams.subscribe()
    }

    /// These are the places from now on.
    pub fn settle(&self, places: Places) {
        self.places.send_replace(Arc::new(places));
    }

    /// The places known now.
    pub fn places(&self) -> Arc<Places> {
        self.places.borrow().clone()
    }

    /// The places, now and at every change.
    pub fn watch_places(&self) -> watch::Receiver<Arc<Places>> {
        self.places.subscribe()
    }

    /// A node attached, left or said something about upstreams.
    pub fn stir(&self) {
        self.around.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Changes whenever a node did that.
    pub fn around(&self) -> watch::Receiver<u64> {
        self.around.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_list_is_no_news() {
        let cluster = Cluster::default();
        let mut upstreams = cluster.upstreams();
        assert!(upstreams.borrow_and_update().is_none());
        let list =
            |revision: &str| v1::ClusterUpstreams { revision: revision.to_owned(), ..Default::default() };
        cluster.give_upstreams(list("a"));
        assert!(upstreams.has_changed().unwrap());
        upstreams.mark_unchanged();
        cluster.give_upstreams(list("a"));
        assert!(!upstreams.has_changed().unwrap());
        cluster.give_upstreams(list("b"));
        assert!(upstreams.has_changed().unwrap());
    }

    #[test]
    fn a_zone_is_found_by_part_and_address() {
        let spot = Spot { component: "seed-peer".to_owned(), address: "10.0.0.1".to_owned() };
        let place = Place { zone: "a".to_owned(), machine: "n".to_owned() };
        let places = Places { spots: BTreeMap::from([(spot, place)]), schedulers: Vec::new() };
        assert_eq!(places.zone("seed-peer", "10.0.0.1:65002"), Some("a"));
        for (component, reached) in
            [("peer-daemon", "10.0.0.1:1"), ("seed-peer", "10.0.0.2:1"), ("seed-peer", "name:1")]
        {
            assert_eq!(places.zone(component, reached), None, "{component} {reached}");
        }
    }
}
