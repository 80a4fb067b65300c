//! A few hundred nodes in virtual time: they join, download, freeze and leave at random, and everything still ends.
//!
//! Replay a run with `DARNER_SIM_SEED=<seed>`; the seed is printed and part of every failure.

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
use darner_scheduler::swarm::{Complaint, Effect, Event, Holdings, Limits, Session, Swarm, Trouble};

const PIECES: u32 = 24;
/// One step of virtual time.
const STEP_MS: u64 = 100;
/// Pieces a node sends, and takes, per step.
const RATE: usize = 3;
const STALL_MS: u64 = 2_000;

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

struct Node {
    session: Session,
    zone: usize,
    seed: bool,
    frozen_until: u64,
    have: BTreeMap<u8, BTreeSet<u32>>,
    wants: BTreeMap<u8, Download>,
}

#[derive(Default)]
struct Download {
    parents: Vec<v1::Parent>,
    progress_ms: u64,
    started_ms: u64,
}

struct Sim {
    seed: u64,
    dice: Dice,
    swarm: Swarm,
    now: u64,
    last: u64,
    nodes: BTreeMap<u64, Node>,
    /// Pieces that came into a zone from another one, by zone and object.
    crossed: BTreeMap<(usize, u8), u32>,
    /// Pieces sent by seeds, by object.
    from_seeds: BTreeMap<u8, u32>,
    finished: usize,
    longest_ms: u64,
}

fn key(n: u8) -> ObjectKey {
    Oid::from_bytes([n; 32]).into()
}

impl Sim {
    fn new(seed: u64) -> Self {
        println!("replay with DARNER_SIM_SEED={seed}");
        Self {
            seed,
            dice: Dice(seed),
            swarm: Swarm::new(Limits::default(), 0, 1),
            now: 1,
            last: 0,
            nodes: BTreeMap::new(),
            crossed: BTreeMap::new(),
            from_seeds: BTreeMap::new(),
            finished: 0,
            longest_ms: 0,
        }
    }

    fn join(&mut self, zone: usize, seed: bool) -> u64 {
        self.last += 1;
        let (id, session) = (self.last, Session(self.last));
        let role = if seed { v1::Role::Seed } else { v1::Role::Daemon };
        let node = v1::NodeIdentity {
            id: id.to_string(),
            role: role.into(),
            grpc_address: format!("n{id}:1"),
            piece_address: format!("n{id}:2"),
            zone: zone.to_string(),
            ..Default::default()
        };
        let (have, wants) = (BTreeMap::new(), BTreeMap::new());
        self.nodes.insert(id, Node { session, zone, seed, frozen_until: 0, have, wants });
        self.apply(Event::Joined { session, node: Arc::new(node) });
        id
    }

    fn leave(&mut self, id: u64) {
        if let Some(node) = self.nodes.remove(&id) {
            self.apply(Event::Left { session: node.session });
        }
    }

    fn want(&mut self, id: u64, object: u8) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.seed || node.have.get(&object).is_some_and(|have| have.len() == PIECES as usize) {
            return;
        }
        node.wants.entry(object).or_insert(Download {
            progress_ms: now,
            started_ms: now,
            parents: Vec::new(),
        });
        let session = node.session;
        self.apply(Event::Wants { session, wants: vec![(key(object), Some(1 << 30))] });
    }

    fn apply(&mut self, event: Event) {
        for effect in self.swarm.apply(event, self.now) {
            let Effect::Orders { session, orders, .. } = effect else { continue };
            for order in orders {
                let object = order.key.digest()[0];
                let child = self.nodes.get_mut(&session.0);
                if let Some(download) = child.and_then(|child| child.wants.get_mut(&object)) {
                    download.parents = order.parents;
                }
            }
        }
    }

    /// Everybody takes what it can in one step.
    fn step(&mut self) {
        self.now += STEP_MS;
        self.apply(Event::Tick);
        let mut budget: BTreeMap<u64, usize> = self.nodes.keys().map(|id| (*id, RATE)).collect();
        let mut asking: Vec<(u64, u8)> =
            self.nodes.iter().flat_map(|(id, node)| node.wants.keys().map(|object| (*id, *object))).collect();
        for at in (1..asking.len()).rev() {
            let other = self.dice.below(at + 1);
            asking.swap(at, other);
        }
        for (child, object) in asking {
            self.take(child, object, &mut budget);
        }
    }

    fn take(&mut self, child: u64, object: u8, budget: &mut BTreeMap<u64, usize>) {
        let download = &self.nodes[&child].wants[&object];
        let (parents, idle) = (download.parents.clone(), self.now - download.progress_ms);
        let mut taken = 0;
        for last_resort in [false, true] {
            // The last resort is for a child that nothing came to for a stall interval (or that has no one else).
            let only = parents.iter().all(|parent| parent.last_resort);
            if last_resort && !only && idle < STALL_MS {
                continue;
            }
            for parent in parents.iter().filter(|parent| parent.last_resort == last_resort) {
                let id: u64 = parent.node.as_ref().unwrap().id.parse().unwrap();
                while taken < RATE && self.take_piece(child, id, object, budget) {
                    taken += 1;
                }
            }
        }
        self.after(child, object, taken);
    }

    fn take_piece(&mut self, child: u64, parent: u64, object: u8, budget: &mut BTreeMap<u64, usize>) -> bool {
        let Some(from) = self.nodes.get(&parent).filter(|parent| parent.frozen_until <= self.now) else {
            return false;
        };
        let have = self.nodes[&child].have.get(&object).cloned().unwrap_or_default();
        let offered: Vec<u32> = (0..PIECES)
            .filter(|piece| !have.contains(piece))
            .filter(|piece| from.seed || from.have.get(&object).is_some_and(|theirs| theirs.contains(piece)))
            .collect();
        let left = budget.entry(parent).or_default();
        if offered.is_empty() || *left == 0 {
            return false;
        }
        *left -= 1;
        let (from_zone, from_seed) = (from.zone, from.seed);
        let piece = offered[self.dice.below(offered.len())];
        let node = self.nodes.get_mut(&child).unwrap();
        node.have.entry(object).or_default().insert(piece);
        if from_zone != node.zone {
            *self.crossed.entry((node.zone, object)).or_default() += 1;
        }
        if from_seed {
            *self.from_seeds.entry(object).or_default() += 1;
        }
        true
    }

    fn after(&mut self, child: u64, object: u8, taken: usize) {
        let now = self.now;
        let node = self.nodes.get_mut(&child).unwrap();
        let session = node.session;
        let complete = node.have.get(&object).is_some_and(|have| have.len() == PIECES as usize);
        let download = node.wants.get_mut(&object).unwrap();
        let idle = now - download.progress_ms;
        if complete {
            self.longest_ms = self.longest_ms.max(now - download.started_ms);
            node.wants.remove(&object);
            self.finished += 1;
            let news = Holdings { added: vec![(key(object), true)], ..Holdings::default() };
            self.apply(Event::Holds { session, news });
            self.apply(Event::Forgets { session, keys: vec![key(object)] });
        } else if taken > 0 {
            download.progress_ms = now;
        } else if idle > 0 && idle.is_multiple_of(STALL_MS) {
            let parents = download.parents.clone();
            for parent in parents.iter().filter(|parent| !parent.last_resort) {
                let parent = parent.node.as_ref().unwrap().id.clone();
                let trouble = Trouble { key: key(object), parent, kind: Complaint::Stalled };
                self.apply(Event::Trouble { session, trouble });
            }
        }
    }

    fn waiting(&self) -> usize {
        self.nodes.values().map(|node| node.wants.len()).sum()
    }

    /// Steps until nobody waits; fails with the seed when that takes longer than `limit_ms`.
    fn run_dry(&mut self, limit_ms: u64) {
        let end = self.now + limit_ms;
        while self.waiting() > 0 {
            self.step();
            assert!(
                self.now < end,
                "{} downloads never ended; replay with DARNER_SIM_SEED={}",
                self.waiting(),
                self.seed
            );
        }
    }

    fn daemon(&mut self) -> Option<u64> {
        let daemons: Vec<u64> = self.nodes.iter().filter(|(_, node)| !node.seed).map(|(id, _)| *id).collect();
        (!daemons.is_empty()).then(|| daemons[self.dice.below(daemons.len())])
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("DARNER_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => {
            (1..=std::env::var("DARNER_SIM_RUNS").map_or(6, |runs| runs.parse().expect("a number"))).collect()
        }
    }
}

#[test]
fn in_calm_weather_about_one_copy_crosses_into_each_zone() {
    for seed in seeds() {
        let mut sim = Sim::new(seed);
        sim.join(0, true);
        let daemons: Vec<u64> = (0..240).map(|n| sim.join(n % 3, false)).collect();
        for id in daemons {
            sim.want(id, 1);
            if sim.dice.chance(30) {
                sim.step();
            }
        }
        sim.run_dry(120_000);
        assert_eq!(sim.finished, 240);
        for zone in [1, 2] {
            let crossed = sim.crossed[&(zone, 1)];
            let bound = PIECES * 115 / 100;
            assert!(crossed <= bound, "zone {zone}: {crossed} of {PIECES} pieces, seed {seed}");
        }
    }
}

#[test]
fn in_a_storm_every_download_still_ends() {
    for seed in seeds() {
        let mut sim = Sim::new(seed);
        for zone in 0..3 {
            sim.join(zone, true);
        }
        for n in 0..200 {
            sim.join(n % 3, false);
        }
        for _ in 0..600 {
            match sim.dice.below(20) {
                0 => {
                    let zone = sim.dice.below(3);
                    sim.join(zone, false);
                }
                1 => {
                    if let Some(id) = sim.daemon() {
                        sim.leave(id);
                    }
                }
                2 => {
                    let ids: Vec<u64> = sim.nodes.keys().copied().collect();
                    let (id, frozen) = (ids[sim.dice.below(ids.len())], sim.dice.below(20_000) as u64);
                    sim.nodes.get_mut(&id).unwrap().frozen_until = sim.now + frozen;
                }
                3..=12 => {
                    if let Some(id) = sim.daemon() {
                        let object = sim.dice.below(5) as u8;
                        sim.want(id, object);
                    }
                }
                _ => sim.step(),
            }
        }
        sim.run_dry(240_000);
        assert!(sim.finished > 100, "seed {seed}");
    }
}

#[test]
fn a_frozen_gateway_costs_its_zone_seconds_not_the_download() {
    for seed in seeds() {
        let mut sim = Sim::new(seed);
        sim.join(0, true);
        let daemons: Vec<u64> = (0..30).map(|_| sim.join(1, false)).collect();
        for id in &daemons {
            sim.want(*id, 1);
        }
        sim.step();
        sim.nodes.get_mut(&daemons[0]).unwrap().frozen_until = u64::MAX;
        // The frozen one itself goes on taking; what counts is that the others do not wait for it.
        sim.run_dry(60_000);
        assert!(sim.longest_ms < 20_000, "{} ms, seed {seed}", sim.longest_ms);
        // Its own, its successor's, and what all took from the last resort in the stalled seconds: not one per child.
        let copies = sim.crossed[&(1, 1)].div_ceil(PIECES);
        assert!(copies <= 6, "{copies} copies crossed, seed {seed}");
    }
}

#[test]
fn all_seeds_and_the_first_holder_gone_the_rest_still_serve_each_other() {
    for seed in seeds() {
        let mut sim = Sim::new(seed);
        let source = sim.join(0, true);
        let early: Vec<u64> = (0..20).map(|n| sim.join(n % 2, false)).collect();
        for id in &early {
            sim.want(*id, 1);
        }
        sim.run_dry(60_000);
        sim.leave(source);
        sim.leave(early[0]);
        let late: Vec<u64> = (0..100).map(|n| sim.join(n % 3, false)).collect();
        for id in late {
            sim.want(id, 1);
        }
        sim.run_dry(120_000);
        assert_eq!(sim.finished, 120);
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = || {
        let mut sim = Sim::new(99);
        sim.join(0, true);
        for n in 0..60 {
            let id = sim.join(n % 3, false);
            sim.want(id, (n % 2) as u8);
            sim.step();
        }
        sim.run_dry(60_000);
        (sim.now, sim.crossed, sim.from_seeds, sim.longest_ms)
    };
    assert_eq!(story(), story());
}
