//! Which wants are to be decided anew, and doing so: at once for the child that asks, at the next tick for the others.
//!
//! Coalescing: however many events touch an object between two ticks, its children are decided once; a child hears of
//! it only when its parents differ. Bounded: a tick stops after [`PLANS`] decisions and the next one goes on.

use std::collections::BTreeMap;

use darner_proto::v1;

use super::choice::{self, Chosen};
use super::nodes::NodeNo;
use super::objects::ObjectNo;
use super::{Effect, Order, Session, Swarm, Want};

/// Decisions per tick: some 20 ms of one core.
const PLANS: usize = 4_096;
/// How often children without any parent are looked at again.
const STARVING_MS: u64 = 1_000;

/// The objects whose children are to be decided anew.
#[derive(Debug, Default)]
pub(super) struct Replan {
    /// True: all of its children, else those with too few parents or a parent that has gone.
    dirty: BTreeMap<ObjectNo, bool>,
    next: u32,
    starving_ms: u64,
}

impl Replan {
    /// Something better may be there, or something is gone.
    pub(super) fn some(&mut self, object: ObjectNo) {
        self.dirty.entry(object).or_insert(false);
    }

    /// The rule that applies may be another one.
    pub(super) fn all(&mut self, object: ObjectNo) {
        self.dirty.insert(object, true);
    }

    /// The next object, round-robin so that none waits for ever.
    fn pop(&mut self) -> Option<(ObjectNo, bool)> {
        let after = self.dirty.range(ObjectNo(self.next)..).next().or_else(|| self.dirty.first_key_value());
        let (object, all) = after.map(|(object, all)| (*object, *all))?;
        self.dirty.remove(&object);
        self.next = object.0.saturating_add(1);
        Some((object, all))
    }
}

impl Swarm {
    /// Whether the next tick has anything to do that should not wait.
    pub fn has_news(&self) -> bool {
        !self.replan.dirty.is_empty() || self.tenants.has_news()
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        if now_ms >= self.replan.starving_ms.saturating_add(STARVING_MS) {
            self.replan.starving_ms = now_ms;
            for (object, _) in &self.starving {
                self.replan.some(*object);
            }
        }
        let mut effects = self.tell_members(now_ms);
        effects.extend(self.decide_anew(now_ms));
        effects
    }

    fn decide_anew(&mut self, now_ms: u64) -> Vec<Effect> {
        let mut orders: BTreeMap<Session, Vec<Order>> = BTreeMap::new();
        let mut plans = 0;
        while plans < PLANS {
            let Some((object, all)) = self.replan.pop() else { break };
            let children: Vec<NodeNo> = self
                .wants
                .range((object, NodeNo(0))..=(object, NodeNo(u64::MAX)))
                .filter(|(_, want)| all || self.needs(object, want, now_ms))
                .map(|((_, child), _)| *child)
                .collect();
            plans += children.len();
            for child in children {
                if let Some((session, order)) = self.decide(object, child, now_ms, false) {
                    orders.entry(session).or_default().push(order);
                }
            }
        }
        let epoch = self.epoch();
        orders.into_iter().map(|(session, orders)| Effect::Orders { session, epoch, orders }).collect()
    }

    fn needs(&self, object: ObjectNo, want: &Want, now_ms: u64) -> bool {
        want.ordinary() < want.target()
            || want.parents.iter().any(|parent| !self.still_serves(object, *parent, now_ms))
    }

    /// Whether what the child was told of this parent still holds.
    fn still_serves(&self, object: ObjectNo, parent: Chosen, now_ms: u64) -> bool {
        let Some(node) = self.nodes.get(parent.node) else { return false };
        let site = self.objects.get(object).and_then(|object| object.site(node.place));
        let there = match (node.seed, parent.complete) {
            (true, true) => site.is_some_and(|site| site.seeds.contains(&parent.node)),
            // A seed can always read the origin.
            (true, false) => true,
            (false, true) => site.is_some_and(|site| site.complete.contains(&parent.node)),
            (false, false) => site.is_some_and(|site| site.has(parent.node)),
        };
        there && now_ms >= node.aside_until
    }

    /// Decides for one child and answers it in any case.
    pub(super) fn order_now(&mut self, object: ObjectNo, child: NodeNo, now_ms: u64) -> Vec<Effect> {
        let epoch = self.epoch();
        let decided = self.decide(object, child, now_ms, true);
        let order = decided.map(|(session, order)| Effect::Orders { session, epoch, orders: vec![order] });
        order.into_iter().collect()
    }

    /// Decides for one child. The order, when it differs from the last one or `always`.
    pub(super) fn decide(
        &mut self,
        object: ObjectNo,
        child: NodeNo,
        now_ms: u64,
        always: bool,
    ) -> Option<(Session, Order)> {
        let chosen = choice::choose(self, object, child, now_ms);
        let want = self.wants.get_mut(&(object, child))?;
        let before = std::mem::replace(&mut want.parents, chosen.clone());
        let starves = want.ordinary() == 0;
        self.count_children(&before, &chosen);
        if starves {
            self.starving.insert((object, child));
        } else {
            self.starving.remove(&(object, child));
        }
        if before == chosen && !always {
            return None;
        }
        let (session, key) = (self.nodes.get(child)?.session, self.objects.get(object)?.key);
        Some((session, Order { key, parents: self.spell(&chosen) }))
    }

    /// Keeps the number of children of each parent.
    pub(super) fn count_children(&mut self, before: &[Chosen], after: &[Chosen]) {
        let ordinary = |chosen: &&Chosen| !chosen.last_resort;
        for chosen in before.iter().filter(ordinary) {
            if let Some(node) = self.nodes.get_mut(chosen.node) {
                node.children = node.children.saturating_sub(1);
            }
        }
        for chosen in after.iter().filter(ordinary) {
            if let Some(node) = self.nodes.get_mut(chosen.node) {
                node.children = node.children.saturating_add(1);
            }
        }
    }

    /// Parents as they go on the wire.
    pub(super) fn spell(&self, chosen: &[Chosen]) -> Vec<v1::Parent> {
        let spelled = chosen.iter().filter_map(|chosen| {
            let node = self.nodes.get(chosen.node)?;
            Some(v1::Parent {
                node: Some(node.identity.as_ref().clone()),
                complete: chosen.complete,
                last_resort: chosen.last_resort,
            })
        });
        spelled.collect()
    }

    /// Everything that has this node as a parent is to be decided anew.
    pub(super) fn replan_children_of(&mut self, parent: NodeNo) {
        let of =
            self.wants.iter().filter(|(_, want)| want.parents.iter().any(|chosen| chosen.node == parent));
        let objects: Vec<ObjectNo> = of.map(|((object, _), _)| *object).collect();
        for object in objects {
            self.replan.some(object);
        }
    }
}
