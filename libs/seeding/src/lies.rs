//! Addresses whose content was not what its name says, for a while: nobody reads a lie again and again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::credential::Presented;

/// How long an address is not read again; a repaired origin is heard soon.
const LIFE_MS: u64 = 60_000;
/// Addresses remembered.
const MAX_LIES: usize = 4_096;

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Lies(Mutex<HashMap<[u8; 32], u64>>);

impl Lies {
    /// This address lied.
    pub(crate) fn note(&self, presented: &Presented, now_ms: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_LIES {
            known.retain(|_, until_ms| *until_ms > now_ms);
        }
        if known.len() < MAX_LIES {
            known.insert(place(presented), now_ms.saturating_add(LIFE_MS));
        }
    }

    /// Whether it lied lately.
    pub(crate) fn knows(&self, presented: &Presented, now_ms: u64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&place(presented)).is_some_and(|until_ms| now_ms < *until_ms)
    }
}

fn place(presented: &Presented) -> [u8; 32] {
    let address = presented.url.split(['?', '#']).next().unwrap_or_default();
    *blake3::hash(address.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;
    use darner_proto::v1;

    fn presented(url: &str) -> Presented {
        let message = v1::Credential { url: url.to_owned(), ..Default::default() };
        Presented::read(&Oid::EMPTY.into(), Some(&message), 0).unwrap()
    }

    #[test]
    fn a_lie_is_known_under_every_signature_and_forgotten_after_a_minute() {
        let lies = Lies::default();
        lies.note(&presented("https://h/x?sig=a"), 0);
        assert!(lies.knows(&presented("https://h/x?sig=b"), LIFE_MS - 1));
        assert!(!lies.knows(&presented("https://h/y?sig=a"), 1));
        assert!(!lies.knows(&presented("https://h/x?sig=a"), LIFE_MS));
    }
}
