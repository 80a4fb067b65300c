//! Credentials that opened an object which was not confirmed then.
//!
//! Owns: who counts as proved once the object has ended well, and with which partial. Looked at when the credential is
//! shown again, which may be before whoever waits for the end has run. Never: believes anybody of an object that was begun anew.

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

    /// When the credential ends, if its object has ended well in the meantime.
    pub(super) fn settled(&self, name: &Name) -> Option<u64> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (partial, era, expires_ms) = waiting.get(name)?;
        let outcome = partial.outcome()?;
        let well = matches!(outcome, Outcome::Finished(_) | Outcome::Confirmed) && partial.era() == *era;
        let expires_ms = *expires_ms;
        waiting.remove(name);
        well.then_some(expires_ms)
    }

    /// Nobody is believed any more.
    pub(super) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
