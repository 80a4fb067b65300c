//! Signed addresses in the shape S3 gives them, and tokens in the shape GitLab gives them. Each is new (a nonce), is
//! bound to method, host and path, and ends; all of it is really checked, because a cache that reuses, moves or
//! outlives an address must be seen to fail here.

use anyhow::Context as _;
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// `GET` or `PUT`.
    pub method: &'a str,
    /// The `Host` it is presented to.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
}

/// Why a presented address or token is refused, in the words of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was presented.
    Missing,
    /// It was made for something else, or by somebody else.
    SignatureDoesNotMatch,
    /// Its time is over.
    Expired,
}

impl Refusal {
    /// Words for the body.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Missing => "AccessDenied: no signature",
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::Expired => "AccessDenied: Request has expired",
        }
    }
}

/// The signing key of one origin.
#[derive(Debug)]
pub struct Signer(hmac::Key);

impl Signer {
    /// A new random key.
    pub fn new() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        Ok(Self(key.ok().context("no random bytes")?))
    }

    /// The query of a signed address.
    pub fn query(&self, subject: Subject<'_>, now_s: i64, expires_s: u64) -> anyhow::Result<String> {
        let date = stamp(now_s)?;
        let nonce = nonce()?;
        let signature = self.tag(subject, &Terms { date: &date, expires_s, nonce: &nonce });
        Ok(format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}&X-Amz-Expires={expires_s}\
             &X-Amz-SignedHeaders=host&X-Amz-Nonce={nonce}&X-Amz-Signature={signature}"
        ))
    }

    /// Checks the query of a signed address.
    pub fn check(&self, subject: Subject<'_>, query: &str, now_s: i64) -> Result<(), Refusal> {
        let field = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let signature = field("X-Amz-Signature").ok_or(Refusal::Missing)?;
        let wrong = Refusal::SignatureDoesNotMatch;
        let date = field("X-Amz-Date").ok_or(wrong)?;
        let nonce = field("X-Amz-Nonce").ok_or(wrong)?;
        let expires_s: u64 = field("X-Amz-Expires").and_then(|text| text.parse().ok()).ok_or(wrong)?;
        let terms = Terms { date: &date, expires_s, nonce: &nonce };
        self.verify(subject, &terms, &signature)?;
        terms.in_time(now_s)
    }

    /// An `Authorization` value that opens one path.
    pub fn token(&self, subject: Subject<'_>, now_s: i64, expires_s: u64) -> anyhow::Result<String> {
        let date = stamp(now_s)?;
        let nonce = nonce()?;
        let signature = self.tag(subject, &Terms { date: &date, expires_s, nonce: &nonce });
        Ok(format!("Basic {}", STANDARD.encode(format!("lfs:{date}.{expires_s}.{nonce}.{signature}"))))
    }

    /// Checks an `Authorization` value given by [`Signer::token`].
    pub fn check_token(
        &self,
        subject: Subject<'_>,
        presented: Option<&str>,
        now_s: i64,
    ) -> Result<(), Refusal> {
        let presented = presented.ok_or(Refusal::Missing)?;
        let wrong = Refusal::SignatureDoesNotMatch;
        let text =
            presented.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).ok_or(wrong)?;
        let text = String::from_utf8(text).ok().ok_or(wrong)?;
        let parts: Vec<&str> = text.strip_prefix("lfs:").ok_or(wrong)?.split('.').collect();
        let &[date, expires_s, nonce, signature] = parts.as_slice() else { return Err(wrong) };
        let expires_s: u64 = expires_s.parse().ok().ok_or(wrong)?;
        let terms = Terms { date, expires_s, nonce };
        self.verify(subject, &terms, signature)?;
        terms.in_time(now_s)
    }

    fn tag(&self, subject: Subject<'_>, terms: &Terms<'_>) -> String {
        hex::encode(hmac::sign(&self.0, terms.text(subject).as_bytes()))
    }

    fn verify(&self, subject: Subject<'_>, terms: &Terms<'_>, signature: &str) -> Result<(), Refusal> {
        let wrong = Refusal::SignatureDoesNotMatch;
        let signature = hex::decode(signature).ok().ok_or(wrong)?;
        hmac::verify(&self.0, terms.text(subject).as_bytes(), &signature).ok().ok_or(wrong)
    }
}

/// What is signed beside the subject.
struct Terms<'a> {
    date: &'a str,
    expires_s: u64,
    nonce: &'a str,
}

impl Terms<'_> {
    fn text(&self, subject: Subject<'_>) -> String {
        let Subject { method, host, path } = subject;
        format!("{method}\n{host}\n{path}\n{}\n{}\n{}", self.date, self.expires_s, self.nonce)
    }

    fn in_time(&self, now_s: i64) -> Result<(), Refusal> {
        let wrong = Refusal::SignatureDoesNotMatch;
        let made = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", self.date).ok().ok_or(wrong)?;
        let made = made.to_zoned(jiff::tz::TimeZone::UTC).ok().ok_or(wrong)?.timestamp().as_second();
        let ends = made.saturating_add_unsigned(self.expires_s);
        if now_s > ends { Err(Refusal::Expired) } else { Ok(()) }
    }
}

fn stamp(now_s: i64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_second(now_s)?.strftime("%Y%m%dT%H%M%SZ").to_string())
}

fn nonce() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).ok().context("no random bytes")?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const SUBJECT: Subject<'static> = Subject { method: "GET", host: "h:1", path: "/media/a" };

    #[test]
    fn a_signed_address_opens_what_it_was_made_for() {
        let signer = Signer::new().unwrap();
        let query = signer.query(SUBJECT, NOW, 60).unwrap();
        assert_eq!(signer.check(SUBJECT, &query, NOW + 60), Ok(()));
        assert_eq!(signer.check(SUBJECT, &query, NOW + 61), Err(Refusal::Expired));
        assert_eq!(signer.check(SUBJECT, "", NOW), Err(Refusal::Missing));
    }

    #[test]
    fn another_method_host_path_or_expiry_is_refused() {
        let signer = Signer::new().unwrap();
        let query = signer.query(SUBJECT, NOW, 60).unwrap();
        let wrong = Err(Refusal::SignatureDoesNotMatch);
        assert_eq!(signer.check(Subject { method: "HEAD", ..SUBJECT }, &query, NOW), wrong);
        assert_eq!(signer.check(Subject { host: "h:2", ..SUBJECT }, &query, NOW), wrong);
        assert_eq!(signer.check(Subject { path: "/media/b", ..SUBJECT }, &query, NOW), wrong);
        assert_eq!(signer.check(SUBJECT, &query.replace("Expires=60", "Expires=6000"), NOW), wrong);
    }

    #[test]
    fn every_address_is_new() {
        let signer = Signer::new().unwrap();
        assert_ne!(signer.query(SUBJECT, NOW, 60).unwrap(), signer.query(SUBJECT, NOW, 60).unwrap());
    }

    #[test]
    fn a_token_opens_one_path_for_a_while() {
        let signer = Signer::new().unwrap();
        let token = signer.token(SUBJECT, NOW, 60).unwrap();
        assert_eq!(signer.check_token(SUBJECT, Some(&token), NOW), Ok(()));
        assert_eq!(signer.check_token(SUBJECT, Some(&token), NOW + 61), Err(Refusal::Expired));
        assert_eq!(signer.check_token(SUBJECT, None, NOW), Err(Refusal::Missing));
        let other = Subject { path: "/media/b", ..SUBJECT };
        assert_eq!(signer.check_token(other, Some(&token), NOW), Err(Refusal::SignatureDoesNotMatch));
    }
}
