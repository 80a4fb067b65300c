//! What is said about a growing object: digests, statements, provenance.
//!
//! Owns: the public methods for it. Never: checks a signature. After a crash: the journal repeats it.

use bytes::Bytes;
use darner_lfs::{PieceDigest, PieceIndex};

use super::Partial;
use crate::journal::Line;
use crate::record::Media;

impl Partial {
    /// Takes digests somebody vouches for, with the signed statement that says so. False when they are refused: in
    /// contradiction to what was attested, outside of the object, or of another reading of an object that has no
    /// digest of its own (two readings of a URL may be two contents). Whole pieces under other digests are dropped.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a signed statement says; the callers have it in these parts"
    )]
    pub fn attest(
        &self,
        first: PieceIndex,
        digests: &[PieceDigest],
        statement: Bytes,
        reading: u64,
        attester: &str,
    ) -> bool {
        let mixable = self.growing.key().oid().is_some();
        self.growing.change(|state| {
            if !mixable && state.growth.holds_another(reading, attester) {
                return false;
            }
            let line = Line::Attested {
                first,
                digests: digests.iter().map(|digest| hex::encode(digest.as_bytes())).collect(),
                statement: hex::encode(&statement),
                reading,
                attester: attester.to_owned(),
            };
            let Some(dropped) = state.growth.attest(first, digests, statement, (reading, attester)) else {
                return false;
            };
            state.note(&line);
            for piece in dropped {
                state.note(&Line::Lost(piece));
            }
            true
        })
    }

    /// The known digest of a piece: attested, or that of the bytes here.
    pub fn digest(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.growing.look(|growth| growth.digest(piece))
    }

    /// The statements from the `from`-th on, in the order they came.
    pub fn statements(&self, from: usize) -> Vec<Bytes> {
        self.growing.look(|growth| growth.statements(from))
    }

    /// The reading the statements belong to, and its attester.
    pub fn reading(&self) -> Option<(u64, String)> {
        self.growing.look(|growth| growth.reading().cloned())
    }

    /// Adds to its provenance (at most 64).
    pub fn add_upstream(&self, upstream: &str) {
        self.growing.add_upstream(upstream);
    }

    /// Where its bytes came from.
    pub fn upstreams(&self) -> Vec<String> {
        self.growing.look(|growth| growth.upstreams().iter().cloned().collect())
    }

    /// Notes what the origin said of it.
    pub fn set_media(&self, media: Media) {
        self.growing.change(|state| {
            state.note(&Line::Media(media.clone()));
            state.growth.set_media(media);
        });
    }

    /// What the origin said of it.
    pub fn media(&self) -> Media {
        self.growing.look(|growth| growth.media().clone())
    }
}
