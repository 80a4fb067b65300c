//! The rules of the choice, each as a sentence, seen through `apply` alone.

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests state their sizes in plain numbers and may fail by panic"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use darner_lfs::{ObjectKey, Oid};
use darner_proto::v1;
use darner_scheduler::swarm::{Closed, Complaint, Effect, Event, Holdings, Limits, Session, Swarm, Trouble};

/// A swarm, its clock, and what every node was told last.
struct World {
    swarm: Swarm,
    now: u64,
    sessions: BTreeMap<String, Session>,
    orders: BTreeMap<(Session, ObjectKey), Vec<v1::Parent>>,
    members: BTreeMap<Session, Arc<v1::Membership>>,
    closed: Vec<(Session, Closed)>,
    said: usize,
    last: u64,
}

const SMALL: u64 = 1_000;
const BIG: u64 = 100 << 20;

fn key(n: u8) -> ObjectKey {
    Oid::from_bytes([n; 32]).into()
}

impl World {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        Self {
            swarm: Swarm::new(limits, 0, 1_000),
            now: 1_000,
            sessions: BTreeMap::new(),
            orders: BTreeMap::new(),
            members: BTreeMap::new(),
            closed: Vec::new(),
            said: 0,
            last: 0,
        }
    }

    fn apply(&mut self, event: Event) {
        for effect in self.swarm.apply(event, self.now) {
            match effect {
                Effect::Orders { session, orders, .. } => {
                    self.said += orders.len();
                    for order in orders {
                        self.orders.insert((session, order.key), order.parents);
                    }
                }
                Effect::Membership { session, members } => {
                    self.members.insert(session, members);
                }
                Effect::Close { session, reason } => self.closed.push((session, reason)),
            }
        }
    }

    fn join_as(&mut self, node: v1::NodeIdentity) -> Session {
        self.last += 1;
        let session = Session(self.last);
        self.sessions.insert(node.id.clone(), session);
        self.apply(Event::Joined { session, node: Arc::new(node) });
        session
    }

    fn daemon(&mut self, id: &str, zone: &str) {
        self.join_as(identity(id, zone, "", v1::Role::Daemon));
    }

    fn seed(&mut self, id: &str, zone: &str) {
        self.join_as(identity(id, zone, "", v1::Role::Seed));
    }

    fn hold(&mut self, id: &str, key: ObjectKey, complete: bool) {
        let news = Holdings { added: vec![(key, complete)], ..Holdings::default() };
        self.apply(Event::Holds { session: self.sessions[id], news });
    }

    fn lose(&mut self, id: &str, key: ObjectKey) {
        let news = Holdings { removed: vec![key], ..Holdings::default() };
        self.apply(Event::Holds { session: self.sessions[id], news });
    }

    fn want(&mut self, id: &str, key: ObjectKey) {
        self.apply(Event::Wants { session: self.sessions[id], wants: vec![(key, Some(BIG))] });
    }

    fn forget(&mut self, id: &str, key: ObjectKey) {
        self.apply(Event::Forgets { session: self.sessions[id], keys: vec![key] });
    }

    fn leave(&mut self, id: &str) {
        self.apply(Event::Left { session: self.sessions[id] });
    }

    fn complain(&mut self, id: &str, parent: &str, kind: Complaint) {
        let (session, parent) = (self.sessions[id], parent.to_owned());
        self.apply(Event::Trouble { session, trouble: Trouble { key: key(1), parent, kind } });
    }

    fn tick(&mut self, ms: u64) {
        self.now += ms;
        self.apply(Event::Tick);
    }

    fn parents(&self, id: &str) -> &[v1::Parent] {
        self.orders.get(&(self.sessions[id], key(1))).map(Vec::as_slice).unwrap_or_default()
    }

    /// The ordinary parents.
    fn ordinary(&self, id: &str) -> Vec<&str> {
        self.parents(id).iter().filter(|parent| !parent.last_resort).map(name).collect()
    }

    fn last_resort(&self, id: &str) -> Vec<&str> {
        self.parents(id).iter().filter(|parent| parent.last_resort).map(name).collect()
    }
}

fn name(parent: &v1::Parent) -> &str {
    parent.node.as_ref().map(|node| node.id.as_str()).unwrap_or_default()
}

fn identity(id: &str, zone: &str, tenant: &str, role: v1::Role) -> v1::NodeIdentity {
    v1::NodeIdentity {
        id: id.to_owned(),
        role: role.into(),
        piece_address: format!("{id}:65002"),
        grpc_address: format!("{id}:65000"),
        zone: zone.to_owned(),
        tenant: tenant.to_owned(),
        incarnation: 1,
        ..Default::default()
    }
}

#[test]
fn a_cold_object_is_taken_from_the_seed_at_once() {
    let mut world = World::new();
    world.seed("seed", "");
    world.daemon("a", "");
    world.want("a", key(1));
    assert_eq!(world.ordinary("a"), ["seed"]);
}

#[test]
fn a_want_without_any_parent_is_answered_too() {
    let mut world = World::new();
    world.daemon("a", "");
    world.want("a", key(1));
    assert_eq!(world.said, 1);
    assert!(world.parents("a").is_empty());
}

#[test]
fn once_the_zone_holds_it_the_seed_is_the_last_resort() {
    let mut world = World::new();
    world.seed("seed", "z");
    world.daemon("holder", "z");
    world.hold("holder", key(1), true);
    world.daemon("a", "z");
    world.want("a", key(1));
    assert_eq!(world.ordinary("a"), ["holder"]);
    assert_eq!(world.last_resort("a"), ["seed"]);
}

#[test]
fn a_child_hears_when_its_zone_begins_to_hold_the_object() {
    let mut world = World::new();
    world.seed("seed", "z");
    world.daemon("a", "z");
    world.daemon("b", "z");
    world.want("a", key(1));
    world.want("b", key(1));
    world.hold("b", key(1), true);
    world.tick(25);
    assert_eq!(world.ordinary("a"), ["b"]);
    assert_eq!(world.last_resort("a"), ["seed"]);
}

#[test]
fn children_of_one_zone_exchange_also_with_those_that_started_after() {
    let mut world = World::new();
    world.seed("seed", "z");
    for id in ["a", "b", "c"] {
        world.daemon(id, "z");
        world.want(id, key(1));
    }
    assert_eq!(world.ordinary("a"), ["seed"], "nobody else had asked yet");
    world.tick(25);
    let mut parents = world.ordinary("a");
    parents.sort_unstable();
    assert_eq!(parents, ["b", "c", "seed"]);
    assert!(world.ordinary("c").contains(&"a"), "mutual exchange");
}

#[test]
fn many_events_between_two_ticks_are_one_order() {
    let mut world = World::new();
    world.seed("seed", "z");
    world.daemon("first", "z");
    world.want("first", key(1));
    let answered = world.said;
    for n in 0..5 {
        let id = format!("n{n}");
        world.daemon(&id, "z");
        world.want(&id, key(1));
    }
    let before = world.said;
    assert_eq!(before, answered + 5, "only those that ask are answered at once");
    world.tick(25);
    assert!(world.said <= before + 6, "one order per child at most");
    let settled = world.said;
    world.tick(25);
    assert_eq!(world.said, settled, "and none when nothing changed");
}

#[test]
fn about_one_copy_crosses_into_a_zone_without_the_seed() {
    let mut world = World::new();
    world.seed("seed", "far");
    for n in 0..20 {
        let id = format!("n{n:02}");
        world.daemon(&id, "z");
        world.want(&id, key(1));
    }
    world.tick(25);
    let crossing: Vec<String> =
        (0..20).map(|n| format!("n{n:02}")).filter(|id| world.ordinary(id).contains(&"seed")).collect();
    assert_eq!(crossing, ["n00"]);
    for n in 1..20 {
        let id = format!("n{n:02}");
        assert!(world.ordinary(&id).contains(&"n00"), "{id} takes from the gateway");
        assert_eq!(world.last_resort(&id), ["seed"]);
    }
}

#[test]
fn one_more_copy_crosses_after_a_stall_but_not_at_once() {
    let mut world = World::new();
    world.seed("seed", "far");
    for id in ["a", "b", "c", "d"] {
        world.daemon(id, "z");
        world.want(id, key(1));
    }
    world.tick(25);
    world.complain("b", "a", Complaint::Stalled);
    world.complain("c", "a", Complaint::Stalled);
    world.tick(25);
    let crossing =
        |world: &World| ["a", "b", "c", "d"].iter().filter(|id| world.ordinary(id).contains(&"seed")).count();
    assert_eq!(crossing(&world), 2);
    world.tick(3_000);
    world.complain("c", "b", Complaint::Stalled);
    world.tick(25);
    assert_eq!(crossing(&world), 3);
}

#[test]
fn the_next_child_takes_over_when_the_gateway_leaves() {
    let mut world = World::new();
    world.seed("seed", "far");
    for id in ["a", "b", "c"] {
        world.daemon(id, "z");
        world.want(id, key(1));
    }
    world.leave("a");
    world.tick(25);
    assert!(world.ordinary("b").contains(&"seed"));
    assert!(!world.ordinary("c").contains(&"seed"));
    assert!(!world.ordinary("c").contains(&"a"));
}

#[test]
fn a_zone_takes_from_another_zones_daemons_before_the_seed() {
    let mut world = World::new();
    world.seed("seed", "y");
    world.daemon("holder", "y");
    world.hold("holder", key(1), true);
    world.daemon("a", "z");
    world.want("a", key(1));
    assert_eq!(world.ordinary("a"), ["holder"]);
    assert_eq!(world.last_resort("a"), ["seed"]);
}

#[test]
fn a_near_seed_that_would_have_to_read_the_origin_is_not_preferred_to_a_far_holder() {
    let mut world = World::new();
    world.seed("seed", "z");
    world.daemon("holder", "y");
    world.hold("holder", key(1), true);
    world.daemon("a", "z");
    world.want("a", key(1));
    assert_eq!(world.ordinary("a"), ["holder"]);
    world.hold("seed", key(1), true);
    world.tick(25);
    assert!(world.ordinary("a").contains(&"seed"), "once it holds the object it is near and whole");
}

#[test]
fn the_seed_that_holds_the_object_is_asked_before_the_rings_owner() {
    for holder in ["s1", "s2", "s3"] {
        let mut world = World::new();
        for id in ["s1", "s2", "s3"] {
            world.seed(id, "");
        }
        world.hold(holder, key(1), true);
        world.daemon("a", "");
        world.want("a", key(1));
        assert_eq!(world.ordinary("a"), [holder], "scaling the ring reads nothing twice");
    }
}

#[test]
fn the_rings_owner_is_the_one_every_node_computes() {
    let mut world = World::new();
    let seeds: Vec<v1::NodeIdentity> =
        ["s1", "s2", "s3"].iter().map(|id| identity(id, "", "", v1::Role::Seed)).collect();
    for seed in &seeds {
        world.join_as(seed.clone());
    }
    world.daemon("a", "");
    for n in 0..32 {
        let owner = darner_lfs::rendezvous::rank(&key(n), &seeds, |seed| &seed.grpc_address)[0];
        world.want("a", key(n));
        let parents = &world.orders[&(world.sessions["a"], key(n))];
        assert_eq!(name(&parents[0]), owner.id);
    }
}

#[test]
fn tenants_are_never_mixed_not_even_in_the_ring() {
    let mut world = World::new();
    for tenant in ["red", "blue"] {
        world.join_as(identity(&format!("seed-{tenant}"), "z", tenant, v1::Role::Seed));
        world.join_as(identity(&format!("holder-{tenant}"), "z", tenant, v1::Role::Daemon));
        world.hold(&format!("holder-{tenant}"), key(1), true);
        world.join_as(identity(tenant, "z", tenant, v1::Role::Daemon));
    }
    world.tick(2_000);
    for tenant in ["red", "blue"] {
        world.want(tenant, key(1));
        assert!(world.parents(tenant).iter().all(|parent| name(parent).ends_with(tenant)));
        let members = &world.members[&world.sessions[tenant]];
        let known = members.seeds.iter().chain(&members.daemons);
        assert!(known.clone().all(|node| node.tenant == tenant));
        assert_eq!(known.count(), 3);
    }
}

#[test]
fn a_node_of_another_tenant_with_the_same_id_pushes_nobody_out() {
    let mut world = World::new();
    world.join_as(identity("n", "", "red", v1::Role::Daemon));
    world.join_as(identity("n", "", "blue", v1::Role::Daemon));
    assert!(world.closed.is_empty());
}

#[test]
fn a_parent_that_gave_corrupt_bytes_is_not_offered_to_that_child_again() {
    let mut world = World::new();
    world.seed("seed", "");
    for id in ["bad", "good", "a", "b"] {
        world.daemon(id, "");
    }
    world.hold("bad", key(1), true);
    world.hold("good", key(1), true);
    world.want("a", key(1));
    world.want("b", key(1));
    world.complain("a", "bad", Complaint::Corrupt);
    assert!(!world.parents("a").iter().any(|parent| name(parent) == "bad"));
    world.tick(25);
    assert!(world.ordinary("b").contains(&"bad"), "one child's word is its own");
    world.forget("a", key(1));
    world.want("a", key(1));
    assert!(!world.parents("a").iter().any(|parent| name(parent) == "bad"), "also for the next want");
}

#[test]
fn a_parent_several_children_complain_about_is_set_aside_for_all() {
    let mut world = World::new();
    world.seed("seed", "");
    for id in ["bad", "good", "a", "b", "c", "d"] {
        world.daemon(id, "");
    }
    world.hold("bad", key(1), true);
    world.hold("good", key(1), true);
    for id in ["a", "b", "c", "d"] {
        world.want(id, key(1));
    }
    for id in ["a", "b", "c"] {
        world.complain(id, "bad", Complaint::Stalled);
    }
    world.tick(25);
    assert!(!world.ordinary("d").contains(&"bad"));
    assert!(world.ordinary("d").contains(&"good"));
}

#[test]
fn one_lying_child_takes_a_parent_from_nobody_else() {
    let mut world = World::new();
    for id in ["good", "liar", "a"] {
        world.daemon(id, "");
    }
    world.hold("good", key(1), true);
    world.want("liar", key(1));
    for _ in 0..50 {
        world.complain("liar", "good", Complaint::Corrupt);
        world.complain("liar", "good", Complaint::Stalled);
    }
    world.want("a", key(1));
    assert!(world.ordinary("a").contains(&"good"));
}

#[test]
fn words_about_a_node_that_was_never_a_parent_count_for_nothing() {
    let mut world = World::new();
    world.seed("seed", "");
    for id in ["good", "x", "y", "z", "a"] {
        world.daemon(id, "");
    }
    for id in ["x", "y", "z"] {
        world.want(id, key(1));
        world.complain(id, "good", Complaint::Corrupt);
    }
    world.hold("good", key(1), true);
    world.want("a", key(1));
    assert!(world.ordinary("a").contains(&"good"));
}

#[test]
fn the_only_holder_is_offered_even_after_a_stall() {
    let mut world = World::new();
    for id in ["holder", "a"] {
        world.daemon(id, "");
    }
    world.hold("holder", key(1), true);
    world.want("a", key(1));
    world.complain("a", "holder", Complaint::Stalled);
    assert_eq!(world.last_resort("a"), ["holder"]);
}

#[test]
fn a_stalled_parent_returns_after_a_while() {
    let mut world = World::new();
    for id in ["holder", "a"] {
        world.daemon(id, "");
    }
    world.hold("holder", key(1), true);
    world.want("a", key(1));
    world.complain("a", "holder", Complaint::Stalled);
    world.tick(31_000);
    assert_eq!(world.ordinary("a"), ["holder"]);
}

#[test]
fn a_complaint_is_answered_at_once() {
    let mut world = World::new();
    world.seed("seed", "");
    for id in ["p", "q", "a"] {
        world.daemon(id, "");
    }
    world.hold("p", key(1), true);
    world.hold("q", key(1), true);
    world.want("a", key(1));
    let before = world.said;
    world.complain("a", "p", Complaint::Refused);
    assert_eq!(world.said, before + 1);
    assert_eq!(world.ordinary("a"), ["q"]);
}

#[test]
fn a_parent_that_lost_the_object_is_replaced() {
    let mut world = World::new();
    world.seed("seed", "");
    for id in ["p", "a"] {
        world.daemon(id, "");
    }
    world.hold("p", key(1), true);
    world.want("a", key(1));
    world.lose("p", key(1));
    world.tick(25);
    assert_eq!(world.ordinary("a"), ["seed"]);
}

#[test]
fn no_orders_come_after_a_forget() {
    let mut world = World::new();
    world.seed("seed", "");
    world.daemon("a", "");
    world.daemon("b", "");
    world.want("a", key(1));
    world.forget("a", key(1));
    let said = world.said;
    world.hold("b", key(1), true);
    world.tick(2_000);
    assert_eq!(world.said, said);
}

#[test]
fn what_a_whole_list_does_not_name_is_gone() {
    let mut world = World::new();
    for id in ["p", "a"] {
        world.daemon(id, "");
    }
    world.hold("p", key(1), true);
    world.hold("p", key(2), true);
    world.want("a", key(1));
    let session = world.sessions["p"];
    let part = |n: u8, more| Holdings { full: true, more, added: vec![(key(n), true)], removed: vec![] };
    world.apply(Event::Holds { session, news: part(2, true) });
    world.tick(25);
    assert_eq!(world.ordinary("a"), ["p"], "nothing is gone before the list has ended");
    world.apply(Event::Holds { session, news: part(3, false) });
    world.tick(25);
    assert!(world.parents("a").is_empty());
    assert_eq!(world.swarm.summary(0).holdings, 2);
}

#[test]
fn a_second_stream_of_a_node_replaces_the_first() {
    let mut world = World::new();
    let first = world.join_as(identity("n", "", "", v1::Role::Daemon));
    world.hold("n", key(1), true);
    world.join_as(identity("n", "", "", v1::Role::Daemon));
    assert_eq!(world.closed, [(first, Closed::Replaced)]);
    assert_eq!(world.swarm.summary(0).holdings, 0, "it says again what it holds");
    world.apply(Event::Left { session: first });
    assert_eq!(world.swarm.summary(0).nodes.len(), 1, "the end of the old stream ends nothing");
}

#[test]
fn a_late_reconnect_of_the_former_process_does_not_push_out_its_successor() {
    let mut world = World::new();
    world.join_as(v1::NodeIdentity { incarnation: 2, ..identity("n", "", "", v1::Role::Daemon) });
    let late = world.join_as(identity("n", "", "", v1::Role::Daemon));
    assert_eq!(world.closed, [(late, Closed::Replaced)]);
}

#[test]
fn every_change_of_the_ring_moves_the_epoch_and_is_told_to_all() {
    let mut world = World::new();
    world.daemon("a", "");
    let before = world.swarm.epoch();
    world.seed("seed", "");
    world.tick(25);
    assert!(world.swarm.epoch() > before);
    let members = &world.members[&world.sessions["a"]];
    assert_eq!((members.epoch, members.seeds.len()), (world.swarm.epoch(), 1));
    world.leave("seed");
    world.tick(25);
    assert!(world.members[&world.sessions["a"]].seeds.is_empty());
}

#[test]
fn epochs_grow_over_restarts_even_when_the_clock_goes_back() {
    let first = Swarm::new(Limits::default(), 0, 5_000);
    assert!(Swarm::new(Limits::default(), first.epoch(), 6_000).epoch() > first.epoch());
    assert!(Swarm::new(Limits::default(), first.epoch(), 10).epoch() > first.epoch());
}

#[test]
fn wants_wait_for_a_seed_that_joins_later() {
    let mut world = World::new();
    world.daemon("a", "");
    world.want("a", key(1));
    world.seed("seed", "");
    world.tick(25);
    assert_eq!(world.ordinary("a"), ["seed"]);
}

#[test]
fn a_full_model_still_answers_with_the_seed() {
    let mut world = World::limited(Limits { wants_per_node: 1, ..Limits::default() });
    world.seed("seed", "");
    world.daemon("a", "");
    world.want("a", key(2));
    world.want("a", key(1));
    assert_eq!(world.ordinary("a"), ["seed"]);
    let summary = world.swarm.summary(0);
    assert_eq!((summary.wants, summary.dropped), (1, 1));
}

#[test]
fn a_node_beyond_the_limit_is_refused() {
    let mut world = World::limited(Limits { nodes: 1, ..Limits::default() });
    world.daemon("a", "");
    world.daemon("b", "");
    assert_eq!(world.closed, [(world.sessions["b"], Closed::Full)]);
}

#[test]
fn holdings_beyond_the_limit_are_dropped_and_counted() {
    let mut world = World::limited(Limits { holdings: 3, objects: 5, ..Limits::default() });
    world.daemon("a", "");
    for n in 0..10 {
        world.hold("a", key(n), true);
    }
    let summary = world.swarm.summary(0);
    assert_eq!((summary.holdings, summary.objects, summary.dropped), (3, 3, 7));
}

#[test]
fn small_objects_get_few_parents_and_big_ones_many() {
    let mut world = World::new();
    world.seed("seed", "");
    for n in 0..10 {
        let id = format!("h{n}");
        world.daemon(&id, "");
        world.hold(&id, key(1), true);
        world.hold(&id, key(2), true);
    }
    world.daemon("a", "");
    let session = world.sessions["a"];
    world.apply(Event::Wants { session, wants: vec![(key(1), Some(SMALL)), (key(2), Some(BIG))] });
    assert_eq!(world.ordinary("a").len(), 2);
    assert!(world.orders[&(session, key(2))].len() >= 5);
}

#[test]
fn children_are_spread_over_the_holders() {
    let mut world = World::new();
    world.seed("seed", "");
    for n in 0..16 {
        let id = format!("h{n}");
        world.daemon(&id, "");
        world.hold(&id, key(1), true);
    }
    for n in 0..64 {
        let id = format!("c{n}");
        world.daemon(&id, "");
        world.want(&id, key(1));
    }
    let summary = world.swarm.summary(0);
    let serves: Vec<u32> =
        summary.nodes.iter().filter(|node| node.id.starts_with('h')).map(|node| node.children).collect();
    assert_eq!(serves.iter().sum::<u32>(), 64 * 4);
    assert!(serves.iter().all(|children| *children <= 24), "{serves:?}");
}

#[test]
fn nothing_is_left_of_nodes_that_are_gone() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.daemon(id, "z");
        world.hold(id, key(1), true);
        world.want(id, key(2));
    }
    world.leave("a");
    world.leave("b");
    world.tick(25);
    let summary = world.swarm.summary(0);
    assert_eq!((summary.objects, summary.holdings, summary.wants, summary.nodes.len()), (0, 0, 0, 0));
}
