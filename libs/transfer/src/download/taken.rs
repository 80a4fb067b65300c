//! Where the bytes of a download came from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use darner_chassis::metrics::Source;

/// Bytes by kind of parent and by parent.
#[derive(Debug, Default)]
pub struct Taken {
    counted: Mutex<HashMap<String, (bool, u64)>>,
}

impl Taken {
    pub(super) fn add(&self, parent: &str, seed: bool, bytes: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = counted.entry(parent.to_owned()).or_insert((seed, 0));
        entry.1 = entry.1.saturating_add(bytes);
    }

    /// Bytes by parent, most first.
    pub fn by_parent(&self) -> Vec<(String, u64)> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = counted.iter().map(|(parent, (_, bytes))| (parent.clone(), *bytes)).collect();
        list.sort_by(|(a, left), (b, right)| right.cmp(left).then_with(|| a.cmp(b)));
        list
    }

    /// Bytes that came from seeds and from peers.
    pub fn seed_and_peer(&self) -> (u64, u64) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.values().fold(
            (0, 0),
            |(seeds, peers), (seed, bytes)| {
                if *seed { (seeds + bytes, peers) } else { (seeds, peers + bytes) }
            },
        )
    }

    /// The kind of parent most bytes came from.
    pub fn source(&self) -> Source {
        let (seeds, peers) = self.seed_and_peer();
        if peers > seeds { Source::Peer } else { Source::Seed }
    }
}
