//! A caller's own way to an origin, as presented: the unit of proof, of alternates and of refusals.
//!
//! Owns: its digest (what verdicts are remembered under), its end, the upstream it stands for. Never: shown in any form.

use std::fmt;

use bytes::Bytes;
use darner_lfs::ObjectKey;
use darner_origin::{expiry_ms, provenance};
use darner_proto::v1;

/// A credential that does not say when it ends is taken to end after this.
pub(crate) const UNSAID_MS: u64 = 60_000;
/// Headers of one credential; more is no credential.
const MAX_HEADERS: usize = 32;

/// The digest of an object key, a URL and its authorising headers.
pub(crate) type Fingerprint = [u8; 32];

/// A credential, taken apart once.
#[derive(Clone)]
pub(crate) struct Presented {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, Bytes)>,
    /// The upstream it is accepted under.
    pub(crate) upstream: String,
    /// When it ends; absent where it does not say.
    pub(crate) expires_ms: Option<u64>,
    /// The upstream itself granted this object to the caller.
    pub(crate) by_batch: bool,
}

impl Presented {
    /// Reads the message; `None` where there is no credential in it.
    pub(crate) fn read(key: &ObjectKey, message: Option<&v1::Credential>, now_ms: u64) -> Option<Self> {
        let message = message.filter(|shown| !shown.url.is_empty() && shown.headers.len() <= MAX_HEADERS)?;
        let headers: Vec<(String, Bytes)> = message
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), header.value.clone()))
            .collect();
        let said = Some(message.expires_ms).filter(|expires| *expires > 0);
        let read = expiry_ms(&message.url, &headers, now_ms);
        // Only a Batch names an upstream of its own; everything else stands for the address itself.
        let by_batch = message.granted_by_batch && !message.upstream.is_empty();
        let upstream = if by_batch { message.upstream.clone() } else { provenance(&message.url) };
        Some(Self {
            fingerprint: fingerprint(key, &message.url, &headers),
            url: message.url.clone(),
            headers,
            upstream,
            expires_ms: said.into_iter().chain(read).min(),
            by_batch,
        })
    }

    /// When it ends, as far as it matters for choosing one.
    pub(crate) fn lasts_until_ms(&self, now_ms: u64) -> u64 {
        self.expires_ms.unwrap_or_else(|| now_ms.saturating_add(UNSAID_MS))
    }

    /// Whether two credentials are for the same place, but for their signatures.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let place = |url: &str| url.split(['?', '#']).next().unwrap_or_default().to_owned();
        place(&self.url) == place(&other.url)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

fn fingerprint(key: &ObjectKey, url: &str, headers: &[(String, Bytes)]) -> Fingerprint {
    let mut sorted: Vec<(&[u8], &[u8])> =
        headers.iter().map(|(name, value)| (name.as_bytes(), value.as_ref())).collect();
    sorted.sort_unstable();
    let mut hash = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(bytes);
    };
    field(key.to_string().as_bytes());
    field(url.as_bytes());
    for (name, value) in sorted {
        field(name);
        field(value);
    }
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn shown(url: &str, headers: &[(&str, &'static [u8])]) -> v1::Credential {
        let header = |(name, value): &(&str, &'static [u8])| v1::Header {
            name: (*name).to_owned(),
            value: Bytes::from_static(value),
        };
        v1::Credential {
            url: url.to_owned(),
            headers: headers.iter().map(header).collect(),
            ..Default::default()
        }
    }

    fn read(message: &v1::Credential) -> Presented {
        Presented::read(&Oid::EMPTY.into(), Some(message), 1_000).unwrap()
    }

    #[test]
    fn another_header_is_another_credential_and_another_order_is_not() {
        let base = read(&shown("https://h/x", &[("A", b"1"), ("B", b"2")]));
        assert_eq!(base.fingerprint, read(&shown("https://h/x", &[("b", b"2"), ("a", b"1")])).fingerprint);
        for other in [
            shown("https://h/x", &[("A", b"1")]),
            shown("https://h/x", &[("A", b"1"), ("B", b"3")]),
            shown("https://h/x?", &[("A", b"1"), ("B", b"2")]),
            shown("https://h/x", &[("A", b"12"), ("B", b"")]),
        ] {
            assert_ne!(base.fingerprint, read(&other).fingerprint);
        }
        let other_object =
            Presented::read(&Oid::from_bytes([1; 32]).into(), Some(&shown("https://h/x", &[])), 0);
        assert_ne!(other_object.unwrap().fingerprint, read(&shown("https://h/x", &[])).fingerprint);
    }

    #[test]
    fn only_a_batch_names_its_upstream() {
        let mut message = shown("https://cdn/media/1/e3/b0/x", &[]);
        message.upstream = "https://private/repo".to_owned();
        assert_eq!(read(&message).upstream, "https://cdn/media/1/e3/b0");
        message.granted_by_batch = true;
        assert_eq!(read(&message).upstream, "https://private/repo");
    }

    #[test]
    fn the_earliest_end_counts() {
        let mut message = shown("https://h/x?exp=2000000000", &[]);
        message.expires_ms = 50_000;
        assert_eq!(read(&message).expires_ms, Some(50_000));
        assert_eq!(read(&shown("https://h/x", &[])).expires_ms, None);
        assert_eq!(read(&shown("https://h/x", &[])).lasts_until_ms(5), 60_005);
    }

    #[test]
    fn what_is_no_credential_is_none() {
        assert!(Presented::read(&Oid::EMPTY.into(), None, 0).is_none());
        assert!(Presented::read(&Oid::EMPTY.into(), Some(&shown("", &[])), 0).is_none());
    }

    #[test]
    fn it_is_never_shown() {
        let text = format!("{:?}", read(&shown("https://h/x?sig=canary", &[("authorization", b"canary")])));
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn two_signatures_of_one_place_are_one_place() {
        let at = |url| read(&shown(url, &[]));
        assert!(at("https://h/x?sig=a").is_same_place(&at("https://h/x?sig=b")));
        assert!(!at("https://h/x?sig=a").is_same_place(&at("https://h/y?sig=a")));
        assert!(!at("https://h/x").is_same_place(&at("http://h/x")));
    }
}
