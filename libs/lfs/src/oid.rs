//! The object id of Git LFS: the SHA-256 of an object's content.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Git LFS object id: 32 bytes of SHA-256, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid([u8; 32]);

/// Why a text is not an object id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// The text is not 64 characters long.
    #[error("an object id is 64 hex digits long, this one is {0}")]
    Length(usize),
    /// A character is not one of `0-9a-f`.
    #[error("an object id has only the characters 0-9 and a-f")]
    Character,
}

impl Oid {
    /// The id of the empty object, which git-lfs neither stores nor downloads.
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Wraps a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// git-lfs's own relative path of the object: `aa/bb/<oid>`.
    pub fn path(&self) -> String {
        let digits = self.digits();
        let digits = text(&digits);
        let (a, b) = (digits.get(..2).unwrap_or_default(), digits.get(2..4).unwrap_or_default());
        [a, "/", b, "/", digits].concat()
    }

    /// Its 64 digits.
    fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
            }
        }
        digits
    }
}

/// Digits as text.
fn text(digits: &[u8; 64]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

impl FromStr for Oid {
    type Err = OidError;

    /// Parses exactly 64 lower-case hex digits, as git-lfs does.
    fn from_str(text: &str) -> Result<Self, OidError> {
        if text.len() != 64 {
            return Err(OidError::Length(text.chars().count()));
        }
        if !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(OidError::Character);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_odd: hex::FromHexError| OidError::Character)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

impl Serialize for Oid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text(&self.digits()))
    }
}

impl<'de> Deserialize<'de> for Oid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Oid>().unwrap(), Oid::EMPTY);
        assert_eq!(Oid::EMPTY.to_string(), text);
        assert_eq!(Oid::EMPTY.path(), format!("e3/b0/{text}"));
    }

    #[test]
    fn upper_case_short_and_foreign_texts_are_refused() {
        let upper = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(upper.parse::<Oid>(), Err(OidError::Character));
        assert_eq!("e3b0".parse::<Oid>(), Err(OidError::Length(4)));
        assert_eq!("é".repeat(32).parse::<Oid>(), Err(OidError::Character));
        assert!("../../../../etc/passwd".parse::<Oid>().is_err());
    }
}
