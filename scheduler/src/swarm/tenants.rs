//! Tenants, their zones, and the members each tenant's nodes hear of.
//!
//! Stays true: nothing of one tenant is ever reachable from another one's entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use darner_lfs::{ObjectKey, rendezvous};
use darner_proto::v1;

use super::nodes::{Node, NodeNo, Nodes};

/// Daemons in a membership: enough that one acting seed per object is alive, few enough to be sent to everybody.
const SAMPLE: usize = 64;
/// Seeds in a ring; more are counted out by their order.
const RING: usize = 256;
/// A change of the sample alone is said at most this often: it matters only when all seeds are gone.
const SAMPLE_PAUSE_MS: u64 = 1_000;

/// A zone of a tenant. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceNo(u64);

#[derive(Debug, Default)]
pub(super) struct Tenants {
    by_name: BTreeMap<String, Tenant>,
    /// The tenant of each place.
    places: BTreeMap<PlaceNo, String>,
    last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tenant {
    zones: BTreeMap<String, (PlaceNo, usize)>,
    seeds: Vec<(NodeNo, Arc<v1::NodeIdentity>)>,
    /// All daemons by their spread: the first ones are the sample, the same on every scheduler.
    daemons: BTreeSet<(u64, NodeNo)>,
    news: News,
    said_ms: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum News {
    #[default]
    None,
    Sample,
    Seeds,
}

impl Tenants {
    /// The place a node of this identity is at, counted in.
    pub(super) fn enter(&mut self, identity: &v1::NodeIdentity) -> PlaceNo {
        let tenant = self.by_name.entry(identity.tenant.clone()).or_default();
        if let Some((place, nodes)) = tenant.zones.get_mut(&identity.zone) {
            *nodes += 1;
            return *place;
        }
        self.last += 1;
        let place = PlaceNo(self.last);
        tenant.zones.insert(identity.zone.clone(), (place, 1));
        self.places.insert(place, identity.tenant.clone());
        place
    }

    /// A node is a member from now on.
    pub(super) fn add(&mut self, number: NodeNo, node: &Node) {
        let Some(tenant) = self.by_name.get_mut(&node.identity.tenant) else { return };
        if node.seed {
            tenant.seeds.push((number, Arc::clone(&node.identity)));
            tenant.seeds.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
            tenant.news = News::Seeds;
        } else {
            tenant.daemons.insert((node.spread, number));
            tenant.sample_changed(node, number);
        }
    }

    /// A node is gone: member no more, and its place with the last one.
    pub(super) fn leave(&mut self, number: NodeNo, node: &Node) {
        let Some(tenant) = self.by_name.get_mut(&node.identity.tenant) else { return };
        if node.seed {
            tenant.seeds.retain(|(seed, _)| *seed != number);
            tenant.news = News::Seeds;
        } else {
            tenant.sample_changed(node, number);
            tenant.daemons.remove(&(node.spread, number));
        }
        if let Some((place, nodes)) = tenant.zones.get_mut(&node.identity.zone) {
            *nodes -= 1;
            if *nodes == 0 {
                self.places.remove(place);
                tenant.zones.remove(&node.identity.zone);
            }
        }
        if tenant.zones.is_empty() {
            self.by_name.remove(&node.identity.tenant);
        }
    }

    /// Whether a place is one of a tenant's.
    pub(super) fn is_of(&self, place: PlaceNo, tenant: &str) -> bool {
        self.places.get(&place).is_some_and(|known| known == tenant)
    }

    /// The tenant's seeds in the order in which they own an object: the same order as every node's own.
    pub(super) fn ring(&self, tenant: &str, key: &ObjectKey) -> Vec<NodeNo> {
        let Some(tenant) = self.by_name.get(tenant) else { return Vec::new() };
        let ranked = rendezvous::rank(key, &tenant.seeds, |(_, seed)| &seed.grpc_address);
        ranked.into_iter().map(|(number, _)| *number).collect()
    }

    /// The members of a tenant, as its nodes hear of them.
    pub(super) fn members(&self, tenant: &str, nodes: &Nodes, epoch: u64) -> v1::Membership {
        let Some(tenant) = self.by_name.get(tenant) else { return v1::Membership::default() };
        let daemons = tenant.daemons.iter().take(SAMPLE).filter_map(|(_, number)| nodes.get(*number));
        v1::Membership {
            epoch,
            seeds: tenant.seeds.iter().take(RING).map(|(_, seed)| seed.as_ref().clone()).collect(),
            daemons: daemons.map(|daemon| daemon.identity.as_ref().clone()).collect(),
        }
    }

    /// The tenants whose members are to be told now; they count as told.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<String> {
        let mut due = Vec::new();
        for (name, tenant) in &mut self.by_name {
            let waits = tenant.news == News::Sample && now_ms < tenant.said_ms + SAMPLE_PAUSE_MS;
            if tenant.news != News::None && !waits {
                tenant.news = News::None;
                tenant.said_ms = now_ms;
                due.push(name.clone());
            }
        }
        due
    }

    pub(super) fn has_news(&self) -> bool {
        self.by_name.values().any(|tenant| tenant.news != News::None)
    }
}

impl Tenant {
    /// Called while the daemon is in the set.
    fn sample_changed(&mut self, node: &Node, number: NodeNo) {
        let within = self.daemons.iter().take(SAMPLE).any(|daemon| *daemon == (node.spread, number));
        if within && self.news == News::None {
            self.news = News::Sample;
        }
    }
}
