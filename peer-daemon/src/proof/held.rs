//! An object as far as it is here, finished or growing: what a window is cut from.

use bytes::Bytes;
use darner_chassis::clock::Random;
use darner_lfs::ObjectKey;
use darner_store::{Partial, Store, Stored, Unchecked};

/// Longest window.
const WINDOW_BYTES: u64 = 4096;
/// Tries for a window that is no run of one byte.
const TRIES: usize = 8;

/// What is here of an object.
#[derive(Debug, Clone)]
pub enum Held {
    /// All of it.
    Stored(Stored),
    /// Some of it.
    Growing(Partial),
}

/// Some bytes of an object and where they stand.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) content: Bytes,
}

impl Held {
    /// The object.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Stored(stored) => stored.key(),
            Self::Growing(partial) => partial.key(),
        }
    }

    /// Its length, once known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Stored(stored) => Some(stored.size()),
            Self::Growing(partial) => partial.layout().size(),
        }
    }

    /// The upstreams it was read or shown equal through.
    pub fn upstreams(&self) -> Vec<String> {
        match self {
            Self::Stored(stored) => stored.upstreams(),
            Self::Growing(partial) => partial.upstreams(),
        }
    }

    /// The object was shown equal through this upstream.
    pub(super) fn add_upstream(&self, store: &Store, upstream: &str) {
        match self {
            Self::Stored(stored) => store.add_upstream(&stored.key(), upstream),
            Self::Growing(partial) => partial.add_upstream(upstream),
        }
    }

    /// An unpredictable window that begins below `below`; `None` where every window tried is a run of one byte, or
    /// nothing checked is here.
    pub(super) async fn window(&self, random: &dyn Random, below: u64) -> Option<Window> {
        let end = match self {
            Self::Stored(stored) => stored.size(),
            Self::Growing(partial) => partial.readable(0, Unchecked::None),
        };
        let room = end.saturating_sub(WINDOW_BYTES).min(below.saturating_sub(1));
        for _ in 0..TRIES {
            let offset = random.next_u64() % (room + 1);
            let length = usize::try_from((end - offset).min(WINDOW_BYTES)).ok()?;
            let content = self.read(offset, length).await?;
            if !is_run(&content) {
                return Some(Window { offset, content });
            }
        }
        None
    }

    async fn read(&self, offset: u64, length: usize) -> Option<Bytes> {
        let read = match self {
            Self::Stored(stored) => stored.read(offset, length).await,
            Self::Growing(partial) => partial.read(offset, length).await,
        };
        read.inspect_err(|error| tracing::warn!(%error, "no window can be read"))
            .ok()
            .filter(|read| !read.is_empty())
    }
}

fn is_run(content: &[u8]) -> bool {
    let mut pairs = content.windows(2);
    pairs.all(|pair| pair.first() == pair.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_one_byte_is_no_window() {
        assert!(is_run(&[]) && is_run(&[7]) && is_run(&[7; 4096]));
        assert!(!is_run(&[7, 8]) && !is_run(&[&[0; 4095][..], &[1]].concat()));
    }
}
