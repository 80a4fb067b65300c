//! What follows when a read stops: whose business it is, who is told, what is tried next.

use std::time::Duration;

use darner_origin::Blame;
use darner_proto::v1;
use darner_store::WriteError;

use super::{BREATH, FRUITLESS_TRIES, PATIENCE, Runner, TELLING, Tried, stuck};
use crate::credential::Presented;
use crate::flight::{Phase, Standing};
use crate::pour::{Pour, PourError};
use crate::proof::refusal;

impl Runner {
    /// The whole is not what its name says: everything is taken back, and who read it is not asked again.
    pub(super) async fn lied(&mut self, got: &str) {
        let Some(pour) = &self.pour else { return };
        let readers = std::mem::take(&mut self.readers);
        let upstreams: Vec<&str> = readers.iter().flatten().map(|reader| reader.upstream.as_str()).collect();
        tracing::error!(key = %self.flight.key, got, ?upstreams, "an origin served something else than the object");
        pour.revoke();
        self.flight.set_phase(Phase::Opening);
        tokio::time::sleep(TELLING).await;
        self.begin_anew("it is not what its name says");
        if let [Some(liar)] = readers.as_slice() {
            let now_ms = self.inner.parts.clock.now_ms();
            self.inner.lies.note(liar, now_ms);
            self.refuse(liar, lied());
        } else {
            self.alone = true;
        }
        self.last = None;
        // The layout came from who lied, too.
        self.pour = None;
        self.inner.parts.store.purge(&self.flight.key).await;
    }

    pub(super) async fn failed(&mut self, presented: &Presented, error: PourError) -> Tried {
        let key = self.flight.key;
        match error {
            PourError::Origin(error) => {
                let got = self.pour.as_ref().map_or(0, Pour::at);
                self.fruitless = if got > self.fruitless.1 { (1, got) } else { (self.fruitless.0 + 1, got) };
                tracing::info!(%key, upstream = presented.upstream, %error, got, "an origin read stopped");
                match error.blame() {
                    Blame::Host => self.refuse_or_park(presented, refusal(&error)),
                    Blame::Credential | Blame::Here => self.refuse(presented, refusal(&error)),
                }
                Tried::Again
            }
            PourError::TooLong => {
                self.lied("more bytes than it said").await;
                Tried::Again
            }
            PourError::Store(WriteError::Full) => {
                if let Some(pour) = self.pour.take() {
                    tracing::warn!(%key, "the disk filled up: streamed through without keeping");
                    let layout = pour.partial.layout();
                    pour.partial.fail("the disk is full");
                    let partial = self.in_memory(layout);
                    let reading = self.inner.parts.random.next_u64();
                    self.pour = Some(self.pour(partial, reading));
                }
                Tried::Again
            }
            PourError::Store(error) => Tried::Stuck(stuck(&error)),
        }
    }

    /// A host's trouble parks the credential; when it stands still for long its waiters are told.
    pub(super) fn refuse_or_park(&self, presented: &Presented, words: v1::Refusal) {
        let passing = matches!(words.status, 0 | 429 | 500 | 502 | 503 | 504);
        let asked_to_wait = words.retry_after_s > 0;
        let hopeless = !asked_to_wait && self.fruitless.0 >= FRUITLESS_TRIES;
        let breath = BREATH * 2_u32.pow(self.fruitless.0.clamp(1, 5) - 1);
        let wait = Duration::from_secs(words.retry_after_s.into()).max(breath);
        // What would only be told too late is told at once: its caller has other ways.
        if !passing || hopeless || wait > PATIENCE {
            return self.refuse(presented, words);
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.flight.park(presented, self.inner.parts.clock.now_ms().saturating_add(wait_ms));
    }

    pub(super) fn refuse(&self, presented: &Presented, words: v1::Refusal) {
        self.inner.parts.metrics.authorization("refused");
        self.flight.stands(presented, Standing::Refused(words));
    }
}

pub(super) fn lied() -> v1::Refusal {
    let message = "the origin's content is not what its name says".to_owned();
    v1::Refusal { status: 502, message, retry_after_s: 0 }
}
