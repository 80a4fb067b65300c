//! When a presented credential ends, as far as it can be read from the outside.
//!
//! Owns: the expiry conventions of the stores that sign addresses. Never: a check of any signature. What cannot be
//! read is absent; callers then assume a short life.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use url::Url;

/// The earliest moment (milliseconds since the Unix epoch) at which the address or one of its headers says it ends.
pub fn expiry_ms(url: &str, headers: &[(String, Bytes)], now_ms: u64) -> Option<u64> {
    let pairs: Vec<(String, String)> = Url::parse(url)
        .map(|url| {
            url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect()
        })
        .unwrap_or_default();
    let value = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let signed =
        [("x-amz-date", "x-amz-expires"), ("x-goog-date", "x-goog-expires"), ("x-oss-date", "x-oss-expires")]
            .into_iter()
            .filter_map(|(date, life)| Some(basic_date_s(value(date)?)? + value(life)?.parse::<u64>().ok()?));
    let plain =
        ["expires", "exp", "e", "expiry", "expires_at"].into_iter().filter_map(|name| epoch_s(value(name)?));
    let azure = value("se").and_then(rfc3339_s);
    let tokens = pairs.iter().filter_map(|(_, value)| jwt_expiry_s(value));
    let bearer = headers
        .iter()
        .filter_map(|(_, value)| jwt_expiry_s(std::str::from_utf8(value).ok()?.rsplit(' ').next()?));
    let seconds = signed.chain(plain).chain(azure).chain(tokens).chain(bearer).min()?;
    // A signature that says "for ever" must not overflow anybody's arithmetic.
    Some(seconds.saturating_mul(1000).min(now_ms.saturating_add(FAR_MS)))
}

/// Nothing is taken to last longer than a year.
const FAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// Seconds since the epoch, where a number is plausible as such (2001 or later) rather than a length of time.
fn epoch_s(text: &str) -> Option<u64> {
    text.parse().ok().filter(|seconds| *seconds > 1_000_000_000)
}

fn rfc3339_s(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_second()).ok()
}

/// `20261121T124500Z`.
fn basic_date_s(text: &str) -> Option<u64> {
    rfc3339_s(text)
}

/// The `exp` of a JSON web token; `None` for everything that is none.
fn jwt_expiry_s(token: &str) -> Option<u64> {
    let mut parts = token.trim().split('.');
    let (_head, claims, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T12:45:00Z, the moment the signed examples below were made.
    const NOW_S: u64 = 1_795_265_100;

    fn of(url: &str) -> Option<u64> {
        expiry_ms(url, &[], NOW_S * 1000).map(|ms| ms / 1000)
    }

    #[test]
    fn signed_addresses_say_when_they_end() {
        let cases = [
            ("https://s3/x?X-Amz-Date=20261121T124500Z&X-Amz-Expires=900&X-Amz-Signature=ab", NOW_S + 900),
            ("https://gcs/x?X-Goog-Date=20261121T124500Z&X-Goog-Expires=60", NOW_S + 60),
            ("https://cf/x?Expires=1795265200&Signature=ab", 1_795_265_200),
            ("https://azure/x?se=2026-11-21T12%3A46%3A00Z&sig=ab", NOW_S + 60),
            ("https://h/x?exp=1795265111", 1_795_265_111),
        ];
        for (url, wanted) in cases {
            assert_eq!(of(url), Some(wanted), "{url}");
        }
    }

    #[test]
    fn the_earliest_of_several_counts() {
        let url = "https://h/x?X-Amz-Date=20261121T124500Z&X-Amz-Expires=900&exp=1795265111";
        assert_eq!(of(url), Some(1_795_265_111));
    }

    #[test]
    fn what_does_not_say_is_absent() {
        for url in ["https://h/x", "https://h/x?expires=60", "https://h/x?X-Amz-Expires=900", "nonsense"] {
            assert_eq!(of(url), None, "{url}");
        }
    }

    #[test]
    fn a_token_in_a_header_or_in_the_query_says_when_it_ends() {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"sub":"a","exp":1795265123}"#));
        let header = [("authorization".to_owned(), Bytes::from(format!("Bearer {token}")))];
        assert_eq!(expiry_ms("https://h/x", &header, NOW_S * 1000), Some(1_795_265_123_000));
        assert_eq!(of(&format!("https://h/x?token={token}")), Some(1_795_265_123));
        let junk = [("authorization".to_owned(), Bytes::from_static(b"Basic a.b.c"))];
        assert_eq!(expiry_ms("https://h/x", &junk, 0), None);
    }

    #[test]
    fn for_ever_is_a_year() {
        let url = format!("https://h/x?exp={}", u64::MAX);
        assert_eq!(expiry_ms(&url, &[], 0), Some(FAR_MS));
    }
}
