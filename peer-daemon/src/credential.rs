//! What a caller of modes A and C presents: the address it asked for and the headers that may authorise it.

use bytes::Bytes;
use darner_origin::{expiry_ms, provenance};
use darner_proto::v1;
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};

/// Headers that say something of the connection, the client or the range, and nothing of who asks.
const SILENT: [&str; 30] = [
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "pragma",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// The credential in a request for `url`.
pub fn presented(url: &str, headers: &HeaderMap, now_ms: u64) -> v1::Credential {
    let kept: Vec<(String, Bytes)> = headers
        .iter()
        .filter(|(name, value)| speaks(name.as_str()) && !(*name == "accept" && value.as_bytes() == b"*/*"))
        .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect();
    v1::Credential {
        url: url.to_owned(),
        upstream: provenance(url),
        expires_ms: expiry_ms(url, &kept, now_ms).unwrap_or(0),
        granted_by_batch: false,
        headers: kept.into_iter().map(|(name, value)| v1::Header { name, value }).collect(),
    }
}

fn speaks(name: &str) -> bool {
    !SILENT.contains(&name)
}

/// Names a credential without holding it: the digest of method, address and authorising headers.
pub fn fingerprint(method: &Method, credential: &v1::Credential) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Lengths keep two neighbouring parts from being read as one.
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    part(method.as_str().as_bytes());
    part(credential.url.as_bytes());
    let mut headers: Vec<_> =
        credential.headers.iter().map(|header| (header.name.to_ascii_lowercase(), &header.value)).collect();
    headers.sort();
    for (name, value) in headers {
        part(name.as_bytes());
        part(value);
    }
    hash.finalize().into()
}

/// The headers as `darner_origin` takes them.
pub fn headers(credential: &v1::Credential) -> Vec<(String, Bytes)> {
    credential.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> v1::Credential {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        presented("https://h/o/r/gitlab-lfs/objects/x", &map, 0)
    }

    #[test]
    fn what_authorises_is_kept_and_the_rest_is_not() {
        let credential = with(&[
            ("authorization", "Basic x"),
            ("private-token", "y"),
            ("range", "bytes=0-"),
            ("user-agent", "git-lfs"),
            ("accept", "*/*"),
        ]);
        let names: Vec<_> = credential.headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["authorization", "private-token"]);
        assert!(!credential.granted_by_batch);
        assert_eq!(credential.upstream, "https://h/o/r");
    }

    #[test]
    fn another_method_address_or_header_is_another_credential() {
        let base = with(&[("authorization", "Basic x")]);
        let of = |credential: &v1::Credential| fingerprint(&Method::GET, credential);
        assert_eq!(of(&base), of(&with(&[("Authorization", "Basic x"), ("range", "bytes=5-")])));
        assert_ne!(of(&base), fingerprint(&Method::HEAD, &base));
        assert_ne!(of(&base), of(&with(&[])));
        assert_ne!(of(&base), of(&with(&[("authorization", "Basic y")])));
        assert_ne!(of(&base), of(&with(&[("authorization", "Basic"), ("x", "x")])));
        let other = v1::Credential { url: "https://h/other".to_owned(), ..base.clone() };
        assert_ne!(of(&base), of(&other));
    }

    #[test]
    fn the_order_of_headers_does_not_matter() {
        let (forth, back) = ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]);
        assert_eq!(fingerprint(&Method::GET, &with(&forth)), fingerprint(&Method::GET, &with(&back)));
    }
}
