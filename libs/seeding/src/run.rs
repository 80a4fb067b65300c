//! The task of one flight: asks the other seeds, tries credential after credential, reads to the end, confirms.
//!
//! Owns: the order of these steps, the pace of tries, what happens after a cut, a lie or a full disk. Never: two reads of
//! one object at once. Bytes that are here are never shown to a credential, nor read on with it, before it was shown to
//! read the same bytes.

mod failing;
mod small;
mod standstill;

use std::sync::Arc;
use std::time::Duration;

use darner_chassis::metrics::Kind;
use darner_lfs::Layout;
use darner_origin::{OriginError, Read, Reading};
use darner_proto::v1;
use darner_store::{FinishError, Media, Outcome, Partial, StoreError, Stored};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::credential::Presented;
use crate::flight::{End, Flight, Next, Phase, Standing};
use crate::memory::{WINDOW_BYTES, Window};
use crate::pour::{Pour, PourError};
use crate::proof::{Shown, later};
use crate::seeding::Inner;
use crate::statements::kept;
use crate::window::Held;
use standstill::Standstill;

/// Clients give up after 30 s: a read that stands still for this long is given up before them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
/// Tries in a row before they are spaced out: many bad credentials are no storm at the origin.
const QUICK_TRIES: u32 = 3;
const PACE: Duration = Duration::from_millis(333);
/// Between two tries after a cut or an outage; doubled while nothing comes.
const BREATH: Duration = Duration::from_millis(250);
/// An origin that cannot be reached, or breaks off without a further byte, is tried this often in a row.
const FRUITLESS_TRIES: u32 = 3;
/// A credential that contradicts what is here is not asked again for this long, while others wait.
const DIFFERENT_MS: u64 = 1_000;
/// A revocation is told before the bytes go, to those who watch.
const TELLING: Duration = Duration::from_millis(50);
/// Nobody having more for this long, the rest is read from the origin.
const GATHER_IDLE: Duration = Duration::from_millis(400);

/// A memory-backed object that is confirmed stays for its takers this long after.
const LINGER: Duration = Duration::from_mins(1);

pub(crate) struct Runner {
    pub(crate) inner: Arc<Inner>,
    pub(crate) flight: Arc<Flight>,
    pour: Option<Pour>,
    /// The credential that read last, and the entity tag it saw.
    last: Option<(Presented, Option<String>)>,
    began: Instant,
    /// Who read the bytes that are here; `None` is an earlier life of this process.
    readers: Vec<Option<Presented>>,
    /// Bytes of two readers made no object: each reads alone from now on, so that who lies is known.
    alone: bool,
    /// Tries in a row that brought no byte, and how many bytes there were then.
    fruitless: (u32, u64),
    still: Standstill,
    /// The memory of an object that is not kept.
    window: Option<Window>,
    /// A small object that was kept in one step.
    kept: Option<Stored>,
    /// Ends with the last byte read: who takes them may be done before they are confirmed here.
    span: tracing::Span,
}

/// What became of one try.
enum Tried {
    /// The object is confirmed.
    Done(Outcome),
    /// Go on, with this or another credential.
    Again,
    /// This node cannot keep it, whoever asks.
    Stuck(v1::Refusal),
}

impl Runner {
    pub(crate) fn new(inner: Arc<Inner>, flight: Arc<Flight>, span: tracing::Span) -> Self {
        Self {
            inner,
            flight,
            pour: None,
            last: None,
            began: Instant::now(),
            readers: Vec::new(),
            alone: false,
            fruitless: (0, 0),
            still: Standstill::new(Instant::now()),
            window: None,
            kept: None,
            span,
        }
    }

    pub(crate) async fn run(mut self) {
        let end = self.fly().await;
        // Lingering is no reading.
        self.span = tracing::Span::none();
        let confirmed = self.pour.take().map(|pour| pour.partial);
        let confirmed = confirmed.filter(|partial| matches!(partial.outcome(), Some(Outcome::Confirmed)));
        let lingers = confirmed.zip(self.window.take());
        let lingers = lingers.map(|(partial, window)| self.inner.memory.linger(window, partial));
        // Its place is free and nobody joins it any more: newcomers find the object in the store's memory.
        self.inner.land(&self.flight, end);
        if let Some(number) = lingers {
            tokio::time::sleep(LINGER).await;
            self.inner.memory.leave(number);
        }
    }

    async fn fly(&mut self) -> End {
        // What a small object does not come to is on the heap: the task of each is as large as its longest way.
        if let Some(other) = Box::pin(self.inner.survey(&self.flight.key)).instrument(self.span.clone()).await
        {
            return End::Elsewhere(Box::new(other));
        }
        let _place = self.inner.places.take(&self.flight).await;
        Box::pin(self.gather()).instrument(self.span.clone()).await;
        self.flight.set_phase(Phase::Opening);
        let mut tries = 0_u32;
        while let Some(presented) = self.next().await {
            tries += 1;
            if tries > QUICK_TRIES {
                tokio::time::sleep(PACE).await;
            }
            match self.attempt(&presented).await {
                Tried::Done(outcome) => return self.done(outcome).await,
                Tried::Again => {}
                Tried::Stuck(words) => return End::Failed(words),
            }
        }
        if let Some(pour) = &self.pour {
            pour.partial.fail("no credential reads it any more");
        }
        End::Over
    }

    /// The next credential; waits for a new one or a parked one, as long as somebody waits here too.
    async fn next(&mut self) -> Option<Presented> {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.flight.subscribe();
        loop {
            changes.borrow_and_update();
            let came = self.pour.as_ref().map_or(0, Pour::at);
            if self.still.is_over(came, self.flight.is_awaited(), Instant::now()) {
                return None;
            }
            let now_ms = self.inner.parts.clock.now_ms();
            let wake = match self.flight.next(now_ms) {
                Next::Try(presented) => return Some(*presented),
                Next::At(at_ms) => Instant::now() + Duration::from_millis(at_ms.saturating_sub(now_ms)),
                Next::Nobody if self.pour.is_some() => deadline,
                Next::Nobody => return None,
            };
            let opening = matches!(self.flight.phase(), Phase::Opening);
            if (opening && !self.flight.is_awaited()) || Instant::now() >= deadline {
                return None;
            }
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = tokio::time::sleep_until(wake.min(deadline)) => {}
            }
        }
    }

    async fn attempt(&mut self, presented: &Presented) -> Tried {
        if self.inner.lies.knows(presented, self.inner.parts.clock.now_ms()) {
            self.refuse(presented, failing::lied());
            return Tried::Again;
        }
        if let Err(words) = Box::pin(self.resume()).await {
            return Tried::Stuck(words);
        }
        if !Box::pin(self.may_go_on(presented)).await {
            return Tried::Again;
        }
        let span = self.span.clone();
        match self.read(presented).instrument(span).await {
            Ok(()) => Box::pin(self.finish()).await,
            Err(error) => Box::pin(self.failed(presented, error)).await,
        }
    }

    /// What others hold of a read that another seed began is taken from them, so that the origin is asked for the rest
    /// only. Their pieces are checked against that seed's signed list; the whole is hashed here like any other.
    async fn gather(&self) {
        let (Some(downloads), Some(begun)) = (&self.inner.parts.downloads, self.flight.begun()) else {
            return;
        };
        let (key, layout) = (self.flight.key, Layout::of_size(begun.size));
        let Ok(partial) = self.inner.parts.store.partial(key, layout).await else { return };
        let own = &self.inner.parts.identity;
        let grant = self.inner.scribe.grant((key, 0), own, self.inner.parts.clock.now_ms());
        let opened = v1::Opened { grant: Some(grant), takers: begun.takers, ..v1::Opened::default() };
        let pieces = downloads.gather(&partial, opened, GATHER_IDLE).await;
        tracing::info!(%key, pieces, "took over a read that another seed had begun");
    }

    /// Takes up what an earlier life of this process left, or what others held.
    async fn resume(&mut self) -> Result<(), v1::Refusal> {
        let store = &self.inner.parts.store;
        let Some(record) = store.record(&self.flight.key).filter(|_| self.pour.is_none()) else {
            return Ok(());
        };
        let partial = store.partial(self.flight.key, record.layout).await.map_err(|error| stuck(&error))?;
        let known = partial.reading().filter(|(_, attester)| *attester == self.inner.scribe.node.id);
        let reading = known.map_or_else(|| self.inner.parts.random.next_u64(), |(reading, _)| reading);
        let pour = self.pour(partial, reading);
        pour.attest_held();
        if !pour.is_empty() {
            self.readers.push(None);
        }
        self.pour = Some(pour);
        Ok(())
    }

    /// Lets go of everything that came.
    fn begin_anew(&mut self, why: &str) {
        let reading = self.inner.parts.random.next_u64();
        if let Some(pour) = &mut self.pour {
            pour.begin_anew(why, reading);
        }
        self.readers.clear();
        self.flight.begin_anew();
    }

    /// Whether all that is here was read from where this credential reads.
    fn is_only_reader(&self, presented: &Presented) -> bool {
        self.readers
            .iter()
            .all(|reader| reader.as_ref().is_some_and(|reader| reader.is_same_place(presented)))
    }

    /// Whether this credential may read on: it reads from the start, or has been shown to read what is here.
    async fn may_go_on(&mut self, presented: &Presented) -> bool {
        let Some(pour) = self.pour.as_ref().filter(|pour| !pour.is_empty()) else { return true };
        if self.alone && !self.is_only_reader(presented) {
            self.begin_anew("each origin is read alone");
            return true;
        }
        let held = Held::some_of(&pour.partial, self.inner.parts.random.as_ref());
        match self.shows(&held, presented).await {
            Shown::Equal => true,
            // An earlier life, or another seed, vouched for what is here: it is let go when nobody else may read it.
            Shown::Different
                if self.readers.iter().any(Option::is_none) && self.flight.others_wait(presented) =>
            {
                self.flight.stands(presented, Standing::Different);
                let now_ms = self.inner.parts.clock.now_ms();
                self.flight.park(presented, now_ms.saturating_add(DIFFERENT_MS));
                false
            }
            Shown::Different | Shown::Nothing => {
                // Nobody is left who reads what is here: this one's word stands against nobody's.
                self.begin_anew("no credential left reads what is here");
                true
            }
            Shown::Refused(words) => {
                self.refuse_or_park(presented, words);
                false
            }
        }
    }

    /// Whether the credential reads what is here; its own caller may be asking the same question right now.
    async fn shows(&self, held: &Held, presented: &Presented) -> Shown {
        let now_ms = self.inner.parts.clock.now_ms();
        let _deciding = self.inner.verdicts.slot(presented.fingerprint, now_ms).await;
        if self.flight.is_accepted(&presented.fingerprint) {
            return Shown::Equal;
        }
        let shown = self.inner.prover.probe(held, held.here(), presented).await;
        if shown == Shown::Equal {
            self.flight.stands(presented, Standing::Accepted);
        }
        shown
    }

    /// Reads everything that is missing through one credential.
    async fn read(&mut self, presented: &Presented) -> Result<(), PourError> {
        loop {
            let (from, to) = match &self.pour {
                Some(pour) => match pour.missing() {
                    Some(range) => range,
                    None => return Ok(()),
                },
                None => (0, None),
            };
            let etag = self.last.as_ref().filter(|(last, _)| last.is_same_place(presented));
            let etag = etag.and_then(|(_, etag)| etag.clone());
            let read =
                Read { url: &presented.url, headers: &presented.headers, from, to, etag: etag.as_deref() };
            let mut answer = self.inner.parts.origin.read(read, Kind::Content).await?;
            self.last = Some((presented.clone(), answer.etag.clone()));
            if self.gulp(presented, &mut answer).await {
                return Ok(());
            }
            let from = Box::pin(self.prepare(&answer, from)).await?;
            if self.readers.is_empty() || !self.is_only_reader(presented) {
                self.readers.push(Some(presented.clone()));
            }
            self.flight.stands(presented, Standing::Accepted);
            let Some(pour) = &mut self.pour else { return Ok(()) };
            self.flight.set_phase(Phase::Reading(pour.partial.clone()));
            let hashing = Arc::clone(&pour.hashing);
            let along = Box::pin(hash_along(pour.partial.clone(), hashing));
            tokio::select! {
                taken = Box::pin(pour.take(&mut answer, from)) => taken?,
                () = along => {}
            }
        }
    }

    /// The growing object for an answer whose head has come; the offset to take it from.
    async fn prepare(&mut self, answer: &Reading, from: u64) -> Result<u64, PourError> {
        let contradicted = self.pour.as_ref().and_then(|pour| pour.partial.layout().size());
        let contradicted = contradicted.zip(answer.total).is_some_and(|(ours, theirs)| ours != theirs);
        if contradicted {
            // What is here is of another length: it was another object, or a lie.
            self.pour = None;
            self.readers.clear();
            self.flight.begin_anew();
            self.inner.parts.store.purge(&self.flight.key).await;
            if answer.start != 0 {
                return Err(OriginError::Cut { at: 0 }.into());
            }
        }
        if self.pour.is_some() {
            return Ok(from);
        }
        let layout = answer.total.map_or_else(Layout::unknown, Layout::of_size);
        let keep = self.flight.key.oid().is_some() || (answer.keepable && answer.etag.is_some());
        let partial = self.room(layout, keep).await?;
        if self.flight.key.oid().is_none() {
            partial.set_media(Media { content_type: answer.content_type.clone(), etag: answer.etag.clone() });
        }
        let reading = self.inner.parts.random.next_u64();
        self.pour = Some(self.pour(partial, reading));
        Ok(0)
    }

    /// On disk where there is room, in memory where there is none.
    async fn room(&mut self, layout: Layout, keep: bool) -> Result<Partial, PourError> {
        self.window = None;
        let (store, key) = (&self.inner.parts.store, self.flight.key);
        if keep {
            match store.partial(key, layout).await {
                Ok(partial) => return Ok(partial),
                Err(StoreError::Full { wanted, .. }) => {
                    tracing::warn!(%key, wanted, "the disk is full: streamed through without keeping");
                }
                Err(error) => {
                    tracing::error!(%key, %error, "the store does not take the object: streamed through");
                }
            }
        }
        Ok(self.in_memory(layout))
    }

    /// The object in memory, as much of it as there is memory for.
    fn in_memory(&mut self, layout: Layout) -> Partial {
        // What was taken for an earlier try is given back first.
        self.window = None;
        let window = self.inner.memory.take(layout);
        let partial = self.inner.parts.store.volatile(self.flight.key, layout, window.bytes());
        self.window = Some(window);
        partial
    }

    /// A growing object of this read.
    fn pour(&self, partial: Partial, reading: u64) -> Pour {
        let window_bytes = self.window.as_ref().map_or(WINDOW_BYTES, Window::bytes);
        Pour::new(partial, (reading, window_bytes), self.inner.scribe.clone())
    }

    /// Hashes what is left and compares.
    async fn finish(&mut self) -> Tried {
        if let Some(stored) = self.kept.take() {
            return Tried::Done(Outcome::Finished(stored));
        }
        let Some(pour) = &self.pour else { return Tried::Again };
        let partial = pour.partial.clone();
        // Kept, and seen by anybody, only if the hash of the whole agrees.
        let confirmed = pour.confirmed().map(|said| kept(&said));
        let upstreams: Vec<String> =
            self.flight.accepted().into_iter().map(|presented| presented.upstream).collect();
        let finished = tokio::task::spawn_blocking(move || partial.finish_with(confirmed, &upstreams)).await;
        match finished {
            Ok(Ok(outcome)) => Tried::Done(outcome),
            Ok(Err(FinishError::Mismatch { got })) => {
                self.lied(&got.to_string()).await;
                Tried::Again
            }
            // Pieces turned out damaged on disk: read them again.
            Ok(Err(FinishError::Incomplete { .. })) => Tried::Again,
            Ok(Err(error)) => Tried::Stuck(stuck(&error)),
            Err(error) => Tried::Stuck(stuck(&error)),
        }
    }

    async fn done(&mut self, outcome: Outcome) -> End {
        let now_ms = self.inner.parts.clock.now_ms();
        for presented in self.flight.accepted() {
            self.inner.verdicts.slot(presented.fingerprint, now_ms).await.grant(&presented, now_ms);
        }
        let growing = self.pour.as_ref().map(|pour| &pour.partial);
        let size = match &outcome {
            Outcome::Finished(stored) => Some(stored.size()),
            Outcome::Confirmed | Outcome::Failed(_) => growing.and_then(|partial| partial.layout().size()),
        };
        let cost_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(key = %self.flight.key, size, cost_ms, "object read from its origin");
        for presented in self.flight.accepted() {
            match (&outcome, growing) {
                (Outcome::Finished(_), _) => {
                    self.inner.parts.store.add_upstream(&self.flight.key, &presented.upstream);
                }
                (Outcome::Confirmed, Some(partial)) => partial.add_upstream(&presented.upstream),
                (Outcome::Confirmed | Outcome::Failed(_), _) => {}
            }
        }
        End::Over
    }
}

/// Advances the hash of the whole while its bytes come.
async fn hash_along(partial: Partial, hashing: Arc<tokio::sync::Notify>) {
    loop {
        hashing.notified().await;
        let step = partial.clone();
        let hashed = tokio::task::spawn_blocking(move || while step.hash_more() {}).await;
        if hashed.is_err() {
            // The finish hashes what is left.
            std::future::pending::<()>().await;
        }
    }
}

fn stuck(error: &dyn std::fmt::Display) -> v1::Refusal {
    tracing::error!(%error, "an object cannot be kept");
    later("the seed cannot keep the object", 5)
}
