//! A token bucket: everything drawn from one bucket together never runs faster than its rate.
//! It holds at most a twentieth of a second, so a shaped origin is shaped from the first bytes on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second, shared by whoever holds it.
#[derive(Debug)]
pub struct Bucket {
    rate: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Bucket {
    /// A bucket of `rate` bytes a second (at least one).
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), free_at: Mutex::new(None) }
    }

    /// How much to take at once: a hundredth of a second, between 1 KiB and 256 KiB.
    pub fn sip(&self) -> usize {
        usize::try_from((self.rate / 100).clamp(1024, 256 * 1024)).unwrap_or(1024)
    }

    /// Waits until `bytes` may go.
    pub async fn take(&self, bytes: usize) {
        tokio::time::sleep_until(self.book(bytes, Instant::now())).await;
    }

    /// Books `bytes` and says when they may go.
    fn book(&self, bytes: usize, now: Instant) -> Instant {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let cost = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.rate);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(Duration::from_millis(50)).unwrap_or(now);
        let start = free_at.map_or(now, |at| at.max(earliest));
        *free_at = Some(start + cost);
        start + cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readers_share_one_rate() {
        let bucket = Bucket::new(1_000_000);
        let now = Instant::now();
        let last = (0..200).map(|_| bucket.book(10_000, now)).last().unwrap();
        assert_eq!(last - now, Duration::from_secs(2));
    }

    #[test]
    fn an_idle_bucket_does_not_save_up() {
        let bucket = Bucket::new(1_000_000);
        let now = Instant::now();
        bucket.book(1, now);
        let later = now + Duration::from_secs(10);
        let last = (0..10).map(|_| bucket.book(100_000, later)).last().unwrap();
        assert_eq!(last - later, Duration::from_millis(950));
    }
}
