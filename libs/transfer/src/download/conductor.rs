//! The conductor of one download: the one task that owns its plan.
//!
//! It follows the parents it is told of (the seed that opened, the seed's takers, the scheduler's orders, referrals),
//! asks each for the piece the plan says, and ends when the object is whole and hashed, when nobody wants it any
//! more, or when nothing came for too long. It owns every task it starts; when it ends they end.

mod ending;
mod parents;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_store::WriteError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::fetch::{Job, Miss};
use super::follow::Told;
use super::{Downloads, Running};
use crate::cluster::Parents;
use crate::plan::{Failure, Next, Plan};
use parents::Parent;

/// What followers tell is queued up to here; a full queue slows the followers, nobody else.
const QUEUE: usize = 256;
/// Between two looks at whether anybody still wants the object.
const LOOK: Duration = Duration::from_millis(250);
/// While a memory-backed object waits for its reader.
const WINDOW_PAUSE: Duration = Duration::from_millis(20);

/// The end of a piece fetch.
struct Fetched {
    parent: String,
    piece: u32,
    result: Result<u64, Miss>,
}

pub(super) struct Conductor {
    downloads: Downloads,
    running: Arc<Running>,
    key: ObjectKey,
    plan: Plan,
    parents: HashMap<String, Parent>,
    ears: mpsc::Sender<(String, Told)>,
    told: mpsc::Receiver<(String, Told)>,
    followers: JoinSet<()>,
    fetches: JoinSet<Fetched>,
    hashing: JoinSet<()>,
    orders: watch::Receiver<Parents>,
    epoch: Instant,
    progressed: Instant,
    wake: Option<Instant>,
    unwanted: Option<Instant>,
    reopening: JoinSet<Result<v1::Opened, super::OpenError>>,
    reopened: u32,
    openings: u64,
    /// Refusals in a row that belong to a credential.
    refused: usize,
    anew: u32,
    /// In the trace: until the scheduler has decided.
    wanting: Option<tracing::Span>,
}

/// Starts the conductor of a download among the node's tasks.
pub(super) fn start(downloads: Downloads, running: Arc<Running>) {
    let tasks = downloads.inner.parts.tasks.clone();
    let span = running.span.clone();
    tasks.spawn("download", async move { Conductor::new(downloads, running).run().await }.instrument(span));
}

/// Takes what the parents of `running` hold, and ends when they have nothing more for `idle`.
pub(super) async fn gather(downloads: Downloads, running: Arc<Running>, idle: Duration) {
    let span = running.span.clone();
    Conductor::new(downloads, running).gather(idle).instrument(span).await;
}

impl Conductor {
    fn new(downloads: Downloads, running: Arc<Running>) -> Self {
        let parts = &downloads.inner.parts;
        let (key, partial) = (running.key, &running.partial);
        let count = partial.layout().piece_count().unwrap_or(1);
        let own = &parts.cluster.identity().id;
        let plan = Plan::new(own, key, count, &partial.holding(), downloads.inner.limits);
        let orders = parts.cluster.orders(&key);
        let (ears, told) = mpsc::channel(QUEUE);
        let want = tracing::info_span!(parent: &running.span, "want", oid = %key);
        let trace = telemetry::sampled_traceparent_of(&want);
        parts.cluster.want_traced(key, partial.layout().size(), trace);
        Self {
            key,
            plan,
            parents: HashMap::new(),
            ears,
            told,
            followers: JoinSet::new(),
            fetches: JoinSet::new(),
            hashing: JoinSet::new(),
            orders,
            epoch: Instant::now(),
            progressed: Instant::now(),
            wake: None,
            unwanted: None,
            reopening: JoinSet::new(),
            reopened: 0,
            openings: 0,
            refused: 0,
            anew: 0,
            wanting: Some(want),
            downloads,
            running,
        }
    }

    async fn run(mut self) {
        self.start_hashing();
        let opened = self.running.opened().clone();
        self.introduce(&opened);
        self.reorder();
        while !self.is_over().await {
            self.assign();
            self.step().await;
        }
        self.downloads.ended(&self.running);
        self.close_spans().await;
    }

    /// Ends the spans from the inside out.
    async fn close_spans(&mut self) {
        if self.running.span.is_disabled() {
            return;
        }
        self.wanting = None;
        self.followers.shutdown().await;
        self.fetches.shutdown().await;
        for (id, bytes) in self.running.taken.by_parent() {
            if let Some(parent) = self.parents.get(&id) {
                parent.span.record("bytes", bytes);
            }
        }
        self.parents.clear();
        self.running.spans.close();
    }

    async fn gather(mut self, idle: Duration) {
        let opened = self.running.opened().clone();
        self.introduce(&opened);
        self.reorder();
        while !self.plan.is_complete() && self.running.partial.outcome().is_none() {
            // Who gathers goes on in memory by himself.
            if self.running.no_room.load(Ordering::Relaxed) {
                break;
            }
            self.assign();
            if self.fetches.is_empty() && self.progressed.elapsed() >= idle {
                break;
            }
            self.wake_at(Instant::now() + idle);
            self.step().await;
        }
        self.downloads.inner.parts.cluster.forget(&self.key);
    }

    async fn step(&mut self) {
        let wake = self.wake.take().unwrap_or_else(|| Instant::now() + LOOK).min(Instant::now() + LOOK);
        tokio::select! {
            Some((parent, told)) = self.told.recv() => self.hear(&parent, told),
            Some(fetched) = self.fetches.join_next() => {
                if let Ok(fetched) = fetched {
                    self.fetched(fetched);
                }
            }
            Ok(()) = self.orders.changed() => {
                self.wanting = None;
                self.reorder();
            }
            Some(opened) = self.reopening.join_next() => self.reopened(opened.ok()),
            () = tokio::time::sleep_until(wake) => {}
        }
    }

    /// Asks every parent for what the plan says.
    fn assign(&mut self) {
        let openings = self.running.openings.load(Ordering::Relaxed);
        if openings != self.openings {
            self.openings = openings;
            let opened = self.running.opened().clone();
            self.introduce(&opened);
        }
        let layout = self.running.partial.layout();
        if let Some(count) = layout.piece_count() {
            self.plan.resize(count);
        }
        self.plan.set_head(layout.piece_of(self.running.head()));
        let now = self.now_ms();
        let ids: Vec<String> = self.parents.keys().cloned().collect();
        for id in ids {
            loop {
                match self.plan.next(&id, now) {
                    Next::Take(piece) => self.fetch(&id, piece),
                    Next::WaitUntil(at_ms) => {
                        self.wake_at(self.epoch + Duration::from_millis(at_ms));
                        break;
                    }
                    Next::Idle => break,
                }
            }
        }
    }

    fn fetch(&mut self, id: &str, piece: u32) {
        let Some(parent) = self.parents.get(id) else { return self.plan.put_back(piece) };
        let grant = Arc::clone(&parent.grant);
        let job = Job {
            key: self.key,
            partial: self.running.partial.clone(),
            piece,
            peer: Arc::clone(&parent.peer),
            grant,
            edge: parent.seed,
            alone: self.is_alone(),
            stall: self.downloads.inner.timing.stall,
            ear: parent.ear.clone(),
        };
        let (parent, span) = (id.to_owned(), parent.span.clone());
        let fetch = async move { Fetched { parent, piece, result: job.run().await } };
        self.fetches.spawn(fetch.instrument(span));
    }

    /// One piece, checked by the object's own digest: nothing needs to be watched or attested.
    fn is_alone(&self) -> bool {
        self.key.oid().is_some() && self.running.partial.layout().piece_count() == Some(1)
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { parent, piece, result } = fetched;
        let now = self.now_ms();
        match result {
            Ok(bytes) => {
                self.progressed = Instant::now();
                self.plan.arrived(piece);
                self.count(&parent, bytes);
            }
            Err(Miss::Taken) if self.running.partial.has(piece) => self.plan.arrived(piece),
            Err(Miss::Taken) => {
                self.plan.put_back(piece);
                self.wake_at(Instant::now() + WINDOW_PAUSE);
            }
            Err(Miss::Absent) => self.plan.failed(piece, &parent, Failure::Absent, now),
            Err(Miss::Corrupt) => {
                tracing::warn!(key = %self.key, parent, piece, "a parent sent a bad piece and is set aside");
                self.downloads.inner.parts.metrics.piece_rejected("digest");
                self.plan.failed(piece, &parent, Failure::Corrupt, now);
                self.trouble(&parent, v1::TroubleKind::Corrupt);
            }
            Err(Miss::Stalled(words)) => {
                tracing::debug!(key = %self.key, parent, piece, words, "a piece did not come");
                self.plan.failed(piece, &parent, Failure::Stalled, now);
                self.trouble(&parent, v1::TroubleKind::Stalled);
            }
            Err(Miss::Store(WriteError::Full)) => {
                self.plan.put_back(piece);
                self.running.no_room.store(true, Ordering::Relaxed);
            }
            Err(Miss::Store(error)) => {
                tracing::debug!(key = %self.key, piece, %error, "a piece could not be written");
                self.plan.put_back(piece);
                self.wake_at(Instant::now() + WINDOW_PAUSE);
            }
        }
    }

    fn trouble(&self, parent: &str, kind: v1::TroubleKind) {
        self.downloads.inner.parts.cluster.trouble(&self.key, parent, kind);
    }

    fn count(&self, id: &str, bytes: u64) {
        let Some(parent) = self.parents.get(id) else { return };
        self.running.taken.add(id, parent.seed, bytes);
        let parts = &self.downloads.inner.parts;
        if !parts.cluster.is_in(&parent.zone) {
            parts.metrics.cross_zone(bytes);
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
