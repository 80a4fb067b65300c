//! The arithmetic of verification: the digest of a piece and the running digest of an object.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::oid::Oid;

/// BLAKE3 of one piece: cheap enough (about 0.13 CPU-s per GiB) to be checked by everybody on arrival.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceDigest([u8; 32]);

impl PieceDigest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Splits a concatenation of digests, `None` where its length is no multiple of 32.
    pub fn list(bytes: &[u8]) -> Option<Vec<Self>> {
        let chunks = bytes.chunks_exact(32);
        if !chunks.remainder().is_empty() {
            return None;
        }
        Some(chunks.filter_map(|chunk| chunk.try_into().ok().map(Self)).collect())
    }
}

impl fmt::Debug for PieceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PieceDigest({})", hex::encode(self.0))
    }
}

/// A piece digest that is fed in parts.
#[derive(Clone, Default)]
pub struct RunningPiece(blake3::Hasher);

impl RunningPiece {
    /// Feeds the next bytes of the piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was fed.
    pub fn digest(&self) -> PieceDigest {
        PieceDigest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for RunningPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunningPiece({} bytes)", self.0.count())
    }
}

/// The SHA-256 of an object, fed in order while its bytes stream by.
#[derive(Clone, Default)]
pub struct RunningSha256 {
    hash: Sha256,
    fed: u64,
}

impl RunningSha256 {
    /// Feeds the next bytes of the object.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.fed = self.fed.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// How many bytes were fed.
    pub const fn fed(&self) -> u64 {
        self.fed
    }

    /// The digest of what was fed.
    pub fn finish(self) -> Oid {
        Oid::from_bytes(self.hash.finalize().into())
    }
}

impl fmt::Debug for RunningSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunningSha256({} bytes)", self.fed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeding_in_parts_is_feeding_at_once() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let (mut piece, mut object) = (RunningPiece::default(), RunningSha256::default());
        for part in bytes.chunks(777) {
            piece.update(part);
            object.update(part);
        }
        assert_eq!(piece.digest(), PieceDigest::of(&bytes));
        assert_eq!(object.fed(), 100_000);
        let mut once = RunningSha256::default();
        once.update(&bytes);
        assert_eq!(object.finish(), once.finish());
        assert_eq!(RunningSha256::default().finish(), Oid::EMPTY);
    }

    #[test]
    fn a_list_of_digests_must_be_whole() {
        assert!(PieceDigest::list(&[0; 33]).is_none());
        assert_eq!(PieceDigest::list(&[0; 64]).unwrap().len(), 2);
    }
}
