//! The objects anybody holds or wants, and per zone who does.
//!
//! An object is here only while some node refers to it, so that its number can be given to another one afterwards.

use std::collections::BTreeMap;

use darner_lfs::ObjectKey;

use super::nodes::{NodeNo, spread};
use super::tenants::PlaceNo;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectNo(pub(super) u32);

#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: ObjectKey,
    pub(super) spread: u64,
    /// Few: one per zone (of a tenant) where anybody holds or wants it.
    places: Vec<(PlaceNo, Site)>,
}

/// One object in one zone of one tenant.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// Daemons with all of it.
    pub(super) complete: Vec<NodeNo>,
    /// Daemons with a part of it.
    pub(super) partial: Vec<NodeNo>,
    /// Seeds with all of it.
    pub(super) seeds: Vec<NodeNo>,
    /// Seeds with a part of it (reading, or stopped).
    pub(super) partial_seeds: Vec<NodeNo>,
    /// Who wants it, in the order they asked.
    pub(super) wanters: Vec<NodeNo>,
    /// Copies that may cross the zone's links beyond the first, and since when.
    pub(super) extra: usize,
    pub(super) extra_since: u64,
}

impl Site {
    fn is_empty(&self) -> bool {
        self.complete.is_empty()
            && self.partial.is_empty()
            && self.seeds.is_empty()
            && self.partial_seeds.is_empty()
            && self.wanters.is_empty()
    }

    fn list(&mut self, seed: bool, complete: bool) -> &mut Vec<NodeNo> {
        match (seed, complete) {
            (false, true) => &mut self.complete,
            (false, false) => &mut self.partial,
            (true, true) => &mut self.seeds,
            (true, false) => &mut self.partial_seeds,
        }
    }

    /// Whether a node holds any of it or is fetching it.
    pub(super) fn has(&self, node: NodeNo) -> bool {
        [&self.complete, &self.partial, &self.seeds, &self.partial_seeds, &self.wanters]
            .iter()
            .any(|list| list.contains(&node))
    }
}

impl Object {
    pub(super) fn site(&self, place: PlaceNo) -> Option<&Site> {
        self.places.iter().find(|(at, _)| *at == place).map(|(_, site)| site)
    }

    pub(super) fn site_mut(&mut self, place: PlaceNo) -> Option<&mut Site> {
        self.places.iter_mut().find(|(at, _)| *at == place).map(|(_, site)| site)
    }

    pub(super) fn sites(&self) -> impl Iterator<Item = (PlaceNo, &Site)> {
        self.places.iter().map(|(place, site)| (*place, site))
    }

    fn site_or_new(&mut self, place: PlaceNo) -> Option<&mut Site> {
        if !self.places.iter().any(|(at, _)| *at == place) {
            self.places.push((place, Site::default()));
        }
        self.site_mut(place)
    }

    /// Notes a holder; true when that is news.
    pub(super) fn hold(&mut self, place: PlaceNo, node: NodeNo, seed: bool, complete: bool) -> bool {
        let Some(site) = self.site_or_new(place) else { return false };
        if site.list(seed, complete).contains(&node) {
            return false;
        }
        remove(site.list(seed, !complete), node);
        site.list(seed, complete).push(node);
        true
    }

    pub(super) fn want(&mut self, place: PlaceNo, node: NodeNo) {
        if let Some(site) = self.site_or_new(place)
            && !site.wanters.contains(&node)
        {
            site.wanters.push(node);
        }
    }

    /// The node holds nothing of it any more.
    pub(super) fn drop_holder(&mut self, place: PlaceNo, node: NodeNo, seed: bool) {
        if let Some(site) = self.site_mut(place) {
            remove(site.list(seed, true), node);
            remove(site.list(seed, false), node);
        }
        self.tidy();
    }

    pub(super) fn drop_wanter(&mut self, place: PlaceNo, node: NodeNo) {
        if let Some(site) = self.site_mut(place) {
            site.wanters.retain(|wanter| *wanter != node);
            if site.wanters.is_empty() {
                site.extra = 0;
            }
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.places.retain(|(_, site)| !site.is_empty());
    }
}

/// The order of holders says nothing, so that removing one is cheap.
fn remove(list: &mut Vec<NodeNo>, node: NodeNo) {
    if let Some(at) = list.iter().position(|listed| *listed == node) {
        list.swap_remove(at);
    }
}

/// All of them, by number and by key.
#[derive(Debug, Default)]
pub(super) struct Objects {
    by_key: BTreeMap<ObjectKey, ObjectNo>,
    by_number: BTreeMap<ObjectNo, Object>,
    free: Vec<ObjectNo>,
    last: u32,
    /// (node, object) pairs held.
    pub(super) holdings: usize,
}

impl Objects {
    pub(super) fn find(&self, key: &ObjectKey) -> Option<ObjectNo> {
        self.by_key.get(key).copied()
    }

    /// The number of a key; a new one when there are fewer than `limit` objects.
    pub(super) fn find_or_add(&mut self, key: ObjectKey, limit: usize) -> Option<ObjectNo> {
        if let Some(known) = self.find(&key) {
            return Some(known);
        }
        if self.by_number.len() >= limit {
            return None;
        }
        let number = if let Some(free) = self.free.pop() {
            free
        } else {
            self.last = self.last.checked_add(1)?;
            ObjectNo(self.last)
        };
        self.by_key.insert(key, number);
        self.by_number.insert(number, Object { key, spread: spread(key.digest()), places: Vec::new() });
        Some(number)
    }

    pub(super) fn get(&self, number: ObjectNo) -> Option<&Object> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: ObjectNo) -> Option<&mut Object> {
        self.by_number.get_mut(&number)
    }

    /// Lets go of an object nobody refers to.
    pub(super) fn release(&mut self, number: ObjectNo) {
        if self.by_number.get(&number).is_some_and(|object| object.places.is_empty())
            && let Some(object) = self.by_number.remove(&number)
        {
            self.by_key.remove(&object.key);
            self.free.push(number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }
}
