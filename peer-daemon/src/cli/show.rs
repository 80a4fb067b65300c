//! Numbers and names as people read them.
//!
//! Owns: the spelling of byte counts and keys on the terminal. Never: I/O.

use std::fmt::{self, Write};

use darner_lfs::{ObjectKey, Oid};
use darner_proto::{convert, v1};

use super::failure::Failure;

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Adds words to a text.
pub fn add(text: &mut String, words: fmt::Arguments<'_>) {
    // A String takes everything.
    text.write_fmt(words).unwrap_or_default();
}

/// `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    let mut shift = 0_u32;
    let mut unit = 0;
    while (count >> shift) >= 1024 && unit + 1 < UNITS.len() {
        shift += 10;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    let tenths = (u128::from(count) * 10) >> shift;
    if unit == 0 { format!("{count} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// The OID a person gave.
pub fn oid(text: &str) -> Result<Oid, Failure> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    bare.parse::<Oid>().map_err(|_malformed| {
        Failure::usage(format!("`{text}` is no OID"))
            .hint("an OID is 64 hexadecimal digits; `git lfs ls-files --long` shows them")
    })
}

/// A key of a message.
pub fn key(message: Option<&v1::ObjectKey>) -> String {
    match convert::key(message) {
        Ok(ObjectKey::Sha256(oid)) => oid.to_string(),
        Ok(key) => format!("{key:?}"),
        Err(_malformed) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_are_short() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")];
        for (count, words) in cases {
            assert_eq!(bytes(count), words);
        }
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn an_oid_may_carry_its_kind() {
        let digits = "a".repeat(64);
        assert!(oid(&digits).is_ok());
        assert_eq!(oid(&format!("sha256:{digits}")), oid(&digits));
    }

    #[test]
    fn what_is_no_oid_is_a_usage_error_with_a_hint() {
        let told = oid("HEAD").expect_err("no OID").to_string();
        assert!(told.contains("`HEAD`") && told.contains("hint:"), "{told}");
    }
}
