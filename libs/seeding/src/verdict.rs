//! What was decided about a presented credential, for as long as it may be believed.
//!
//! Owns: one slot per credential, locked while it is being decided, so that equal credentials cost one probe. Never: a
//! refusal for anybody but the very credential it was given to, and that for a second only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use darner_proto::v1;
use tokio::sync::OwnedMutexGuard;

use crate::credential::{Fingerprint, Presented, UNSAID_MS};

/// Nobody is believed for longer after an origin was last asked.
const LONGEST_MS: u64 = 15 * 60_000;
/// A refusal answers the same credential for this long: eight connections of one client ask the origin once.
const REFUSED_MS: u64 = 1_000;
/// Credentials remembered (about 150 bytes each).
const MAX_SLOTS: usize = 65_536;

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It reads the object.
    Granted,
    /// It does not, in these words.
    Refused(v1::Refusal),
}

/// The place of one credential.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<(Verdict, u64)>);

impl Slot {
    /// What was decided, while it counts.
    pub(crate) fn known(&self, now_ms: u64) -> Option<&Verdict> {
        self.0.as_ref().filter(|(_, until_ms)| now_ms < *until_ms).map(|(verdict, _)| verdict)
    }

    /// It reads the object: believed until its own end, bounded.
    pub(crate) fn grant(&mut self, presented: &Presented, now_ms: u64) {
        let life_ms =
            presented.expires_ms.map_or(UNSAID_MS, |end| end.saturating_sub(now_ms)).min(LONGEST_MS);
        self.0 = Some((Verdict::Granted, now_ms.saturating_add(life_ms)));
    }

    /// It was refused.
    pub(crate) fn refuse(&mut self, refusal: v1::Refusal, now_ms: u64) {
        self.0 = Some((Verdict::Refused(refusal), now_ms.saturating_add(REFUSED_MS)));
    }
}

type Shared = Arc<tokio::sync::Mutex<Slot>>;

/// The memory of all credentials.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    slots: Mutex<HashMap<Fingerprint, Shared>>,
}

impl Verdicts {
    /// The slot of a credential, held until it is decided.
    pub(crate) async fn slot(&self, fingerprint: Fingerprint, now_ms: u64) -> OwnedMutexGuard<Slot> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() >= MAX_SLOTS && !slots.contains_key(&fingerprint) {
                make_room(&mut slots, now_ms);
            }
            Arc::clone(slots.entry(fingerprint).or_default())
        };
        slot.lock_owned().await
    }

    /// Forgets everything: an object was purged.
    pub(crate) fn clear(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Drops what counts no more; when that is not enough, everything that nobody is deciding right now.
fn make_room(slots: &mut HashMap<Fingerprint, Shared>, now_ms: u64) {
    let in_use = |slot: &Shared| Arc::strong_count(slot) > 1;
    let counts = |slot: &Shared| slot.try_lock().is_ok_and(|slot| slot.known(now_ms).is_some());
    slots.retain(|_, slot| in_use(slot) || counts(slot));
    if slots.len() >= MAX_SLOTS {
        slots.retain(|_, slot| in_use(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn presented(expires_ms: u64) -> Presented {
        let message = v1::Credential { url: "https://h/x".to_owned(), expires_ms, ..Default::default() };
        Presented::read(&Oid::EMPTY.into(), Some(&message), 0).unwrap()
    }

    #[test]
    fn a_verdict_ends_with_its_credential_and_never_lives_longer_than_a_quarter_hour() {
        for (expires_ms, last_ms) in [(10_000, 9_999), (0, 59_999), (u64::MAX, LONGEST_MS - 1)] {
            let mut slot = Slot::default();
            slot.grant(&presented(expires_ms), 0);
            assert_eq!(slot.known(last_ms), Some(&Verdict::Granted), "{expires_ms}");
            assert_eq!(slot.known(last_ms + 1), None, "{expires_ms}");
        }
    }

    #[test]
    fn a_credential_that_has_ended_is_not_believed_at_all() {
        let mut slot = Slot::default();
        slot.grant(&presented(10_000), 20_000);
        assert_eq!(slot.known(20_000), None);
    }

    #[test]
    fn a_refusal_is_remembered_for_a_second() {
        let mut slot = Slot::default();
        slot.refuse(v1::Refusal { status: 403, ..Default::default() }, 0);
        assert!(matches!(slot.known(999), Some(Verdict::Refused(_))));
        assert_eq!(slot.known(1_000), None);
    }

    #[tokio::test]
    async fn equal_credentials_wait_for_one_decision_and_others_do_not() {
        let verdicts = Verdicts::default();
        let mut first = verdicts.slot([1; 32], 0).await;
        let second = verdicts.slot([1; 32], 0);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        assert!(verdicts.slot([2; 32], 0).await.known(0).is_none());
        first.grant(&presented(0), 0);
        drop(first);
        assert_eq!(second.await.known(0), Some(&Verdict::Granted));
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let verdicts = Verdicts::default();
        for n in 0..u32::try_from(MAX_SLOTS).unwrap() + 10 {
            let mut fingerprint = [0; 32];
            fingerprint[..4].copy_from_slice(&n.to_le_bytes());
            verdicts.slot(fingerprint, 0).await.grant(&presented(0), 0);
        }
        assert!(verdicts.slots.lock().unwrap().len() <= MAX_SLOTS);
    }
}
