//! The window a credential is proved with: unpredictable, and never a run of one byte.
//!
//! Owns: where the window lies and the comparison. Never: the network. An object that is one byte over and over has no
//! telling window; its bytes are told by its length already.

use std::ops::Range;

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
    /// A piece of what has come, where the start has not.
    Piece(Partial, Range<u64>),
}

/// A part of the object as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) content: Bytes,
}

impl Held {
    /// What is here from the start on; where that is nothing, any piece that is here.
    pub(crate) fn some_of(partial: &Partial, random: &dyn Random) -> Self {
        let (whole, holding) = (Self::Growing(partial.clone()), partial.holding());
        let count = usize::try_from(holding.count()).unwrap_or(usize::MAX);
        if whole.here() > 0 || count == 0 {
            return whole;
        }
        let drawn = random.next_u64() % u64::try_from(count).unwrap_or(1);
        let piece = holding.iter().nth(usize::try_from(drawn).unwrap_or(0));
        let range = piece.and_then(|piece| partial.layout().piece_range(piece));
        range.map_or(whole, |range| Self::Piece(partial.clone(), range))
    }

    /// Where the bytes begin.
    pub(crate) const fn start(&self) -> u64 {
        match self {
            Self::Stored(_) | Self::Growing(_) => 0,
            Self::Piece(_, range) => range.start,
        }
    }

    /// Bytes of the whole object, if known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Stored(stored) => Some(stored.size()),
            Self::Growing(partial) | Self::Piece(partial, _) => partial.layout().size(),
        }
    }

    /// How many bytes from `start` on are here.
    pub(crate) fn here(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.size(),
            Self::Growing(partial) => partial.readable(0, Unchecked::Edge),
            Self::Piece(_, range) => range.end - range.start,
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
                Self::Growing(partial) | Self::Piece(partial, _) => partial.read(at, left).await,
            };
            content.extend_from_slice(&read.ok().filter(|bytes| !bytes.is_empty())?);
        }
        Some(content.freeze())
    }
}

/// Draws a window out of the first `limit` bytes from where they begin; `None` when these cannot be read (or there are none).
pub(crate) async fn draw(held: &Held, limit: u64, random: &dyn Random) -> Option<Sample> {
    let limit = limit.min(held.here());
    let length = limit.min(u64::from(MAX_WINDOW_BYTES));
    if length == 0 {
        return None;
    }
    let mut last = None;
    for _ in 0..DRAWS {
        let offset = held.start() + random.next_u64() % (limit - length + 1);
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
        let offset = held.start() + ((begin + step) % steps * length).min(limit - length);
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

    #[tokio::test]
    async fn where_the_start_is_missing_a_piece_that_is_here_is_compared() {
        let directory = tempfile::tempdir().unwrap();
        let store = darner_store::Store::open(darner_store::StoreConfig::at(directory.path())).await.unwrap();
        let layout = darner_lfs::Layout::of_size(600_000);
        let partial = store.partial(darner_lfs::Oid::EMPTY.into(), layout).await.unwrap();
        let random = darner_chassis::clock::Seeded::new(7);
        assert!(draw(&Held::some_of(&partial, &random), u64::MAX, &random).await.is_none());
        let range = layout.piece_range(1).unwrap();
        let content: Vec<u8> = (range.start..range.end).map(|at| at.to_le_bytes()[0]).collect();
        let mut writer = partial.begin(1, true).unwrap();
        writer.write(&content).unwrap();
        writer.finish(None).unwrap();
        let sample = draw(&Held::some_of(&partial, &random), u64::MAX, &random).await.unwrap();
        assert!(range.contains(&sample.offset));
        let from = usize::try_from(sample.offset - range.start).unwrap();
        assert_eq!(sample.content, content[from..from + sample.content.len()]);
    }

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
