//! Credentials that were proved lately, by their fingerprint: never the credentials themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;

/// Verdicts kept; the ones that end first go first.
const KEPT: usize = 65_536;
/// A verdict lasts no longer than this after its proof, milliseconds: the bound on serving after a revocation.
const LONGEST_MS: u64 = 15 * 60 * 1000;
/// Where the credential does not say when it ends, milliseconds.
const UNSAID_MS: u64 = 60 * 1000;

/// An object and the fingerprint of a credential.
pub(super) type Name = (ObjectKey, [u8; 32]);

/// Whoever holds it proves; where an outage kept the holder from it, those who waited find that here.
pub(super) type Turn = Arc<tokio::sync::Mutex<Option<v1::Refusal>>>;

/// The cache of verdicts.
#[derive(Debug, Default)]
pub struct Verdicts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: HashMap<Name, u64>,
    turns: HashMap<Name, Turn>,
}

impl Verdicts {
    pub(super) fn holds(&self, name: &Name, now_ms: u64) -> bool {
        self.state().until.get(name).is_some_and(|until| now_ms < *until)
    }

    pub(super) fn remember(&self, name: Name, expires_ms: u64, now_ms: u64) {
        let end = if expires_ms == 0 { now_ms + UNSAID_MS } else { expires_ms.min(now_ms + LONGEST_MS) };
        if end <= now_ms {
            return;
        }
        let mut state = self.state();
        if state.until.len() >= KEPT {
            state.until.retain(|_, until| *until > now_ms);
        }
        if state.until.len() >= KEPT {
            let middle = now_ms + LONGEST_MS / 2;
            state.until.retain(|_, until| *until > middle);
        }
        if state.until.len() < KEPT {
            state.until.insert(name, end);
        }
    }

    /// Remembers what the holder of `turn` proved, unless the object was purged meanwhile.
    pub(super) fn settle(&self, name: Name, turn: &Turn, expires_ms: u64, now_ms: u64) {
        if self.state().turns.get(&name).is_some_and(|current| Arc::ptr_eq(current, turn)) {
            self.remember(name, expires_ms, now_ms);
        }
    }

    /// Forgets every verdict about the objects that `purged` names; those being proved now are not remembered.
    pub(super) fn forget(&self, purged: impl Fn(&ObjectKey) -> bool) {
        let mut state = self.state();
        state.until.retain(|(key, _), _| !purged(key));
        state.turns.retain(|(key, _), _| !purged(key));
    }

    /// The holder of `turn` learned nothing: whoever comes from now on begins anew.
    pub(super) fn abandon(&self, name: &Name, turn: &Turn) {
        let mut state = self.state();
        if state.turns.get(name).is_some_and(|current| Arc::ptr_eq(current, turn)) {
            state.turns.remove(name);
        }
    }

    /// The lock of one credential: its holder proves, the others wait.
    pub(super) fn turn(&self, name: Name) -> Turn {
        let mut state = self.state();
        // Only the map holds a lock that nobody waits for.
        state.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(state.turns.entry(name).or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn name(n: u8) -> Name {
        (Oid::from_bytes([n; 32]).into(), [n; 32])
    }

    #[test]
    fn a_verdict_ends_with_its_credential() {
        let verdicts = Verdicts::default();
        verdicts.remember(name(1), 1_000, 0);
        assert!(verdicts.holds(&name(1), 999) && !verdicts.holds(&name(1), 1_000));
        assert!(!verdicts.holds(&name(2), 0));
    }

    #[test]
    fn no_verdict_lasts_longer_than_a_quarter_of_an_hour() {
        let verdicts = Verdicts::default();
        verdicts.remember(name(1), u64::MAX, 0);
        assert!(verdicts.holds(&name(1), LONGEST_MS - 1) && !verdicts.holds(&name(1), LONGEST_MS));
    }

    #[test]
    fn a_credential_that_does_not_say_lasts_a_minute() {
        let verdicts = Verdicts::default();
        verdicts.remember(name(1), 0, 0);
        assert!(verdicts.holds(&name(1), 59_999) && !verdicts.holds(&name(1), 60_000));
    }

    #[test]
    fn an_expired_credential_is_not_remembered() {
        let verdicts = Verdicts::default();
        verdicts.remember(name(1), 5, 10);
        assert!(!verdicts.holds(&name(1), 0));
    }

    #[test]
    fn a_credential_is_proved_by_one_at_a_time() {
        let verdicts = Verdicts::default();
        let (one, same, other) = (verdicts.turn(name(1)), verdicts.turn(name(1)), verdicts.turn(name(2)));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn what_was_purged_must_be_proved_anew_and_nothing_else() {
        let verdicts = Verdicts::default();
        (1..=2).for_each(|n| verdicts.remember(name(n), 1_000, 0));
        verdicts.forget(|key| *key == name(1).0);
        assert!(!verdicts.holds(&name(1), 0) && verdicts.holds(&name(2), 0));
    }

    #[test]
    fn a_proof_begun_before_a_purge_is_not_remembered() {
        let verdicts = Verdicts::default();
        let (before, other) = (verdicts.turn(name(1)), verdicts.turn(name(2)));
        verdicts.forget(|key| *key == name(1).0);
        verdicts.settle(name(1), &before, 1_000, 0);
        verdicts.settle(name(2), &other, 1_000, 0);
        assert!(!verdicts.holds(&name(1), 0) && verdicts.holds(&name(2), 0));
        let after = verdicts.turn(name(1));
        verdicts.settle(name(1), &before, 1_000, 0);
        assert!(!verdicts.holds(&name(1), 0), "another turn has begun");
        verdicts.settle(name(1), &after, 1_000, 0);
        assert!(verdicts.holds(&name(1), 0));
    }
}
