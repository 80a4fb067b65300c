//! What follows from a complaint: the parent is set aside for the child that complained, and for everybody once
//! several children did.
//!
//! One child alone can take a parent from nobody but itself, and its word counts against few parents at a time: a
//! lying child costs the others nothing.

use super::nodes::{Aside, NodeNo};
use super::objects::ObjectNo;
use super::{Complaint, Effect, Session, Swarm, Trouble, choice};

/// Children that must complain before a parent is set aside for all.
const CHILDREN: usize = 3;
/// Complaints older than this no longer count.
const WINDOW_MS: u64 = 60_000;
/// How long a parent is set aside for all.
const ASIDE_MS: u64 = 60_000;
/// How long a child is kept from a parent it could not dial.
const UNREACHABLE_MS: u64 = 30_000;
/// How long a child is kept from a parent that stalled on, or refused, one object.
const OBJECT_MS: u64 = 30_000;
/// How long a child is kept from a parent that gave it corrupt bytes.
const CORRUPT_MS: u64 = 600_000;
/// Parents one child's word counts against within the window.
const QUOTA: usize = 8;
/// Parents kept aside per child; the one that would return first makes room.
const ASIDES: usize = 64;
/// Parents that stalled on, or refused, one object, kept per want.
const REFUSED: usize = 16;
/// Complaints kept per parent.
const COMPLAINTS: usize = 16;
/// One more copy may cross a zone's link after each such interval in which a gateway stalled.
const STALL_MS: u64 = 2_000;

/// One complaint, its names resolved.
#[derive(Debug, Clone, Copy)]
struct Case {
    child: NodeNo,
    parent: NodeNo,
    object: ObjectNo,
    kind: Complaint,
}

impl Swarm {
    /// A child complained; it gets new orders for the object at once.
    pub(super) fn trouble(&mut self, session: Session, trouble: &Trouble, now_ms: u64) -> Vec<Effect> {
        let (Some(child), Some(object)) = (self.nodes.number(session), self.objects.find(&trouble.key))
        else {
            return Vec::new();
        };
        let tenant = self.nodes.get(child).map(|node| node.identity.tenant.clone()).unwrap_or_default();
        let parent = self.nodes.named(&tenant, &trouble.parent).filter(|parent| *parent != child);
        if let Some(parent) = parent {
            self.judge(Case { child, parent, object, kind: trouble.kind }, now_ms);
        }
        self.order_now(object, child, now_ms)
    }

    fn judge(&mut self, case: Case, now_ms: u64) {
        let Case { child, parent, object, kind } = case;
        let want = self.wants.get(&(object, child));
        let ordered = want.and_then(|want| want.parents.iter().find(|chosen| chosen.node == parent));
        let counts = match (kind, ordered) {
            (_, None) | (Complaint::Refused, _) => false,
            // A parent that is still fetching stalls when its own parents do: that is no fault of its own.
            (Complaint::Stalled, Some(chosen)) => chosen.complete,
            (Complaint::Corrupt | Complaint::Unreachable, Some(_)) => true,
        };
        self.set_aside_for(case, now_ms);
        if counts {
            self.count_against(parent, child, now_ms);
        }
        self.let_one_more_cross(object, child, parent, now_ms);
    }

    fn set_aside_for(&mut self, case: Case, now_ms: u64) {
        let Case { child, parent, object, kind } = case;
        let aside = match kind {
            Complaint::Corrupt => Aside { until: now_ms.saturating_add(CORRUPT_MS), corrupt: true },
            Complaint::Unreachable => Aside { until: now_ms.saturating_add(UNREACHABLE_MS), corrupt: false },
            Complaint::Stalled | Complaint::Refused => {
                if let Some(want) = self.wants.get_mut(&(object, child)) {
                    want.refused.retain(|(refused, until)| now_ms < *until && *refused != parent);
                    // The oldest word makes room: it would have ended first.
                    if want.refused.len() >= REFUSED {
                        want.refused.remove(0);
                    }
                    want.refused.push((parent, now_ms.saturating_add(OBJECT_MS)));
                }
                return;
            }
        };
        let Some(node) = self.nodes.get_mut(child) else { return };
        // What was said of corrupt bytes is not softened by a later, milder word.
        if node.called_corrupt(parent, now_ms) && !aside.corrupt {
            return;
        }
        node.aside.retain(|_, aside| now_ms < aside.until);
        if node.aside.len() >= ASIDES
            && let Some(first) =
                node.aside.iter().min_by_key(|(_, aside)| aside.until).map(|(first, _)| *first)
        {
            node.aside.remove(&first);
        }
        node.aside.insert(parent, aside);
    }

    fn count_against(&mut self, parent: NodeNo, child: NodeNo, now_ms: u64) {
        let others = self.nodes.iter().filter(|(number, node)| {
            *number != parent && node.complaints.get(&child).is_some_and(|at| now_ms < at + WINDOW_MS)
        });
        if others.count() >= QUOTA {
            return;
        }
        let Some(node) = self.nodes.get_mut(parent) else { return };
        node.complaints.retain(|_, at| now_ms < *at + WINDOW_MS);
        if node.complaints.len() < COMPLAINTS {
            node.complaints.insert(child, now_ms);
        }
        if node.complaints.len() >= CHILDREN {
            node.complaints.clear();
            node.aside_until = now_ms.saturating_add(ASIDE_MS);
            self.replan_children_of(parent);
        }
    }

    /// When a gateway failed a child, the next child of the zone may take a copy of its own.
    fn let_one_more_cross(&mut self, object: ObjectNo, child: NodeNo, parent: NodeNo, now_ms: u64) {
        let Some(place) = self.nodes.get(child).map(|node| node.place) else { return };
        let Some(site) = self.objects.get_mut(object).and_then(|object| object.site_mut(place)) else {
            return;
        };
        let failed = choice::gateways(site).any(|gateway| gateway == parent);
        let rested = site.extra == 0 || now_ms >= site.extra_since + STALL_MS;
        if failed && rested && site.extra + 1 < site.wanters.len() {
            site.extra += 1;
            site.extra_since = now_ms;
            self.replan.all(object);
        }
    }
}
