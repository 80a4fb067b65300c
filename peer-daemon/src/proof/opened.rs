//! Credentials that opened an object which was not confirmed then.
//!
//! Owns: who counts as proved once the object has ended well, and with which partial. Looked at when the credential is
//! shown again, which may be before whoever waits for the end has run. Never: believes anybody of an object that was begun
//! anew. Lock order: this before the verdicts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use darner_store::{Outcome, Partial};

use super::verdicts::Name;

/// Credentials kept; the ended ones go first.
const KEPT: usize = 4096;

/// Credentials whose object had not ended yet.
#[derive(Debug, Default)]
pub(super) struct OpenedEarly {
    waiting: Mutex<HashMap<Name, (Partial, u64, u64)>>,
}

impl OpenedEarly {
    /// The credential opened this growing object; it ends by itself at `expires_ms`.
    pub(super) fn note(&self, name: Name, partial: Partial, expires_ms: u64) {
        let era = partial.era();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= KEPT {
            waiting.retain(|_, (partial, _, _)| partial.outcome().is_none());
        }
        if waiting.len() < KEPT {
            waiting.insert(name, (partial, era, expires_ms));
        }
    }

    /// If the credential's object has ended in the meantime: forgotten here, after `believe` was told when the credential
    /// ends, where it ended well. Two may look at once: neither finds it neither here nor believed.
    pub(super) fn settle(&self, name: &Name, believe: impl FnOnce(u64)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((partial, era, expires_ms)) = waiting.get(name) else { return };
        let Some(outcome) = partial.outcome() else { return };
        if matches!(outcome, Outcome::Finished(_) | Outcome::Confirmed) && partial.era() == *era {
            believe(*expires_ms);
        }
        waiting.remove(name);
    }

    /// Nobody is believed any more.
    pub(super) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
