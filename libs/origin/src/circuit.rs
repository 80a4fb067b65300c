//! One circuit per host: a 429 or 503 is everybody's business.
//!
//! Owns: until when a host is left alone, and the one trial after that. Never: I/O, a clock of its own. While a circuit
//! is open nobody asks the host; when its time is over one request goes first and decides for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hosts remembered at once; those whose time is over go first.
const MAX_HOSTS: usize = 1024;
/// A host that does not say when to come back is left alone for this long, doubled at every repetition.
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_GUESS_MS: u64 = 30_000;
/// Nobody is believed for longer than this.
const LONGEST_WAIT_MS: u64 = 300_000;
/// A trial that never reports is given up after this.
const TRIAL_MS: u64 = 15_000;

#[derive(Debug, Clone, Copy)]
struct State {
    until_ms: u64,
    /// How often in a row.
    times: u32,
    /// When the running trial began.
    trial_ms: Option<u64>,
}

/// The circuits of all hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circuits {
    hosts: Arc<Mutex<HashMap<String, State>>>,
}

impl Circuits {
    /// Whether the host may be asked now; otherwise the seconds to wait, at least 1.
    pub(crate) fn admit(&self, host: &str, now_ms: u64) -> Result<(), u32> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = hosts.get_mut(host) else { return Ok(()) };
        if now_ms < state.until_ms {
            return Err(seconds(state.until_ms - now_ms));
        }
        match state.trial_ms {
            Some(began) if now_ms < began.saturating_add(TRIAL_MS) => Err(1),
            _ => {
                state.trial_ms = Some(now_ms);
                Ok(())
            }
        }
    }

    /// The host answered as a host should, or did not answer at all: the next one may ask.
    pub(crate) fn close(&self, host: &str) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }

    /// The trial got no answer: let another one try.
    pub(crate) fn undecided(&self, host: &str) {
        if let Some(state) = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get_mut(host) {
            state.trial_ms = None;
        }
    }

    /// The host asked to be left alone. Returns the seconds to wait.
    pub(crate) fn open(&self, host: &str, retry_after_s: Option<u64>, now_ms: u64) -> u32 {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, state| state.until_ms > now_ms);
        }
        let times = hosts.get(host).map_or(0, |state| state.times);
        let guess = FIRST_WAIT_MS.saturating_mul(1 << times.min(5)).min(LONGEST_GUESS_MS);
        let wait_ms =
            retry_after_s.map_or(guess, |s| s.saturating_mul(1000)).clamp(FIRST_WAIT_MS, LONGEST_WAIT_MS);
        let until_ms = now_ms.saturating_add(wait_ms);
        if hosts.len() < MAX_HOSTS || hosts.contains_key(host) {
            hosts.insert(host.to_owned(), State { until_ms, times: times.saturating_add(1), trial_ms: None });
        }
        seconds(wait_ms)
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

/// Seconds of a `Retry-After`, in either form.
pub(crate) fn retry_after_s(value: &str, now_ms: u64) -> Option<u64> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(seconds);
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp().as_second();
    Some(u64::try_from(date).ok()?.saturating_sub(now_ms / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_it_is_open_nobody_asks_and_then_one_goes_first() {
        let circuits = Circuits::default();
        assert_eq!(circuits.admit("h", 0), Ok(()));
        assert_eq!(circuits.open("h", Some(3), 0), 3);
        assert_eq!(circuits.admit("h", 1), Err(3));
        assert_eq!(circuits.admit("h", 2_500), Err(1));
        assert_eq!(circuits.admit("other", 1), Ok(()));
        assert_eq!(circuits.admit("h", 3_000), Ok(()), "the trial");
        assert_eq!(circuits.admit("h", 3_001), Err(1), "the others wait for it");
        circuits.close("h");
        assert_eq!(circuits.admit("h", 3_002), Ok(()));
    }

    #[test]
    fn a_trial_that_never_reports_does_not_close_the_host_for_ever() {
        let circuits = Circuits::default();
        circuits.open("h", Some(1), 0);
        assert_eq!(circuits.admit("h", 1_000), Ok(()));
        assert_eq!(circuits.admit("h", 1_000 + TRIAL_MS), Ok(()));
        circuits.undecided("h");
        assert_eq!(circuits.admit("h", 1_001 + TRIAL_MS), Ok(()));
    }

    #[test]
    fn a_host_that_does_not_say_is_left_alone_for_longer_each_time() {
        let circuits = Circuits::default();
        let waits: Vec<u32> = (0..7).map(|_| circuits.open("h", None, 0)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(circuits.open("h", Some(u64::MAX), 0), 300);
        assert_eq!(circuits.open("h", Some(0), 0), 1);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(retry_after_s("120", 0), Some(120));
        assert_eq!(retry_after_s("Thu, 01 Jan 1970 00:02:00 GMT", 60_000), Some(60));
        assert_eq!(retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT", 60_000), Some(0));
        assert_eq!(retry_after_s("soon", 0), None);
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let circuits = Circuits::default();
        for host in 0..2 * MAX_HOSTS {
            circuits.open(&host.to_string(), Some(9), 0);
        }
        assert_eq!(circuits.hosts.lock().unwrap().len(), MAX_HOSTS);
        circuits.open("later", Some(9), 10_000);
        assert_eq!(circuits.hosts.lock().unwrap().len(), 1);
    }
}
