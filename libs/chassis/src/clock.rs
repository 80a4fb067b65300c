//! The seams of time and chance: the two things a simulation replaces.
//!
//! Owns: the wall clock in milliseconds and the source of random bytes, each with a body for tests. Never: timers
//! (tokio's, which tests pause) nor durations (monotonic, `Instant`). Nothing here outlives the process.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// Random bytes.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]);

    /// One random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The machine's own clock and its cryptographic random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Random for System {
    fn fill(&self, bytes: &mut [u8]) {
        // The library aborts the process when its generator fails to seed; past that point this cannot fail.
        if aws_lc_rs::rand::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct Manual(AtomicU64);

impl Manual {
    /// A clock standing at `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    /// Moves the clock on.
    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Puts the clock anywhere, also back.
    pub fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A replayable source for tests (`SplitMix64`): the same seed gives the same bytes. No secret may come from it.
#[derive(Debug)]
pub struct Seeded(Mutex<u64>);

impl Seeded {
    /// A source that replays from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = *state;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            word ^= word >> 31;
            for (to, from) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_replays_the_same_bytes() {
        let (mut one, mut two, mut other) = ([0; 33], [0; 33], [0; 33]);
        Seeded::new(7).fill(&mut one);
        Seeded::new(7).fill(&mut two);
        Seeded::new(8).fill(&mut other);
        assert_eq!(one, two);
        assert_ne!(one, other);
    }

    #[test]
    fn a_source_does_not_repeat_itself() {
        let seeded = Seeded::new(1);
        assert_ne!(seeded.next_u64(), seeded.next_u64());
        assert_ne!(Random::next_u64(&System), Random::next_u64(&System));
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Manual::at(5);
        assert_eq!(clock.now_ms(), 5);
        clock.advance(10);
        assert_eq!(clock.now_ms(), 15);
        clock.set(1);
        assert_eq!(clock.now_ms(), 1);
    }

    #[test]
    fn the_system_clock_is_past_the_first_commit_of_this_house() {
        assert!(System.now_ms() > 1_600_000_000_000);
    }
}
