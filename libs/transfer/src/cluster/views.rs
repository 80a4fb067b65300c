//! The memberships of several schedulers, made one. Pure: time comes as an argument.
//!
//! Stays true: the ring never shrinks because a scheduler restarted (its view is carried on for a while), and a
//! scheduler that is gone does not keep dead members alive while others answer.

use std::collections::BTreeMap;

use darner_proto::v1;

use super::Membership;

/// How long the earlier members count beside a new stream's view: a restarted scheduler hears from all nodes within
/// their first reconnect (at most a second), this is five times that.
pub(super) const CARRY_MS: u64 = 5_000;
/// Streams refused for an older epoch before it is believed that the scheduler's clock went back.
const STALE_WELCOMES: u32 = 3;

/// What the schedulers say, each for itself.
#[derive(Debug)]
pub(super) struct Views {
    by_scheduler: Vec<View>,
    /// Members from before (disk, or the streams that broke) and until when they count beside the views.
    carried: Membership,
    carried_until: u64,
}

#[derive(Debug, Default)]
struct View {
    epoch: u64,
    connected: bool,
    stale_welcomes: u32,
    said: Option<Membership>,
    /// A stream to it has ended, however: it was asked, and did not tell.
    failed: bool,
}

impl Views {
    /// Of `count` schedulers none of which has said anything; `kept` is what was on disk.
    pub(super) fn new(count: usize, kept: Membership) -> Self {
        let by_scheduler = std::iter::repeat_with(View::default).take(count).collect();
        Self { by_scheduler, carried: kept, carried_until: 0 }
    }

    /// A stream was welcomed. False: by an older instance than the one heard before, so the stream is not to be used.
    pub(super) fn welcomed(&mut self, at: usize, epoch: u64, now_ms: u64) -> bool {
        let before = self.merged(now_ms);
        let Some(view) = self.by_scheduler.get_mut(at) else { return false };
        if epoch < view.epoch && view.stale_welcomes < STALE_WELCOMES {
            view.stale_welcomes += 1;
            return false;
        }
        *view = View { epoch, connected: true, stale_welcomes: 0, said: None, failed: view.failed };
        self.carried = before;
        self.carried_until = now_ms.saturating_add(CARRY_MS);
        true
    }

    /// A stream ended; what it said stays until another scheduler knows better.
    pub(super) fn lost(&mut self, at: usize) {
        if let Some(view) = self.by_scheduler.get_mut(at) {
            view.connected = false;
            view.failed = true;
        }
    }

    /// Whether some scheduler may still answer the first time it was asked.
    pub(super) fn is_asking(&self) -> bool {
        self.by_scheduler.iter().any(|view| view.said.is_none() && !view.failed)
    }

    /// News of one scheduler. False: it is older than what is known.
    pub(super) fn said(&mut self, at: usize, news: v1::Membership) -> bool {
        let Some(view) = self.by_scheduler.get_mut(at) else { return false };
        if news.epoch < view.epoch {
            return false;
        }
        view.epoch = news.epoch;
        view.said = Some(Membership { epoch: news.epoch, seeds: news.seeds, daemons: news.daemons });
        true
    }

    /// Whether orders of this epoch still count; newer ones move the epoch on.
    pub(super) fn accepts(&mut self, at: usize, epoch: u64) -> bool {
        let Some(view) = self.by_scheduler.get_mut(at) else { return false };
        let fresh = epoch >= view.epoch;
        view.epoch = view.epoch.max(epoch);
        fresh
    }

    /// Whether a stream to this scheduler stands.
    pub(super) fn connected(&self, at: usize) -> bool {
        self.by_scheduler.get(at).is_some_and(|view| view.connected)
    }

    /// Whether a scheduler to which a stream stands has said who the members are.
    pub(super) fn informed(&self) -> bool {
        self.by_scheduler.iter().any(|view| view.connected && view.said.is_some())
    }

    /// The members by all that is known: what the connected schedulers say; without any, what was said last.
    pub(super) fn merged(&self, now_ms: u64) -> Membership {
        let live: Vec<&Membership> = self
            .by_scheduler
            .iter()
            .filter(|view| view.connected)
            .filter_map(|view| view.said.as_ref())
            .collect();
        let last = self.by_scheduler.iter().filter_map(|view| view.said.as_ref());
        let (chosen, carry): (Vec<&Membership>, bool) =
            if live.is_empty() { (last.collect(), true) } else { (live, now_ms < self.carried_until) };
        let carried = carry.then_some(&self.carried);
        union(chosen.into_iter().chain(carried))
    }

    /// When the carried members cease to count, if that is still to come.
    pub(super) fn carried_until(&self, now_ms: u64) -> Option<u64> {
        (now_ms < self.carried_until).then_some(self.carried_until)
    }
}

fn union<'a>(all: impl Iterator<Item = &'a Membership>) -> Membership {
    let (mut epoch, mut seeds, mut daemons) = (0, BTreeMap::new(), BTreeMap::new());
    for one in all {
        epoch = epoch.max(one.epoch);
        add(&mut seeds, &one.seeds);
        add(&mut daemons, &one.daemons);
    }
    let sorted = |members: BTreeMap<&str, &v1::NodeIdentity>| members.into_values().cloned().collect();
    Membership { epoch, seeds: sorted(seeds), daemons: sorted(daemons) }
}

/// Of two identities of one node the one that started last counts.
fn add<'a>(members: &mut BTreeMap<&'a str, &'a v1::NodeIdentity>, more: &'a [v1::NodeIdentity]) {
    for node in more {
        let known = members.entry(node.id.as_str()).or_insert(node);
        if node.incarnation > known.incarnation {
            *known = node;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, incarnation: u64) -> v1::NodeIdentity {
        v1::NodeIdentity { id: id.to_owned(), incarnation, ..Default::default() }
    }

    fn said(epoch: u64, seeds: &[&str]) -> v1::Membership {
        v1::Membership { epoch, seeds: seeds.iter().map(|id| node(id, 1)).collect(), daemons: vec![] }
    }

    fn seeds(views: &Views, now: u64) -> Vec<String> {
        views.merged(now).seeds.into_iter().map(|seed| seed.id).collect()
    }

    fn kept(ids: &[&str]) -> Membership {
        Membership { epoch: 7, seeds: ids.iter().map(|id| node(id, 1)).collect(), daemons: vec![] }
    }

    #[test]
    fn without_a_scheduler_the_members_on_disk_count() {
        let views = Views::new(1, kept(&["a", "b"]));
        assert_eq!(seeds(&views, 1_000_000), ["a", "b"]);
        assert_eq!(views.merged(0).epoch, 7);
    }

    #[test]
    fn a_restarted_scheduler_does_not_shrink_the_ring_at_once() {
        let mut views = Views::new(1, Membership::default());
        assert!(views.welcomed(0, 10, 0));
        assert!(views.said(0, said(11, &["a", "b", "c"])));
        views.lost(0);
        assert_eq!(seeds(&views, 500), ["a", "b", "c"], "the last view stays while the scheduler is away");
        assert!(views.welcomed(0, 20, 1_000));
        assert!(views.said(0, said(21, &["b"])));
        assert_eq!(seeds(&views, 1_001), ["a", "b", "c"]);
        assert_eq!(seeds(&views, 1_000 + CARRY_MS), ["b"]);
    }

    #[test]
    fn the_members_of_two_schedulers_are_one_set() {
        let mut views = Views::new(2, Membership::default());
        assert!(views.welcomed(0, 1, 0) && views.welcomed(1, 1, 0));
        assert!(views.said(0, said(2, &["a", "b"])) && views.said(1, said(9, &["b", "c"])));
        assert_eq!(seeds(&views, CARRY_MS), ["a", "b", "c"]);
        assert_eq!(views.merged(0).epoch, 9);
    }

    #[test]
    fn a_scheduler_that_is_gone_keeps_no_dead_member_alive() {
        let mut views = Views::new(2, Membership::default());
        assert!(views.welcomed(0, 1, 0) && views.welcomed(1, 1, 0));
        assert!(views.said(0, said(2, &["dead"])) && views.said(1, said(2, &["alive"])));
        views.lost(0);
        assert_eq!(seeds(&views, CARRY_MS), ["alive"]);
        views.lost(1);
        assert_eq!(seeds(&views, CARRY_MS), ["alive", "dead"], "with none left, all that was said counts");
    }

    #[test]
    fn a_scheduler_is_being_asked_until_it_told_or_its_stream_ended() {
        let mut views = Views::new(2, kept(&["a"]));
        assert!(!views.informed() && views.is_asking());
        assert!(views.welcomed(0, 1, 0));
        assert!(!views.informed() && views.is_asking(), "a welcome names nobody");
        views.lost(1);
        assert!(views.is_asking(), "the other one may still tell");
        assert!(views.said(0, said(2, &["a"])));
        assert!(views.informed() && !views.is_asking());
        let mut deserted = Views::new(1, kept(&["a"]));
        deserted.lost(0);
        assert!(!deserted.informed() && !deserted.is_asking());
        assert!(!Views::new(0, kept(&["a"])).is_asking());
    }

    #[test]
    fn news_and_orders_of_an_older_epoch_are_dropped() {
        let mut views = Views::new(1, Membership::default());
        assert!(views.welcomed(0, 10, 0));
        assert!(views.said(0, said(12, &["a"])));
        assert!(!views.said(0, said(11, &["b"])));
        assert_eq!(seeds(&views, CARRY_MS), ["a"]);
        assert!(!views.accepts(0, 11));
        assert!(views.accepts(0, 13));
        assert!(!views.accepts(0, 12));
    }

    #[test]
    fn an_old_instance_is_refused_but_not_for_ever() {
        let mut views = Views::new(1, Membership::default());
        assert!(views.welcomed(0, 10, 0));
        let answers: Vec<bool> = (0..4).map(|_| views.welcomed(0, 5, 0)).collect();
        assert_eq!(answers, [false, false, false, true]);
        assert!(views.accepts(0, 5), "from then on its epochs count");
    }

    #[test]
    fn a_node_that_came_back_is_known_by_its_new_address() {
        let mut views = Views::new(2, Membership::default());
        assert!(views.welcomed(0, 1, 0) && views.welcomed(1, 1, 0));
        let old = v1::NodeIdentity { piece_address: "old:1".to_owned(), ..node("a", 1) };
        let new = v1::NodeIdentity { piece_address: "new:1".to_owned(), ..node("a", 2) };
        assert!(views.said(0, v1::Membership { epoch: 2, seeds: vec![new], daemons: vec![] }));
        assert!(views.said(1, v1::Membership { epoch: 2, seeds: vec![old], daemons: vec![] }));
        let merged = views.merged(CARRY_MS);
        assert_eq!(merged.seeds.len(), 1);
        assert_eq!(merged.seeds[0].piece_address, "new:1");
    }

    #[test]
    fn a_scheduler_that_is_not_on_the_list_changes_nothing() {
        let mut views = Views::new(1, kept(&["a"]));
        assert!(!views.welcomed(3, 1, 0) && !views.said(3, said(1, &["x"])) && !views.accepts(3, 9));
        views.lost(3);
        assert!(!views.connected(3) && !views.connected(0));
        assert_eq!(seeds(&views, 0), ["a"]);
    }
}
