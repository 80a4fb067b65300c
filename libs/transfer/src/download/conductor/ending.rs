//! How a download ends: whole and hashed, unwanted, or given up; and how it finds parents again before that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use darner_proto::v1;
use darner_store::FinishError;
use prost::Message as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Conductor;
use crate::download::{OpenError, Wanted};
use crate::statements;

/// Between two tries to find a seed again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// A whole object that hashes to something else is begun anew this often before it fails.
const MAX_ANEW: u32 = 3;

impl Conductor {
    /// Advances the in-order SHA-256 beside the arriving pieces, so that the end is confirmed at once.
    pub(super) fn start_hashing(&mut self) {
        let partial = self.running.partial.clone();
        self.hashing.spawn(async move {
            let mut changes = partial.subscribe();
            loop {
                changes.borrow_and_update();
                if partial.has_unhashed() {
                    let step = partial.clone();
                    match tokio::task::spawn_blocking(move || step.hash_more()).await {
                        Ok(true) => continue,
                        Ok(false) => {}
                        Err(_panicked) => return,
                    }
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    pub(super) async fn is_over(&mut self) -> bool {
        if self.running.partial.outcome().is_some() {
            return true;
        }
        if self.running.no_room.load(Ordering::Relaxed) {
            self.leave_the_disk().await;
            return true;
        }
        if self.plan.is_complete() && self.running.partial.is_whole() {
            return self.finish().await;
        }
        if self.is_unwanted() {
            tracing::debug!(key = %self.key, "nobody waits for it any more");
            self.running.partial.fail("nobody waits for it any more");
            return true;
        }
        if self.progressed.elapsed() >= self.downloads.inner.timing.give_up {
            self.running.partial.fail("no byte came from anywhere");
            return true;
        }
        self.find_parents();
        false
    }

    fn is_unwanted(&mut self) -> bool {
        if self.running.is_wanted() {
            self.unwanted = None;
            return false;
        }
        let since = *self.unwanted.get_or_insert_with(Instant::now);
        since.elapsed() >= self.downloads.inner.timing.linger
    }

    async fn finish(&mut self) -> bool {
        let partial = self.running.partial.clone();
        let upstreams = self.upstreams();
        let finished =
            tokio::task::spawn_blocking(move || partial.finish_with(statements::kept(&partial), &upstreams))
                .await;
        match finished {
            Ok(Ok(_)) => true,
            Ok(Err(FinishError::Mismatch { .. })) => {
                self.blame_for_the_whole();
                self.anew >= MAX_ANEW
            }
            Ok(Err(FinishError::Io(error))) if is_full(&error) => {
                self.leave_the_disk().await;
                true
            }
            Ok(Err(error)) => {
                self.running.partial.fail(&error.to_string());
                true
            }
            Err(_panicked) => true,
        }
    }

    /// The disk filled up in the middle: what is here gives its room back, so that the callers, who come again, are not
    /// led to it. There is none for the whole, so they get it through memory.
    async fn leave_the_disk(&self) {
        tracing::warn!(key = %self.key, "the disk filled up: the object begins anew, in memory");
        self.downloads.inner.parts.store.purge(&self.key).await;
        self.running.partial.fail("the disk is full");
    }

    /// Through whom the object came, if it is what its id says.
    fn upstreams(&self) -> Vec<String> {
        let known = self.running.upstreams.lock().map(|known| known.clone()).unwrap_or_default();
        let era = self.running.partial.era();
        known
            .into_iter()
            .filter(|(of, upstream)| *of == era && !upstream.is_empty())
            .map(|(_, upstream)| upstream)
            .collect()
    }

    fn is_confirmed_by(&self, attester: &str) -> bool {
        let statements = self.running.partial.statements(0);
        let said = statements.into_iter().filter_map(|bytes| v1::Attestation::decode(bytes).ok());
        said.into_iter()
            .any(|said| said.attester == attester && said.state() == v1::AttestationState::Confirmed)
    }

    /// Every piece was what its attester said, and the whole is wrong: the attester lied, or (for a single piece,
    /// which nobody attests) the parent it came from.
    fn blame_for_the_whole(&mut self) {
        let parts = &self.downloads.inner.parts;
        parts.metrics.piece_rejected("object");
        match self.running.partial.reading() {
            // A provisional list says what was read, and the origin may have lied; a confirmed one is a promise.
            Some((_, attester)) if !self.is_confirmed_by(&attester) => {
                tracing::warn!(key = %self.key, attester, "what was read is not the object: begun anew");
            }
            Some((_, attester)) => {
                tracing::warn!(key = %self.key, attester, "the object is not what its attester said: set aside");
                parts.trust.set_aside(&attester);
                parts.cluster.trouble(&self.key, &attester, v1::TroubleKind::Corrupt);
            }
            None => {
                for (parent, _) in self.running.taken.by_parent() {
                    tracing::warn!(key = %self.key, parent, "a parent sent a wrong object");
                    parts.cluster.trouble(&self.key, &parent, v1::TroubleKind::Corrupt);
                }
            }
        }
        self.anew += 1;
        if self.anew >= MAX_ANEW {
            self.running.partial.fail("every copy that came was wrong");
        } else {
            self.begin_anew("the whole is not what its id says");
        }
    }

    /// Without parents (or with none that has anything for us any more), the seeds are asked again, with the
    /// credential of any caller.
    fn find_parents(&mut self) {
        let stuck = self.progressed.elapsed() >= self.downloads.inner.timing.stall;
        let lost = !self.plan.has_parents() || stuck;
        if !lost || !self.reopening.is_empty() || !self.fetches.is_empty() {
            return;
        }
        let credentials = self.running.credentials.lock().map(|known| known.clone()).unwrap_or_default();
        let turn = usize::try_from(self.reopened).unwrap_or(0);
        let Some(credential) = credentials.iter().cycle().nth(turn).cloned() else { return };
        self.reopened = self.reopened.wrapping_add(1);
        let wanted =
            Wanted { key: self.key, size: self.running.partial.layout().size(), credential, urgent: true };
        let downloads = self.downloads.clone();
        let begun = self.running.partial.holding().count() > 0;
        let pause = if self.reopened > 1 || stuck { REOPEN_PAUSE } else { Duration::ZERO };
        let reopening = async move {
            tokio::time::sleep(pause).await;
            downloads.inner.door.open(&wanted, begun).await
        };
        self.reopening.spawn(reopening.instrument(self.running.span.clone()));
    }

    pub(super) fn reopened(&mut self, opened: Option<Result<v1::Opened, OpenError>>) {
        match opened {
            Some(Ok(opened)) => {
                self.refused = 0;
                self.running.goes_on_with(&opened);
                self.running.note_opened(opened);
                self.reorder();
            }
            Some(Err(error)) => {
                tracing::debug!(key = %self.key, %error, "no seed opens it now");
                self.refused(&error);
            }
            None => {}
        }
    }

    /// Waiting on is of no use once every credential has been refused and nobody else has it: the clients come again
    /// with a fresh Batch.
    fn refused(&mut self, error: &OpenError) {
        let OpenError::Refused(refusal) = error else { return };
        if !belongs_to_the_credential(refusal.status) {
            self.refused = 0;
            return;
        }
        self.refused += 1;
        let credentials = self.running.credentials.lock().map(|known| known.len()).unwrap_or_default();
        if self.refused >= credentials && !self.plan.has_parents() {
            self.running.partial.fail(&error.to_string());
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Whether the same credential would be refused again; 0 is an origin that could not be reached.
fn belongs_to_the_credential(status: u32) -> bool {
    matches!(status, 400..=599) && !matches!(status, 408 | 425 | 429 | 500 | 503 | 504)
}
