//! The window a credential is proved with: unpredictable, and never a run of one byte.
//!
//! Owns: where the window lies and the comparison. Never: the network. An object that is one byte over and over has no
//! telling window; its bytes are told by its length already.

use bytes::{Bytes, BytesMut};
use darner_chassis::clock::Random;
use darner_origin::{MAX_WINDOW_BYTES, Window};
use darner_store::{Partial, Stored, Unchecked};

/// Windows drawn at random before the object is searched for a telling one.
const DRAWS: usize = 16;

/// Bytes of an object as they are here.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// All of it, hashed.
    Stored(Stored),
    /// As much as has come.
    Growing(Partial),
}

/// A part of the object as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) content: Bytes,
}

impl Held {
    /// Bytes of the whole object, if known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Stored(stored) => Some(stored.size()),
            Self::Growing(partial) => partial.layout().size(),
        }
    }

    /// How many bytes from the start on are here.
    pub(crate) fn here(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.size(),
            Self::Growing(partial) => partial.readable(0, Unchecked::Edge),
        }
    }

    /// Exactly these bytes, or none.
    async fn read(&self, offset: u64, length: u64) -> Option<Bytes> {
        let mut content = BytesMut::new();
        while u64::try_from(content.len()).ok()? < length {
            let at = offset + u64::try_from(content.len()).ok()?;
            let left = usize::try_from(length).ok()? - content.len();
            let read = match self {
                Self::Stored(stored) => stored.read(at, left).await,
                Self::Growing(partial) => partial.read(at, left).await,
            };
            content.extend_from_slice(&read.ok().filter(|bytes| !bytes.is_empty())?);
        }
        Some(content.freeze())
    }
}

/// Draws a window out of the first `limit` bytes; `None` when these cannot be read (or there are none).
pub(crate) async fn draw(held: &Held, limit: u64, random: &dyn Random) -> Option<Sample> {
    let limit = limit.min(held.here());
    let length = limit.min(u64::from(MAX_WINDOW_BYTES));
    if length == 0 {
        return None;
    }
    let mut last = None;
    for _ in 0..DRAWS {
        let offset = random.next_u64() % (limit - length + 1);
        let content = held.read(offset, length).await?;
        if is_telling(&content) {
            return Some(Sample { offset, content });
        }
        last = Some(Sample { offset, content });
    }
    search(held, limit, length, random).await.or(last)
}

/// Looks through the object, from somewhere on, for a window that tells something.
async fn search(held: &Held, limit: u64, length: u64, random: &dyn Random) -> Option<Sample> {
    let steps = limit.div_ceil(length);
    let begin = random.next_u64() % steps;
    for step in 0..steps {
        let offset = ((begin + step) % steps * length).min(limit - length);
        let content = held.read(offset, length).await?;
        if is_telling(&content) {
            return Some(Sample { offset, content });
        }
    }
    None
}

/// Anybody can guess a run of one byte.
fn is_telling(content: &[u8]) -> bool {
    content.windows(2).any(|pair| pair.first() != pair.last())
}

/// Whether what an origin showed is what is here: the bytes, and the length where it is said.
pub(crate) fn is_equal(sample: &Sample, size: Option<u64>, shown: &Window) -> bool {
    let same_length = match (size, shown.total) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    same_length && sample.content == shown.content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_one_byte_tells_nothing() {
        assert!(!is_telling(&[0; 4096]));
        assert!(!is_telling(b"a"));
        assert!(is_telling(b"ab"));
    }

    #[test]
    fn a_look_alike_of_the_same_length_is_not_equal() {
        let sample = Sample { offset: 5, content: Bytes::from_static(b"secret") };
        let shown = |content: &'static [u8], total| Window {
            content: Bytes::from_static(content),
            total,
            etag: None,
        };
        assert!(is_equal(&sample, Some(100), &shown(b"secret", Some(100))));
        assert!(is_equal(&sample, Some(100), &shown(b"secret", None)));
        assert!(!is_equal(&sample, Some(100), &shown(b"\0\0\0\0\0\0", Some(100))));
        assert!(!is_equal(&sample, Some(100), &shown(b"secret", Some(101))));
        assert!(!is_equal(&sample, Some(100), &shown(b"secre", Some(100))));
        assert!(!is_equal(&sample, Some(100), &shown(b"", Some(100))));
    }
}
