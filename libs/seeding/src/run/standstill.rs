//! When a read that nobody waits for stands still for too long.
//!
//! Owns: since when. Never: a clock. A read that still gets bytes goes on, awaited or not.

use tokio::time::Instant;

use super::PATIENCE;

/// Since when nothing comes and nobody waits.
#[derive(Debug)]
pub(super) struct Standstill {
    at: u64,
    since: Instant,
}

impl Standstill {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: 0, since: now }
    }

    /// Whether it is time to give up. `at`: how many bytes have come.
    pub(super) fn is_over(&mut self, at: u64, awaited: bool, now: Instant) -> bool {
        if awaited || at != self.at {
            (self.at, self.since) = (at, now);
        }
        now.duration_since(self.since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_nobody_waits_for_ends_when_no_byte_comes_for_as_long_as_a_caller_waits() {
        let start = Instant::now();
        let mut still = Standstill::new(start);
        assert!(!still.is_over(10, false, start + PATIENCE), "bytes came");
        assert!(!still.is_over(10, false, start + PATIENCE * 3 / 2));
        assert!(still.is_over(10, false, start + PATIENCE * 2));
    }

    #[test]
    fn a_read_somebody_waits_for_goes_on() {
        let start = Instant::now();
        let mut still = Standstill::new(start);
        assert!(!still.is_over(0, true, start + PATIENCE * 3));
        assert!(still.is_over(0, false, start + PATIENCE * 4));
    }
}
