//! The download of objects from other nodes into the store of this one.
//!
//! Owns: at most one download per object and node, its conductor (one task that holds the plan, follows each parent
//! and starts piece fetches), and the way to a seed that grants. Every piece is checked against an attested digest
//! on arrival; the whole is hashed once here before it is kept. A download nobody waits for any more is ended; its
//! checked pieces stay in the store and are taken up by the next one. Losing the scheduler changes nothing for known
//! parents; losing every parent leads back to the seeds with the callers' own credentials, and, when no seed answers,
//! to one acting seed.

mod conductor;
mod door;
mod fetch;
mod follow;
mod prefetch;
mod spans;
mod taken;

pub use door::{OpenError, Opener};
pub use prefetch::Prefetch;
pub use taken::Taken;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use darner_chassis::clock::Clock;
use darner_chassis::metrics::Metrics;
use darner_chassis::tasks::Tasks;
use darner_chassis::telemetry;
use darner_lfs::{Layout, ObjectKey};
use darner_proto::{convert, v1};
use darner_store::{Outcome, Partial, Store, StoreError};
use tokio::sync::watch;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::cluster::Cluster;
use crate::link::Links;
use crate::plan::Limits;
use crate::statements;
use crate::trust::Trust;
use door::Door;
use spans::Spans;

/// Bytes of an object kept in memory while the disk is full.
const VOLATILE_WINDOW: u64 = 64 << 20;

/// Downloads of more bytes are in the traces of every process they pass, whatever the sampling says.
const ALWAYS_TRACED: u64 = 64 << 20;

/// What a download needs of the node it runs on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where objects are kept.
    pub store: Store,
    /// Who is in the cluster.
    pub cluster: Cluster,
    /// How peers are reached.
    pub links: Arc<dyn Links>,
    /// Whose signatures count.
    pub trust: Trust,
    /// Counters.
    pub metrics: Metrics,
    /// The clock of grants and plans.
    pub clock: Arc<dyn Clock>,
    /// Owner of the tasks.
    pub tasks: Tasks,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A parent that is silent for this long is given up.
    pub stall: Duration,
    /// How long a piece is left to the node that is to take it from the seed for the others.
    pub grace: Duration,
    /// Without any seed for this long, a daemon acts as one.
    pub acting_after: Duration,
    /// A download that gets no byte for this long, whatever was tried, fails.
    pub give_up: Duration,
    /// A download nobody waits for is ended after this time.
    pub linger: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(2),
            grace: Duration::from_millis(60),
            acting_after: Duration::from_secs(5),
            give_up: Duration::from_mins(1),
            linger: Duration::from_secs(10),
        }
    }
}

/// An object somebody wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its key.
    pub key: ObjectKey,
    /// Its length, if the caller knows.
    pub size: Option<u64>,
    /// The caller's own way to the origin.
    pub credential: v1::Credential,
    /// A git client waits for it.
    pub urgent: bool,
}

/// The downloads of one node.
#[derive(Debug, Clone)]
pub struct Downloads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    timing: Timing,
    limits: Limits,
    door: Door,
    running: Mutex<HashMap<ObjectKey, Arc<Running>>>,
    expected: Mutex<HashMap<ObjectKey, watch::Receiver<bool>>>,
    /// Objects somebody is asking a seed for: what is fetched ahead need not ask beside them.
    opening: Mutex<HashSet<ObjectKey>>,
}

/// An object is being opened, as long as this lives.
struct Opens<'a>(&'a Inner, ObjectKey);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.opening().remove(&self.1);
    }
}

/// One object being downloaded.
#[derive(Debug)]
pub(crate) struct Running {
    key: ObjectKey,
    partial: Partial,
    opened: Mutex<v1::Opened>,
    credentials: Mutex<Vec<v1::Credential>>,
    /// Through whom it was opened, each with the era of the partial then: a lie takes those of its era with it.
    upstreams: Mutex<Vec<(u64, String)>>,
    /// The reads of an origin whose bytes come here. Who is granted another one waits until this one has ended.
    readings: Mutex<Vec<u64>>,
    /// Counts the openings, so that the conductor sees a new one.
    openings: AtomicU64,
    taken: Taken,
    head: AtomicU64,
    /// The disk filled up under it.
    no_room: AtomicBool,
    interest: Arc<()>,
    span: tracing::Span,
    spans: Spans,
}

/// A hold on a download: it goes on as long as somebody holds it (and a little longer).
#[derive(Debug, Clone)]
pub struct Download {
    running: Arc<Running>,
    _interest: Arc<()>,
}

impl Downloads {
    /// The downloads of a node made of these parts.
    pub fn new(parts: Parts, timing: Timing) -> Self {
        let door = Door::new(parts.cluster.clone(), timing);
        let (running, expected, opening) = (Mutex::default(), Mutex::default(), Mutex::default());
        let grace_ms = u64::try_from(timing.grace.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits { grace_ms, ..Limits::default() };
        Self { inner: Arc::new(Inner { parts, timing, limits, door, running, expected, opening }) }
    }

    /// Who reads the origin here while this node acts as a seed; without one it never acts.
    pub fn set_acting(&self, opener: Arc<dyn Opener>) {
        self.inner.door.set_acting(opener);
    }

    /// The download of an object, joined or begun. The seed proves the credential and grants; a refusal of the
    /// origin belongs to this caller alone.
    pub async fn open(&self, wanted: Wanted) -> Result<Download, OpenError> {
        let begun =
            self.inner.parts.store.live_partial(&wanted.key).is_some_and(|part| part.holding().count() > 0);
        let around = tracing::Span::current();
        let is_big = wanted.size.is_some_and(|size| size > ALWAYS_TRACED);
        let span = tracing::info_span!("download", oid = %wanted.key, size = wanted.size, outcome = Empty, sample.force = is_big);
        let opening = async {
            let _opening = self.inner.opens(wanted.key);
            let opened = self.inner.door.open(&wanted, begun).await?;
            self.begin(&wanted, opened, (span.clone(), around)).await
        };
        opening.instrument(span.clone()).await
    }

    /// The running download of an object, for a caller that is proved already.
    pub fn join(&self, key: &ObjectKey) -> Option<Download> {
        let running = self.inner.running().get(key).cloned()?;
        running.partial.outcome().is_none().then(|| Download::of(running))
    }

    /// Every running download, for people.
    pub fn list(&self) -> Vec<Download> {
        let running: Vec<_> = self.inner.running().values().cloned().collect();
        running.into_iter().map(Download::of).collect()
    }

    /// Takes into a partial what these nodes (and whom the scheduler names) hold of it already: a seed does so before
    /// it reads an origin. `opened` carries the grant shown to them; ends when nobody had more for `idle`.
    pub async fn gather(&self, partial: &Partial, opened: v1::Opened, idle: Duration) -> u64 {
        let before = partial.holding().count();
        let span = tracing::info_span!("gather", oid = %partial.key());
        let running = Running::new(partial.clone(), opened, span);
        conductor::gather(self.clone(), Arc::new(running), idle).await;
        u64::from(partial.holding().count().saturating_sub(before))
    }

    /// What the parts of this node are.
    pub fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    async fn begin(
        &self,
        wanted: &Wanted,
        opened: v1::Opened,
        (span, around): (tracing::Span, tracing::Span),
    ) -> Result<Download, OpenError> {
        let layout = match (convert::layout(opened.layout.as_ref()), wanted.size) {
            (Ok(layout), _) => layout,
            (Err(_), Some(size)) => Layout::of_size(size),
            (Err(_), None) => Layout::unknown(),
        };
        let partial = match self.inner.parts.store.partial(wanted.key, layout).await {
            Ok(partial) => partial,
            Err(StoreError::Full { .. }) => {
                self.inner.parts.store.volatile(wanted.key, layout, VOLATILE_WINDOW)
            }
            Err(error) => return Err(OpenError::Store(Arc::new(error))),
        };
        // While the object is unconfirmed, what the upstream serves may be anything: it counts as a source of the
        // object only once the whole was hashed (see the ending of the conductor).
        if opened.complete && !opened.upstream.is_empty() {
            partial.add_upstream(&opened.upstream);
        }
        let mut known = self.inner.running();
        let same = |running: &&Arc<Running>| {
            running.partial.outcome().is_none() && running.partial.is_same(&partial)
        };
        if let Some(running) = known.get(&wanted.key).filter(same) {
            if !running.is_of_its_reads(&opened) {
                return Err(OpenError::Refused(come_again()));
            }
            running.joined(wanted, opened);
            span.record("outcome", "joined");
            if let Some(joined) = telemetry::traceparent_of(&running.span) {
                telemetry::link(&span, &joined);
            }
            running.spans.keep(span, around);
            return Ok(Download::of(Arc::clone(running)));
        }
        if is_of_another_read(&opened, &partial) {
            if partial.outcome().is_some() {
                // It ended here, of another read, while the answer was on its way: its caller proves itself anew.
                return Err(OpenError::Refused(come_again()));
            }
            // What is here is not known to be what this credential reads.
            partial.reset("a new read of the origin has begun");
        }
        let readings = Mutex::new(vec![reading_of(&opened)]);
        let upstreams = Mutex::new(vec![(partial.era(), opened.upstream.clone())]);
        let credentials = Mutex::new(vec![wanted.credential.clone()]);
        let nobodys = Running::new(partial, opened, span.clone());
        let running = Arc::new(Running { credentials, upstreams, readings, ..nobodys });
        running.spans.keep(span, around);
        let download = Download::of(Arc::clone(&running));
        if running.partial.outcome().is_none() {
            known.insert(wanted.key, Arc::clone(&running));
            conductor::start(self.clone(), running);
        }
        drop(known);
        Ok(download)
    }

    /// Forgets a download that ended, unless another one took its place.
    fn ended(&self, running: &Arc<Running>) {
        let mut known = self.inner.running();
        // What took its place wants orders of its own.
        if known.get(&running.key).is_some_and(|other| Arc::ptr_eq(other, running)) {
            known.remove(&running.key);
            drop(known);
            self.inner.parts.cluster.forget(&running.key);
        }
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opens(&self, key: ObjectKey) -> Opens<'_> {
        self.opening().insert(key);
        Opens(self, key)
    }

    fn opening(&self) -> MutexGuard<'_, HashSet<ObjectKey>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, HashMap<ObjectKey, watch::Receiver<bool>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Nobody's yet: no credential, no upstream and no read of an origin.
    fn new(partial: Partial, opened: v1::Opened, span: tracing::Span) -> Self {
        Self {
            key: partial.key(),
            partial,
            opened: Mutex::new(opened),
            credentials: Mutex::default(),
            upstreams: Mutex::default(),
            readings: Mutex::default(),
            openings: AtomicU64::new(0),
            taken: Taken::default(),
            head: AtomicU64::new(0),
            no_room: AtomicBool::new(false),
            interest: Arc::new(()),
            span,
            spans: Spans::default(),
        }
    }

    /// Callers beside the first one leave their credential: it is tried when the first one's ends.
    fn joined(&self, wanted: &Wanted, opened: v1::Opened) {
        const KEPT: usize = 16;
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if credentials.len() < KEPT && !credentials.iter().any(|known| known.url == wanted.credential.url) {
            credentials.push(wanted.credential.clone());
        }
        drop(credentials);
        self.note_opened(opened);
    }

    /// Whether what a seed opened for another caller is what comes here.
    fn is_of_its_reads(&self, opened: &v1::Opened) -> bool {
        let reading = reading_of(opened);
        opened.complete || reading == 0 || self.readings().contains(&reading)
    }

    /// The download itself was opened again: what that read brings is as good.
    fn goes_on_with(&self, opened: &v1::Opened) {
        let reading = reading_of(opened);
        let mut readings = self.readings();
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }

    fn readings(&self) -> MutexGuard<'_, Vec<u64>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seed has opened it (again): what it says of parents and grants counts from now on.
    fn note_opened(&self, opened: v1::Opened) {
        const KEPT: usize = 64;
        let from = (self.partial.era(), opened.upstream.clone());
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if upstreams.len() < KEPT && !upstreams.contains(&from) {
            upstreams.push(from);
        }
        drop(upstreams);
        *self.opened() = opened;
        self.openings.fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self) -> MutexGuard<'_, v1::Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody but the download itself holds it.
    fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.interest) > 1
    }

    fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }
}

impl Download {
    /// One more hold on a running download.
    fn of(running: Arc<Running>) -> Self {
        Self { _interest: Arc::clone(&running.interest), running }
    }

    /// The growing object.
    pub fn partial(&self) -> &Partial {
        &self.running.partial
    }

    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        self.running.key
    }

    /// What the seed said of it.
    pub fn opened(&self) -> v1::Opened {
        self.running.opened().clone()
    }

    /// Where its bytes came from so far.
    pub fn taken(&self) -> &Taken {
        &self.running.taken
    }

    /// The trace it belongs to.
    pub fn span(&self) -> &tracing::Span {
        &self.running.span
    }

    /// A reader begins here: pieces behind this offset come first.
    pub fn read_from(&self, offset: u64) {
        self.running.head.store(offset, Ordering::Relaxed);
    }

    /// Waits until it ended.
    pub async fn outcome(&self) -> Outcome {
        ended(&self.running.partial).await
    }
}

/// Whether the grant is for one read of an origin and what is here came from another one. A finished object is of every
/// read it was attested in.
fn is_of_another_read(opened: &v1::Opened, partial: &Partial) -> bool {
    let reading = reading_of(opened);
    if opened.complete || reading == 0 || partial.holding().count() == 0 {
        return false;
    }
    match partial.outcome() {
        Some(Outcome::Finished(stored)) => {
            !statements::of(&stored).iter().any(|said| said.reading == reading)
        }
        _ => partial.reading().map(|(reading, _)| reading) != Some(reading),
    }
}

fn reading_of(opened: &v1::Opened) -> u64 {
    opened.grant.as_ref().map_or(0, |grant| grant.reading)
}

fn come_again() -> v1::Refusal {
    let message = "another read of the object is about to end here".to_owned();
    v1::Refusal { status: 429, message, retry_after_s: 1 }
}

/// Waits until a growing object ended, without a hold on its download.
pub async fn ended(partial: &Partial) -> Outcome {
    let mut changes = partial.subscribe();
    loop {
        changes.borrow_and_update();
        if let Some(outcome) = partial.outcome() {
            return outcome;
        }
        if changes.changed().await.is_err() {
            return Outcome::Failed("its writer is gone".to_owned());
        }
    }
}
