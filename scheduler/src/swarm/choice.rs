//! Which parents a child is given for one object.
//!
//! Pure reading of the model. The rules, for the child's zone:
//! 1. daemons there hold the object: they serve it, every seed is the last resort;
//! 2. else, when the seed that owns (or holds) it is in the zone: it serves everybody, and the children each other;
//! 3. else one child (the gateway; one more after each stall) takes it across the zone's link, from daemons that hold
//!    it or, without any, from the seed; the others take it from the gateways and from each other.
//!
//! Children always exchange among themselves while they fetch: each is given the one that asked before it and the one
//! that asked after it (so that nobody is cut off from the first), and others spread over the zone.

use std::cmp::Reverse;

use super::nodes::{Node, NodeNo, mix};
use super::objects::{Object, ObjectNo, Site};
use super::tenants::PlaceNo;
use super::{Swarm, Want};

/// Parents of one order at most, the last resort included.
pub const MAX_PARENTS: usize = 8;
/// Ordinary parents a child is given when there are that many; fewer make a child wait for the slowest.
pub const TARGET_PARENTS: usize = 6;
/// Parents for an object of one piece: there is nothing to exchange before it is there, and a Batch of thousands of
/// them is answered in a third of the bytes.
const SMALL_PARENTS: usize = 2;
/// Parents that hold all of it, at most: the rest are for exchange, which costs the holders nothing.
const MAX_COMPLETE: usize = 4;
/// Gateways of other zones a gateway exchanges with.
const MAX_FAR: usize = 2;
/// Candidates looked at per choice: beyond this, more do not make the choice better.
const SCAN: usize = 256;

/// One parent as chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) node: NodeNo,
    pub(super) complete: bool,
    pub(super) last_resort: bool,
}

/// How much a parent must be trusted to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing was said against it.
    Clean,
    /// The child itself said nothing against it, whatever others did.
    Unblamed,
    /// Anything but corrupt bytes may have been said.
    Suspect,
}

/// One choice: a child, an object, a moment.
struct Choice<'a> {
    swarm: &'a Swarm,
    object: &'a Object,
    want: Option<&'a Want>,
    child: NodeNo,
    node: &'a Node,
    now_ms: u64,
    chosen: Vec<Chosen>,
}

/// The parents of `child` for `object`, best first.
pub(super) fn choose(swarm: &Swarm, object: ObjectNo, child: NodeNo, now_ms: u64) -> Vec<Chosen> {
    let (Some(known), Some(node)) = (swarm.objects.get(object), swarm.nodes.get(child)) else {
        return Vec::new();
    };
    let want = swarm.wants.get(&(object, child));
    Choice { swarm, object: known, want, child, node, now_ms, chosen: Vec::new() }.run()
}

/// The parents of a want that is not kept: the seeds.
pub(super) fn seeds_only(swarm: &Swarm, key: &darner_lfs::ObjectKey, child: NodeNo) -> Vec<Chosen> {
    let Some(node) = swarm.nodes.get(child) else { return Vec::new() };
    let ring = swarm.tenants.ring(&node.identity.tenant, key);
    let others = ring.into_iter().filter(|seed| *seed != child).take(1);
    others.map(|node| Chosen { node, complete: false, last_resort: false }).collect()
}

impl Want {
    /// Ordinary parents it should have.
    pub(super) fn target(&self) -> usize {
        let small = self.size.is_some_and(|size| size <= u64::from(darner_lfs::layout::MIN_PIECE_BYTES));
        if small { SMALL_PARENTS } else { TARGET_PARENTS }
    }
}

/// The children that take an object across the zone's link.
pub(super) fn gateways(site: &Site) -> impl Iterator<Item = NodeNo> + '_ {
    site.wanters.iter().copied().take(1 + site.extra)
}

impl Choice<'_> {
    fn run(mut self) -> Vec<Chosen> {
        let place = self.node.place;
        let near = self.complete_at(Some(place), Trust::Clean);
        let (seed, held) = self.seed(Trust::Clean);
        let seed_is_near = seed.is_some_and(|seed| self.place_of(seed) == Some(place));
        if !near.is_empty() {
            self.add(near.into_iter().take(self.most_complete()), true, false);
            self.exchange();
            self.add(seed, held, true);
        } else if seed_is_near && (held || self.complete_at(None, Trust::Clean).is_empty()) {
            self.add(seed, held, false);
            self.exchange();
        } else {
            self.across(seed, held);
        }
        self.insist();
        self.chosen.truncate(MAX_PARENTS);
        self.chosen
    }

    fn most_complete(&self) -> usize {
        MAX_COMPLETE.min(self.want.map_or(MAX_COMPLETE, Want::target))
    }

    /// Rule 3.
    fn across(&mut self, seed: Option<NodeNo>, held: bool) {
        let far = self.complete_at(None, Trust::Clean);
        let site = self.object.site(self.node.place);
        let mut gateway = site.is_none_or(|site| gateways(site).any(|gateway| gateway == self.child));
        if !gateway {
            self.exchange();
            // All its gateways failed it: better one more copy than none.
            gateway = self.chosen.is_empty();
        }
        if gateway {
            let alone = far.is_empty();
            self.add(far.into_iter().take(self.most_complete()), true, false);
            if alone {
                self.add(seed, held, false);
            }
            self.far_gateways();
            self.exchange();
            if !alone {
                self.add(seed, held, true);
            }
        } else {
            self.add(far.into_iter().take(1), true, true);
            self.add(seed, held, true);
        }
    }

    /// A live holder, or at least the way to the origin, is always offered; who gave corrupt bytes never is.
    fn insist(&mut self) {
        let (seed, held) = self.seed(Trust::Suspect);
        if self.chosen.iter().all(|chosen| chosen.last_resort) {
            // Set aside for all, but this child has no reason to wait for them to return; and the seed beside them.
            let near = self.complete_at(Some(self.node.place), Trust::Unblamed);
            let far = self.complete_at(None, Trust::Unblamed);
            self.add(near.into_iter().take(MAX_FAR).chain(far.into_iter().take(MAX_FAR)), true, true);
            self.add(seed, held, true);
        }
        if self.chosen.iter().any(|chosen| chosen.complete) {
            return;
        }
        let suspect = if held { seed } else { self.suspect_holder() };
        self.make_room();
        if suspect.is_some() {
            self.add(suspect, true, true);
        } else {
            self.add(seed, held, true);
        }
    }

    fn suspect_holder(&self) -> Option<NodeNo> {
        let near = self.complete_at(Some(self.node.place), Trust::Suspect);
        near.into_iter().next().or_else(|| self.complete_at(None, Trust::Suspect).into_iter().next())
    }

    fn make_room(&mut self) {
        self.chosen.truncate(MAX_PARENTS - 1);
    }

    fn add(&mut self, nodes: impl IntoIterator<Item = NodeNo>, complete: bool, last_resort: bool) {
        for node in nodes {
            if self.chosen.len() < MAX_PARENTS && !self.chosen.iter().any(|chosen| chosen.node == node) {
                self.chosen.push(Chosen { node, complete, last_resort });
            }
        }
    }

    /// Other children of the zone (and daemons with a part of it), up to the target.
    fn exchange(&mut self) {
        let Some(site) = self.object.site(self.node.place) else { return };
        let room = self.want.map_or(TARGET_PARENTS, Want::target).saturating_sub(self.chosen.len());
        let own = site.wanters.iter().position(|wanter| *wanter == self.child);
        let beside = |step: fn(usize) -> Option<usize>| {
            own.and_then(step)
                .and_then(|at| site.wanters.get(at))
                .copied()
                .filter(|n| self.may(*n, Trust::Clean))
        };
        let before = own.map_or_else(
            || site.wanters.last().copied(),
            |own| own.checked_sub(1).and_then(|at| site.wanters.get(at)).copied(),
        );
        let mut chosen: Vec<NodeNo> = gateways(site)
            .take(2)
            .chain(before)
            .filter(|node| self.may(*node, Trust::Clean))
            .chain(beside(|own| own.checked_add(1)))
            .collect();
        chosen.extend(self.best(&site.wanters, Trust::Clean));
        chosen.extend(self.best(&site.partial, Trust::Clean));
        let mut fresh: Vec<NodeNo> = Vec::with_capacity(room);
        for node in chosen {
            let known = fresh.contains(&node) || self.chosen.iter().any(|chosen| chosen.node == node);
            if fresh.len() < room && !known {
                fresh.push(node);
            }
        }
        self.add(fresh, false, false);
    }

    /// The gateways of the tenant's other zones.
    fn far_gateways(&mut self) {
        let far: Vec<NodeNo> = self
            .sites_of_tenant()
            .filter(|(place, _)| *place != self.node.place)
            .flat_map(|(_, site)| gateways(site).take(1))
            .filter(|node| self.may(*node, Trust::Clean))
            .take(MAX_FAR)
            .collect();
        self.add(far, false, false);
    }

    /// Daemons that hold all of it: at one place, or at every other one.
    fn complete_at(&self, place: Option<PlaceNo>, trust: Trust) -> Vec<NodeNo> {
        let mut found = Vec::new();
        for (at, site) in self.sites_of_tenant() {
            let asked = place.map_or(at != self.node.place, |place| at == place);
            if asked && found.len() < MAX_COMPLETE {
                found.extend(self.best(&site.complete, trust));
            }
        }
        found
    }

    /// The seed to ask, and whether it holds all of it: one that does, else one that has begun, else the ring's owner.
    fn seed(&self, trust: Trust) -> (Option<NodeNo>, bool) {
        let mut ring = self.swarm.tenants.ring(&self.node.identity.tenant, &self.object.key);
        ring.retain(|seed| self.may(*seed, trust));
        let holds = |seed: &&NodeNo, complete: bool| {
            let site = self.place_of(**seed).and_then(|place| self.object.site(place));
            site.is_some_and(|site| {
                let list = if complete { &site.seeds } else { &site.partial_seeds };
                list.contains(*seed)
            })
        };
        if let Some(whole) = ring.iter().find(|seed| holds(seed, true)) {
            return (Some(*whole), true);
        }
        (ring.iter().find(|seed| holds(seed, false)).or_else(|| ring.first()).copied(), false)
    }

    /// The best few of a list: parents the child has already, then the less busy, spread by who asks for what.
    fn best(&self, list: &[NodeNo], trust: Trust) -> Vec<NodeNo> {
        let start =
            usize::try_from(mix(self.node.spread ^ self.object.spread)).unwrap_or(0) % list.len().max(1);
        let (tail, head) = list.split_at_checked(start).unwrap_or((list, &[]));
        let rotated = head.iter().chain(tail).copied();
        let mut few: Vec<NodeNo> = rotated.clone().take(SCAN).filter(|node| self.may(*node, trust)).collect();
        if few.is_empty() {
            few.extend(rotated.skip(SCAN).find(|node| self.may(*node, trust)));
        }
        few.sort_by_cached_key(|node| self.preference(*node));
        few.truncate(TARGET_PARENTS);
        few
    }

    fn preference(&self, node: NodeNo) -> (Reverse<bool>, u32, u64) {
        let now = self
            .want
            .is_some_and(|want| want.parents.iter().any(|parent| parent.node == node && !parent.last_resort));
        let (children, spread) =
            self.swarm.nodes.get(node).map_or((u32::MAX, 0), |node| (node.children, node.spread));
        // Children in fours: a finer count would make every order differ from the last.
        (Reverse(now), children / 4, mix(self.node.spread ^ spread.rotate_left(17) ^ self.object.spread))
    }

    /// Whether this node may be a parent of the child at all.
    fn may(&self, number: NodeNo, trust: Trust) -> bool {
        let Some(node) = self.swarm.nodes.get(number) else { return false };
        let own_tenant = node.identity.tenant == self.node.identity.tenant;
        if number == self.child || !own_tenant || self.node.called_corrupt(number, self.now_ms) {
            return false;
        }
        let blamed = self.node.set_aside(number, self.now_ms)
            || self.want.is_some_and(|want| want.refuses(number, self.now_ms));
        match trust {
            Trust::Clean => !blamed && self.now_ms >= node.aside_until,
            Trust::Unblamed => !blamed,
            Trust::Suspect => true,
        }
    }

    fn place_of(&self, node: NodeNo) -> Option<PlaceNo> {
        self.swarm.nodes.get(node).map(|node| node.place)
    }

    fn sites_of_tenant(&self) -> impl Iterator<Item = (PlaceNo, &Site)> {
        let tenant = &self.node.identity.tenant;
        self.object.sites().filter(move |(place, _)| self.swarm.tenants.is_of(*place, tenant))
    }
}
