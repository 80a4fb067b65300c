//! Random texts that let somebody in, and what is kept of them.
//!
//! Owns: their length (256 bits, beyond guessing) and the hash under which the catalog knows them. Never: keeps one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use darner_chassis::clock::Random;
use sha2::{Digest, Sha256};

/// First letters of a personal access token, so that scanners of leaked secrets can know it.
pub const TOKEN_PREFIX: &str = "darner_pat_";

/// A new secret of 256 bits.
pub fn new(random: &dyn Random) -> String {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A new personal access token.
pub fn token(random: &dyn Random) -> String {
    format!("{TOKEN_PREFIX}{}", new(random))
}

/// What the catalog keeps of a secret. A lookup by it needs no constant time: the hash of a guess tells nothing.
pub fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use darner_chassis::clock::Seeded;

    use super::*;

    #[test]
    fn secrets_differ_and_carry_their_bits() {
        let random = Seeded::new(1);
        let (one, two) = (new(&random), token(&random));
        assert_eq!((one.len(), two.len()), (43, 43 + TOKEN_PREFIX.len()));
        assert_ne!(two.strip_prefix(TOKEN_PREFIX), Some(one.as_str()));
    }

    #[test]
    fn a_hash_is_not_the_secret() {
        assert_eq!(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
