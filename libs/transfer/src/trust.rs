//! Whose signatures count here: seeds by their published keys, acting seeds by the key of their node.
//!
//! An attester whose list turned out to be wrong is set aside for the life of the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use darner_chassis::sign::Verifier;
use darner_lfs::layout::PieceIndex;
use darner_lfs::{Layout, ObjectKey, PieceDigest};
use darner_proto::convert::Malformed;
use darner_proto::{attestation, convert, grant, v1};

/// Clocks of two nodes may differ by this much, milliseconds.
pub const LEEWAY_MS: u64 = 60_000;
/// Grants whose signature was checked are remembered, this many.
const REMEMBERED_GRANTS: usize = 4096;

/// Prefix of the key id of a node that signs with its own key (an acting seed); no seed key is named so.
pub const NODE_KEY_PREFIX: &str = "node-";

/// Why a grant does not open anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No grant, or one that cannot be read.
    #[error("a grant is needed")]
    Missing,
    /// Made for another object, node or tenant.
    #[error("the grant is for something else")]
    Other,
    /// Its time is over.
    #[error("the grant has expired")]
    Expired,
    /// Not signed by anybody who may.
    #[error("the grant is not signed by a seed of this cluster")]
    Signature,
}

/// Why an attestation does not count.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Not signed by who it names.
    #[error("the attestation is not signed by a known attester")]
    Signature,
    /// Its attester lied before.
    #[error("the attester {0} is set aside")]
    SetAside(String),
}

/// An attestation whose signature was checked.
#[derive(Debug, Clone)]
pub struct Attested {
    /// The object.
    pub key: ObjectKey,
    /// Its cut.
    pub layout: Layout,
    /// The first piece spoken of.
    pub first: PieceIndex,
    /// The digests, from `first` on.
    pub digests: Vec<PieceDigest>,
    /// Provisional, confirmed or revoked.
    pub state: v1::AttestationState,
    /// Who says so.
    pub attester: String,
    /// Which read of the origin it belongs to.
    pub reading: u64,
}

/// The keys that count and the attesters that do not.
#[derive(Debug, Clone)]
pub struct Trust {
    seeds: Verifier,
    nodes: Verifier,
    node: String,
    tenant: String,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    aside: HashSet<String>,
    grants: HashMap<Vec<u8>, u64>,
}

impl Trust {
    /// Trusts the published keys of the seeds, for the node `node` of `tenant`.
    pub fn new(seeds: Verifier, node: &str, tenant: &str) -> Self {
        Self {
            seeds,
            nodes: Verifier::new(),
            node: node.to_owned(),
            tenant: tenant.to_owned(),
            known: Arc::default(),
        }
    }

    /// The public key of a node, from the membership: what it attests while it acts as a seed is checked with it.
    pub fn learn(&self, node: &v1::NodeIdentity) {
        if let Ok(key) = convert::digest(&node.public_key, "public_key") {
            self.nodes.add(format!("{NODE_KEY_PREFIX}{}", node.id), key);
        }
    }

    /// An attester lied: nothing it attests counts any more.
    pub fn set_aside(&self, attester: &str) {
        self.known().aside.insert(attester.to_owned());
    }

    /// Whether the attester is set aside.
    pub fn is_set_aside(&self, attester: &str) -> bool {
        self.known().aside.contains(attester)
    }

    /// Checks that `taker` may take `key` from this node.
    pub fn grant(&self, shown: &v1::Grant, key: &ObjectKey, taker: &str, now_ms: u64) -> Result<(), Denied> {
        let named = convert::key(shown.key.as_ref()).map_err(|_malformed| Denied::Missing)?;
        if named != *key || shown.node != taker || shown.tenant != self.tenant {
            return Err(Denied::Other);
        }
        if shown.expires_ms.saturating_add(LEEWAY_MS) < now_ms {
            return Err(Denied::Expired);
        }
        let signed = grant::signed_bytes(shown);
        let remembered = [signed.as_slice(), &shown.signature].concat();
        if self.known().grants.contains_key(&remembered) {
            return Ok(());
        }
        // A node's own signature opens only that node.
        let own = format!("{NODE_KEY_PREFIX}{}", self.node);
        if shown.key_id.starts_with(NODE_KEY_PREFIX) && shown.key_id != own {
            return Err(Denied::Signature);
        }
        if !self.verify(&shown.key_id, &signed, &shown.signature) {
            return Err(Denied::Signature);
        }
        self.remember(remembered, shown.expires_ms, now_ms);
        Ok(())
    }

    /// Checks who signed an attestation.
    pub fn attestation(&self, message: &v1::Attestation) -> Result<Attested, Untrusted> {
        let key = convert::key(message.key.as_ref())?;
        let (layout, first, digests) = attestation::pieces(message)?;
        if self.is_set_aside(&message.attester) {
            return Err(Untrusted::SetAside(message.attester.clone()));
        }
        if let Some(node) = message.key_id.strip_prefix(NODE_KEY_PREFIX)
            && node != message.attester
        {
            return Err(Untrusted::Signature);
        }
        if !self.verify(&message.key_id, &attestation::signed_bytes(message), &message.signature) {
            return Err(Untrusted::Signature);
        }
        let (state, attester, reading) = (message.state(), message.attester.clone(), message.reading);
        Ok(Attested { key, layout, first, digests, state, attester, reading })
    }

    fn verify(&self, key_id: &str, signed: &[u8], signature: &[u8]) -> bool {
        let keys = if key_id.starts_with(NODE_KEY_PREFIX) { &self.nodes } else { &self.seeds };
        keys.verify(key_id, signed, signature)
    }

    fn remember(&self, grant: Vec<u8>, expires_ms: u64, now_ms: u64) {
        let mut known = self.known();
        if known.grants.len() >= REMEMBERED_GRANTS {
            known.grants.retain(|_, expires| expires.saturating_add(LEEWAY_MS) >= now_ms);
        }
        if known.grants.len() >= REMEMBERED_GRANTS {
            known.grants.clear();
        }
        known.grants.insert(grant, expires_ms);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::sign::Signer;
    use darner_lfs::Oid;

    fn signer(kid: &str) -> Signer {
        Signer::generate(kid).unwrap()
    }

    fn trust(seed: &Signer) -> Trust {
        let verifier = Verifier::new();
        verifier.add(seed.kid(), seed.public_key());
        Trust::new(verifier, "holder", "t")
    }

    fn grant_by(signer: &Signer, node: &str, expires_ms: u64) -> v1::Grant {
        let key = ObjectKey::from(Oid::EMPTY);
        let mut made = v1::Grant {
            key: Some(key.into()),
            node: node.to_owned(),
            expires_ms,
            key_id: signer.kid().to_owned(),
            tenant: "t".to_owned(),
            ..Default::default()
        };
        made.signature = signer.sign(&grant::signed_bytes(&made)).into();
        made
    }

    #[test]
    fn a_grant_opens_one_object_for_one_node_in_its_time() {
        let seed = signer("seed-0");
        let trust = trust(&seed);
        let shown = grant_by(&seed, "taker", 1_000_000);
        let key = ObjectKey::from(Oid::EMPTY);
        let other = ObjectKey::from(Oid::from_bytes([1; 32]));
        assert_eq!(trust.grant(&shown, &key, "taker", 5), Ok(()));
        assert_eq!(trust.grant(&shown, &key, "taker", 6), Ok(()), "remembered");
        assert_eq!(trust.grant(&shown, &other, "taker", 5), Err(Denied::Other));
        assert_eq!(trust.grant(&shown, &key, "thief", 5), Err(Denied::Other));
        assert_eq!(trust.grant(&shown, &key, "taker", 1_060_001), Err(Denied::Expired));
    }

    #[test]
    fn a_changed_or_foreign_signature_opens_nothing() {
        let seed = signer("seed-0");
        let trust = trust(&seed);
        let key = ObjectKey::from(Oid::EMPTY);
        let mut longer = grant_by(&seed, "taker", 10);
        longer.expires_ms = 9_999_999_999;
        assert_eq!(trust.grant(&longer, &key, "taker", 5), Err(Denied::Signature));
        let stranger = grant_by(&signer("seed-0"), "taker", 10);
        assert_eq!(trust.grant(&stranger, &key, "taker", 5), Err(Denied::Signature));
    }

    #[test]
    fn a_daemon_cannot_grant_what_others_hold() {
        let trust = trust(&signer("seed-0"));
        let key = ObjectKey::from(Oid::EMPTY);
        let (own, other) = (signer("node-holder"), signer("node-other"));
        for (id, by) in [("holder", &own), ("other", &other)] {
            let public_key = by.public_key().to_vec().into();
            trust.learn(&v1::NodeIdentity { id: id.to_owned(), public_key, ..Default::default() });
        }
        assert_eq!(trust.grant(&grant_by(&own, "taker", 10), &key, "taker", 5), Ok(()));
        assert_eq!(trust.grant(&grant_by(&other, "taker", 10), &key, "taker", 5), Err(Denied::Signature));
    }

    #[test]
    fn an_attester_that_lied_is_not_heard_again() {
        let seed = signer("seed-0");
        let trust = trust(&seed);
        let mut message = v1::Attestation {
            key: Some(ObjectKey::from(Oid::EMPTY).into()),
            layout: Some(Layout::of_size(10).into()),
            digests: vec![7; 32].into(),
            attester: "seed-a".to_owned(),
            key_id: "seed-0".to_owned(),
            ..Default::default()
        };
        assert!(matches!(trust.attestation(&message), Err(Untrusted::Signature)));
        message.signature = seed.sign(&attestation::signed_bytes(&message)).into();
        assert_eq!(trust.attestation(&message).unwrap().digests.len(), 1);
        trust.set_aside("seed-a");
        assert!(matches!(trust.attestation(&message), Err(Untrusted::SetAside(_))));
    }
}
