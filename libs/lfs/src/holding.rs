//! The holding: which pieces of an object a node has, as a bitmap.

use crate::layout::PieceIndex;

/// A growing set of pieces. Piece 0 is the lowest bit of byte 0, so that the bytes can go on the wire as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    bits: Vec<u8>,
    count: u32,
}

impl Holding {
    /// No piece.
    pub const fn empty() -> Self {
        Self { bits: Vec::new(), count: 0 }
    }

    /// The first `count` pieces.
    pub fn full(count: u32) -> Self {
        let mut holding = Self::empty();
        for piece in 0..count {
            holding.insert(piece);
        }
        holding
    }

    /// Reads a bitmap; bits at or above `limit` are dropped, so that a peer cannot make us keep more than the layout has.
    pub fn from_bytes(bytes: &[u8], limit: u32) -> Self {
        let mut holding = Self::empty();
        let known = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8).min(limit);
        for piece in 0..known {
            let byte = usize::try_from(piece / 8).ok().and_then(|at| bytes.get(at));
            if byte.is_some_and(|byte| byte & (1 << (piece % 8)) != 0) {
                holding.insert(piece);
            }
        }
        holding
    }

    /// The bitmap, without trailing zero bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Adds a piece; true when it was new.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let Ok(at) = usize::try_from(piece / 8) else { return false };
        if at >= self.bits.len() {
            self.bits.resize(at + 1, 0);
        }
        let Some(byte) = self.bits.get_mut(at) else { return false };
        let bit = 1 << (piece % 8);
        let new = *byte & bit == 0;
        *byte |= bit;
        self.count += u32::from(new);
        new
    }

    /// Takes a piece out (a damaged one); true when it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let Some(byte) = usize::try_from(piece / 8).ok().and_then(|at| self.bits.get_mut(at)) else {
            return false;
        };
        let bit = 1 << (piece % 8);
        let there = *byte & bit != 0;
        *byte &= !bit;
        self.count -= u32::from(there);
        while self.bits.last() == Some(&0) {
            self.bits.pop();
        }
        there
    }

    /// Whether a piece is there.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        let byte = usize::try_from(piece / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte & (1 << (piece % 8)) != 0)
    }

    /// How many pieces.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let top = u32::try_from(self.bits.len()).unwrap_or(u32::MAX).saturating_mul(8);
        (0..top).filter(|piece| self.contains(*piece))
    }

    /// The first piece that is not there.
    pub fn first_missing(&self) -> PieceIndex {
        let full = self.bits.iter().take_while(|byte| **byte == u8::MAX).count();
        let start = u32::try_from(full).unwrap_or(u32::MAX).saturating_mul(8);
        (start..u32::MAX).find(|piece| !self.contains(*piece)).unwrap_or(u32::MAX)
    }

    /// The pieces here that `other` lacks.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.iter().filter(|piece| !other.contains(*piece)).collect()
    }
}

impl FromIterator<PieceIndex> for Holding {
    fn from_iter<I: IntoIterator<Item = PieceIndex>>(pieces: I) -> Self {
        let mut holding = Self::empty();
        for piece in pieces {
            holding.insert(piece);
        }
        holding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn first_missing_skips_what_is_there() {
        assert_eq!(Holding::full(9).first_missing(), 9);
        let mut holding = Holding::full(20);
        holding.remove(3);
        assert_eq!(holding.first_missing(), 3);
        assert_eq!(holding.count(), 19);
    }

    proptest::proptest! {
        #[test]
        fn it_behaves_as_a_set(pieces in proptest::collection::vec((0u32..300, proptest::bool::ANY), 0..200)) {
            let mut holding = Holding::empty();
            let mut model = BTreeSet::new();
            for (piece, add) in pieces {
                if add {
                    assert_eq!(holding.insert(piece), model.insert(piece));
                } else {
                    assert_eq!(holding.remove(piece), model.remove(&piece));
                }
            }
            assert_eq!(holding.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            assert_eq!(holding.count() as usize, model.len());
            assert_eq!(Holding::from_bytes(holding.as_bytes(), u32::MAX), holding);
            assert!(Holding::from_bytes(holding.as_bytes(), 100).iter().all(|piece| piece < 100));
        }
    }
}
