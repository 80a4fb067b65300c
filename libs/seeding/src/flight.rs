//! One origin read of one object and everybody who waits for it.
//!
//! Owns: the waiting credentials and where each stands, the phase of the read. Never: I/O (`run` and `pour` do it). A
//! refusal belongs to one credential and is told to those who presented it; a host that asks to wait parks its
//! credentials. Lock order: the state is a leaf, never held over an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_store::Partial;
use tokio::sync::watch;

use crate::credential::{Fingerprint, Presented};

/// Alternates kept for one read; the rest waits for the read itself.
const MAX_CANDIDATES: usize = 256;
/// Takers remembered that hold pieces of an object already.
const MAX_BEGUN: usize = 16;

/// How far the read is.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Other seeds are asked whether they have it.
    Asking,
    /// No origin has answered yet.
    Opening,
    /// Bytes come.
    Reading(Partial),
    /// Nothing more will come.
    Ended(End),
}

/// How a read ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// The object is in the store, or nobody waits any more: look again.
    Over,
    /// Another seed has it.
    Elsewhere(Box<v1::NodeIdentity>),
    /// It cannot be read here, whoever asks.
    Failed(v1::Refusal),
}

/// Where a credential stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// Nothing is known of it.
    Waiting,
    /// It reads the object, by the read itself, by its upstream's word or by a probe.
    Accepted,
    /// It reads something else than has come so far; who lies is known at the end.
    Different,
    /// Its origin refused it.
    Refused(v1::Refusal),
}

#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) presented: Presented,
    pub(crate) standing: Standing,
    /// Its host asked to be left alone until then.
    parked_until_ms: u64,
}

/// What there is to try next.
#[derive(Debug)]
pub(crate) enum Next {
    /// This credential.
    Try(Box<Presented>),
    /// A parked one, at that time.
    At(u64),
    /// None.
    Nobody,
}

/// What a waiting caller learns.
#[derive(Debug, Clone)]
pub(crate) enum Waited {
    /// Take it from here.
    Accepted(Partial),
    /// Bytes come, but through another credential: show that yours reads them.
    Unproved(Partial),
    /// Your origin refused you.
    Refused(v1::Refusal),
    /// It is over.
    Ended(End),
}

/// An object that others have begun.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) size: u64,
    pub(crate) takers: Vec<v1::NodeIdentity>,
}

/// One read and its waiters.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) key: ObjectKey,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    candidates: HashMap<Fingerprint, Candidate>,
    urgent: bool,
    begun: Option<Begun>,
}

impl State {
    /// The place of a credential, made where there is room; one that leaves no trace waits for the end of the read.
    fn candidate(&mut self, presented: &Presented) -> Option<&mut Candidate> {
        let known = self.candidates.contains_key(&presented.fingerprint);
        if !known && self.candidates.len() >= MAX_CANDIDATES {
            self.candidates.retain(|_, candidate| !matches!(candidate.standing, Standing::Refused(_)));
        }
        if !known && self.candidates.len() >= MAX_CANDIDATES {
            return None;
        }
        let new =
            || Candidate { presented: presented.clone(), standing: Standing::Waiting, parked_until_ms: 0 };
        Some(self.candidates.entry(presented.fingerprint).or_insert_with(new))
    }
}

/// Counts a waiting caller for as long as it waits.
#[derive(Debug)]
pub(crate) struct Waiter(Arc<Flight>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.bump();
    }
}

impl Flight {
    pub(crate) fn new(key: ObjectKey) -> Arc<Self> {
        let state = State { phase: Phase::Asking, candidates: HashMap::new(), urgent: false, begun: None };
        let waiting = AtomicUsize::new(0);
        Arc::new(Self { key, state: Mutex::new(state), changed: watch::Sender::new(0), waiting })
    }

    /// Adds a caller with its credential; one that was refused before may try again.
    pub(crate) fn join(self: &Arc<Self>, presented: &Presented, urgent: bool) -> Waiter {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state();
        state.urgent |= urgent;
        if let Some(candidate) = state.candidate(presented)
            && matches!(candidate.standing, Standing::Refused(_))
        {
            candidate.standing = Standing::Waiting;
        }
        drop(state);
        self.bump();
        Waiter(Arc::clone(self))
    }

    /// Waits until something concerns this credential. `unproved`: also when bytes come that it has not been shown for.
    pub(crate) async fn wait(&self, fingerprint: &Fingerprint, unproved: bool) -> Waited {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(waited) = self.look(fingerprint, unproved) {
                return waited;
            }
            if changes.changed().await.is_err() {
                return Waited::Ended(End::Over);
            }
        }
    }

    fn look(&self, fingerprint: &Fingerprint, unproved: bool) -> Option<Waited> {
        let state = self.state();
        let standing = state.candidates.get(fingerprint).map(|candidate| candidate.standing.clone());
        match (&state.phase, standing) {
            (_, Some(Standing::Refused(refusal))) => Some(Waited::Refused(refusal)),
            (Phase::Ended(end), _) => Some(Waited::Ended(end.clone())),
            (Phase::Reading(partial), Some(Standing::Accepted)) => Some(Waited::Accepted(partial.clone())),
            (Phase::Reading(partial), Some(Standing::Waiting)) if unproved => {
                Some(Waited::Unproved(partial.clone()))
            }
            _ => None,
        }
    }

    /// The credential to try: accepted ones first, then those nothing is known of, then those that contradict; among
    /// equals the one that lasts longest.
    pub(crate) fn next(&self, now_ms: u64) -> Next {
        let state = self.state();
        let usable = || state.candidates.values().filter(|c| !matches!(c.standing, Standing::Refused(_)));
        let rank = |candidate: &&Candidate| {
            let standing = match candidate.standing {
                Standing::Accepted => 2,
                Standing::Waiting => 1,
                _ => 0,
            };
            (standing, candidate.presented.lasts_until_ms(now_ms))
        };
        let ready = usable().filter(|candidate| candidate.parked_until_ms <= now_ms).max_by_key(rank);
        if let Some(candidate) = ready {
            return Next::Try(Box::new(candidate.presented.clone()));
        }
        usable().map(|candidate| candidate.parked_until_ms).min().map_or(Next::Nobody, Next::At)
    }

    /// Whether the credential has been shown to read the object.
    pub(crate) fn is_accepted(&self, fingerprint: &Fingerprint) -> bool {
        self.state().candidates.get(fingerprint).is_some_and(|c| c.standing == Standing::Accepted)
    }

    /// Whether another credential waits, or is parked, that may read what is here.
    pub(crate) fn others_wait(&self, presented: &Presented) -> bool {
        self.state().candidates.iter().any(|(fingerprint, candidate)| {
            *fingerprint != presented.fingerprint
                && matches!(candidate.standing, Standing::Waiting | Standing::Accepted)
        })
    }

    /// Whether an accepted credential was granted by this very upstream: then the upstream's word for another caller
    /// counts, too.
    pub(crate) fn has_upstream(&self, upstream: &str) -> bool {
        let state = self.state();
        state.candidates.values().any(|candidate| {
            let presented = &candidate.presented;
            candidate.standing == Standing::Accepted && presented.by_batch && presented.upstream == upstream
        })
    }

    /// Whether an accepted credential is for the same place.
    pub(crate) fn has_place(&self, presented: &Presented) -> bool {
        let state = self.state();
        state.candidates.values().any(|candidate| {
            candidate.standing == Standing::Accepted && candidate.presented.is_same_place(presented)
        })
    }

    /// The accepted credentials.
    pub(crate) fn accepted(&self) -> Vec<Presented> {
        let state = self.state();
        let accepted = state.candidates.values().filter(|c| c.standing == Standing::Accepted);
        accepted.map(|candidate| candidate.presented.clone()).collect()
    }

    /// Notes where a credential stands.
    pub(crate) fn stands(&self, presented: &Presented, standing: Standing) {
        if let Some(candidate) = self.state().candidate(presented) {
            candidate.standing = standing;
        }
        self.bump();
    }

    /// Accepts a credential that was shown to read these bytes, unless they were let go meanwhile.
    pub(crate) fn accept(&self, presented: &Presented, partial: &Partial, era: u64) -> bool {
        let mut state = self.state();
        // Under the lock: `begin_anew` comes after the bytes are let go, and takes back what was accepted before.
        if partial.era() != era {
            return false;
        }
        if let Some(candidate) = state.candidate(presented) {
            candidate.standing = Standing::Accepted;
        }
        drop(state);
        self.bump();
        true
    }

    /// What was accepted for bytes that are no more is to be shown anew; what contradicted them is not held against anybody.
    pub(crate) fn begin_anew(&self) {
        for candidate in self.state().candidates.values_mut() {
            if candidate.standing == Standing::Different {
                candidate.parked_until_ms = 0;
            }
            if matches!(candidate.standing, Standing::Accepted | Standing::Different) {
                candidate.standing = Standing::Waiting;
            }
        }
        self.bump();
    }

    /// The host of a credential asks to be left alone.
    pub(crate) fn park(&self, presented: &Presented, until_ms: u64) {
        if let Some(candidate) = self.state().candidates.get_mut(&presented.fingerprint) {
            candidate.parked_until_ms = until_ms;
        }
    }

    /// Moves on.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.state().phase = phase;
        self.bump();
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.state().phase.clone()
    }

    /// Whether a client waits at the other end.
    pub(crate) fn is_urgent(&self) -> bool {
        self.state().urgent
    }

    /// A taker holds pieces of the object already, from a seed that went in the middle.
    pub(crate) fn note_begun(&self, taker: &v1::NodeIdentity, size: u64) {
        let mut state = self.state();
        let begun = state.begun.get_or_insert_with(|| Begun { size, takers: Vec::new() });
        let known = begun.takers.iter().any(|known| known.id == taker.id);
        if begun.size == size && !known && begun.takers.len() < MAX_BEGUN {
            begun.takers.push(taker.clone());
        }
    }

    /// Who holds pieces of the object already.
    pub(crate) fn begun(&self) -> Option<Begun> {
        self.state().begun.clone()
    }

    /// Whether anybody waits for an answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Changes with everything here.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn presented(url: &str, expires_ms: u64) -> Presented {
        let message = v1::Credential { url: url.to_owned(), expires_ms, ..Default::default() };
        Presented::read(&Oid::EMPTY.into(), Some(&message), 0).unwrap()
    }

    fn tried(flight: &Flight, now_ms: u64) -> Option<String> {
        match flight.next(now_ms) {
            Next::Try(presented) => Some(presented.url),
            Next::At(_) | Next::Nobody => None,
        }
    }

    fn refused() -> Standing {
        Standing::Refused(v1::Refusal { status: 403, ..Default::default() })
    }

    #[test]
    fn the_credential_that_lasts_longest_is_tried_first_and_a_refused_one_never() {
        let flight = Flight::new(Oid::EMPTY.into());
        let all =
            [presented("https://a/", 1_000), presented("https://b/", 9_000), presented("https://c/", 5_000)];
        let _waiters: Vec<Waiter> = all.iter().map(|one| flight.join(one, false)).collect();
        assert_eq!(tried(&flight, 0).as_deref(), Some("https://b/"));
        flight.stands(&all[1], refused());
        assert_eq!(tried(&flight, 0).as_deref(), Some("https://c/"));
        flight.stands(&all[0], Standing::Accepted);
        assert_eq!(tried(&flight, 0).as_deref(), Some("https://a/"), "what is known to read it goes first");
        flight.stands(&all[0], refused());
        flight.stands(&all[2], refused());
        assert!(matches!(flight.next(0), Next::Nobody));
    }

    #[test]
    fn a_parked_credential_waits_for_its_host() {
        let flight = Flight::new(Oid::EMPTY.into());
        let one = presented("https://a/", 0);
        let _waiter = flight.join(&one, false);
        flight.park(&one, 7_000);
        assert!(matches!(flight.next(1_000), Next::At(7_000)));
        assert!(tried(&flight, 7_000).is_some());
    }

    #[tokio::test]
    async fn a_refusal_is_told_to_its_own_credential_only() {
        let flight = Flight::new(Oid::EMPTY.into());
        let (good, bad) = (presented("https://a/", 0), presented("https://b/", 0));
        let _waiters = [flight.join(&good, false), flight.join(&bad, false)];
        flight.stands(&bad, refused());
        assert!(matches!(flight.wait(&bad.fingerprint, true).await, Waited::Refused(r) if r.status == 403));
        let waits = flight.wait(&good.fingerprint, true);
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        flight.set_phase(Phase::Ended(End::Over));
        assert!(matches!(waits.await, Waited::Ended(End::Over)));
    }

    #[test]
    fn a_refused_credential_that_comes_again_is_tried_again() {
        let flight = Flight::new(Oid::EMPTY.into());
        let one = presented("https://a/", 0);
        let waiter = flight.join(&one, false);
        assert!(flight.is_awaited());
        flight.stands(&one, refused());
        drop(waiter);
        assert!(!flight.is_awaited());
        let _again = flight.join(&one, true);
        assert!(tried(&flight, 0).is_some() && flight.is_urgent());
    }

    #[test]
    fn an_upstreams_word_counts_for_others_only_where_it_granted_and_reads() {
        let flight = Flight::new(Oid::EMPTY.into());
        let mut message = v1::Credential { url: "https://cdn/x".to_owned(), ..Default::default() };
        message.upstream = "https://forge/repo".to_owned();
        message.granted_by_batch = true;
        let granted = Presented::read(&Oid::EMPTY.into(), Some(&message), 0).unwrap();
        flight.stands(&granted, Standing::Waiting);
        assert!(!flight.has_upstream("https://forge/repo"));
        flight.stands(&granted, Standing::Accepted);
        assert!(flight.has_upstream("https://forge/repo") && !flight.has_upstream("https://other/repo"));
        flight.begin_anew();
        assert!(!flight.has_upstream("https://forge/repo"));
    }

    #[test]
    fn others_wait_until_they_are_refused_or_contradict() {
        let flight = Flight::new(Oid::EMPTY.into());
        let (one, two) = (presented("https://a/", 0), presented("https://b/", 0));
        let _waiters = [flight.join(&one, false), flight.join(&two, false)];
        assert!(flight.others_wait(&one));
        flight.park(&two, 7_000);
        assert!(flight.others_wait(&one), "a parked one comes back");
        flight.stands(&two, Standing::Different);
        assert!(!flight.others_wait(&one) && flight.others_wait(&two));
    }

    #[test]
    fn the_number_of_alternates_is_bounded() {
        let flight = Flight::new(Oid::EMPTY.into());
        let waiters: Vec<Waiter> =
            (0..1000).map(|n| flight.join(&presented(&format!("https://h/{n}"), 0), false)).collect();
        assert_eq!(flight.state().candidates.len(), MAX_CANDIDATES);
        drop(waiters);
    }
}
