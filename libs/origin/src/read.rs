//! Content of an upstream, as it arrives, at the offsets it says.
//!
//! Owns: the request for a range, the reading of its answer, where it broke off. Never: buffering; a chunk is handed on
//! as it came. A `Reading` that is dropped closes its connection: nothing more is read.

use std::time::Duration;

use bytes::Bytes;
use darner_chassis::metrics::{Kind, Metrics, Role};
use darner_lfs::range::parse_content_range;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::error::OriginError;
use crate::follow::Arrived;
use crate::headers::strong_etag;
use crate::send::{Sender, asks_to_wait};

/// An upstream that sends nothing for this long has broken off: there is time to resume before a client of 30 s gives up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(12);
/// As much of an error's own words as anybody reads.
const MAX_MESSAGE_BYTES: usize = 512;

/// What to read.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    /// The original address, byte for byte.
    pub url: &'a str,
    /// The headers that carry the credential.
    pub headers: &'a [(String, Bytes)],
    /// First byte.
    pub from: u64,
    /// End (exclusive); to the end of the object where absent.
    pub to: Option<u64>,
    /// Strong entity tag of an earlier answer: a changed object is then sent whole rather than spliced.
    pub etag: Option<&'a str>,
}

impl std::fmt::Debug for Read<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Address and headers are credentials.
        f.debug_struct("Read").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Read<'_> {
    /// Puts the range into the headers of a credential.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) -> Result<(), OriginError> {
        let range = match self.to {
            Some(to) if to <= self.from => return Err(OriginError::Malformed("its range is empty")),
            Some(to) => format!("bytes={}-{}", self.from, to - 1),
            None if self.from > 0 => format!("bytes={}-", self.from),
            None => return Ok(()),
        };
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_why: header::InvalidHeaderValue| {
                OriginError::Malformed("its entity tag makes no header")
            })
        };
        headers.insert(header::RANGE, value(&range)?);
        if let Some(etag) = self.etag {
            headers.insert(header::IF_RANGE, value(etag)?);
        }
        Ok(())
    }

    /// Whether a range was asked for.
    pub(crate) const fn is_ranged(&self) -> bool {
        self.from > 0 || self.to.is_some()
    }
}

/// Content on its way.
pub struct Reading {
    /// Bytes of the whole object, where the answer says it.
    pub total: Option<u64>,
    /// Offset of the first byte of the answer: 0 where the upstream ignored the range or the object changed.
    pub start: u64,
    /// Strong entity tag.
    pub etag: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// Whether the upstream is known to answer ranges.
    pub ranges: bool,
    /// `Cache-Control` allows others than its caller to keep it; what a digest names may be kept in any case.
    pub keepable: bool,
    end: Option<u64>,
    at: u64,
    unread: Option<Bytes>,
    body: Incoming,
    metrics: Metrics,
    kind: Kind,
    role: Role,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { total, start, ranges, end, at, .. } = self;
        write!(f, "Reading {{ total: {total:?}, start: {start}, ranges: {ranges}, end: {end:?}, at: {at} }}")
    }
}

impl Reading {
    /// Reads the head of an answer.
    pub(crate) async fn begin(
        sender: &Sender,
        arrived: Arrived,
        wanted: &Read<'_>,
        kind: Kind,
    ) -> Result<Self, OriginError> {
        let Arrived { site, response } = arrived;
        if asks_to_wait(response.status()) {
            let retry_after_s = sender.trip(&site, response.headers());
            return Err(OriginError::Busy { host: site.host, retry_after_s });
        }
        let (start, end, total) = match response.status() {
            StatusCode::OK => {
                let length = content_length(response.headers());
                (0, length, length)
            }
            StatusCode::PARTIAL_CONTENT => part(response.headers(), wanted)?,
            status if status.is_client_error() || status.is_server_error() => {
                return Err(refusal(response).await);
            }
            _ => return Err(OriginError::Nonsense("a status that carries no content")),
        };
        check_encoding(response.headers())?;
        let headers = response.headers();
        let text =
            |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        let accepts = text(header::ACCEPT_RANGES).is_some_and(|units| units.eq_ignore_ascii_case("bytes"));
        Ok(Self {
            total,
            start,
            etag: strong_etag(headers),
            content_type: text(header::CONTENT_TYPE),
            keepable: is_keepable(headers),
            ranges: accepts || response.status() == StatusCode::PARTIAL_CONTENT,
            end,
            at: start,
            unread: None,
            metrics: sender.metrics.clone(),
            kind,
            role: sender.role,
            body: response.into_body(),
        })
    }

    /// Offset of the next byte.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Gives back all that was read since the start: it comes again, and is not counted again.
    pub fn unread(&mut self, bytes: Bytes) {
        self.at = self.start;
        self.unread = Some(bytes).filter(|bytes| !bytes.is_empty());
    }

    /// The next bytes; `None` at the end of what was asked for.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        if let Some(bytes) = self.unread.take() {
            self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return Ok(Some(bytes));
        }
        loop {
            let frame = tokio::time::timeout(IDLE_TIMEOUT, self.body.frame()).await;
            let cut = OriginError::Cut { at: self.at };
            let Ok(frame) = frame else { return Err(cut) };
            let Some(frame) = frame else {
                let whole = self.end.is_none_or(|end| self.at == end);
                return if whole { Ok(None) } else { Err(cut) };
            };
            let Ok(frame) = frame else { return Err(cut) };
            let Ok(bytes) = frame.into_data() else { continue };
            if bytes.is_empty() {
                continue;
            }
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.metrics.origin_bytes(self.kind, self.role, length);
            self.at = self.at.saturating_add(length);
            return Ok(Some(bytes));
        }
    }
}

/// Reads a 206: it must begin where it was asked to.
fn part(headers: &HeaderMap, wanted: &Read<'_>) -> Result<(u64, Option<u64>, Option<u64>), OriginError> {
    let value = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let (range, total) =
        value.and_then(parse_content_range).ok_or(OriginError::Nonsense("a 206 without a content-range"))?;
    let within = wanted.to.is_none_or(|to| range.end <= to);
    if !wanted.is_ranged() || range.start != wanted.from || !within {
        return Err(OriginError::Nonsense("another range than asked for"));
    }
    if content_length(headers).is_some_and(|length| length != range.end - range.start) {
        return Err(OriginError::Nonsense("a length that contradicts its content-range"));
    }
    // A part that ends early is cut there: the rest can be asked for.
    let end = match (wanted.to, total) {
        (Some(to), Some(total)) => to.min(total),
        (None, Some(total)) => total,
        (_, None) => range.end,
    };
    Ok((range.start, Some(end), total))
}

/// A `Content-Length` of one plain number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Anything but identity would be hashed, kept and served as what it is not.
fn check_encoding(headers: &HeaderMap) -> Result<(), OriginError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        if !name.is_empty() && name != "identity" {
            return Err(OriginError::Encoding(name.escape_default().take(32).collect()));
        }
    }
    Ok(())
}

/// `private` and `no-store` forbid a shared cache.
fn is_keepable(headers: &HeaderMap) -> bool {
    let words = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    !words
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .any(|word| word.starts_with("private") || word == "no-store")
}

/// An error answer, with a little of its words.
async fn refusal(response: Response<Incoming>) -> OriginError {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut words = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(bytes) = frame.into_data() else { continue };
            words.extend(bytes.into_iter().take(MAX_MESSAGE_BYTES - words.len()));
            if words.len() >= MAX_MESSAGE_BYTES {
                break;
            }
        }
    };
    // Words that do not come are no reason to wait for them.
    _ = tokio::time::timeout(Duration::from_secs(2), read).await;
    let message = String::from_utf8_lossy(&words).chars().filter(|c| !c.is_control()).collect();
    OriginError::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(from: u64, to: Option<u64>) -> Read<'static> {
        Read { url: "https://h/x?X-Amz-Signature=canary", headers: &[], from, to, etag: Some("\"e\"") }
    }

    fn answer(content_range: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_RANGE, HeaderValue::from_static(content_range))])
    }

    #[test]
    fn a_range_is_asked_for_exactly_and_only_where_needed() {
        let ask = |from, to| {
            let mut headers = HeaderMap::new();
            wanted(from, to)
                .ask(&mut headers)
                .map(|()| headers.get(header::RANGE).map(|v| v.to_str().unwrap().to_owned()))
        };
        assert_eq!(ask(0, None), Ok(None));
        assert_eq!(ask(5, None), Ok(Some("bytes=5-".to_owned())));
        assert_eq!(ask(0, Some(10)), Ok(Some("bytes=0-9".to_owned())));
        assert!(ask(5, Some(5)).is_err());
    }

    #[test]
    fn a_part_must_be_the_part_that_was_asked_for() {
        assert_eq!(part(&answer("bytes 5-9/10"), &wanted(5, None)), Ok((5, Some(10), Some(10))));
        assert_eq!(part(&answer("bytes 5-7/10"), &wanted(5, None)), Ok((5, Some(10), Some(10))));
        assert_eq!(part(&answer("bytes 5-7/10"), &wanted(5, Some(8))), Ok((5, Some(8), Some(10))));
        assert_eq!(part(&answer("bytes 5-9/10"), &wanted(5, Some(20))), Ok((5, Some(10), Some(10))));
        for bad in ["bytes 4-9/10", "bytes 6-9/10", "bytes 5-10/10", "bytes */10", "junk"] {
            assert!(part(&answer(bad), &wanted(5, None)).is_err(), "{bad}");
        }
        assert!(part(&answer("bytes 5-9/10"), &wanted(5, Some(8))).is_err());
        assert!(part(&answer("bytes 0-9/10"), &wanted(0, None)).is_err(), "nobody asked for a range");
        let mut lying = answer("bytes 5-9/10");
        lying.insert(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
        assert!(part(&lying, &wanted(5, None)).is_err());
    }

    #[test]
    fn any_encoding_but_identity_is_refused() {
        let encoded =
            |name| HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(name))]);
        assert_eq!(check_encoding(&encoded("gzip")), Err(OriginError::Encoding("gzip".to_owned())));
        assert_eq!(check_encoding(&encoded("identity")), Ok(()));
        assert_eq!(check_encoding(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn what_is_private_is_not_to_be_kept() {
        let said = |text| HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(text))]);
        assert!(is_keepable(&HeaderMap::new()) && is_keepable(&said("public, max-age=60")));
        assert!(!is_keepable(&said("max-age=0, Private")) && !is_keepable(&said("no-store")));
    }

    #[test]
    fn what_is_read_shows_no_credential() {
        assert!(!format!("{:?}", wanted(1, None)).contains("canary"));
    }
}
