//! What this node wants, and the newest orders for it. Pure but for the channels it publishes on.
//!
//! Bounded: beyond [`LIMIT`] keys a download gets no orders and goes by its seeds.

use std::collections::HashMap;
use std::sync::Arc;

use darner_lfs::ObjectKey;
use darner_proto::v1;
use tokio::sync::watch;

use super::Parents;

/// Keys kept at most; about ten of the largest Batches a client sends at once.
pub(super) const LIMIT: usize = 131_072;

/// Wants and orders by key.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: HashMap<ObjectKey, Entry>,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    orders: watch::Sender<Parents>,
    want: Option<Want>,
}

/// A want as it was given: the size, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) size: Option<u64>,
}

impl Entry {
    fn new() -> Self {
        Self { orders: watch::Sender::new(Arc::default()), want: None }
    }
}

impl Ledger {
    /// An empty one that keeps at most `limit` keys.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), limit }
    }

    /// Notes a want; false when there is no room for it.
    pub(super) fn want(&mut self, key: ObjectKey, size: Option<u64>) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        entry.want = Some(Want { size });
        true
    }

    /// The orders for a key, now and from now on.
    pub(super) fn orders(&mut self, key: ObjectKey) -> watch::Receiver<Parents> {
        self.entry(key).map_or_else(|| Entry::new().orders.subscribe(), |entry| entry.orders.subscribe())
    }

    /// Takes a key out; true when it was wanted.
    pub(super) fn forget(&mut self, key: &ObjectKey) -> bool {
        self.entries.remove(key).is_some_and(|entry| entry.want.is_some())
    }

    /// Publishes new orders; false when nobody asked.
    pub(super) fn order(&mut self, key: &ObjectKey, parents: Vec<v1::Parent>) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        entry.orders.send_replace(Arc::new(parents));
        true
    }

    /// Everything that is wanted, in no order.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (ObjectKey, Option<u64>)> + '_ {
        self.entries.iter().filter_map(|(key, entry)| entry.want.map(|want| (*key, want.size)))
    }

    fn entry(&mut self, key: ObjectKey) -> Option<&mut Entry> {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| entry.want.is_some() || entry.orders.receiver_count() > 0);
            if self.entries.len() >= self.limit {
                return None;
            }
        }
        Some(self.entries.entry(key).or_insert_with(Entry::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn key(n: u8) -> ObjectKey {
        Oid::from_bytes([n; 32]).into()
    }

    fn parent(id: &str) -> v1::Parent {
        let node = v1::NodeIdentity { id: id.to_owned(), ..Default::default() };
        v1::Parent { node: Some(node), complete: true, last_resort: false }
    }

    #[test]
    fn orders_reach_whoever_looks_before_or_after() {
        let mut ledger = Ledger::new(10);
        let mut before = ledger.orders(key(1));
        assert!(ledger.want(key(1), Some(5)));
        assert!(ledger.order(&key(1), vec![parent("p")]));
        assert!(before.has_changed().unwrap());
        assert_eq!(before.borrow_and_update().len(), 1);
        assert_eq!(*ledger.orders(key(1)).borrow().as_ref(), vec![parent("p")]);
    }

    #[test]
    fn orders_nobody_asked_for_are_not_kept() {
        let mut ledger = Ledger::new(10);
        assert!(!ledger.order(&key(1), vec![parent("p")]));
        assert!(ledger.orders(key(1)).borrow().is_empty());
    }

    #[test]
    fn what_is_forgotten_is_no_longer_wanted() {
        let mut ledger = Ledger::new(10);
        ledger.want(key(1), None);
        ledger.want(key(2), Some(3));
        assert!(ledger.forget(&key(1)));
        assert!(!ledger.forget(&key(1)));
        assert_eq!(ledger.wanted().collect::<Vec<_>>(), [(key(2), Some(3))]);
    }

    #[test]
    fn a_key_that_is_only_looked_at_is_not_wanted() {
        let mut ledger = Ledger::new(10);
        let _orders = ledger.orders(key(1));
        assert_eq!(ledger.wanted().count(), 0);
        assert!(!ledger.forget(&key(1)));
    }

    #[test]
    fn a_full_ledger_drops_what_nobody_looks_at_and_refuses_the_rest() {
        let mut ledger = Ledger::new(2);
        drop(ledger.orders(key(1)));
        assert!(ledger.want(key(2), None));
        assert!(ledger.want(key(3), None), "the unwatched key made room");
        assert!(!ledger.want(key(4), None));
        assert!(ledger.orders(key(5)).borrow().is_empty(), "and looking never fails");
        assert!(ledger.want(key(2), Some(1)), "what is known can be wanted again");
    }
}
