//! The proof of one caller's credential: against what is stored, or against what is still coming.
//!
//! Owns: what an upstream's word, a remembered verdict or a probe means for the caller. Never: a verdict on bytes nobody
//! has confirmed that outlives their read.

use darner_chassis::clock::Random;
use darner_proto::v1;
use darner_store::{Outcome, Partial, Stored};

use super::Inner;
use crate::credential::Presented;
use crate::flight::{Flight, Waited};
use crate::proof::{Shown, different, later};
use crate::verdict::Verdict;
use crate::window::Held;

impl Inner {
    /// Notes that a credential was shown to read what is here. What was confirmed meanwhile is remembered beyond the read.
    pub(super) async fn accept(&self, flight: &Flight, partial: &Partial, era: u64, presented: &Presented) {
        let accepted = flight.accept(presented, partial, era);
        let confirmed = matches!(partial.outcome(), Some(Outcome::Finished(_) | Outcome::Confirmed));
        if accepted && confirmed {
            let now_ms = self.parts.clock.now_ms();
            self.verdicts.slot(presented.fingerprint, now_ms).await.grant(presented, now_ms);
        }
    }

    /// The proof for an object that is still coming.
    pub(super) async fn prove_growing(
        &self,
        flight: &Flight,
        partial: &Partial,
        presented: &Presented,
    ) -> Shown {
        if presented.by_batch && flight.has_upstream(&presented.upstream) {
            self.parts.metrics.authorization("granted");
            return Shown::Equal;
        }
        let (held, era) = (Held::Growing(partial.clone()), partial.era());
        let now_ms = self.parts.clock.now_ms();
        // Not held while the bytes are awaited: the read that brings them may need this very slot to go on.
        let known = self.verdicts.slot(presented.fingerprint, now_ms).await.known(now_ms).cloned();
        if let Some(shown) = self.decided(flight, known, presented) {
            return shown;
        }
        // Another signature of the same place is compared at once; another place where nobody could foresee.
        let same_place = flight.has_place(presented);
        let limit = tokio::select! {
            limit = await_window(partial, same_place, self.parts.random.as_ref()) => limit,
            waited = flight.wait(&presented.fingerprint, false) => return match waited {
                Waited::Accepted(_) => Shown::Equal,
                Waited::Refused(words) => Shown::Refused(words),
                Waited::Unproved(_) | Waited::Ended(_) => Shown::Nothing,
            },
        };
        let now_ms = self.parts.clock.now_ms();
        let mut slot = self.verdicts.slot(presented.fingerprint, now_ms).await;
        if let Some(shown) = self.decided(flight, slot.known(now_ms).cloned(), presented) {
            return shown;
        }
        let shown = self.prover.probe(&held, limit, presented).await;
        match &shown {
            // Remembered by the flight only: the bytes it was compared with may still turn out to be a lie.
            Shown::Equal => {
                self.parts.metrics.authorization("proved");
                flight.accept(presented, partial, era);
            }
            Shown::Refused(words) => {
                self.parts.metrics.authorization("refused");
                slot.refuse(words.clone(), now_ms);
            }
            Shown::Different | Shown::Nothing => {}
        }
        shown
    }

    /// What is known of a credential without a probe.
    fn decided(&self, flight: &Flight, known: Option<Verdict>, presented: &Presented) -> Option<Shown> {
        match known {
            _ if flight.is_accepted(&presented.fingerprint) => Some(Shown::Equal),
            Some(Verdict::Granted) => {
                self.parts.metrics.authorization("remembered");
                Some(Shown::Equal)
            }
            Some(Verdict::Refused(words)) => Some(Shown::Refused(words)),
            None => None,
        }
    }

    /// The proof for an object that is here.
    pub(super) async fn prove_stored(
        &self,
        stored: &Stored,
        presented: &Presented,
    ) -> Result<(), v1::Refusal> {
        let (store, key) = (&self.parts.store, stored.key());
        let is_of = |upstream: &str| store.has_upstream(&key, upstream);
        let proved = self.prove(&Held::Stored(stored.clone()), is_of, presented).await?;
        if proved {
            store.add_upstream(&key, &presented.upstream);
        }
        Ok(())
    }

    /// The proof for a confirmed object that is in memory for a while.
    pub(super) async fn prove_lingering(
        &self,
        partial: &Partial,
        presented: &Presented,
    ) -> Result<(), v1::Refusal> {
        let is_of = |upstream: &str| partial.upstreams().iter().any(|known| known == upstream);
        let proved = self.prove(&Held::Growing(partial.clone()), is_of, presented).await?;
        if proved {
            partial.add_upstream(&presented.upstream);
        }
        Ok(())
    }

    /// The proof for confirmed bytes; whether a probe gave it. `is_of`: whether they came from an upstream.
    async fn prove(
        &self,
        held: &Held,
        is_of: impl Fn(&str) -> bool,
        presented: &Presented,
    ) -> Result<bool, v1::Refusal> {
        if presented.by_batch && is_of(&presented.upstream) {
            self.parts.metrics.authorization("granted");
            return Ok(false);
        }
        let now_ms = self.parts.clock.now_ms();
        let mut slot = self.verdicts.slot(presented.fingerprint, now_ms).await;
        match slot.known(now_ms) {
            Some(Verdict::Granted) => {
                self.parts.metrics.authorization("remembered");
                return Ok(false);
            }
            Some(Verdict::Refused(words)) => return Err(words.clone()),
            None => {}
        }
        let words = match self.prover.probe(held, held.here(), presented).await {
            // The empty object has nothing to compare, and nothing to tell.
            Shown::Nothing if held.size() == Some(0) => return Ok(false),
            Shown::Equal => {
                self.parts.metrics.authorization("proved");
                slot.grant(presented, now_ms);
                return Ok(true);
            }
            Shown::Different => {
                tracing::warn!(
                    upstream = presented.upstream,
                    "a look-alike: the address serves something else"
                );
                self.parts.metrics.authorization("different");
                different()
            }
            Shown::Nothing => later("the object cannot be read here", 2),
            Shown::Refused(words) => {
                self.parts.metrics.authorization("refused");
                words
            }
        };
        slot.refuse(words.clone(), now_ms);
        Err(words)
    }
}

/// How many bytes from the start may be compared: what is here for another signature of the same place; for another place
/// a length drawn at random out of the whole, waited for, so that its author cannot foresee what must look alike.
async fn await_window(partial: &Partial, same_place: bool, random: &dyn Random) -> u64 {
    let window = u64::from(darner_origin::MAX_WINDOW_BYTES);
    let size = partial.layout().size();
    let least = size.unwrap_or(u64::MAX).min(window);
    let wanted = match size {
        Some(size) if !same_place && size > least => least + random.next_u64() % (size - least + 1),
        _ => least,
    };
    let mut changes = partial.subscribe();
    loop {
        changes.borrow_and_update();
        let here = partial.readable(0, darner_store::Unchecked::Edge);
        let ended = partial.outcome().is_some() || partial.layout().size().is_some_and(|size| here >= size);
        if here >= wanted || ended || changes.changed().await.is_err() {
            return here;
        }
    }
}
