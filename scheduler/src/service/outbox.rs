//! What is to be said on one stream: the newest orders per key, the newest members. A slow node gets fewer, newer
//! messages; it never holds the scheduler up. Bounded by the node's own wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_proto::v1::scheduler_message::Message;
use tokio::sync::Notify;

use crate::swarm::{Closed, Order};

/// Orders per message: eight parents each, far below the 4 MiB that gRPC allows.
const ORDERS: usize = 500;

/// One stream's share of what the model says.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    members: Option<Arc<v1::Membership>>,
    orders: BTreeMap<ObjectKey, Vec<v1::Parent>>,
    epoch: u64,
    closed: Option<Ended>,
    last_order: u64,
}

/// Why a stream is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// By the model's word.
    Closed(Closed),
    /// The node said something that is no message of ours.
    Malformed(String),
    /// The scheduler is leaving.
    Draining,
    /// The node has left; nobody is there to hear a reason.
    Left,
}

/// What comes next on a stream.
#[derive(Debug)]
pub(super) enum Next {
    /// Say these.
    Say(Vec<v1::SchedulerMessage>),
    /// End the stream; the reason is for the node.
    End(Ended),
}

impl Outbox {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, epoch: u64, orders: Vec<Order>) {
        let mut pending = self.pending();
        pending.epoch = epoch;
        pending.orders.extend(orders.into_iter().map(|order| (order.key, order.parents)));
        drop(pending);
        self.news.notify_one();
    }

    pub(super) fn members(&self, members: Arc<v1::Membership>) {
        self.pending().members = Some(members);
        self.news.notify_one();
    }

    /// Ends the stream; the first reason counts.
    pub(super) fn close(&self, reason: Ended) {
        self.pending().closed.get_or_insert(reason);
        self.news.notify_one();
    }

    /// Waits for something to say. Members go first: orders are never of an older epoch than they are.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut pending = self.pending();
        if let Some(reason) = &pending.closed {
            return Some(Next::End(reason.clone()));
        }
        let mut messages = Vec::new();
        if let Some(members) = pending.members.take() {
            pending.epoch = pending.epoch.max(members.epoch);
            messages.push(Message::Membership(members.as_ref().clone()));
        }
        let orders: Vec<v1::Order> = std::mem::take(&mut pending.orders)
            .into_iter()
            .map(|(key, parents)| v1::Order { key: Some(key.into()), parents })
            .collect();
        for orders in orders.chunks(ORDERS) {
            pending.last_order += 1;
            let (epoch, order_id) = (pending.epoch, pending.last_order);
            messages.push(Message::Orders(v1::Orders { epoch, order_id, orders: orders.to_vec() }));
        }
        drop(pending);
        let message = |message| v1::SchedulerMessage { message: Some(message) };
        (!messages.is_empty()).then(|| Next::Say(messages.into_iter().map(message).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn order(n: u32, parents: usize) -> Order {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Order { key: Oid::from_bytes(bytes).into(), parents: vec![v1::Parent::default(); parents] }
    }

    async fn said(outbox: &Outbox) -> Vec<Message> {
        match outbox.next().await {
            Next::Say(messages) => messages.into_iter().filter_map(|message| message.message).collect(),
            Next::End(reason) => panic!("ended: {reason:?}"),
        }
    }

    #[tokio::test]
    async fn only_the_newest_order_of_a_key_is_said() {
        let outbox = Outbox::default();
        outbox.order(1, vec![order(1, 1), order(2, 1)]);
        outbox.order(2, vec![order(1, 3)]);
        let messages = said(&outbox).await;
        let [Message::Orders(orders)] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!((orders.epoch, orders.order_id, orders.orders.len()), (2, 1, 2));
        assert_eq!(orders.orders[0].parents.len(), 3);
    }

    #[tokio::test]
    async fn members_are_said_before_the_orders_of_their_epoch() {
        let outbox = Outbox::default();
        outbox.order(1, vec![order(1, 1)]);
        outbox.members(Arc::new(v1::Membership { epoch: 5, ..Default::default() }));
        let messages = said(&outbox).await;
        assert!(matches!(&messages[0], Message::Membership(members) if members.epoch == 5));
        assert!(matches!(&messages[1], Message::Orders(orders) if orders.epoch == 5));
    }

    #[tokio::test]
    async fn a_big_answer_is_cut_and_numbered() {
        let outbox = Outbox::default();
        outbox.order(1, (0..1_200).map(|n| order(n, 0)).collect());
        let sizes: Vec<(u64, usize)> = said(&outbox)
            .await
            .iter()
            .map(|message| match message {
                Message::Orders(orders) => (orders.order_id, orders.orders.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [(1, 500), (2, 500), (3, 200)]);
    }

    #[tokio::test]
    async fn a_closed_stream_ends_with_its_first_reason() {
        let outbox = Outbox::default();
        outbox.close(Ended::Closed(Closed::Replaced));
        outbox.close(Ended::Left);
        outbox.order(1, vec![order(1, 1)]);
        assert!(matches!(outbox.next().await, Next::End(Ended::Closed(Closed::Replaced))));
    }
}
