//! The one decision who may read what is held here.
//!
//! Knowing an oid, a path or a look-alike file proves nothing. A caller is proved for an object by a Batch of an
//! upstream the object was read (or shown equal) through; by a verdict on the very same credential not long ago; by
//! a public prefix the object was read through; or by one unpredictable window, read through the caller's own
//! credential and compared with what is held. Refusals are never shared between callers.
//! Owns: the verdict cache. Never: serves a byte. After a crash: verdicts are gone, proofs are made again.

mod held;
mod opened;
mod verdicts;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use darner_chassis::clock::{Clock, Random};
use darner_chassis::metrics::Metrics;
use darner_lfs::ObjectKey;
use darner_origin::provenance;
use darner_proto::v1;
use darner_store::{Partial, Store};
use darner_transfer::feed::Purged;
use http::Method;
use tokio::time::Instant;

pub use held::Held;
use held::Window;
use opened::OpenedEarly;
pub use verdicts::Verdicts;

use crate::credential::fingerprint;
use crate::prober::later;

/// Offsets beyond this are not asked of an upstream that may not know ranges.
const NEAR_BYTES: u64 = 4 << 20;

/// A proof takes no longer, whoever is asked: its caller waits 10 s for a head.
const PROOF_WITHIN: Duration = Duration::from_secs(9);

const SILENT: &str = "the origin has not said yet whether this credential is good";

/// How a window is read through somebody's credential: by a seed, or by this node where no seed answers.
#[tonic::async_trait]
pub trait Prober: Send + Sync {
    /// Reads `length` bytes at `offset`.
    async fn probe(
        &self,
        key: &ObjectKey,
        credential: &v1::Credential,
        offset: u64,
        length: u32,
    ) -> Result<v1::Window, v1::Refusal>;
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The caller may read the object; by what.
    Proved(&'static str),
    /// Its credential does not open the object; to be told to this caller only.
    Refused(v1::Refusal),
    /// Nothing here tells objects apart (there are no bytes; or all are the same and the origin does not say how
    /// many; or they cannot be searched): only the origin can decide.
    Unprovable,
}

/// What a window showed that does not differ.
enum Compared {
    Equal,
    /// Nothing here tells, or a run of one byte of unknown length.
    Unclear,
}

/// The parts a proof needs.
pub struct Proof {
    store: Store,
    prober: Arc<dyn Prober>,
    verdicts: Verdicts,
    opened: OpenedEarly,
    public: RwLock<Vec<String>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    metrics: Metrics,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Proof {
    /// Proofs over what `store` holds, with windows read by `prober`.
    pub fn new(
        store: Store,
        prober: Arc<dyn Prober>,
        public: &[String],
        seams: Seams,
        metrics: Metrics,
    ) -> Self {
        let Seams { clock, random } = seams;
        let public = RwLock::new(normal(public));
        Self {
            store,
            prober,
            verdicts: Verdicts::default(),
            opened: OpenedEarly::default(),
            public,
            clock,
            random,
            metrics,
        }
    }

    /// Replaces the public prefixes.
    pub fn set_public(&self, public: &[String]) {
        *self.public.write().unwrap_or_else(PoisonError::into_inner) = normal(public);
    }

    /// Whether the bearer of `credential` may read `held`.
    pub async fn prove(&self, held: &Held, credential: &v1::Credential) -> Verdict {
        let verdict = self.decide(held, credential).await;
        self.metrics.authorization(match &verdict {
            Verdict::Proved(by) => by,
            Verdict::Refused(_) => "refused",
            Verdict::Unprovable => "unprovable",
        });
        verdict
    }

    /// What is known without asking anybody: `None` where a window is needed.
    pub fn known(
        &self,
        key: &ObjectKey,
        upstreams: &[String],
        credential: &v1::Credential,
    ) -> Option<&'static str> {
        let has = |upstream: &String| upstreams.contains(upstream);
        if credential.granted_by_batch && has(&credential.upstream) {
            return Some("batch");
        }
        self.settle(key, credential);
        let name = name_of(key, credential);
        if self.verdicts.holds(&name, self.clock.now_ms()) {
            return Some("remembered");
        }
        let named = provenance(&credential.url);
        let opens = |prefix: &String| {
            under(&named, prefix) && upstreams.iter().any(|upstream| under(upstream, prefix))
        };
        self.public.read().unwrap_or_else(PoisonError::into_inner).iter().any(opens).then_some("public")
    }

    /// The credential was accepted elsewhere (a seed opened the object with it): it is not proved again for a while.
    pub fn remember(&self, key: &ObjectKey, credential: &v1::Credential) {
        self.verdicts.remember(name_of(key, credential), credential.expires_ms, self.clock.now_ms());
    }

    /// As [`Proof::remember`], once the growing object that the credential opened has ended well: until then it proves
    /// whatever the origin serves.
    pub fn remember_at_its_end(&self, credential: &v1::Credential, partial: &Partial) {
        self.opened.note(name_of(&partial.key(), credential), partial.clone(), credential.expires_ms);
    }

    /// The object that a credential opened may have ended meanwhile: then it counts, or is forgotten.
    pub fn settle(&self, key: &ObjectKey, credential: &v1::Credential) {
        let name = name_of(key, credential);
        self.opened.settle(&name, |expires_ms| {
            self.verdicts.remember(name, expires_ms, self.clock.now_ms());
        });
    }

    /// Something was purged: whoever was believed about it is proved anew.
    pub fn forget(&self, purged: &Purged) {
        self.opened.clear();
        self.verdicts.forget(|key| match purged {
            Purged::Object(gone) => key == gone,
            // Which objects came through it is no longer known.
            Purged::Upstream => true,
        });
    }

    async fn decide(&self, held: &Held, credential: &v1::Credential) -> Verdict {
        let key = held.key();
        if credential.granted_by_batch && held.has_upstream(&credential.upstream) {
            return Verdict::Proved("batch");
        }
        if let Some(by) = self.known(&key, &held.upstreams(), credential) {
            return Verdict::Proved(by);
        }
        // One probe per credential: those who show the same one wait for its outcome.
        let name = name_of(&key, credential);
        let turn = self.verdicts.turn(name);
        let until = Instant::now() + PROOF_WITHIN;
        let Ok(mut mine) = tokio::time::timeout_at(until, turn.lock()).await else {
            return Verdict::Refused(later(SILENT));
        };
        if self.verdicts.holds(&name, self.clock.now_ms()) {
            return Verdict::Proved("remembered");
        }
        if let Some(outage) = &*mine {
            return Verdict::Refused(outage.clone());
        }
        let shown = tokio::time::timeout_at(until, self.shown(held, credential)).await;
        match shown.unwrap_or_else(|_elapsed| Err(later(SILENT))) {
            Ok(Compared::Unclear) => Verdict::Unprovable,
            Ok(Compared::Equal) => {
                held.add_upstream(&self.store, &credential.upstream);
                self.verdicts.settle(name, &turn, credential.expires_ms, self.clock.now_ms());
                Verdict::Proved("probe")
            }
            Err(refusal) => {
                if is_outage(&refusal) {
                    *mine = Some(refusal.clone());
                    self.verdicts.abandon(&name, &turn);
                }
                Verdict::Refused(refusal)
            }
        }
    }

    /// What the credential reads, beside what is held.
    async fn shown(&self, held: &Held, credential: &v1::Credential) -> Result<Compared, v1::Refusal> {
        let random = self.random.as_ref();
        let Some(window) = held.window(random, u64::MAX).await else { return Ok(Compared::Unclear) };
        let compared = self.compare(held, credential, &window).await;
        if matches!(&compared, Err(refusal) if is_unclear(refusal))
            && let Some(near) = held.window(random, NEAR_BYTES).await
        {
            return self.compare(held, credential, &near).await;
        }
        compared
    }

    async fn compare(
        &self,
        held: &Held,
        credential: &v1::Credential,
        window: &Window,
    ) -> Result<Compared, v1::Refusal> {
        let length = u32::try_from(window.content.len()).unwrap_or(u32::MAX);
        let shown = self.prober.probe(&held.key(), credential, window.offset, length).await?;
        let same_length = shown.total.is_none_or(|total| held.size().is_none_or(|size| size == total));
        if same_length && shown.content == window.content {
            let is_told = !window.is_run || shown.total.is_some();
            return Ok(if is_told { Compared::Equal } else { Compared::Unclear });
        }
        let message = "this address does not serve the object it is asked for".to_owned();
        Err(v1::Refusal { status: 403, message, retry_after_s: 0 })
    }
}

fn name_of(key: &ObjectKey, credential: &v1::Credential) -> verdicts::Name {
    (*key, fingerprint(&Method::GET, credential))
}

/// The two seams a test replaces.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

/// A refusal that may mean "I cannot read that far without ranges".
const fn is_unclear(refusal: &v1::Refusal) -> bool {
    !matches!(refusal.status, 0 | 401 | 403 | 404 | 410 | 429 | 451 | 503)
}

/// A refusal that says nothing about the credential: whoever shows the same one would hear the same now.
const fn is_outage(refusal: &v1::Refusal) -> bool {
    matches!(refusal.status, 0 | 429 | 500..)
}

/// Prefixes as provenance writes them.
fn normal(public: &[String]) -> Vec<String> {
    public.iter().map(|prefix| provenance(&format!("{}/-", prefix.trim_end_matches('/')))).collect()
}

fn under(upstream: &str, prefix: &str) -> bool {
    upstream.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
