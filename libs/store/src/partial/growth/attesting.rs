//! What others vouch for: digests, statements, the reading they belong to.
//!
//! Owns: the rule which list of digests is believed. Never: checks a signature (the caller did). After a crash: the
//! journal repeats what was said.

use bytes::Bytes;
use darner_lfs::{Holding, PieceDigest, PieceIndex};

use super::Growth;

impl Growth {
    /// Takes digests of a reading. Another reading than the one known goes on from it where the two agree: of an
    /// object with a digest all honest readings do, and the whole is hashed in the end. Refused: a contradiction to
    /// what was attested while pieces are held (or by this very reading), pieces the object cannot have. Whole pieces
    /// under other digests are dropped; they come back in the answer.
    pub(crate) fn attest(
        &mut self,
        first: PieceIndex,
        digests: &[PieceDigest],
        statement: Bytes,
        (reading, attester): (u64, &str),
    ) -> Option<Vec<PieceIndex>> {
        if self.outcome.is_some() || !self.covers(first, digests.len()) {
            return None;
        }
        let same = self.reading.as_ref().is_none_or(|(known, by)| *known == reading && by == attester);
        if self.contradicts(first, digests) {
            if same || self.whole.count() > 0 {
                return None;
            }
            self.forget_attestations();
        }
        // An announcement without a digest says nothing about pieces that are here.
        if !digests.is_empty() || self.whole.count() == 0 {
            self.reading = Some((reading, attester.to_owned()));
        }
        if !self.statements.contains(&statement) {
            self.statements.push(statement);
        }
        Some(self.know(first, digests))
    }

    /// Digests that are beyond doubt: attested, or those of an object that is finished. Answers the whole pieces
    /// dropped for them.
    pub(crate) fn know(&mut self, first: PieceIndex, digests: &[PieceDigest]) -> Vec<PieceIndex> {
        let mut dropped = Vec::new();
        for (piece, digest) in (first..).zip(digests) {
            if self.digest(piece).is_some_and(|known| known != *digest) && self.lose(piece) {
                dropped.push(piece);
            }
            self.digests.insert(piece, *digest);
            self.attested.insert(piece);
        }
        dropped
    }

    /// Digests from before some damage: a help, but an attestation and new bytes prevail over them.
    pub(crate) fn recall(&mut self, first: PieceIndex, digests: &[PieceDigest]) {
        for (piece, digest) in (first..).zip(digests) {
            if self.reaches(piece) {
                self.digests.insert(piece, *digest);
            }
        }
    }

    /// The known digest of a piece: attested, or that of the bytes here.
    pub(crate) fn digest(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.digests.get(&piece).copied()
    }

    /// The digests of all pieces, when all are known.
    pub(crate) fn all_digests(&self) -> Option<Vec<PieceDigest>> {
        (0..self.layout.piece_count()?).map(|piece| self.digest(piece)).collect()
    }

    /// The statements from the `from`-th on.
    pub(crate) fn statements(&self, from: usize) -> Vec<Bytes> {
        self.statements.get(from..).unwrap_or_default().to_vec()
    }

    /// Whether pieces are held on the word of another reading than this one.
    pub(crate) fn holds_another(&self, reading: u64, attester: &str) -> bool {
        let other = self.reading.as_ref().is_some_and(|(known, by)| *known != reading || by != attester);
        other && self.whole.count() > 0
    }

    /// The reading the last statement belongs to, and its attester.
    pub(crate) const fn reading(&self) -> Option<&(u64, String)> {
        self.reading.as_ref()
    }

    /// What was attested is no longer believed; the digests of whole pieces stay.
    pub(super) fn forget_attestations(&mut self) {
        self.attested = Holding::empty();
        self.statements.clear();
        self.reading = None;
        let whole = &self.whole;
        self.digests.retain(|piece, _| whole.contains(*piece));
    }

    fn contradicts(&self, first: PieceIndex, digests: &[PieceDigest]) -> bool {
        let known = |piece| self.attested.contains(piece).then(|| self.digest(piece)).flatten();
        (first..).zip(digests).any(|(piece, digest)| known(piece).is_some_and(|known| known != *digest))
    }

    fn covers(&self, first: PieceIndex, count: usize) -> bool {
        let Ok(count) = u32::try_from(count) else { return false };
        match count.checked_sub(1).map(|rest| first.checked_add(rest)) {
            None => true,
            Some(last) => last.is_some_and(|last| self.reaches(last)),
        }
    }
}
