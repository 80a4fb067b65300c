//! Which headers go on, and which end here.
//!
//! Owns: hop-by-hop headers (both ways), what a redirect to another site may keep, refusal of ambiguous framing.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::error::OriginError;

/// Never forwarded, whichever way. `Expect` is the server's own business, `Accept-Encoding` is always identity here.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// What a request keeps when it is redirected to another site: nothing that could be a credential.
const HARMLESS: [HeaderName; 5] =
    [header::RANGE, header::IF_RANGE, header::ACCEPT, header::ACCEPT_ENCODING, header::USER_AGENT];

/// Takes out what ends here, including everything `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// A request with two framings is refused: two readers would see two requests.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), OriginError> {
    let lengths: Vec<&HeaderValue> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if lengths.len() > 1 || (chunked && !lengths.is_empty()) {
        return Err(OriginError::Malformed("its body has two lengths"));
    }
    Ok(())
}

/// What may accompany a request to another site than the one its credential is for.
pub(crate) fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    HARMLESS.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

/// The headers of a credential as a request carries them: without framing, ranges, encodings and addresses.
pub(crate) fn of_credential(pairs: &[(String, bytes::Bytes)]) -> Result<HeaderMap, OriginError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let malformed = OriginError::Malformed("one of its headers makes no request");
        let name: HeaderName = name.parse().map_err(|_why: header::InvalidHeaderName| malformed.clone())?;
        let mut value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_why: header::InvalidHeaderValue| malformed)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    strip_hop_by_hop(&mut headers);
    for ours in [
        header::HOST,
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        headers.remove(ours);
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

/// A strong entity tag, as it stands in the header.
pub(crate) fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    (tag.starts_with('"') && tag.ends_with('"') && (2..=256).contains(&tag.len())).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_headers_end_here_with_those_that_connection_names() {
        let mut headers = map(&[
            ("connection", "close, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "5"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("authorization", "Basic y"),
            ("content-type", "a/b"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["authorization", "content-type"]);
    }

    #[test]
    fn two_framings_are_refused() {
        assert!(check_framing(&map(&[("content-length", "3"), ("transfer-encoding", "chunked")])).is_err());
        assert!(check_framing(&map(&[("content-length", "3")])).is_ok());
        let mut twice = map(&[("content-length", "3")]);
        twice.append(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
        assert!(check_framing(&twice).is_err());
    }

    #[test]
    fn a_redirect_to_another_site_keeps_no_credential() {
        let headers = map(&[
            ("authorization", "Basic y"),
            ("private-token", "secret"),
            ("cookie", "a=b"),
            ("range", "bytes=0-1"),
            ("accept-encoding", "identity"),
        ]);
        assert_eq!(names(&without_credentials(&headers)), ["accept-encoding", "range"]);
    }

    #[test]
    fn a_credential_brings_no_range_no_encoding_and_no_host() {
        let pair =
            |name: &str, value: &'static str| (name.to_owned(), bytes::Bytes::from_static(value.as_bytes()));
        let pairs = [
            pair("Authorization", "Bearer s3cret"),
            pair("Range", "bytes=0-1"),
            pair("Accept-Encoding", "gzip"),
            pair("Host", "evil"),
            pair("Transfer-Encoding", "chunked"),
        ];
        let headers = of_credential(&pairs).unwrap();
        assert_eq!(names(&headers), ["accept-encoding", "authorization"]);
        assert_eq!(headers["accept-encoding"], "identity");
        assert!(!format!("{headers:?}").contains("s3cret"), "header values are marked sensitive");
        assert!(of_credential(&[pair("a b", "c")]).is_err());
        assert!(of_credential(&[pair("a", "c\r\nx: y")]).is_err());
    }

    #[test]
    fn only_strong_tags_count() {
        for (tag, wanted) in [("\"a\"", Some("\"a\"")), ("W/\"a\"", None), ("a", None), ("\"", None)] {
            assert_eq!(strong_etag(&map(&[("etag", tag)])).as_deref(), wanted, "{tag}");
        }
    }
}
