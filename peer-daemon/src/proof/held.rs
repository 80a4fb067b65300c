//! An object as far as it is here, finished or growing: what a window is cut from.
//!
//! Owns: where the window lies. Never: the network. A window that anybody can guess (a run of one byte) proves nothing
//! while the object has other bytes, so these are looked for; an object that is one byte over and over is told by that
//! byte and its length, and only such a one.

use bytes::Bytes;
use darner_chassis::clock::Random;
use darner_lfs::ObjectKey;
use darner_store::{Partial, Store, Stored, Unchecked};

/// Longest window.
const WINDOW_BYTES: u64 = 4096;
/// Windows drawn at random.
const DRAWS: u64 = 16;
/// Windows at even distances after these: the head, the tail and what lies between in a file with holes.
const STEPS: u64 = 48;
/// Where all of these are runs, the object is read through, if it is no longer than this (a second from the page cache).
const SCAN_BYTES: u64 = 1 << 30;
/// Bytes read at a time while an object is read through.
const CHUNK_BYTES: u64 = 1 << 20;

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
    /// The whole object repeats one byte: the window tells something only together with the length.
    pub(super) is_run: bool,
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

    /// Whether it was read or shown equal through this upstream.
    pub(super) fn has_upstream(&self, upstream: &str) -> bool {
        match self {
            Self::Stored(stored) => stored.has_upstream(upstream),
            Self::Growing(partial) => partial.upstreams().iter().any(|has| has == upstream),
        }
    }

    /// The object was shown equal through this upstream.
    pub(super) fn add_upstream(&self, store: &Store, upstream: &str) {
        match self {
            Self::Stored(stored) => store.add_upstream(&stored.key(), upstream),
            Self::Growing(partial) => partial.add_upstream(upstream),
        }
    }

    /// An unpredictable window that begins below `below`; `None` where nothing tells the object from others, or
    /// nothing checked is here.
    pub(super) async fn window(&self, random: &dyn Random, below: u64) -> Option<Window> {
        let end = self.here();
        let room = end.saturating_sub(WINDOW_BYTES).min(below.saturating_sub(1));
        let drawn = (0..DRAWS).map(|_| random.next_u64() % (room + 1));
        let steps = (0..STEPS).map(|step| scaled(room, step, STEPS - 1));
        for offset in drawn.chain(steps).collect::<Vec<_>>() {
            let content = self.read(offset, WINDOW_BYTES.min(end - offset)).await?;
            if !is_run(&content) {
                return Some(Window { offset, content, is_run: false });
            }
        }
        let to = end.min(room + WINDOW_BYTES);
        if to > SCAN_BYTES {
            return None;
        }
        let offset = match self.first_change(to).await? {
            // Somewhere around the place where the bytes change: both of them lie inside.
            Some(at) => at.saturating_sub(random.next_u64() % (WINDOW_BYTES - 1)).min(room),
            None if Some(to) == self.size() => random.next_u64() % (room + 1),
            None => return None,
        };
        let content = self.read(offset, WINDOW_BYTES.min(end - offset)).await?;
        Some(Window { offset, is_run: is_run(&content), content })
    }

    /// Where the first byte below `to` stands whose successor is another one; `Some(None)`: nowhere.
    async fn first_change(&self, to: u64) -> Option<Option<u64>> {
        let (mut at, mut last) = (0, None);
        while at < to {
            let chunk = self.read(at, CHUNK_BYTES.min(to - at)).await?;
            if last.is_some_and(|last| chunk.first() != Some(&last)) {
                return Some(Some(at - 1));
            }
            if !is_run(&chunk) {
                let place = chunk.windows(2).position(|pair| pair.first() != pair.last())?;
                return Some(Some(at + u64::try_from(place).ok()?));
            }
            at += u64::try_from(chunk.len()).ok()?;
            last = chunk.last().copied();
        }
        Some(None)
    }

    /// Checked bytes from the start on.
    fn here(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.size(),
            Self::Growing(partial) => partial.readable(0, Unchecked::None),
        }
    }

    async fn read(&self, offset: u64, length: u64) -> Option<Bytes> {
        let length = usize::try_from(length).ok()?;
        let read = match self {
            Self::Stored(stored) => stored.read(offset, length).await,
            Self::Growing(partial) => partial.read(offset, length).await,
        };
        read.inspect_err(|error| tracing::warn!(%error, "no window can be read"))
            .ok()
            .filter(|read| !read.is_empty())
    }
}

/// Compared with itself one byte on: as fast as memory.
fn is_run(content: &[u8]) -> bool {
    content.get(1..).unwrap_or_default() == content.get(..content.len().saturating_sub(1)).unwrap_or_default()
}

/// `of * part / whole` without overflow; `whole` is not 0.
fn scaled(of: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(of) * u128::from(part) / u128::from(whole)).unwrap_or(of)
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
