//! How an object is cut into pieces.

use std::ops::Range;

/// Smallest piece: below this the per-piece cost (one request, one digest) outweighs what a finer cut gains.
pub const MIN_PIECE_BYTES: u32 = 256 * 1024;
/// Largest piece: a bad piece costs at most this much, and a 100 GB object still has a list of only ~25,000 digests.
pub const MAX_PIECE_BYTES: u32 = 4 * 1024 * 1024;
/// The cut below is aimed at about this many pieces.
pub const TARGET_PIECES: u64 = 256;
/// Version of the rule in this file; a node never mixes pieces of two versions.
pub const LAYOUT_VERSION: u32 = 1;

/// The position of a piece in its object, from 0.
pub type PieceIndex = u32;

/// The cut of one object: all pieces have `piece_bytes` but the last. The size may be unknown while an object of
/// unknown length is still being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    size: Option<u64>,
    piece_bytes: u32,
}

/// Why a layout that came from elsewhere is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Written by another version of the rule.
    #[error("layout version {0} is not known here")]
    Version(u32),
    /// Piece length outside of the bounds, or no power of two.
    #[error("a piece of {0} bytes is outside of the rule")]
    PieceBytes(u32),
    /// More pieces than can be numbered.
    #[error("an object of {0} bytes has too many pieces")]
    Size(u64),
}

impl Layout {
    /// The cut of an object of `size` bytes: the next power of two of size/256, clamped to 256 KiB .. 4 MiB.
    pub fn of_size(size: u64) -> Self {
        let wanted = size.div_ceil(TARGET_PIECES).next_power_of_two();
        let clamped = wanted.clamp(u64::from(MIN_PIECE_BYTES), u64::from(MAX_PIECE_BYTES));
        Self { size: Some(size), piece_bytes: u32::try_from(clamped).unwrap_or(MAX_PIECE_BYTES) }
    }

    /// The cut of an object whose size is not known yet: the largest pieces.
    pub const fn unknown() -> Self {
        Self { size: None, piece_bytes: MAX_PIECE_BYTES }
    }

    /// A layout as it came over the wire or from disk.
    pub fn checked(version: u32, size: Option<u64>, piece_bytes: u32) -> Result<Self, LayoutError> {
        if version != LAYOUT_VERSION {
            return Err(LayoutError::Version(version));
        }
        if !piece_bytes.is_power_of_two() || !(MIN_PIECE_BYTES..=MAX_PIECE_BYTES).contains(&piece_bytes) {
            return Err(LayoutError::PieceBytes(piece_bytes));
        }
        match size {
            Some(size) if u32::try_from(size.div_ceil(u64::from(piece_bytes))).is_err() => {
                Err(LayoutError::Size(size))
            }
            _ => Ok(Self { size, piece_bytes }),
        }
    }

    /// The same cut, now that the size is known.
    #[must_use]
    pub const fn with_size(self, size: u64) -> Self {
        Self { size: Some(size), piece_bytes: self.piece_bytes }
    }

    /// Total bytes, if known.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes of every piece but the last.
    pub const fn piece_bytes(&self) -> u32 {
        self.piece_bytes
    }

    /// How many pieces, if the size is known. The empty object has none.
    pub fn piece_count(&self) -> Option<u32> {
        self.size.map(|size| u32::try_from(size.div_ceil(u64::from(self.piece_bytes))).unwrap_or(u32::MAX))
    }

    /// The piece a byte lies in.
    pub fn piece_of(&self, offset: u64) -> PieceIndex {
        u32::try_from(offset / u64::from(self.piece_bytes)).unwrap_or(u32::MAX)
    }

    /// Where a piece begins.
    pub fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece) * u64::from(self.piece_bytes)
    }

    /// The bytes of a piece, `None` where the object (of known size) has no such piece. While the size is unknown
    /// every piece counts as full.
    pub fn piece_range(&self, piece: PieceIndex) -> Option<Range<u64>> {
        let start = self.piece_start(piece);
        let full = start + u64::from(self.piece_bytes);
        match self.size {
            Some(size) if start >= size => None,
            Some(size) => Some(start..full.min(size)),
            None => Some(start..full),
        }
    }

    /// The pieces a byte range touches.
    pub fn pieces_of(&self, range: &Range<u64>) -> Range<PieceIndex> {
        if range.is_empty() {
            return 0..0;
        }
        self.piece_of(range.start)..self.piece_of(range.end - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_short() {
        let layout = Layout::of_size(600 * 1024);
        assert_eq!(layout.piece_count(), Some(3));
        assert_eq!(layout.piece_range(2), Some(512 * 1024..600 * 1024));
        assert_eq!(layout.piece_range(3), None);
    }

    #[test]
    fn pieces_grow_with_the_object_within_bounds() {
        assert_eq!(Layout::of_size(1).piece_bytes(), MIN_PIECE_BYTES);
        assert_eq!(Layout::of_size(64 << 20).piece_bytes(), MIN_PIECE_BYTES);
        assert_eq!(Layout::of_size(256 << 20).piece_bytes(), 1 << 20);
        assert_eq!(Layout::of_size(1 << 40).piece_bytes(), MAX_PIECE_BYTES);
    }

    #[test]
    fn the_empty_object_has_no_piece() {
        assert_eq!(Layout::of_size(0).piece_count(), Some(0));
        assert_eq!(Layout::of_size(0).piece_range(0), None);
    }

    #[test]
    fn a_layout_of_another_rule_is_refused() {
        assert_eq!(Layout::checked(2, None, MAX_PIECE_BYTES), Err(LayoutError::Version(2)));
        assert_eq!(Layout::checked(1, None, 12345), Err(LayoutError::PieceBytes(12345)));
        assert_eq!(Layout::checked(1, Some(u64::MAX), MIN_PIECE_BYTES), Err(LayoutError::Size(u64::MAX)));
        assert!(Layout::checked(1, Some(5), MIN_PIECE_BYTES).is_ok());
    }

    #[test]
    fn a_range_touches_the_pieces_it_overlaps() {
        let layout = Layout::of_size(1 << 20);
        assert_eq!(layout.pieces_of(&(0..1)), 0..1);
        assert_eq!(layout.pieces_of(&(262_143..262_145)), 0..2);
        assert_eq!(layout.pieces_of(&(5..5)), 0..0);
    }

    proptest::proptest! {
        #[test]
        fn pieces_cover_the_object_without_gap_or_overlap(size in 0u64..(1 << 33)) {
            let layout = Layout::of_size(size);
            let mut next = 0;
            for piece in 0..layout.piece_count().unwrap() {
                let range = layout.piece_range(piece).unwrap();
                assert_eq!(range.start, next);
                assert!(range.end > range.start);
                next = range.end;
            }
            assert_eq!(next, size);
        }
    }
}
