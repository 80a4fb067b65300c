//! The handle: one `Open` after the other, each decided for its own caller.
//!
//! Owns: the table of flights (one per object), the decision who is granted what. Never: bytes towards a taker, but of tiny
//! confirmed objects, which are the decision; all others are served from the store on the piece link, to whoever shows the
//! grant.

mod proving;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use darner_chassis::clock::{Clock, Random};
use darner_chassis::metrics::Metrics;
use darner_chassis::sign::Signer;
use darner_chassis::tasks::Tasks;
use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_origin::Origin;
use darner_proto::{convert, v1};
use darner_store::{Outcome, Partial, Store, Stored, Unchecked};
use darner_transfer::cluster::Cluster;
use darner_transfer::download::Downloads;
use darner_transfer::pieces::Referrals;
use tokio::time::Instant;

use crate::credential::Presented;
use crate::flight::{End, Flight, Phase, Standing, Waited};
use crate::lies::Lies;
use crate::memory::Memory;
use crate::places::Places;
use crate::proof::{Prover, Shown, later, refusal};
use crate::run::{PATIENCE, Runner};
use crate::statements::Scribe;
use crate::survey::Surveyor;
use crate::takers::Takers;
use crate::verdict::Verdicts;

/// Takers told to a taker: it needs a handful of parents.
const MAX_REFERRED: usize = 8;
/// Reads of one call before it is told to come again: each ended without an answer for it.
const MAX_FLIGHTS: usize = 4;

/// What seeding works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Who this node is.
    pub identity: v1::NodeIdentity,
    /// Where objects are kept.
    pub store: Store,
    /// The way to upstreams.
    pub origin: Origin,
    /// Signs attestations and grants.
    pub signer: Arc<Signer>,
    /// The other seeds; absent: there are none.
    pub cluster: Option<Cluster>,
    /// How pieces are taken from nodes that hold some already; absent: everything is read from the origin.
    pub downloads: Option<Downloads>,
    /// Counts verdicts.
    pub metrics: Metrics,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Windows and readings are unpredictable.
    pub random: Arc<dyn Random>,
    /// Owns the reads.
    pub tasks: Tasks,
}

/// The origin read on behalf of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Seeding {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) prover: Prover,
    pub(crate) scribe: Scribe,
    pub(crate) verdicts: Verdicts,
    pub(crate) lies: Lies,
    pub(crate) places: Places,
    pub(crate) memory: Memory,
    surveyor: Surveyor,
    takers: Arc<Takers>,
    flights: Mutex<HashMap<ObjectKey, Arc<Flight>>>,
}

impl fmt::Debug for Seeding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seeding").field("flights", &self.inner.flights().len()).finish_non_exhaustive()
    }
}

/// What was decided for one caller.
#[derive(Debug)]
pub(crate) enum Decided {
    Opened(Box<v1::Opened>),
    Refused(v1::Refusal),
    Elsewhere(Box<v1::NodeIdentity>),
}

impl Seeding {
    /// Seeding made of these parts.
    pub fn new(parts: Parts) -> Self {
        let prover = Prover { origin: parts.origin.clone(), random: Arc::clone(&parts.random) };
        let scribe = Scribe { signer: Arc::clone(&parts.signer), node: parts.identity.clone() };
        let surveyor = Surveyor::new(parts.cluster.clone());
        let inner = Inner {
            parts,
            prover,
            scribe,
            verdicts: Verdicts::default(),
            lies: Lies::default(),
            places: Places::default(),
            memory: Memory::default(),
            surveyor,
            takers: Arc::default(),
            flights: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The takers of each object, for the piece server's referrals.
    pub fn referrals(&self) -> Arc<dyn Referrals> {
        self.inner.takers.clone()
    }

    /// Forgets all verdicts: something was purged and must be proved anew.
    pub fn forget_verdicts(&self) {
        self.inner.verdicts.clear();
    }

    /// Origin reads under way.
    pub fn reads(&self) -> usize {
        self.inner.flights().len()
    }

    /// Decides about one object for one caller, who takes a small one along with the decision.
    pub(crate) async fn open(
        &self,
        taker: &v1::NodeIdentity,
        object: &v1::OpenObject,
        content_bytes: u64,
    ) -> Decided {
        let inner = &self.inner;
        if taker.id.is_empty() || taker.tenant != inner.parts.identity.tenant {
            return Decided::Refused(refused(403, "nodes of different tenants never exchange"));
        }
        let now_ms = inner.parts.clock.now_ms();
        let key = match convert::key(object.key.as_ref()) {
            Ok(key) => key,
            Err(error) => return Decided::Refused(refused(400, &error.to_string())),
        };
        let Some(presented) = Presented::read(&key, object.credential.as_ref(), now_ms) else {
            return Decided::Refused(refused(400, "a credential is needed"));
        };
        // What is stored needs no request to the upstream, but its word counts only while it is listed.
        if let Err(error) = inner.parts.origin.check(&presented.url) {
            inner.parts.metrics.authorization("not listed");
            return Decided::Refused(refusal(&error));
        }
        let caller = Caller { taker, presented: &presented, object, content_bytes };
        let deadline = Instant::now() + PATIENCE;
        let decided = tokio::time::timeout_at(deadline, inner.decide(key, &caller)).await;
        decided.unwrap_or_else(|_elapsed| Decided::Refused(later("the origin lets us wait", 2)))
    }

    pub(crate) fn state_of(&self, key: &ObjectKey, asker: &v1::NodeIdentity) -> v1::SurveyState {
        let inner = &self.inner;
        if inner.parts.store.contains(key) {
            return v1::SurveyState::Held;
        }
        let flight = inner.flights().get(key).cloned();
        match flight.map(|flight| flight.phase()) {
            None | Some(Phase::Ended(_)) => v1::SurveyState::Absent,
            // Both ask one another: the one that ranks first reads, the other hears it is being read.
            Some(Phase::Asking) if !inner.surveyor.is_before(key, &inner.parts.identity, asker) => {
                v1::SurveyState::Absent
            }
            Some(_) => v1::SurveyState::Reading,
        }
    }
}

impl Inner {
    async fn decide(self: &Arc<Self>, key: ObjectKey, caller: &Caller<'_>) -> Decided {
        let Caller { taker, presented, object, .. } = *caller;
        for _ in 0..MAX_FLIGHTS {
            if let Some(stored) = self.parts.store.get(&key).await {
                return match self.prove_stored(&stored, presented).await {
                    Ok(()) => Decided::Opened(self.opened_stored(&stored, caller).await),
                    Err(words) => Decided::Refused(words),
                };
            }
            if let Some(partial) = self.lingering(&key) {
                return match self.prove_lingering(&partial, presented).await {
                    Ok(()) => Decided::Opened(self.opened_growing(&partial, taker, presented)),
                    Err(words) => Decided::Refused(words),
                };
            }
            let flight = self.flight(key, presented, (taker, object));
            let waited = self.ride(&flight, presented).await;
            match waited {
                Waited::Accepted(partial) => {
                    return Decided::Opened(self.opened_growing(&partial, taker, presented));
                }
                Waited::Refused(words) | Waited::Ended(End::Failed(words)) => return Decided::Refused(words),
                Waited::Ended(End::Elsewhere(node)) => return Decided::Elsewhere(node),
                Waited::Ended(End::Over) | Waited::Unproved(_) => {}
            }
        }
        Decided::Refused(later("the object could not be read", 2))
    }

    /// A confirmed object in memory of which nothing was let go yet.
    fn lingering(&self, key: &ObjectKey) -> Option<Partial> {
        let partial = self.parts.store.live_partial(key)?;
        let confirmed = partial.is_volatile() && matches!(partial.outcome(), Some(Outcome::Confirmed));
        let size = partial.layout().size()?;
        (confirmed && partial.readable(0, Unchecked::None) >= size).then_some(partial)
    }

    /// The read of an object, joined or begun.
    fn flight(
        self: &Arc<Self>,
        key: ObjectKey,
        presented: &Presented,
        (taker, object): (&v1::NodeIdentity, &v1::OpenObject),
    ) -> Ride {
        let urgent = object.urgent;
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key) {
            if let (true, Some(size)) = (object.begun, object.size) {
                flight.note_begun(taker, size);
            }
            let waiter = flight.join(presented, urgent);
            return Ride { flight: Arc::clone(flight), _waiter: waiter };
        }
        let flight = Flight::new(key);
        if let (true, Some(size)) = (object.begun, object.size) {
            flight.note_begun(taker, size);
        }
        flights.insert(key, Arc::clone(&flight));
        let waiter = flight.join(presented, urgent);
        drop(flights);
        let landing = Landing { inner: Arc::clone(self), flight: Arc::clone(&flight) };
        // In the trace of the download it began for, beside the call that began it; those who join have their own.
        let span = tracing::info_span!("origin read", otel.kind = "client", oid = %key, urgent);
        telemetry::set_parent_text(&span, &object.trace);
        let runner = Runner::new(Arc::clone(self), Arc::clone(&flight), span);
        let read = async move {
            let _landing = landing;
            runner.run().await;
        };
        self.parts.tasks.spawn("origin read", read);
        Ride { flight, _waiter: waiter }
    }

    /// Waits for a read until something concerns this caller, proving its credential where it must be proved.
    async fn ride(&self, ride: &Ride, presented: &Presented) -> Waited {
        let flight = &ride.flight;
        let mut unproved = true;
        loop {
            let waited = flight.wait(&presented.fingerprint, unproved).await;
            let Waited::Unproved(partial) = waited else { return waited };
            let era = partial.era();
            match self.prove_growing(flight, &partial, presented).await {
                Shown::Equal => self.accept(flight, &partial, era, presented).await,
                // One of the two origins lies, and the hash will tell which: wait for it.
                Shown::Different => {
                    flight.stands(presented, Standing::Different);
                    unproved = false;
                }
                Shown::Nothing => unproved = false,
                Shown::Refused(words) => return Waited::Refused(words),
            }
        }
    }

    async fn opened_stored(&self, stored: &Stored, caller: &Caller<'_>) -> Box<v1::Opened> {
        if let Some(content) = small(stored, caller.content_bytes).await {
            self.takers.note(stored.key(), caller.taker);
            let upstream = caller.presented.upstream.clone();
            let layout = Some(stored.layout().into());
            return Box::new(v1::Opened { content, upstream, layout, complete: true, ..Default::default() });
        }
        let media = stored.media();
        let mut opened = self.opened((stored.key(), 0), caller.taker, caller.presented);
        opened.layout = Some(stored.layout().into());
        opened.complete = true;
        opened.content_type = media.content_type.unwrap_or_default();
        opened.etag = media.etag.unwrap_or_default();
        opened
    }

    fn opened_growing(
        &self,
        partial: &Partial,
        taker: &v1::NodeIdentity,
        presented: &Presented,
    ) -> Box<v1::Opened> {
        let media = partial.media();
        // What was shown equal is this read, which nobody has confirmed yet: it opens no other bytes of that name.
        let reading = partial.reading().map_or(0, |(reading, _)| reading);
        let mut opened = self.opened((partial.key(), reading), taker, presented);
        opened.layout = Some(partial.layout().into());
        opened.content_type = media.content_type.unwrap_or_default();
        opened.etag = media.etag.unwrap_or_default();
        opened
    }

    fn opened(
        &self,
        (key, reading): (ObjectKey, u64),
        taker: &v1::NodeIdentity,
        presented: &Presented,
    ) -> Box<v1::Opened> {
        let mut takers = self.takers.beside(&key, &taker.id);
        takers.truncate(MAX_REFERRED);
        self.takers.note(key, taker);
        Box::new(v1::Opened {
            grant: Some(self.scribe.grant((key, reading), taker, self.parts.clock.now_ms())),
            takers,
            upstream: presented.upstream.clone(),
            seed: Some(self.parts.identity.clone()),
            ..Default::default()
        })
    }

    /// Another seed that has the object.
    pub(crate) async fn survey(&self, key: &ObjectKey) -> Option<v1::NodeIdentity> {
        self.surveyor.ask(key, &self.parts.identity).await
    }

    /// A read is over: nobody joins it any more.
    pub(crate) fn land(&self, flight: &Arc<Flight>, end: End) {
        let mut flights = self.flights();
        if flights.get(&flight.key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            flights.remove(&flight.key);
        }
        drop(flights);
        if !matches!(flight.phase(), Phase::Ended(_)) {
            flight.set_phase(Phase::Ended(end));
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller and what it asks for.
struct Caller<'a> {
    taker: &'a v1::NodeIdentity,
    presented: &'a Presented,
    object: &'a v1::OpenObject,
    /// Up to so many bytes are taken along with the decision.
    content_bytes: u64,
}

/// A place on a read.
struct Ride {
    flight: Arc<Flight>,
    _waiter: crate::flight::Waiter,
}

/// Lands the flight however its task ends.
struct Landing {
    inner: Arc<Inner>,
    flight: Arc<Flight>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.land(&self.flight, End::Failed(later("the seed is leaving", 1)));
    }
}

/// All of an object that is no larger than `most`, and not empty; only what a digest names can be taken without a grant.
async fn small(stored: &Stored, most: u64) -> Option<Bytes> {
    let size = stored.key().oid().map(|_| stored.size()).filter(|size| (1..=most).contains(size))?;
    let content = stored.read(0, usize::try_from(size).ok()?).await.ok()?;
    // The buffer it was read into is far larger and goes back.
    (u64::try_from(content.len()).ok() == Some(size)).then(|| Bytes::copy_from_slice(&content))
}

fn refused(status: u32, message: &str) -> v1::Refusal {
    v1::Refusal { status, message: message.to_owned(), retry_after_s: 0 }
}
