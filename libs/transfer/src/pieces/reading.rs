//! What a grant opens beyond its object: while the object is unconfirmed, only bytes of the read it was given for.
//!
//! A seed grants as soon as an origin's headers have come. Whether that origin spoke the truth is known at the end; until
//! then the grant must not open a true copy that came from elsewhere (the reader's own forge may serve anything).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_store::{Partial, Stored};

use crate::statements;

/// Finished objects whose statements were looked through, this many.
const REMEMBERED: usize = 4096;

/// Which reads the finished objects here are known to be of.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    known: Arc<Mutex<HashSet<(ObjectKey, u64)>>>,
}

impl Readings {
    /// Whether the grant opens this finished object.
    pub(super) fn opens(&self, grant: &v1::Grant, stored: &Stored) -> bool {
        let (key, reading) = (stored.key(), grant.reading);
        if reading == 0 || self.known().contains(&(key, reading)) {
            return true;
        }
        let is_of_it = statements::of(stored).iter().any(|said| said.reading == reading);
        if is_of_it {
            let mut known = self.known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert((key, reading));
        }
        is_of_it
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<(ObjectKey, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the grant opens this growing object's bytes.
pub(super) fn opens_growing(grant: &v1::Grant, partial: &Partial) -> bool {
    grant.reading == 0 || partial.reading().is_some_and(|(reading, _)| reading == grant.reading)
}

/// Whether the grant lets its taker watch a growing object: also before anything of any read has come.
pub(super) fn opens_watching(grant: &v1::Grant, partial: &Partial) -> bool {
    partial.reading().is_none() || opens_growing(grant, partial)
}
