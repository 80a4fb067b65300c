//! Whatever happens in whatever order, every order keeps the promises; checked against a model plain enough to be
//! right by reading.

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests state their sizes in plain numbers and may fail by panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use darner_lfs::{ObjectKey, Oid};
use darner_proto::v1;
use darner_scheduler::swarm::{
    Complaint, Effect, Event, Holdings, Limits, MAX_PARENTS, Order, Session, Swarm, Trouble,
};
use proptest::prelude::*;

const NODES: usize = 14;
const KEYS: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Leave(usize),
    Hold(usize, u8, bool),
    Lose(usize, u8),
    List(usize, Vec<(u8, bool)>),
    Want(usize, Vec<u8>),
    Forget(usize, u8),
    Trouble(usize, u8, usize, u8),
    Tick(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let key = || 0..KEYS;
    let step = prop_oneof![
        4 => node().prop_map(Step::Join),
        1 => node().prop_map(Step::Leave),
        4 => (node(), key(), any::<bool>()).prop_map(|(n, k, c)| Step::Hold(n, k, c)),
        1 => (node(), key()).prop_map(|(n, k)| Step::Lose(n, k)),
        1 => (node(), prop::collection::vec((key(), any::<bool>()), 0..4)).prop_map(|(n, l)| Step::List(n, l)),
        5 => (node(), prop::collection::vec(key(), 1..4)).prop_map(|(n, k)| Step::Want(n, k)),
        1 => (node(), key()).prop_map(|(n, k)| Step::Forget(n, k)),
        3 => (node(), key(), node(), 0..4_u8).prop_map(|(n, k, p, c)| Step::Trouble(n, k, p, c)),
        3 => prop_oneof![Just(25), Just(2_500), Just(40_000)].prop_map(Step::Tick),
    ];
    prop::collection::vec(step, 1..120)
}

/// The truth, without any cleverness.
#[derive(Default)]
struct Model {
    live: BTreeMap<usize, Session>,
    complete: BTreeSet<(usize, u8)>,
    partial: BTreeSet<(usize, u8)>,
    wants: BTreeMap<(usize, u8), Vec<v1::Parent>>,
    /// (child's stream, parent's stream): stays for the life of both.
    corrupt: BTreeSet<(Session, Session)>,
}

struct World {
    swarm: Swarm,
    model: Model,
    now: u64,
    last: u64,
}

fn identity(node: usize) -> v1::NodeIdentity {
    let role = if node % 7 < 2 { v1::Role::Seed } else { v1::Role::Daemon };
    v1::NodeIdentity {
        id: node.to_string(),
        role: role.into(),
        piece_address: format!("h{node}:1"),
        grpc_address: format!("h{node}:2"),
        zone: ["x", "y"][node % 2].to_owned(),
        tenant: if node < 10 { "a" } else { "b" }.to_owned(),
        ..Default::default()
    }
}

fn key(n: u8) -> ObjectKey {
    Oid::from_bytes([n; 32]).into()
}

fn number(key: &ObjectKey) -> u8 {
    key.digest()[0]
}

fn id(parent: &v1::Parent) -> usize {
    parent.node.as_ref().unwrap().id.parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self { swarm: Swarm::new(Limits::default(), 0, 1), model: Model::default(), now: 1, last: 0 }
    }

    fn step(&mut self, step: Step) {
        let model = &mut self.model;
        let event = match step {
            Step::Join(node) => {
                self.last += 1;
                let session = Session(self.last);
                model.forget_node(node);
                model.live.insert(node, session);
                Event::Joined { session, node: Arc::new(identity(node)) }
            }
            Step::Leave(node) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                model.forget_node(node);
                Event::Left { session }
            }
            Step::Hold(node, k, complete) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                model.hold(node, k, complete);
                let news = Holdings { added: vec![(key(k), complete)], ..Holdings::default() };
                Event::Holds { session, news }
            }
            Step::Lose(node, k) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                model.lose(node, k);
                Event::Holds { session, news: Holdings { removed: vec![key(k)], ..Holdings::default() } }
            }
            Step::List(node, list) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                Event::Holds { session, news: model.list(node, &list) }
            }
            Step::Want(node, keys) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                for k in &keys {
                    model.wants.entry((node, *k)).or_default();
                }
                Event::Wants { session, wants: keys.iter().map(|k| (key(*k), Some(1 << 30))).collect() }
            }
            Step::Forget(node, k) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                model.wants.remove(&(node, k));
                Event::Forgets { session, keys: vec![key(k)] }
            }
            Step::Trouble(node, k, parent, kind) => {
                let Some(session) = model.live.get(&node).copied() else { return };
                let kinds =
                    [Complaint::Stalled, Complaint::Corrupt, Complaint::Unreachable, Complaint::Refused];
                let kind = kinds[usize::from(kind)];
                if let (Complaint::Corrupt, Some(parent)) = (kind, model.live.get(&parent)) {
                    model.corrupt.insert((session, *parent));
                }
                Event::Trouble { session, trouble: Trouble { key: key(k), parent: parent.to_string(), kind } }
            }
            Step::Tick(ms) => {
                self.now += ms;
                Event::Tick
            }
        };
        self.apply(event);
    }

    fn apply(&mut self, event: Event) {
        let asked = match &event {
            Event::Wants { wants, .. } => wants.len(),
            _ => 0,
        };
        let mut answered = 0;
        for effect in self.swarm.apply(event, self.now) {
            let Effect::Orders { session, epoch, orders } = effect else { continue };
            assert!(epoch <= self.swarm.epoch());
            let child = self.model.live.iter().find(|(_, live)| **live == session);
            let child = *child.expect("orders go to live streams only").0;
            answered += orders.len();
            for order in orders {
                self.model.check(child, &order);
                let told = self.model.wants.get_mut(&(child, number(&order.key)));
                *told.expect("orders are for wants only") = order.parents;
            }
        }
        assert!(answered >= asked, "every want is answered at once");
    }

    /// Lets everything that was put off be said, and looks at what everybody was told last.
    fn settle(&mut self) {
        while self.swarm.has_news() {
            self.step(Step::Tick(1_000));
        }
        let told = self.model.wants.clone();
        for ((child, k), parents) in told {
            self.model.check(child, &Order { key: key(k), parents });
        }
    }
}

impl Model {
    fn forget_node(&mut self, node: usize) {
        self.live.remove(&node);
        self.complete.retain(|(holder, _)| *holder != node);
        self.partial.retain(|(holder, _)| *holder != node);
        self.wants.retain(|(child, _), _| *child != node);
    }

    fn hold(&mut self, node: usize, k: u8, complete: bool) {
        self.lose(node, k);
        let list = if complete { &mut self.complete } else { &mut self.partial };
        list.insert((node, k));
    }

    fn list(&mut self, node: usize, list: &[(u8, bool)]) -> Holdings {
        (0..KEYS).for_each(|k| self.lose(node, k));
        for (k, complete) in list {
            self.hold(node, *k, *complete);
        }
        let added = list.iter().map(|(k, complete)| (key(*k), *complete)).collect();
        Holdings { full: true, added, ..Holdings::default() }
    }

    fn lose(&mut self, node: usize, k: u8) {
        self.complete.remove(&(node, k));
        self.partial.remove(&(node, k));
    }

    fn trusted(&self, child: usize, parent: usize) -> bool {
        let (Some(child_stream), Some(stream)) = (self.live.get(&child), self.live.get(&parent)) else {
            return false;
        };
        child != parent
            && identity(child).tenant == identity(parent).tenant
            && !self.corrupt.contains(&(*child_stream, *stream))
    }

    fn check(&self, child: usize, order: &Order) {
        let k = number(&order.key);
        let parents: Vec<usize> = order.parents.iter().map(id).collect();
        assert!(parents.len() <= MAX_PARENTS, "{parents:?}");
        assert_eq!(parents.iter().collect::<BTreeSet<_>>().len(), parents.len(), "twice in {parents:?}");
        for (parent, spelled) in parents.iter().zip(&order.parents) {
            assert_ne!(*parent, child, "its own parent");
            assert!(self.live.contains_key(parent), "{parent} has gone");
            assert_eq!(identity(*parent).tenant, identity(child).tenant, "another tenant");
            let seed = identity(*parent).role() == v1::Role::Seed;
            let at = (*parent, k);
            let serves =
                self.complete.contains(&at) || self.partial.contains(&at) || self.wants.contains_key(&at);
            assert!(seed || serves, "{parent} has nothing of it");
            assert!(!spelled.complete || self.complete.contains(&at), "{parent} has not all of it");
        }
        let holder = |node: usize| self.complete.contains(&(node, k));
        let holders = (0..NODES).filter(|node| holder(*node) && self.trusted(child, *node)).count();
        if holders > 0 {
            assert!(parents.iter().any(|parent| holder(*parent)), "no holder among {parents:?}");
            return;
        }
        let is_seed = |node: usize| identity(node).role() == v1::Role::Seed;
        let seeds = (0..NODES).filter(|node| is_seed(*node) && self.trusted(child, *node)).count();
        if seeds > 0 {
            assert!(parents.iter().any(|parent| is_seed(*parent)), "no way to the origin in {parents:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_order_keeps_the_promises(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }

    #[test]
    fn the_same_events_give_the_same_orders(steps in steps()) {
        let (mut one, mut two) = (World::new(), World::new());
        for step in steps {
            one.step(step.clone());
            two.step(step);
        }
        one.settle();
        two.settle();
        prop_assert_eq!(one.model.wants, two.model.wants);
        prop_assert_eq!(one.swarm.summary(0), two.swarm.summary(0));
    }

    #[test]
    fn when_all_have_left_nothing_is_kept(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        (0..NODES).for_each(|node| world.step(Step::Leave(node)));
        world.settle();
        let summary = world.swarm.summary(0);
        prop_assert_eq!((summary.objects, summary.holdings, summary.wants, summary.nodes.len()), (0, 0, 0, 0));
    }
}
