//! Where the parts of the cluster are, as the EndpointSlices of their Services tell.
//!
//! Owns: the watch of the slices, and what follows from it: the schedulers that are shown, the zone each node is told (a
//! slice carries the zone of the machine's label, so machines themselves need not be read), and that a pod which is gone
//! is forgotten at once, not after a week. Never: decides that a node may not attach; a slice that is missing or late
//! changes nothing for a node that is here.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Place, Places, Spot};
use crate::control::Control;

/// Changes are gathered this long.
const GATHER: Duration = Duration::from_millis(200);
/// Without any change it is looked this often whether somebody who is gone has left by now.
const AGAIN: Duration = Duration::from_secs(10);
/// Pods that are gone, remembered until their node has left.
const MOST_GONE: usize = 10_000;
/// `component` of our Services -> what the part calls itself.
const PARTS: [(&str, &str); 3] =
    [("scheduler", "scheduler"), ("seed-peer", "seed-peer"), ("dfdaemon", "peer-daemon")];

/// Follow the slices for as long as the process lives.
pub async fn follow(api: Api<EndpointSlice>, release: String, configured: Vec<String>, control: Control) {
    let selected = watcher::Config::default().labels(&format!("app={release}"));
    let (store, writer) = reflector::store();
    let mut watched = pin!(watcher(api, selected).default_backoff().reflect(writer));
    let mut gone = BTreeSet::new();
    let (mut listed, mut ill) = (false, false);
    let mut due = Instant::now() + AGAIN;
    loop {
        tokio::select! {
            event = watched.next() => match event {
                Some(Ok(event)) => {
                    ill = false;
                    listed |= matches!(event, watcher::Event::InitDone);
                    due = due.min(Instant::now() + GATHER);
                }
                Some(Err(error)) => {
                    if !std::mem::replace(&mut ill, true) {
                        tracing::warn!(%error, "EndpointSlices cannot be watched; what was known stays");
                    }
                }
                None => return,
            },
            () = sleep_until(due) => {
                due = Instant::now() + AGAIN;
                if listed {
                    let slices = store.state();
                    let now = places(slices.iter().map(AsRef::as_ref));
                    settle(now, &mut gone, &configured, &control).await;
                }
            }
        }
    }
}

/// Make what is seen now what everybody knows.
async fn settle(now: Places, gone: &mut BTreeSet<Spot>, configured: &[String], control: &Control) {
    let before = control.cluster().places();
    let changed = now != *before;
    left(&before, &now, gone);
    if changed {
        let schedulers = if now.schedulers.is_empty() { configured.to_vec() } else { now.schedulers.clone() };
        if now.schedulers != before.schedulers
            && let Err(error) = control.catalog().set_schedulers(&schedulers).await
        {
            tracing::warn!(%error, "the schedulers could not be written down");
        }
        tracing::info!(parts = now.spots.len(), "places of the cluster's parts changed");
        control.cluster().settle(now);
    }
    for spot in gone.iter() {
        if let Err(error) = control.catalog().forget_away(spot).await {
            tracing::warn!(%error, "a node that is gone could not be forgotten");
        }
    }
}

/// Who was there before and is not now is gone; who came back is not.
fn left(before: &Places, now: &Places, gone: &mut BTreeSet<Spot>) {
    gone.extend(before.spots.keys().filter(|spot| !now.spots.contains_key(spot)).cloned());
    gone.retain(|spot| !now.spots.contains_key(spot));
    while gone.len() > MOST_GONE {
        gone.pop_first();
    }
}

/// What these slices tell.
fn places<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Places {
    let mut spots = BTreeMap::new();
    let mut schedulers = BTreeSet::new();
    for slice in slices {
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get("component"));
        let Some((_, part)) =
            PARTS.iter().find(|(component, _)| label.is_some_and(|label| label == component))
        else {
            continue;
        };
        // The first port is the documented one; a scheduler has no other that nodes use.
        let mut ports = slice
            .ports
            .iter()
            .flatten()
            .filter(|port| port.name.as_deref().is_none_or(|name| name != "admin"));
        let port = ports.find_map(|port| port.port);
        for endpoint in &slice.endpoints {
            let zone = endpoint.zone.clone().unwrap_or_default();
            let machine = endpoint.node_name.clone().unwrap_or_default();
            for address in &endpoint.addresses {
                if let (&"scheduler", Some(port)) = (part, port) {
                    schedulers.insert(authority(address, port));
                }
                let spot = Spot { component: (*part).to_owned(), address: address.clone() };
                spots.insert(spot, Place { zone: zone.clone(), machine: machine.clone() });
            }
        }
    }
    Places { spots, schedulers: schedulers.into_iter().collect() }
}

fn authority(address: &str, port: i32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(component: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s", "labels": {"app": "darner", "component": component}},
            "ports": [{"name": "admin", "port": 8000}, {"name": "grpc", "port": 8002}],
            "endpoints": endpoints
        }))
        .unwrap()
    }

    fn spot(component: &str, address: &str) -> Spot {
        Spot { component: component.to_owned(), address: address.to_owned() }
    }

    #[test]
    fn slices_tell_zone_machine_and_schedulers() {
        let slices = [
            slice(
                "dfdaemon",
                &serde_json::json!([{"addresses": ["10.0.0.1"], "zone": "a", "nodeName": "n1"}]),
            ),
            slice("scheduler", &serde_json::json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["fd00::2"]}])),
            slice("manager", &serde_json::json!([{"addresses": ["10.0.0.3"]}])),
        ];
        let places = places(slices.iter());
        assert_eq!(places.zone("peer-daemon", "10.0.0.1:65002"), Some("a"));
        assert_eq!(places.zone("seed-peer", "10.0.0.1:65002"), None, "another part on the same address");
        assert_eq!(places.schedulers, ["10.0.0.2:8002", "[fd00::2]:8002"]);
        assert_eq!(places.spots.len(), 3);
    }

    #[test]
    fn who_left_is_gone_until_it_is_back() {
        let with = |addresses: &[&str]| {
            let endpoints = serde_json::json!([{"addresses": addresses}]);
            places([slice("seed-peer", &endpoints)].iter())
        };
        let mut gone = BTreeSet::new();
        left(&with(&["10.0.0.1", "10.0.0.2"]), &with(&["10.0.0.1"]), &mut gone);
        assert_eq!(gone, BTreeSet::from([spot("seed-peer", "10.0.0.2")]));
        left(&with(&["10.0.0.1"]), &with(&["10.0.0.1", "10.0.0.2"]), &mut gone);
        assert!(gone.is_empty());
    }

    #[test]
    fn nothing_known_before_means_nobody_left() {
        let mut gone = BTreeSet::new();
        left(&Places::default(), &places([].into_iter()), &mut gone);
        assert!(gone.is_empty());
    }
}
