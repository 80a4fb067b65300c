//! The canonical bytes of a grant, and its form in an HTTP header.

use prost::Message as _;

use crate::v1;

/// Separates these signatures from every other use of the same key.
const DOMAIN: &[u8] = b"darner grant 1\n";

/// The bytes to sign or to check.
pub fn signed_bytes(grant: &v1::Grant) -> Vec<u8> {
    let unsigned = v1::Grant { signature: bytes::Bytes::new(), ..grant.clone() };
    [DOMAIN, &unsigned.encode_to_vec()].concat()
}

/// The grant as lower-case hex, for the `authorization` header of the piece link.
pub fn to_header(grant: &v1::Grant) -> String {
    use std::fmt::Write as _;
    grant.encode_to_vec().iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what [`to_header`] wrote; `None` for anything else.
pub fn from_header(text: &str) -> Option<v1::Grant> {
    if !text.is_ascii() || text.len() > 4096 || !text.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    v1::Grant::decode(bytes?.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_its_header_form() {
        let grant = v1::Grant { node: "node-1".to_owned(), expires_ms: 5, ..Default::default() };
        assert_eq!(from_header(&to_header(&grant)), Some(grant));
    }

    #[test]
    fn junk_is_no_grant() {
        for junk in ["0", "zz", "é", &"0".repeat(5000)] {
            assert_eq!(from_header(junk), None, "{junk}");
        }
    }

    #[test]
    fn the_signature_is_not_part_of_what_it_covers() {
        let grant = v1::Grant { node: "n".to_owned(), ..Default::default() };
        let signed = v1::Grant { signature: vec![1; 64].into(), ..grant.clone() };
        assert_eq!(signed_bytes(&grant), signed_bytes(&signed));
        let other = v1::Grant { node: "m".to_owned(), ..grant.clone() };
        assert_ne!(signed_bytes(&grant), signed_bytes(&other));
    }
}
