//! What this seed signs: attestations of what it read, grants to who was proved.
//!
//! Owns: the form and the life of both. Never: a decision about who gets one.

use std::sync::Arc;

use bytes::Bytes;
use darner_chassis::sign::Signer;
use darner_lfs::{Layout, ObjectKey, PieceDigest, PieceIndex};
use darner_proto::{attestation, grant, v1};
use darner_store::Partial;
use prost::Message as _;

/// A grant outlives its credential up to this: a download that began in time may end, and a revoked right is gone a
/// quarter of an hour after the origin was last asked.
const GRANT_MS: u64 = 15 * 60_000;

/// Signs in the name of one node.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    pub(crate) signer: Arc<Signer>,
    pub(crate) node: v1::NodeIdentity,
}

/// Which read of which object is spoken of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) key: ObjectKey,
    pub(crate) layout: Layout,
    pub(crate) reading: u64,
}

impl Subject {
    /// A read of what grows here.
    pub(crate) fn of(partial: &Partial, reading: u64) -> Self {
        Self { key: partial.key(), layout: partial.layout(), reading }
    }
}

impl Scribe {
    /// A signed statement about consecutive pieces.
    pub(crate) fn attest(
        &self,
        subject: &Subject,
        first: PieceIndex,
        digests: &[PieceDigest],
        state: v1::AttestationState,
    ) -> v1::Attestation {
        let digests: Vec<u8> = digests.iter().flat_map(|digest| digest.as_bytes().iter().copied()).collect();
        let mut said = v1::Attestation {
            key: Some(subject.key.into()),
            layout: Some(subject.layout.into()),
            first_piece: first,
            digests: digests.into(),
            state: state.into(),
            attester: self.node.id.clone(),
            key_id: self.signer.kid().to_owned(),
            signature: Bytes::new(),
            reading: subject.reading,
        };
        said.signature = self.signer.sign(&attestation::signed_bytes(&said)).into();
        said
    }

    /// A permission for one node to take one object.
    /// `reading`: while the object is unconfirmed, only the bytes of this read of its origin; 0 when it is confirmed.
    pub(crate) fn grant(
        &self,
        (key, reading): (ObjectKey, u64),
        taker: &v1::NodeIdentity,
        now_ms: u64,
    ) -> v1::Grant {
        let mut made = v1::Grant {
            key: Some(key.into()),
            node: taker.id.clone(),
            expires_ms: now_ms.saturating_add(GRANT_MS),
            key_id: self.signer.kid().to_owned(),
            signature: Bytes::new(),
            tenant: self.node.tenant.clone(),
            reading,
        };
        made.signature = self.signer.sign(&grant::signed_bytes(&made)).into();
        made
    }
}

/// The form in which a finished object keeps its statements.
pub(crate) fn kept(said: &v1::Attestation) -> Bytes {
    said.encode_length_delimited_to_vec().into()
}

/// The form in which a growing object tells them.
pub(crate) fn told(said: &v1::Attestation) -> Bytes {
    said.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::sign::Verifier;
    use darner_lfs::Oid;
    use darner_transfer::trust::Trust;

    fn scribe() -> (Scribe, Trust) {
        let signer = Arc::new(Signer::generate("seeds").unwrap());
        let verifier = Verifier::new();
        verifier.add(signer.kid(), signer.public_key());
        let node = v1::NodeIdentity { id: "seed-0".to_owned(), tenant: "t".to_owned(), ..Default::default() };
        (Scribe { signer, node }, Trust::new(verifier, "holder", "t"))
    }

    #[test]
    fn a_grant_opens_one_object_for_its_taker_for_a_quarter_hour() {
        let (scribe, trust) = scribe();
        let taker = v1::NodeIdentity { id: "daemon-1".to_owned(), ..Default::default() };
        let key: ObjectKey = Oid::EMPTY.into();
        let made = scribe.grant((key, 0), &taker, 1_000);
        assert_eq!(made.expires_ms, 1_000 + GRANT_MS);
        assert!(trust.grant(&made, &key, "daemon-1", 1_000).is_ok());
        assert!(trust.grant(&made, &key, "daemon-2", 1_000).is_err());
    }

    #[test]
    fn an_attestation_is_believed_by_who_knows_the_key_and_not_when_changed() {
        let (scribe, trust) = scribe();
        let subject = Subject { key: Oid::EMPTY.into(), layout: Layout::of_size(300_000), reading: 9 };
        let digests = [PieceDigest::of(b"a"), PieceDigest::of(b"b")];
        let said = scribe.attest(&subject, 0, &digests, v1::AttestationState::Provisional);
        let heard = trust.attestation(&said).unwrap();
        assert_eq!(
            (heard.digests.as_slice(), heard.reading, heard.attester.as_str()),
            (digests.as_slice(), 9, "seed-0")
        );
        let confirmed = v1::Attestation { state: v1::AttestationState::Confirmed.into(), ..said };
        assert!(trust.attestation(&confirmed).is_err());
    }
}
