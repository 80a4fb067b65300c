//! Signing: Ed25519 signatures over bytes the caller made canonical (grants, attestations).
//!
//! Owns: the signing key file (`kid base64(seed)`, owner only) and the file of public keys (`kid base64(public)` per
//! line, read again when it changes). Never: knows what is signed. A damaged file of public keys after a change keeps
//! the keys that were read before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::keyfile::{self, KeyFile, KeyFileError};

/// Signs under one key.
pub struct Signer {
    kid: String,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Signer {
    /// A new random key under this id.
    pub fn generate(kid: impl Into<String>) -> Result<Self, KeyFileError> {
        let mut seed = [0; 32];
        crate::clock::Random::fill(&crate::clock::System, &mut seed);
        Self::from_seed(kid.into(), seed)
    }

    /// Reads the signing key: the first line of the file.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let keys = keyfile::read(path)?;
        let first = keys.into_iter().next().ok_or_else(|| KeyFileError::Empty { path: path.to_owned() })?;
        Self::from_seed(first.kid, first.bytes)
    }

    fn from_seed(kid: String, seed: [u8; 32]) -> Result<Self, KeyFileError> {
        if !keyfile::is_kid(&kid) {
            return Err(KeyFileError::Kid { kid });
        }
        let refused = || KeyFileError::Kid { kid: kid.clone() };
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_rejected| refused())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_length| refused())?;
        Ok(Self { kid, seed, pair, public })
    }

    /// Writes the signing key, readable by its owner only, replacing the file in one step.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        crate::files::replace(path, &format!("{} {}\n", self.kid, STANDARD.encode(self.seed)))
    }

    /// The id others find the public key by.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// The line of this key in a file of public keys.
    pub fn public_line(&self) -> String {
        format!("{} {}\n", self.kid, STANDARD.encode(self.public))
    }

    /// Signs; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Checks signatures under known public keys. Cheap to clone; all clones know the same keys.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    file: Option<Arc<KeyFile>>,
    added: Arc<RwLock<BTreeMap<String, [u8; 32]>>>,
}

impl Verifier {
    /// Knows no key yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows the keys of the file, read again when it changes.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self { file: Some(Arc::new(KeyFile::open(path)?)), added: Arc::default() })
    }

    /// Adds a key; one of the same id is replaced.
    pub fn add(&self, kid: impl Into<String>, public: [u8; 32]) {
        self.added.write().unwrap_or_else(PoisonError::into_inner).insert(kid.into(), public);
    }

    /// Whether this key signed this message. An unknown key signed nothing.
    pub fn verify(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        self.key(kid)
            .is_some_and(|public| UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok())
    }

    fn key(&self, kid: &str) -> Option<[u8; 32]> {
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner).get(kid).copied();
        added.or_else(|| {
            let keys = self.file.as_ref()?.current();
            keys.iter().find(|key| key.kid == kid).map(|key| key.bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_its_key_only() {
        let (one, two) = (Signer::generate("one").unwrap(), Signer::generate("two").unwrap());
        let verifier = Verifier::new();
        verifier.add(one.kid(), one.public_key());
        verifier.add(two.kid(), two.public_key());
        let signature = one.sign(b"grant");
        assert_eq!(signature.len(), 64);
        assert!(verifier.verify("one", b"grant", &signature));
        assert!(!verifier.verify("one", b"grants", &signature));
        assert!(!verifier.verify("two", b"grant", &signature));
        assert!(!verifier.verify("three", b"grant", &signature));
        assert!(!verifier.verify("one", b"grant", b""));
    }

    #[test]
    fn a_saved_key_is_the_same_key_and_its_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grants");
        let signer = Signer::generate("k1").unwrap();
        signer.save(&path).unwrap();
        signer.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Signer::from_file(&path).unwrap();
        assert_eq!((again.kid(), again.public_key()), ("k1", signer.public_key()));
    }

    #[test]
    fn public_keys_are_read_again_when_their_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("public");
        let (one, two) = (Signer::generate("one").unwrap(), Signer::generate("two").unwrap());
        std::fs::write(&path, one.public_line()).unwrap();
        let verifier = Verifier::from_file(&path).unwrap();
        let signature = two.sign(b"m");
        assert!(!verifier.verify("two", b"m", &signature));
        std::fs::write(&path, one.public_line() + &two.public_line()).unwrap();
        assert!(verifier.verify("two", b"m", &signature));
    }

    #[test]
    fn a_key_id_with_a_space_is_refused() {
        assert!(matches!(Signer::generate("a b"), Err(KeyFileError::Kid { .. })));
        assert!(matches!(Signer::generate(""), Err(KeyFileError::Kid { .. })));
    }

    #[test]
    fn the_seed_is_not_shown() {
        let signer = Signer::generate("k").unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { kid: \"k\", .. }");
    }
}
