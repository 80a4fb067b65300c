//! Transfers whose client may hold wrong bytes: its next ranged request is answered 416, so that it starts again.
//!
//! git-lfs keeps what it got of a broken answer and resumes onto it; a wrong prefix would only be found at the end.
//! A client is known by its address: behind a Service several may share one, then a healthy one starts again, too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use darner_lfs::ObjectKey;

/// Remembered transfers; beyond it the oldest are forgotten.
const KEPT: usize = 4096;
/// A client comes back within this time or not at all, milliseconds (its whole retry budget is about a minute).
const LASTS_MS: u64 = 10 * 60 * 1000;

/// The transfers that were broken off after bytes that may be wrong.
#[derive(Debug, Default)]
pub struct Tainted {
    since: Mutex<HashMap<(IpAddr, ObjectKey), u64>>,
}

impl Tainted {
    /// A transfer of `key` to `client` was broken off.
    pub fn mark(&self, client: IpAddr, key: ObjectKey, now_ms: u64) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.len() >= KEPT {
            let mut ages: Vec<u64> = since.values().copied().collect();
            ages.sort_unstable();
            let middle = ages.get(ages.len() / 2).copied().unwrap_or(now_ms);
            since.retain(|_, at| *at > middle);
        }
        since.insert((client, key), now_ms);
    }

    /// Whether a ranged request of `client` for `key` must start again. Asked once: the second request is served.
    pub fn take(&self, client: IpAddr, key: &ObjectKey, now_ms: u64) -> bool {
        let at = self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(&(client, *key));
        at.is_some_and(|at| now_ms < at.saturating_add(LASTS_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_tainted_transfer_starts_again_once() {
        let tainted = Tainted::default();
        let key = Oid::EMPTY.into();
        tainted.mark(CLIENT, key, 0);
        assert!(!tainted.take("10.0.0.1".parse().unwrap(), &key, 1));
        assert!(tainted.take(CLIENT, &key, 1));
        assert!(!tainted.take(CLIENT, &key, 2));
    }

    #[test]
    fn an_old_taint_is_forgotten() {
        let tainted = Tainted::default();
        tainted.mark(CLIENT, Oid::EMPTY.into(), 0);
        assert!(!tainted.take(CLIENT, &Oid::EMPTY.into(), LASTS_MS));
    }

    #[test]
    fn the_memory_of_taints_is_bounded() {
        let tainted = Tainted::default();
        for n in 0..20_000u32 {
            tainted.mark(std::net::Ipv4Addr::from(n).into(), Oid::EMPTY.into(), u64::from(n));
        }
        assert!(tainted.since.lock().unwrap().len() <= KEPT);
        assert!(tainted.take(std::net::Ipv4Addr::from(19_999).into(), &Oid::EMPTY.into(), 20_000));
    }
}
