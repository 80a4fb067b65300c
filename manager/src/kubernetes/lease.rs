//! Which manager writes: the holder of one Lease.
//!
//! Owns: taking the Lease, renewing it, giving it back. A Lease is dead when nobody has renewed it for its duration *as
//! seen from here*, on a clock that only goes forward: the holder's wall clock is never compared with ours. A holder that
//! cannot renew stops writing before anybody else may begin. Never: anything that nodes or downloads wait for; every
//! manager serves them, leader or not.

use std::time::Duration;

use darner_chassis::tasks::Drain;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Unrenewed for so long, the Lease is anybody's.
const LASTS: Duration = Duration::from_secs(15);
/// The holder stops writing when its last renewal is so old.
const LEADS: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A look that takes longer has failed.
const LOOK_WITHIN: Duration = Duration::from_secs(4);

/// Whether this manager writes; clones see the same.
#[derive(Debug, Clone)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    led: bool,
}

impl Leadership {
    /// Whether it does at this moment.
    pub fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns when it begins or ends to.
    pub async fn changed(&mut self) {
        loop {
            if self.until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let leads = self.leads();
            if leads != std::mem::replace(&mut self.led, leads) {
                return;
            }
        }
    }
}

/// What is known of the Lease: one version of it, and since when it has been seen.
#[derive(Debug, Clone)]
struct Seen {
    holder: String,
    version: String,
    lasts: Duration,
    since: Instant,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is held by another.
    Wait,
    /// Write our name into it; true when it was another's before.
    Take(bool),
}

impl Seen {
    /// This Lease, seen now; one that did not change was seen before.
    fn next(before: Option<Self>, lease: &Lease, now: Instant) -> Self {
        let spec = lease.spec.as_ref();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match before {
            Some(before) if before.version == version => before,
            _ => Self {
                holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
                version,
                lasts: spec
                    .and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok())
                    .map_or(LASTS, Duration::from_secs),
                since: now,
            },
        }
    }

    fn step(&self, own: &str, now: Instant) -> Step {
        if self.holder == own {
            Step::Take(false)
        } else if self.holder.is_empty() || now.saturating_duration_since(self.since) > self.lasts {
            Step::Take(true)
        } else {
            Step::Wait
        }
    }
}

/// The Lease after this step.
fn written(mut lease: Lease, own: &str, taken: bool) -> Lease {
    let now = MicroTime(Timestamp::now());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if taken {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
    }
    spec.holder_identity = (!own.is_empty()).then(|| own.to_owned());
    spec.lease_duration_seconds = i32::try_from(LASTS.as_secs()).ok();
    spec.renew_time = Some(now);
    lease
}

/// One candidate.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    own: String,
    until: watch::Sender<Option<Instant>>,
    seen: Option<Seen>,
}

impl Candidate {
    /// A candidate of this name for the Lease `name`.
    pub fn new(api: Api<Lease>, name: String, own: String) -> (Self, Leadership) {
        let (until, watched) = watch::channel(None);
        let leadership = Leadership { until: watched, led: false };
        (Self { api, name, own, until, seen: None }, leadership)
    }

    /// Stand for the Lease until the drain, then give it back.
    pub async fn stand(mut self, drain: Drain) {
        let mut ill = false;
        loop {
            let begun = Instant::now();
            let looked = timeout(LOOK_WITHIN, self.look()).await;
            let led = self.until.borrow().is_some();
            match looked {
                Ok(Ok(leads)) => {
                    ill = false;
                    self.until.send_replace(leads.then(|| begun + LEADS));
                    if leads != led {
                        tracing::info!(lease = self.name, leads, "leadership changed");
                    }
                }
                failed => {
                    if !std::mem::replace(&mut ill, true) {
                        let error = match failed {
                            Ok(Err(error)) => error.to_string(),
                            _ => "no answer in time".to_owned(),
                        };
                        tracing::warn!(lease = self.name, error, "the lease cannot be looked at");
                    }
                    // Nobody else may begin before our last renewal is as old as the Lease lasts; we end earlier.
                    if self.until.borrow().is_some_and(|until| Instant::now() >= until) {
                        self.until.send_replace(None);
                    }
                }
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = drain.wait() => break,
            }
        }
        let led = self.until.send_replace(None).is_some();
        if led && timeout(LOOK_WITHIN, self.give_back()).await.is_err() {
            tracing::debug!("the lease could not be given back; it ends by itself");
        }
    }

    /// Look at the Lease and take or renew it; true when it is ours.
    async fn look(&mut self) -> Result<bool, kube::Error> {
        let now = Instant::now();
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = written(Lease { metadata, spec: None }, &self.own, true);
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let seen = Seen::next(self.seen.take(), &lease, now);
        let step = seen.step(&self.own, now);
        self.seen = Some(seen);
        match step {
            Step::Wait => Ok(false),
            Step::Take(taken) => {
                let lease = written(lease, &self.own, taken);
                won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
            }
        }
    }

    async fn give_back(&self) {
        let given = async {
            match self.api.get_opt(&self.name).await? {
                Some(lease) if holder(&lease) == Some(self.own.as_str()) => self
                    .api
                    .replace(&self.name, &PostParams::default(), &written(lease, "", false))
                    .await
                    .map(drop),
                _ => Ok(()),
            }
        };
        if let Err(error) = given.await {
            tracing::debug!(%error, "the lease could not be given back; it ends by itself");
        }
    }
}

/// Whether a write won: of two at once, the API server takes one.
fn won(wrote: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match wrote {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, ..written(Lease::default(), holder, true) }
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(1000 + seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_is_not_taken() {
        let first = Seen::next(None, &lease("a", "1"), after(0));
        assert_eq!(first.step("b", after(14)), Step::Wait);
        let renewed = Seen::next(Some(first), &lease("a", "2"), after(14));
        assert_eq!(renewed.step("b", after(28)), Step::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_has_not_changed_for_its_duration() {
        let first = Seen::next(None, &lease("a", "1"), after(0));
        let same = Seen::next(Some(first), &lease("a", "1"), after(16));
        assert_eq!(same.step("b", after(16)), Step::Take(true));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_given_back_is_taken_at_once_and_ones_own_is_renewed() {
        let given = Seen::next(None, &lease("", "1"), after(0));
        assert_eq!(given.step("b", after(0)), Step::Take(true));
        let own = Seen::next(None, &lease("b", "1"), after(0));
        assert_eq!(own.step("b", after(0)), Step::Take(false));
    }

    #[test]
    fn taking_counts_and_renewing_does_not() {
        let taken = written(Lease::default(), "a", true);
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!((transitions(&taken), holder(&taken)), (Some(1), Some("a")));
        let renewed = written(taken, "a", false);
        assert_eq!(transitions(&renewed), Some(1));
        assert_eq!(holder(&written(renewed, "", false)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_ends_by_itself() {
        let (until, watched) = watch::channel(Some(Instant::now() + LEADS));
        let leadership = Leadership { until: watched, led: false };
        assert!(leadership.leads());
        tokio::time::advance(LEADS).await;
        assert!(!leadership.leads());
        drop(until);
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        assert!(LEADS + LOOK_WITHIN < LASTS);
    }
}
