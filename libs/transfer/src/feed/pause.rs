//! How long to wait before dialling the manager again.
//!
//! Owns: the arithmetic. Never: a clock or a random source; nodes differ by their name, so a thousand of them do not
//! come back to a restarted manager in the same moment.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The first pause.
const FIRST_MS: u64 = 500;
/// The longest: a node that was away honours a purge within half a minute of the manager's return.
const LONGEST_MS: u64 = 30_000;

/// The pause after `failures` attempts in a row, between half and all of its step.
pub(super) fn pause(failures: u32, node: &str) -> Duration {
    let step = FIRST_MS.saturating_mul(1 << failures.min(16)).min(LONGEST_MS);
    let mut hasher = DefaultHasher::new();
    (node, failures).hash(&mut hasher);
    Duration::from_millis(step / 2 + hasher.finish() % (step / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert!(pause(0, "a") <= Duration::from_millis(FIRST_MS));
        for failures in [7, 16, u32::MAX] {
            let waited = pause(failures, "a");
            assert!(
                waited <= Duration::from_millis(LONGEST_MS)
                    && waited >= Duration::from_millis(LONGEST_MS / 2)
            );
        }
    }

    #[test]
    fn nodes_do_not_come_back_together() {
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|node| pause(9, &node.to_string())).collect();
        assert!(pauses.len() > 90);
    }
}
