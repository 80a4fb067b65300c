//! One long-lived stream per scheduler.
//!
//! Two kinds of tasks: one that hears what changed in the store and notes it for the scheduler that owns the key, and
//! one per scheduler that dials, introduces this node, says everything, then what changes. A stream that breaks is
//! dialled again after a jittered pause; nothing is lost by it, because a new stream begins with everything.

use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::grpc;
use darner_chassis::identity::Role;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::Expected;
use darner_proto::v1;
use darner_proto::v1::node_message::Message;
use darner_proto::v1::scheduler_message::Message as Said;
use darner_proto::{PROTOCOL_VERSION, convert, features};
use darner_store::Item;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::inventory::{Announced, Inventory};
use super::shared::{Link, Shared, lock, now_ms};
use super::{disk, outbox};

/// Changes of the holdings are gathered this long, so that a Batch that lands is a message and not a thousand.
const GATHER: Duration = Duration::from_millis(50);
/// A scheduler that has not welcomed us by then is tried again.
const WELCOME: Duration = Duration::from_secs(5);
/// A message that cannot be handed to the transport for this long means that nobody reads at the other end.
const SEND: Duration = Duration::from_secs(10);
/// The pause before dialling again: doubled from the first to the second, each time shortened by up to nine tenths. The
/// second is how long a node may miss a scheduler that is back; a thousand nodes then dial five hundred times a second.
const PAUSE_MS: (u64, u64) = (1_000, 4_000);
/// A membership is written to disk at most this often.
const KEEP: Duration = Duration::from_secs(1);
/// Messages under way to the transport.
const QUEUE: usize = 16;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", grpc::words(.0))]
    Status(#[from] tonic::Status),
    #[error("no welcome in time")]
    NoWelcome,
    #[error("it is an older instance of itself")]
    Stale,
    #[error("closed by the scheduler")]
    Closed,
    #[error("the scheduler does not read")]
    NotRead,
    #[error("it speaks protocol version {0}")]
    Protocol(u32),
    #[error("this node stands in another zone than it said")]
    Moved,
    #[error("the list of holdings could not be read")]
    Inventory,
    #[error("{0}")]
    Address(String),
}

/// Starts the tasks: news of the store, one stream per scheduler, the copy on disk.
pub(super) fn start(shared: &Arc<Shared>, inventory: &Arc<dyn Inventory>, tasks: &Tasks) {
    if shared.links.is_empty() {
        return;
    }
    tasks.spawn("cluster news", hear_store(Arc::clone(shared), inventory.news()));
    if let Some(path) = shared.config.state_file.clone() {
        tasks.spawn("cluster state file", keep_on_disk(Arc::clone(shared), path));
    }
    for at in 0..shared.links.len() {
        tasks.spawn("cluster stream", stay_joined(Arc::clone(shared), at, Arc::clone(inventory)));
    }
}

async fn hear_store(shared: Arc<Shared>, mut news: impl futures::Stream<Item = Announced> + Send + Unpin) {
    while let Some(announced) = news.next().await {
        match announced {
            Announced::Changed(key) => shared.owe(&key, |outbox| outbox.changed(key)),
            Announced::Lost => {
                for link in &shared.links {
                    lock(&link.outbox).lost();
                    link.owed.notify_one();
                }
            }
        }
    }
}

async fn keep_on_disk(shared: Arc<Shared>, path: PathBuf) {
    let mut followed = shared.membership.subscribe();
    while followed.changed().await.is_ok() {
        tokio::time::sleep(KEEP).await;
        let (membership, path) = (followed.borrow_and_update().clone(), path.clone());
        if membership.seeds.is_empty() && membership.daemons.is_empty() {
            continue;
        }
        match tokio::task::spawn_blocking(move || disk::write(&path, &membership)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "last membership cannot be kept"),
            Err(error) => tracing::warn!(%error, "last membership was not kept"),
        }
    }
}

async fn stay_joined(shared: Arc<Shared>, at: usize, inventory: Arc<dyn Inventory>) {
    let Some(link) = shared.links.get(at) else { return };
    let mut failures = 0_u32;
    loop {
        let mut stream = Stream { shared: &shared, at, link, inventory: &inventory, welcomed: false };
        let broken = stream.run().await;
        lock(&shared.views).lost(at);
        shared.publish();
        // Said once per outage: a scheduler that stays away is no news.
        if stream.welcomed || failures == 0 {
            tracing::warn!(scheduler = %link.address, reason = %broken, "scheduler stream ended");
        }
        failures = if stream.welcomed { 0 } else { failures.saturating_add(1) };
        tokio::time::sleep(pause(shared.identity(), at, failures)).await;
    }
}

/// The pause before the next attempt. Jitter comes from who we are and how often we tried: nodes differ, runs repeat.
fn pause(node: &v1::NodeIdentity, at: usize, failures: u32) -> Duration {
    let (first, last) = PAUSE_MS;
    let whole = first.saturating_mul(1 << failures.min(10)).min(last);
    let mut hash = DefaultHasher::new();
    (&node.id, node.incarnation, at, failures).hash(&mut hash);
    Duration::from_millis(whole / 10 + hash.finish() % (whole * 9 / 10))
}

/// One life of a stream.
struct Stream<'a> {
    shared: &'a Shared,
    at: usize,
    link: &'a Link,
    inventory: &'a Arc<dyn Inventory>,
    welcomed: bool,
}

impl Stream<'_> {
    async fn run(&mut self) -> Broken {
        match self.join().await {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }

    async fn join(&mut self) -> Result<Infallible, Broken> {
        let (out, queue) = mpsc::channel(QUEUE);
        let mut zone = self.shared.zone.subscribe();
        zone.mark_unchanged();
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            features: features::ALL,
            node: Some(self.shared.introduction()),
            clock_ms: now_ms(),
        };
        send(&out, Message::Hello(hello)).await?;
        let expected = Expected::roles(&[Role::Scheduler]);
        let channel = self.shared.wire().channel(&self.link.address, expected);
        let channel = channel.map_err(|error| Broken::Address(error.to_string()))?;
        let mut client = v1::scheduler_client::SchedulerClient::new(channel);
        let opened = timeout(WELCOME, client.join(ReceiverStream::new(queue)));
        let mut said = opened.await.map_err(|_late| Broken::NoWelcome)??.into_inner();
        let first = timeout(WELCOME, said.message()).await.map_err(|_late| Broken::NoWelcome)??;
        self.welcome(first.as_ref().and_then(|first| first.message.as_ref()))?;
        tokio::select! {
            broken = self.exchange(&out, said) => broken,
            Ok(()) = zone.changed() => Err(Broken::Moved),
        }
    }

    fn welcome(&mut self, first: Option<&Said>) -> Result<(), Broken> {
        let Some(Said::Welcome(welcome)) = first else { return Err(Broken::NoWelcome) };
        if welcome.protocol_version != PROTOCOL_VERSION {
            return Err(Broken::Protocol(welcome.protocol_version));
        }
        if !lock(&self.shared.views).welcomed(self.at, welcome.epoch, now_ms()) {
            return Err(Broken::Stale);
        }
        self.welcomed = true;
        let skew_ms =
            i64::try_from(welcome.clock_ms).unwrap_or(i64::MAX) - i64::try_from(now_ms()).unwrap_or(i64::MAX);
        tracing::info!(scheduler = %self.link.address, epoch = welcome.epoch, skew_ms, "joined scheduler");
        let wanted: Vec<_> =
            lock(&self.shared.ledger).wanted().filter(|(key, _)| self.shared.owns(self.link, key)).collect();
        lock(&self.link.outbox).restart(wanted.into_iter());
        Ok(())
    }

    /// Says what is owed and hears what is said, until the stream breaks.
    async fn exchange(
        &mut self,
        out: &mpsc::Sender<v1::NodeMessage>,
        mut said: tonic::Streaming<v1::SchedulerMessage>,
    ) -> Result<Infallible, Broken> {
        // A new stream says its wants first (they cannot wait), then its holdings.
        let mut changes_due = Some(Instant::now());
        self.link.owed.notify_one();
        let mut carried_due = self.carried_due();
        loop {
            tokio::select! {
                message = said.message() => {
                    self.hear(message?.ok_or(Broken::Closed)?);
                    carried_due = self.carried_due();
                }
                () = self.link.owed.notified() => {
                    self.say_urgent(out).await?;
                    let owes = lock(&self.link.outbox).owes_changes();
                    changes_due = changes_due.or_else(|| owes.then(|| Instant::now() + GATHER));
                }
                () = at(changes_due) => {
                    changes_due = None;
                    self.say_changes(out).await?;
                }
                () = at(carried_due) => {
                    self.shared.publish();
                    carried_due = self.carried_due();
                }
            }
        }
    }

    fn carried_due(&self) -> Option<Instant> {
        let now = now_ms();
        let until = lock(&self.shared.views).carried_until(now)?;
        Some(Instant::now() + Duration::from_millis(until.saturating_sub(now)))
    }

    fn hear(&self, message: v1::SchedulerMessage) {
        match message.message {
            Some(Said::Membership(news)) => {
                if lock(&self.shared.views).said(self.at, news) {
                    self.shared.publish();
                }
            }
            Some(Said::Orders(orders)) => {
                if !lock(&self.shared.views).accepts(self.at, orders.epoch) {
                    tracing::debug!(epoch = orders.epoch, "orders of an older epoch dropped");
                    return;
                }
                let mut ledger = lock(&self.shared.ledger);
                for order in orders.orders {
                    if let Ok(key) = convert::key(order.key.as_ref()) {
                        ledger.order(&key, order.parents);
                    }
                }
            }
            // A second welcome, or words of a newer scheduler: nothing to do with them.
            Some(Said::Welcome(_)) | None => {}
        }
    }

    async fn say_urgent(&self, out: &mpsc::Sender<v1::NodeMessage>) -> Result<(), Broken> {
        let messages = lock(&self.link.outbox).take_urgent();
        for message in messages {
            send(out, message).await?;
        }
        Ok(())
    }

    async fn say_changes(&self, out: &mpsc::Sender<v1::NodeMessage>) -> Result<(), Broken> {
        let full = lock(&self.link.outbox).take_full();
        if full {
            let items = self.off_thread(Inventory::all).await?;
            let owned: Vec<Item> = items
                .into_iter()
                .filter(|item| {
                    self.shared.owner(&item.key).is_some_and(|owner| std::ptr::eq(owner, self.link))
                })
                .collect();
            self.say_inventory(out, outbox::whole(&owned)).await?;
        }
        let changed = lock(&self.link.outbox).take_changed();
        let look = move |inventory: &dyn Inventory| {
            changed.into_iter().map(|key| (key, inventory.one(&key))).collect::<Vec<_>>()
        };
        let changed = self.off_thread(look).await?;
        self.say_inventory(out, outbox::deltas(&changed)).await
    }

    async fn say_inventory(
        &self,
        out: &mpsc::Sender<v1::NodeMessage>,
        parts: Vec<v1::Inventory>,
    ) -> Result<(), Broken> {
        for part in parts {
            let message = lock(&self.link.outbox).inventory(part);
            send(out, message).await?;
            // Wants must not wait behind a million holdings.
            self.say_urgent(out).await?;
        }
        Ok(())
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Inventory) -> T + Send + 'static,
    ) -> Result<T, Broken> {
        let inventory = Arc::clone(self.inventory);
        let looked = tokio::task::spawn_blocking(move || look(inventory.as_ref())).await;
        looked.map_err(|_panicked_or_shut_down| Broken::Inventory)
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn send(out: &mpsc::Sender<v1::NodeMessage>, message: Message) -> Result<(), Broken> {
    let sent = timeout(SEND, out.send(v1::NodeMessage { message: Some(message) })).await;
    sent.map_err(|_late| Broken::NotRead)?.map_err(|_closed| Broken::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_between_nodes() {
        let node = |id: &str| v1::NodeIdentity { id: id.to_owned(), ..Default::default() };
        let (first, last) = (pause(&node("a"), 0, 0), pause(&node("a"), 0, 60));
        assert!(first >= Duration::from_millis(100) && first <= Duration::from_secs(1), "{first:?}");
        assert!(last >= Duration::from_millis(400) && last <= Duration::from_secs(4), "{last:?}");
        let pauses: std::collections::BTreeSet<_> =
            (0..50).map(|n| pause(&node(&n.to_string()), 0, 0)).collect();
        assert!(pauses.len() > 40, "nodes do not come back together");
    }
}
