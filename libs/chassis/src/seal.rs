//! Sealing: authenticated encryption of small texts (tickets) under keys of a file.
//!
//! Owns: the key file (one `kid base64(32 bytes)` per line; the first seals, all open, so two live keys rotate), read
//! again when it changes. Never: says what is inside, logs a key or a sealed text. A damaged key file after a change
//! keeps the keys that were read before. Sealed form: `kid.base64url(nonce, ciphertext, tag)`, AES-256-GCM, a random
//! 96-bit nonce; the key id is authenticated with the context.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keyfile::{self, KeyFile, KeyFileError};

/// Longest text that is looked at; a ticket is far below.
const MAX_SEALED: usize = 64 * 1024;

/// Why a text did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not have the form of a sealed text.
    #[error("not a sealed text")]
    Malformed,
    /// Its key is not (or no longer) in the key file.
    #[error("sealed under a key that is not here")]
    UnknownKey,
    /// It was changed, or sealed for another context.
    #[error("the seal is broken")]
    Broken,
    /// Nothing can be sealed.
    #[error("no key to seal with")]
    NoKey,
}

/// Seals and opens under the keys of a file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealer {
    file: Arc<KeyFile>,
}

impl Sealer {
    /// Reads the key file.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self { file: Arc::new(KeyFile::open(path)?) })
    }

    /// Reads the key file, or makes one when there is none.
    pub fn open_or_generate(path: &Path) -> Result<Self, KeyFileError> {
        match Self::generate_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(KeyFileError::Unreadable { path: path.to_owned(), source }),
        }
        Self::from_file(path)
    }

    /// Writes a new key file with one random key, readable by its owner only. An existing file is left alone
    /// (`AlreadyExists`).
    pub fn generate_file(path: &Path) -> io::Result<()> {
        keyfile::generate(path).map(drop)
    }

    /// Seals under the first key of the file. `context` is not in the text, but it opens only with the same one.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Result<String, SealError> {
        let keys = self.file.current();
        let first = keys.first().ok_or(SealError::NoKey)?;
        let key = cipher(&first.bytes).ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        crate::clock::Random::fill(&crate::clock::System, &mut nonce);
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(&first.kid, context)),
            &mut sealed,
        )
        .map_err(|_unspecified| SealError::NoKey)?;
        let body = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{}.{body}", first.kid))
    }

    /// Opens a sealed text.
    pub fn open(&self, text: &str, context: &[u8]) -> Result<Vec<u8>, SealError> {
        let (kid, body) = text
            .split_once('.')
            .filter(|(kid, _)| text.len() <= MAX_SEALED && keyfile::is_kid(kid))
            .ok_or(SealError::Malformed)?;
        let mut body = URL_SAFE_NO_PAD.decode(body).map_err(|_decode| SealError::Malformed)?;
        let keys = self.file.current();
        let named = keys.iter().find(|key| key.kid == kid).ok_or(SealError::UnknownKey)?;
        let key = cipher(&named.bytes).ok_or(SealError::UnknownKey)?;
        let (nonce, sealed) = body.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| SealError::Malformed)?;
        let plain = key
            .open_in_place(nonce, Aad::from(bound(kid, context)), sealed)
            .map_err(|_unspecified| SealError::Broken)?;
        Ok(plain.to_vec())
    }
}

fn cipher(bytes: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

/// What the tag covers beside the text: the key id (which holds no zero byte) and the caller's context.
fn bound(kid: &str, context: &[u8]) -> Vec<u8> {
    [kid.as_bytes(), &[0], context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(dir: &tempfile::TempDir) -> Sealer {
        Sealer::open_or_generate(&dir.path().join("tickets")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_context_only() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir);
        let text = sealer.seal(b"ticket", b"tenant a").unwrap();
        assert_eq!(sealer.open(&text, b"tenant a").unwrap(), b"ticket");
        assert_eq!(sealer.open(&text, b"tenant b"), Err(SealError::Broken));
    }

    #[test]
    fn the_text_fits_into_a_header_and_never_repeats() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir);
        let one = sealer.seal(b"same", b"").unwrap();
        assert_ne!(one, sealer.seal(b"same", b"").unwrap());
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{one}");
    }

    #[test]
    fn any_changed_character_breaks_the_seal() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir);
        let text = sealer.seal(b"ticket", b"").unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(sealer.open(&changed, b"").is_err(), "position {at}");
        }
    }

    #[test]
    fn junk_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir);
        let kid = sealer.seal(b"", b"").unwrap().split('.').next().unwrap().to_owned();
        for junk in
            ["", ".", "nodot", "é.é", &format!("{kid}.AAAA"), &format!("{kid}.{}", "A".repeat(MAX_SEALED))]
        {
            assert_eq!(sealer.open(junk, b""), Err(SealError::Malformed), "{junk}");
        }
        assert_eq!(sealer.open("other.AAAA", b""), Err(SealError::UnknownKey));
    }

    #[test]
    fn two_live_keys_rotate_without_losing_a_ticket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tickets");
        let sealer = sealer(&dir);
        let old = sealer.seal(b"old", b"").unwrap();
        let fresh = dir.path().join("fresh");
        Sealer::generate_file(&fresh).unwrap();
        let both = std::fs::read_to_string(&fresh).unwrap() + &std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, both).unwrap();
        let new = sealer.seal(b"new", b"").unwrap();
        assert_ne!(old.split('.').next(), new.split('.').next());
        assert_eq!(sealer.open(&old, b"").unwrap(), b"old");
        std::fs::copy(&fresh, &path).unwrap();
        assert_eq!(sealer.open(&new, b"").unwrap(), b"new");
        assert_eq!(sealer.open(&old, b""), Err(SealError::UnknownKey));
    }
}
