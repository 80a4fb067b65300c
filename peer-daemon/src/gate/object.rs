//! A GET (or a ticketed HEAD) of one object: proof, source, headers.
//!
//! Headers go out at the first of: the object is here; the origin's own headers have been seen by a seed, so that its
//! refusal stays a status; ten seconds. A refusal is never a 401 and an outage never without a time to wait.

use std::sync::Arc;
use std::time::Duration;

use darner_chassis::telemetry;
use darner_lfs::range::{self, Ranged};
use darner_lfs::{ObjectKey, Oid};
use darner_origin::Body;
use darner_proto::v1;
use darner_store::Stored;
use darner_transfer::download::{Download, OpenError, Wanted, ended};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Gate;
use super::delivery::{Delivery, Span};
use super::relay::{AGAIN_AFTER_S, not_listed};
use crate::edge::Caller;
use crate::proof::{Held, Verdict};
use crate::route::carries_authorisation;
use crate::ticket::Ticket;
use crate::{credential, reply};

/// A client waits no longer than this for the head of an answer, whatever it takes (git-lfs gives up after 30 s).
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long an opening goes on after its client was told to come again.
const KEPT_OPENING: Duration = Duration::from_secs(30);

/// What a client asks for, whichever way it asks.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) key: ObjectKey,
    /// Known from a ticket only.
    pub(super) size: Option<u64>,
    pub(super) credential: v1::Credential,
    pub(super) head: bool,
}

/// An object being opened; lives on while the client already reads its headers.
pub(super) type Opening = BoxFuture<'static, Result<Download, OpenError>>;

/// Where the object is.
pub(super) enum Found {
    Stored(Stored),
    Growing(Download),
    Opening(Opening),
}

impl Ask {
    /// By its address and headers (modes A and C).
    pub(super) fn presented<B>(key: ObjectKey, url: &str, request: &Request<B>, now_ms: u64) -> Self {
        Self {
            key,
            size: None,
            credential: credential::presented(url, request.headers(), now_ms),
            head: false,
        }
    }

    /// By a ticket (mode B).
    pub(super) fn ticketed(ticket: &Ticket, head: bool) -> Self {
        Self { key: ticket.oid.into(), size: Some(ticket.size), credential: ticket.credential(), head }
    }

    fn wanted(&self) -> Wanted {
        Wanted { key: self.key, size: self.size, credential: self.credential.clone(), urgent: true }
    }

    /// The client is sent to the original address, where that opens without any header of ours.
    fn sent_to_origin(&self) -> Option<Response<Body>> {
        let url = &self.credential.url;
        (url.starts_with("https://") && carries_authorisation(url)).then(|| reply::elsewhere(url)).flatten()
    }
}

impl Gate {
    pub(super) async fn object(&self, caller: &Arc<Caller>, ask: Ask, headers: &HeaderMap) -> Response<Body> {
        if self.is_leaving()
            && let Some(elsewhere) = ask.sent_to_origin()
        {
            return elsewhere;
        }
        let range = wanted_range(headers, &ask.key);
        if range.is_some() && self.inner.tainted.take(caller.peer.ip(), &ask.key, self.clock.now_ms()) {
            return unsatisfiable(ask.size.or_else(|| self.store.record(&ask.key)?.layout.size()));
        }
        if let (true, Some(size)) = (ask.head, ask.size) {
            return head(Span::of(range, Some(size)), &ask.key).map(|()| reply::empty());
        }
        tracing::Span::current().record("oid", tracing::field::display(&ask.key));
        match self.find(&ask).await {
            Ok(found) => self.deliver(caller, &ask, found, range),
            Err(response) => *response,
        }
    }

    /// Decides from where the caller is answered; an error is the answer itself.
    async fn find(&self, ask: &Ask) -> Result<Found, Box<Response<Body>>> {
        let until = Instant::now() + HEAD_WITHIN;
        if let Some(found) = self.find_stored(ask, until).await? {
            return Ok(found);
        }
        // A Batch of this caller (or of another) is bringing it: seconds at most, and no second request to the seed.
        if let Ok(true) = tokio::time::timeout_at(until, self.downloads.expected(&ask.key)).await
            && let Some(found) = self.find_stored(ask, until).await?
        {
            return Ok(found);
        }
        if let Some(download) = self.downloads.join(&ask.key)
            && let Some(by) = self.proof.known(&ask.key, &download.partial().upstreams(), &ask.credential)
        {
            self.metrics.authorization(by);
            if let Some(joined) = telemetry::traceparent_of(download.span()) {
                telemetry::link(&tracing::Span::current(), &joined);
            }
            return Ok(Found::Growing(download));
        }
        let (downloads, wanted) = (self.downloads.clone(), ask.wanted());
        let (gate, credential) = (self.clone(), ask.credential.clone());
        let mut opening: Opening = async move {
            let download = downloads.open(wanted).await?;
            gate.remember_opened(&download, credential);
            Ok(download)
        }
        .boxed();
        match tokio::time::timeout_at(until, &mut opening).await {
            Ok(Ok(download)) => {
                self.metrics.authorization("seed");
                Ok(Found::Growing(download))
            }
            Ok(Err(error)) => Err(Box::new(self.unopened(ask, &error))),
            Err(_elapsed) if ask.size.is_some() => Ok(Found::Opening(opening)),
            Err(_elapsed) => {
                // Nothing can be promised without a length. The read goes on, so that the next try finds it under way.
                self.tasks.spawn("slow opening", async move {
                    drop(tokio::time::timeout(KEPT_OPENING, opening).await);
                });
                Err(Box::new(reply::wait(1, "the origin has not answered yet")))
            }
        }
    }

    /// A seed has proved this credential: ranges of the same transfer need not ask again. While the object is
    /// unconfirmed the proof is of whatever the origin serves, so it counts once the whole was hashed.
    fn remember_opened(&self, download: &Download, credential: v1::Credential) {
        let key = download.key();
        if download.opened().complete {
            return self.proof.remember(&key, &credential);
        }
        self.proof.remember_at_its_end(&credential, download.partial());
        let (proof, partial) = (Arc::clone(&self.proof), download.partial().clone());
        self.tasks.spawn("proof at the end", async move {
            // A growing object that is held keeps its room on the disk: let go of it at its end.
            drop(ended(&partial).await);
            proof.settle(&key, &credential);
        });
    }

    async fn find_stored(&self, ask: &Ask, until: Instant) -> Result<Option<Found>, Box<Response<Body>>> {
        let Some(stored) = self.store.get(&ask.key).await else { return Ok(None) };
        let held = Held::Stored(stored.clone());
        let decided = async {
            let span = tracing::info_span!("authorise", verdict = tracing::field::Empty);
            let verdict = self.proof.prove(&held, &ask.credential).instrument(span.clone()).await;
            match &verdict {
                Verdict::Proved(by) => span.record("verdict", by),
                Verdict::Refused(_) => span.record("verdict", "refused"),
                Verdict::Unprovable => span.record("verdict", "unprovable"),
            };
            match verdict {
                Verdict::Proved(_) => Ok(Some(Found::Stored(stored))),
                Verdict::Refused(refusal) => Err(Box::new(self.refused(ask, &refusal))),
                Verdict::Unprovable => Err(Box::new(self.origins_answer(ask).await)),
            }
        };
        let decided = tokio::time::timeout_at(until, decided).await;
        decided.unwrap_or_else(|_elapsed| Err(Box::new(reply::wait(2, "the origin has not answered yet"))))
    }

    /// What only the origin can decide is answered by the origin.
    async fn origins_answer(&self, ask: &Ask) -> Response<Body> {
        match self.read_through(&ask.credential).await {
            Ok(response) => response,
            Err(error) => super::relay::content_refusal(&error),
        }
    }

    fn deliver(&self, caller: &Caller, ask: &Ask, found: Found, range: Option<String>) -> Response<Body> {
        let size = match &found {
            Found::Stored(stored) => Some(stored.size()),
            Found::Growing(download) => download.partial().layout().size().or(ask.size),
            Found::Opening(_) => ask.size,
        };
        let span = Span::of(range, size);
        let is_whole_answer = matches!(span, Span::Unsatisfiable(_));
        let response = head(span.clone(), &ask.key);
        if is_whole_answer {
            return response.map(|()| reply::empty());
        }
        let delivery = Delivery::new(self.clone(), caller.peer.ip(), ask, size);
        response.map(|()| delivery.body(found, &span))
    }

    /// The answer to an object that no seed opened.
    fn unopened(&self, ask: &Ask, error: &OpenError) -> Response<Body> {
        match error {
            OpenError::Refused(refusal) => self.refused(ask, refusal),
            OpenError::NoSeed(_) | OpenError::Store(_) => {
                tracing::warn!(oid = %ask.key, %error, "an object cannot be opened");
                ask.sent_to_origin().unwrap_or_else(|| reply::wait(AGAIN_AFTER_S, &error.to_string()))
            }
        }
    }

    /// The origin's refusal of this caller's credential, told to this caller.
    fn refused(&self, ask: &Ask, refusal: &v1::Refusal) -> Response<Body> {
        tracing::debug!(oid = %ask.key, status = refusal.status, "a credential is refused");
        self.stories.tell(ask.key, self.clock.now_ms(), "", format!("refused a caller: {}", refusal.message));
        match u16::try_from(refusal.status).ok().and_then(|status| StatusCode::from_u16(status).ok()) {
            Some(StatusCode::UNAUTHORIZED) => reply::words(StatusCode::FORBIDDEN, &refusal.message),
            Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) | None => {
                reply::wait(refusal.retry_after_s.max(AGAIN_AFTER_S.min(2)), &refusal.message)
            }
            Some(status) if status.is_client_error() => reply::words(status, &refusal.message),
            Some(_) => reply::wait(refusal.retry_after_s.max(2), &refusal.message),
        }
    }

    /// The upstream is not on the list: the client is sent there itself where it can be, else told what to set.
    pub(super) fn not_listed(&self, ask: &Ask) -> Response<Body> {
        self.metrics.authorization("not listed");
        ask.sent_to_origin().unwrap_or_else(|| not_listed(&ask.credential.url))
    }
}

/// The `Range` of a request, unless its `If-Range` speaks of something else.
fn wanted_range(headers: &HeaderMap, key: &ObjectKey) -> Option<String> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let stale =
        headers.get(header::IF_RANGE).is_some_and(|shown| key.oid().is_none_or(|oid| *shown != etag(&oid)));
    (!stale).then(|| range.to_owned())
}

fn etag(oid: &Oid) -> String {
    format!("\"{oid}\"")
}

fn unsatisfiable(size: Option<u64>) -> Response<Body> {
    let mut response = Response::new(reply::empty());
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let text = size.map_or_else(|| "bytes */*".to_owned(), |size| format!("bytes */{size}"));
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// Status and headers of an answer.
fn head(span: Span, key: &ObjectKey) -> Response<()> {
    let mut response = Response::new(());
    let (status, length, content_range) = match span {
        Span::Whole(size) => (StatusCode::OK, size, None),
        Span::Part(part, size) => {
            let text = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
            (StatusCode::PARTIAL_CONTENT, Some(part.end.saturating_sub(part.start)), Some(text))
        }
        Span::Unsatisfiable(size) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(0), Some(format!("bytes */{size}")))
        }
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Answers belong to the credential that was shown.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let texts = [(header::CONTENT_RANGE, content_range), (header::ETAG, key.oid().map(|oid| etag(&oid)))];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

impl Span {
    /// What a range means for an object. Without a length a range cannot be answered, so the whole is.
    pub(super) fn of(range: Option<String>, size: Option<u64>) -> Self {
        match (range, size) {
            (Some(range), Some(size)) => match range::parse(&range, size) {
                Ranged::Whole => Self::Whole(Some(size)),
                Ranged::Part(part) => Self::Part(part, size),
                Ranged::Unsatisfiable => Self::Unsatisfiable(size),
            },
            (_, size) => Self::Whole(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_of(range: Option<&str>, size: Option<u64>) -> (u16, Option<String>, Option<String>) {
        let response = head(Span::of(range.map(str::to_owned), size), &Oid::EMPTY.into());
        let text =
            |name| response.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), text(header::CONTENT_LENGTH), text(header::CONTENT_RANGE))
    }

    #[test]
    fn ranges_are_answered_exactly() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(headers_of(None, Some(10)), (200, some("10"), None));
        assert_eq!(headers_of(Some("bytes=2-4"), Some(10)), (206, some("3"), some("bytes 2-4/10")));
        assert_eq!(headers_of(Some("bytes=2-"), Some(10)), (206, some("8"), some("bytes 2-9/10")));
        assert_eq!(headers_of(Some("bytes=-3"), Some(10)), (206, some("3"), some("bytes 7-9/10")));
        assert_eq!(headers_of(Some("bytes=10-"), Some(10)), (416, some("0"), some("bytes */10")));
        assert_eq!(headers_of(Some("bytes=0-1,3-4"), Some(10)), (200, some("10"), None));
        assert_eq!(headers_of(Some("bytes=2-4"), None), (200, None, None));
    }

    #[test]
    fn a_range_of_another_version_is_not_answered() {
        let key = ObjectKey::from(Oid::EMPTY);
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=5-"));
        assert!(wanted_range(&headers, &key).is_some());
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
        assert!(wanted_range(&headers, &key).is_none());
        headers.insert(header::IF_RANGE, etag(&Oid::EMPTY).parse().unwrap());
        assert!(wanted_range(&headers, &key).is_some());
    }

    #[test]
    fn only_an_https_address_that_opens_by_itself_is_handed_out() {
        let ask = |url: &str| Ask {
            key: Oid::EMPTY.into(),
            size: None,
            credential: v1::Credential { url: url.to_owned(), ..Default::default() },
            head: false,
        };
        assert_eq!(ask("https://h/x?sig=1").sent_to_origin().unwrap().status(), 307);
        assert!(ask("http://h/x?sig=1").sent_to_origin().is_none());
        assert!(ask("https://h/x").sent_to_origin().is_none());
    }
}
