//! How often somebody may try a password.
//!
//! Owns: the count of recent failures per caller address and per address and name. Never: a lock that an outsider
//! can throw on an account: another address is not slowed. Bounded: past `MOST_KEYS` the oldest counts go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Failures of one address with one name within the window.
const PER_NAME: u32 = 5;
/// Failures of one address with any name within the window.
const PER_ADDRESS: u32 = 30;
/// The window: as long as the slowest guesser waits for the next five.
const WINDOW_MS: i64 = 60_000;
/// Counts kept.
const MOST_KEYS: usize = 4096;

type Key = (IpAddr, Option<String>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    since_ms: i64,
    count: u32,
}

/// The recent failures.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<Key, Failures>>);

impl Attempts {
    /// Whether another attempt is heard; otherwise how many seconds to wait.
    pub fn allowed(&self, address: IpAddr, name: &str, now_ms: i64) -> Result<(), u64> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, most) in keys(address, name).into_iter().zip([PER_NAME, PER_ADDRESS]) {
            let Some(found) = failures.get(&key) else { continue };
            let left_ms = found.since_ms + WINDOW_MS - now_ms;
            if left_ms > 0 && found.count >= most {
                return Err(u64::try_from(left_ms).unwrap_or(0).div_ceil(1000));
            }
        }
        Ok(())
    }

    /// An attempt failed.
    pub fn failed(&self, address: IpAddr, name: &str, now_ms: i64) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() + 2 > MOST_KEYS {
            forget(&mut failures, now_ms);
        }
        for key in keys(address, name) {
            let found = failures.entry(key).or_insert(Failures { since_ms: now_ms, count: 0 });
            if found.since_ms + WINDOW_MS <= now_ms {
                *found = Failures { since_ms: now_ms, count: 0 };
            }
            found.count += 1;
        }
    }
}

fn keys(address: IpAddr, name: &str) -> [Key; 2] {
    [(address, Some(name.chars().take(64).collect())), (address, None)]
}

/// Drop what is over; when all are fresh, drop the older half.
fn forget(failures: &mut HashMap<Key, Failures>, now_ms: i64) {
    failures.retain(|_, found| found.since_ms + WINDOW_MS > now_ms);
    if failures.len() + 2 > MOST_KEYS {
        let mut times: Vec<_> = failures.values().map(|found| found.since_ms).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(now_ms);
        failures.retain(|_, found| found.since_ms > middle);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    #[test]
    fn five_failures_with_a_name_make_one_wait() {
        let attempts = Attempts::default();
        for _ in 0..PER_NAME {
            assert_eq!(attempts.allowed(HERE, "admin", 1000), Ok(()));
            attempts.failed(HERE, "admin", 1000);
        }
        assert_eq!(attempts.allowed(HERE, "admin", 1001), Err(60));
        assert_eq!(attempts.allowed(HERE, "admin", 1000 + WINDOW_MS), Ok(()));
    }

    #[test]
    fn another_address_is_not_slowed() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            attempts.failed(HERE, "admin", 1000);
        }
        assert_eq!(attempts.allowed(THERE, "admin", 1000), Ok(()));
    }

    #[test]
    fn trying_many_names_is_slowed_too() {
        let attempts = Attempts::default();
        for name in 0..PER_ADDRESS {
            attempts.failed(HERE, &name.to_string(), 1000);
        }
        assert!(attempts.allowed(HERE, "fresh", 1000).is_err());
    }

    #[test]
    fn the_counts_are_bounded() {
        let attempts = Attempts::default();
        for number in 0..20_000_u32 {
            attempts.failed(IpAddr::V4(number.into()), &"x".repeat(1000), i64::from(number % 7));
        }
        let failures = attempts.0.lock().unwrap();
        assert!(failures.len() <= MOST_KEYS);
        assert!(failures.keys().all(|(_, name)| name.as_ref().is_none_or(|name| name.len() == 64)));
    }
}
