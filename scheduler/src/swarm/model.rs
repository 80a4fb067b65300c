//! What each event does to the model: nodes come and go, hold, want and forget.

use std::sync::Arc;

use darner_lfs::ObjectKey;
use darner_proto::v1;

use super::choice::{self, MAX_PARENTS};
use super::nodes::{Node, NodeNo};
use super::objects::ObjectNo;
use super::{Closed, Effect, Holdings, Order, Session, Swarm, Want};

/// Holders beyond this many in a zone change no child's orders.
const ENOUGH_HOLDERS: usize = 4;

/// What a person is shown of the swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The epoch.
    pub epoch: u64,
    /// Distinct objects held or wanted.
    pub objects: usize,
    /// (node, object) pairs held.
    pub holdings: usize,
    /// (node, object) pairs wanted.
    pub wants: usize,
    /// News dropped because a limit was reached.
    pub dropped: u64,
    /// One line per node, by tenant, zone and id.
    pub nodes: Vec<NodeSummary>,
}

/// One node as a person is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSummary {
    /// Its id.
    pub id: String,
    /// Its host's name.
    pub host: String,
    /// Its tenant.
    pub tenant: String,
    /// Its zone.
    pub zone: String,
    /// Whether it is a seed.
    pub seed: bool,
    /// Where its pieces are taken.
    pub piece_address: String,
    /// Its version.
    pub version: String,
    /// Objects it holds, whole or in part.
    pub holds: usize,
    /// Objects it wants.
    pub wants: usize,
    /// Wants it serves.
    pub children: u32,
    /// Set aside for all.
    pub aside: bool,
    /// When it joined.
    pub joined_ms: u64,
    /// Its stream.
    pub session: Session,
}

impl Swarm {
    pub(super) fn joined(
        &mut self,
        session: Session,
        identity: Arc<v1::NodeIdentity>,
        now_ms: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(earlier) = self.nodes.named(&identity.tenant, &identity.id)
            && let Some(node) = self.nodes.get(earlier)
        {
            // A late reconnect of a process that has been replaced does not push out its successor.
            if node.identity.incarnation > identity.incarnation {
                return vec![Effect::Close { session, reason: Closed::Replaced }];
            }
            effects.push(Effect::Close { session: node.session, reason: Closed::Replaced });
            self.remove(earlier);
        }
        if self.nodes.len() >= self.limits.nodes {
            self.dropped += 1;
            effects.push(Effect::Close { session, reason: Closed::Full });
            return effects;
        }
        let place = self.tenants.enter(&identity);
        let tenant = identity.tenant.clone();
        let node = Node::new(session, identity, place, now_ms);
        let seed = node.seed;
        let number = self.nodes.add(node);
        if let Some(node) = self.nodes.get(number) {
            self.tenants.add(number, node);
        }
        if seed {
            self.replan_tenant(&tenant);
        }
        let members = Arc::new(self.tenants.members(&tenant, &self.nodes, self.epoch));
        effects.push(Effect::Membership { session, members });
        effects
    }

    pub(super) fn left(&mut self, session: Session) {
        if let Some(number) = self.nodes.number(session) {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: NodeNo) {
        let Some(node) = self.nodes.get(number) else { return };
        let (place, seed) = (node.place, node.seed);
        let wants: Vec<ObjectNo> = node.wants.iter().copied().collect();
        let held: Vec<ObjectNo> = node.held.keys().copied().collect();
        for object in wants {
            self.drop_want(object, number);
        }
        for object in held {
            if let Some(known) = self.objects.get_mut(object) {
                known.drop_holder(place, number, seed);
            }
            self.after_loss(object);
        }
        let Some(node) = self.nodes.remove(number) else { return };
        self.objects.holdings -= node.held.len();
        self.tenants.leave(number, &node);
        if seed {
            self.replan_tenant(&node.identity.tenant);
        }
    }

    fn after_loss(&mut self, object: ObjectNo) {
        self.replan.some(object);
        self.objects.release(object);
    }

    fn drop_want(&mut self, object: ObjectNo, child: NodeNo) {
        let Some(want) = self.wants.remove(&(object, child)) else { return };
        self.starving.remove(&(object, child));
        self.count_children(&want.parents, &[]);
        if let Some(node) = self.nodes.get_mut(child) {
            node.wants.remove(&object);
            let place = node.place;
            if let Some(known) = self.objects.get_mut(object) {
                known.drop_wanter(place, child);
            }
        }
        self.after_loss(object);
    }

    pub(super) fn holds(&mut self, session: Session, news: Holdings) {
        let Some(number) = self.nodes.number(session) else { return };
        if let Some(node) = self.nodes.get_mut(number)
            && news.full
            && !node.listing
        {
            node.round = node.round.wrapping_add(1);
        }
        for (key, complete) in news.added {
            self.add_holding(number, key, complete);
        }
        for key in news.removed {
            if let Some(object) = self.objects.find(&key) {
                self.drop_holding(number, object);
            }
        }
        let Some(node) = self.nodes.get_mut(number) else { return };
        let ended = news.full && !news.more;
        node.listing = (node.listing || news.full) && !ended;
        if ended {
            let round = node.round;
            let stale: Vec<ObjectNo> =
                node.held.iter().filter(|(_, named)| **named != round).map(|(object, _)| *object).collect();
            for object in stale {
                self.drop_holding(number, object);
            }
        }
    }

    fn add_holding(&mut self, number: NodeNo, key: ObjectKey, complete: bool) {
        let room = self.objects.holdings < self.limits.holdings;
        let found = self.objects.find_or_add(key, self.limits.objects);
        let (Some(object), Some(node)) = (found, self.nodes.get_mut(number)) else {
            self.dropped += 1;
            return;
        };
        if !node.held.contains_key(&object) && !room {
            self.objects.release(object);
            self.dropped += 1;
            return;
        }
        if node.held.insert(object, node.round).is_none() {
            self.objects.holdings += 1;
        }
        let (place, seed) = (node.place, node.seed);
        let Some(known) = self.objects.get_mut(object) else { return };
        if !known.hold(place, number, seed, complete) {
            return;
        }
        let holders = known.site(place).map_or(0, |site| site.complete.len());
        if complete && (seed || holders <= ENOUGH_HOLDERS) {
            self.replan.all(object);
        } else {
            self.replan.some(object);
        }
    }

    fn drop_holding(&mut self, number: NodeNo, object: ObjectNo) {
        let Some(node) = self.nodes.get_mut(number) else { return };
        if node.held.remove(&object).is_none() {
            return;
        }
        self.objects.holdings -= 1;
        let (place, seed) = (node.place, node.seed);
        if let Some(known) = self.objects.get_mut(object) {
            known.drop_holder(place, number, seed);
        }
        self.after_loss(object);
    }

    pub(super) fn wanted(
        &mut self,
        session: Session,
        wants: &[(ObjectKey, Option<u64>)],
        now_ms: u64,
    ) -> Vec<Effect> {
        let Some(child) = self.nodes.number(session) else { return Vec::new() };
        let mut orders = Vec::with_capacity(wants.len());
        for (key, size) in wants {
            let parents = if let Some(object) = self.note_want(child, *key, *size) {
                self.decide(object, child, now_ms, true).map(|(_, order)| order.parents).unwrap_or_default()
            } else {
                self.dropped += 1;
                self.spell(&choice::seeds_only(self, key, child))
            };
            debug_assert!(parents.len() <= MAX_PARENTS, "the choice is bounded");
            orders.push(Order { key: *key, parents });
        }
        vec![Effect::Orders { session, epoch: self.epoch, orders }]
    }

    /// Keeps a want; `None` when there is no room for it.
    fn note_want(&mut self, child: NodeNo, key: ObjectKey, size: Option<u64>) -> Option<ObjectNo> {
        let known = self.objects.find(&key).filter(|object| self.wants.contains_key(&(*object, child)));
        if known.is_some() {
            return known;
        }
        let node = self.nodes.get_mut(child)?;
        if self.wants.len() >= self.limits.wants || node.wants.len() >= self.limits.wants_per_node {
            return None;
        }
        let object = self.objects.find_or_add(key, self.limits.objects)?;
        node.wants.insert(object);
        self.objects.get_mut(object)?.want(node.place, child);
        self.wants.insert((object, child), Want { size, ..Want::default() });
        // Those that asked before may exchange with this one.
        self.replan.some(object);
        Some(object)
    }

    pub(super) fn forgotten(&mut self, session: Session, keys: &[ObjectKey]) {
        let Some(child) = self.nodes.number(session) else { return };
        for key in keys {
            if let Some(object) = self.objects.find(key) {
                self.drop_want(object, child);
            }
        }
    }

    /// Says the members to the nodes of every tenant where they changed.
    pub(super) fn tell_members(&mut self, now_ms: u64) -> Vec<Effect> {
        let due = self.tenants.due(now_ms);
        if due.is_empty() {
            return Vec::new();
        }
        self.epoch = now_ms.max(self.epoch.saturating_add(1));
        let mut effects = Vec::new();
        for tenant in due {
            let members = Arc::new(self.tenants.members(&tenant, &self.nodes, self.epoch));
            let of_tenant = self.nodes.iter().filter(|(_, node)| node.identity.tenant == tenant);
            effects.extend(of_tenant.map(|(_, node)| Effect::Membership {
                session: node.session,
                members: Arc::clone(&members),
            }));
        }
        effects
    }

    /// A tenant's ring changed: every want of its nodes is decided anew.
    fn replan_tenant(&mut self, tenant: &str) {
        let wants = self
            .wants
            .keys()
            .filter(|(_, child)| self.nodes.get(*child).is_some_and(|node| node.identity.tenant == tenant));
        let objects: Vec<ObjectNo> = wants.map(|(object, _)| *object).collect();
        for object in objects {
            self.replan.all(object);
        }
    }

    /// Nodes, wants and holdings, counted.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.wants.len(), self.objects.holdings)
    }

    /// What a person is shown.
    pub fn summary(&self, now_ms: u64) -> Summary {
        let mut nodes: Vec<NodeSummary> = self
            .nodes
            .iter()
            .map(|(_, node)| NodeSummary {
                id: node.identity.id.clone(),
                host: node.identity.host_name.clone(),
                tenant: node.identity.tenant.clone(),
                zone: node.identity.zone.clone(),
                seed: node.seed,
                piece_address: node.identity.piece_address.clone(),
                version: node.identity.version.clone(),
                holds: node.held.len(),
                wants: node.wants.len(),
                children: node.children,
                aside: now_ms < node.aside_until,
                joined_ms: node.joined_ms,
                session: node.session,
            })
            .collect();
        nodes.sort_by(|a, b| (&a.tenant, !a.seed, &a.zone, &a.id).cmp(&(&b.tenant, !b.seed, &b.zone, &b.id)));
        Summary {
            epoch: self.epoch,
            objects: self.objects.len(),
            holdings: self.objects.holdings,
            wants: self.wants.len(),
            dropped: self.dropped,
            nodes,
        }
    }
}
