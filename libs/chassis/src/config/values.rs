//! Values a configuration is made of: a text that is never shown, a number of bytes.
//!
//! Owns: their forms. Never: shows a secret, whether by `Debug`, `Display` or serialisation.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const REDACTED: &str = "<redacted>";

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Nothing is no secret, and the defaults must survive being written out.
        serializer.serialize_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Takes numbers too: an unquoted `password: 12345` must not end in an error message that shows it.
struct SecretVisitor;

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        // A printed configuration that is used again must not put this word in place of the secret.
        if text == REDACTED {
            Err(E::custom("the text was redacted; set the real one"))
        } else {
            Ok(Secret::new(text))
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Secret, E> {
        Ok(Secret(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Secret, E> {
        Ok(Secret(number.to_string()))
    }

    fn visit_f64<E: Error>(self, _number: f64) -> Result<Secret, E> {
        Err(E::custom("a text that looks like a decimal number must be quoted"))
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Secret, E> {
        Err(E::custom("a text that looks like a truth value must be quoted"))
    }
}

/// A number of bytes, written as a number or as `10GiB` (also `Gi`, `GB`, `G`; the last two are decimal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units, largest first, so that printing takes the largest one that divides.
const UNITS: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let unit = unit.trim_start();
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            lower => UNITS
                .iter()
                .find(|(name, _)| {
                    name.eq_ignore_ascii_case(lower) || format!("{lower}b") == name.to_ascii_lowercase()
                })
                .map(|(_, factor)| *factor)?,
        };
        number.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of bytes, for example 10GiB")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
        u64::try_from(number)
            .map(ByteSize)
            .map_err(|_negative| E::custom("a number of bytes is not negative"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        ByteSize::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_usual_form() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("4KiB", 4096),
            ("4 kib", 4096),
            ("10GiB", 10 << 30),
            ("10Gi", 10 << 30),
            ("3M", 3_000_000),
            ("2TB", 2_000_000_000_000),
            ("1PiB", 1 << 50),
        ] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "GiB", "-1", "1.5GiB", "10 parsecs", "99999999PiB", "é"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<ByteSize>("-5").is_err());
    }

    #[test]
    fn a_size_survives_being_written_out() {
        for bytes in [0, 1, 1023, 1024, 1536, 10 << 30, u64::MAX] {
            let text = serde_json::to_string(&ByteSize(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<ByteSize>(&text).unwrap(), ByteSize(bytes), "{text}");
        }
        assert_eq!(ByteSize(10 << 30).to_string(), "10GiB");
    }

    #[test]
    fn a_secret_is_not_shown_in_any_form() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret:?} {secret} {}", serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn the_redacted_form_is_not_taken_for_the_secret() {
        assert!(serde_json::from_str::<Secret>("\"<redacted>\"").is_err());
        assert_eq!(serde_json::to_string(&Secret::default()).unwrap(), "\"\"");
    }

    #[test]
    fn a_secret_of_a_wrong_type_is_not_shown_in_the_error() {
        assert_eq!(serde_json::from_str::<Secret>("12345").unwrap().expose(), "12345");
        let words = serde_json::from_str::<Secret>("1.25").unwrap_err().to_string();
        assert!(!words.contains("1.25"), "{words}");
        assert!(serde_json::from_str::<Secret>("true").is_err());
    }
}
