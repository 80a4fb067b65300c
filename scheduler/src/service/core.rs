//! The one task that owns the model: applies events in the order they come, hands out what follows, keeps time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::Clock;
use darner_chassis::metrics::Metrics;
use darner_chassis::tasks::Tasks;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::decision::Decisions;
use super::epoch::Kept;
use super::outbox::{Ended, Outbox};
use crate::swarm::{Effect, Event, Session, Summary, Swarm};

/// Events waiting; beyond that the streams wait, and their nodes with them.
const QUEUE: usize = 1_024;
/// What is put off is said after this long: as long as nodes gather their changes, halved.
const COALESCE: Duration = Duration::from_millis(25);
/// Time passes for the model at least this often.
const IDLE: Duration = Duration::from_secs(1);

/// The handle of the task. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    queue: mpsc::Sender<Command>,
}

/// The task has ended: the process is leaving.
#[derive(Debug, thiserror::Error)]
#[error("the scheduler is leaving")]
pub(crate) struct Gone;

#[derive(Debug)]
enum Command {
    Open { session: Session, stream: Stream, epoch: oneshot::Sender<u64> },
    Event(Event, Decisions),
    Show(oneshot::Sender<Shown>),
}

/// The edge's own side of a stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) outbox: Arc<Outbox>,
    /// The node's clock minus ours.
    pub(super) skew_ms: i64,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) swarm: Summary,
    pub(crate) now_ms: u64,
    /// The clock skew of each stream, in milliseconds.
    pub(crate) skews: BTreeMap<Session, i64>,
}

impl Core {
    /// A stream exists from now on; what the model says to it goes to its outbox. The epoch at this moment.
    pub(super) async fn open(&self, session: Session, stream: Stream) -> Result<u64, Gone> {
        let (epoch, now) = oneshot::channel();
        self.send(Command::Open { session, stream, epoch }).await?;
        now.await.map_err(|_ended| Gone)
    }

    pub(super) async fn apply(&self, event: Event) -> Result<(), Gone> {
        self.decide(event, Decisions::default()).await
    }

    /// The same for an event whose decisions are in traces.
    pub(super) async fn decide(&self, event: Event, decisions: Decisions) -> Result<(), Gone> {
        self.send(Command::Event(event, decisions)).await
    }

    pub(crate) async fn show(&self) -> Result<Shown, Gone> {
        let (answer, shown) = oneshot::channel();
        self.send(Command::Show(answer)).await?;
        shown.await.map_err(|_ended| Gone)
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        self.queue.send(command).await.map_err(|_ended| Gone)
    }
}

/// Starts the task.
pub(super) fn start(
    swarm: Swarm,
    clock: Arc<dyn Clock>,
    kept: Kept,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Core {
    let (queue, commands) = mpsc::channel(QUEUE);
    let (epochs, followed) = watch::channel(swarm.epoch());
    tasks.spawn("epoch file", kept.keep(followed));
    let owner = Owner { swarm, clock, epochs, streams: BTreeMap::new(), counted: Counted::new(metrics) };
    tasks.spawn("swarm", owner.run(commands));
    Core { queue }
}

struct Owner {
    swarm: Swarm,
    clock: Arc<dyn Clock>,
    epochs: watch::Sender<u64>,
    streams: BTreeMap<Session, Stream>,
    counted: Counted,
}

struct Counted {
    nodes: Gauge,
    wants: Gauge,
    holdings: Gauge,
    orders: Counter,
    troubles: Counter,
}

impl Counted {
    fn new(metrics: &Metrics) -> Self {
        Self {
            nodes: metrics.register_gauge("darner_scheduler_nodes", "Nodes with a stream"),
            wants: metrics.register_gauge("darner_scheduler_wants", "Objects being downloaded, per node"),
            holdings: metrics.register_gauge("darner_scheduler_holdings", "Objects held, per node"),
            orders: metrics.register_counter("darner_scheduler_orders", "Orders sent"),
            troubles: metrics.register_counter("darner_scheduler_troubles", "Complaints about parents"),
        }
    }
}

impl Owner {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticked = Instant::now();
        loop {
            let pause = if self.swarm.has_news() { COALESCE } else { IDLE };
            tokio::select! {
                // A flood of events must not stop time.
                biased;
                () = sleep_until(ticked + pause) => {
                    ticked = Instant::now();
                    self.apply(Event::Tick);
                    self.count();
                }
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { session, stream, epoch } => {
                // A node that has gone by now has no reader that would say so.
                if epoch.send(self.swarm.epoch()).is_ok() {
                    self.streams.insert(session, stream);
                }
            }
            Command::Event(event, decisions) => {
                if matches!(event, Event::Trouble { .. }) {
                    self.counted.troubles.inc();
                }
                let left = if let Event::Left { session } = &event { Some(*session) } else { None };
                self.apply_traced(event, &decisions);
                if let Some(stream) = left.and_then(|session| self.streams.remove(&session)) {
                    stream.outbox.close(Ended::Left);
                }
            }
            Command::Show(answer) => {
                let now_ms = self.clock.now_ms();
                let skews = self.streams.iter().map(|(session, stream)| (*session, stream.skew_ms)).collect();
                // The asker may have gone; nobody misses the answer then.
                drop(answer.send(Shown { swarm: self.swarm.summary(now_ms), now_ms, skews }));
            }
        }
    }

    fn apply(&mut self, event: Event) {
        self.apply_traced(event, &Decisions::default());
    }

    fn apply_traced(&mut self, event: Event, decisions: &Decisions) {
        let asker = if let Event::Wants { session, .. } = &event { Some(*session) } else { None };
        let effects = self.swarm.apply(event, self.clock.now_ms());
        if let Some(asker) = asker {
            decisions.record(&effects, asker);
        }
        for effect in effects {
            match effect {
                Effect::Orders { session, epoch, orders } => {
                    self.counted.orders.inc_by(u64::try_from(orders.len()).unwrap_or(u64::MAX));
                    self.with(session, |stream| stream.outbox.order(epoch, orders));
                }
                Effect::Membership { session, members } => {
                    self.with(session, |stream| stream.outbox.members(members));
                }
                Effect::Close { session, reason } => {
                    self.with(session, |stream| stream.outbox.close(Ended::Closed(reason)));
                }
            }
        }
        let epoch = self.swarm.epoch();
        self.epochs.send_if_modified(|known| std::mem::replace(known, epoch) != epoch);
    }

    fn with(&self, session: Session, say: impl FnOnce(&Stream)) {
        if let Some(stream) = self.streams.get(&session) {
            say(stream);
        }
    }

    fn count(&self) {
        let (nodes, wants, holdings) = self.swarm.sizes();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.counted.nodes.set(number(nodes));
        self.counted.wants.set(number(wants));
        self.counted.holdings.set(number(holdings));
    }
}
