//! The Batch relay of mode B.
//!
//! The client's body is read whole before anything is answered (a proxy that does not loses the end of some answers),
//! the origin's answer as well; both are bounded. The client's own credential goes along and nothing else; what the
//! origin refuses is passed on as it came. An outage becomes 429 with a time to wait, because a 5xx is fatal to
//! git-lfs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use darner_chassis::metrics::Kind;
use darner_chassis::telemetry;
use darner_lfs::Oid;
use darner_lfs::batch::request::Request as Batch;
use darner_lfs::batch::{Answer, Answered, Asked, Bounds, MEDIA_TYPE, Operation};
use darner_origin::{Body, OriginError, provenance};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tracing::Instrument as _;

use super::Gate;
use super::grant::Granting;
use super::relay::{AGAIN_AFTER_S, content_refusal, readdressed};
use crate::edge::Caller;
use crate::reply;

/// Pauses before our own second and third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// All tries together, with the bodies of their answers: shorter than one try waits for a head, so that a silent origin
/// is asked once, and shorter than the 30 s after which git-lfs gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of an answer: 20,000 objects with long signed addresses.
const ANSWER_BYTES: usize = 64 << 20;

/// An origin's answer, read whole.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Gate {
    pub(super) async fn batch(
        &self,
        caller: &Arc<Caller>,
        url: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let bounds = Bounds::default();
        let (parts, body) = request.into_parts();
        let Some(body) = whole(body, bounds.bytes).await else {
            return reply::closing(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the Batch is too long, or its body broke off",
            );
        };
        let batch = match Batch::parse(&body, &bounds) {
            Ok(batch) => batch,
            Err(error) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
                return reply::words(status, &error.to_string());
            }
        };
        let relayed = match batch.has_bad() {
            false => body,
            true if batch.good().next().is_none() => {
                return answered(HeaderMap::new(), &with_bad(Answer::default(), &batch));
            }
            true => match batch.without_bad(&body) {
                Ok(relayed) => relayed.into(),
                Err(error) => return reply::words(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            },
        };
        match self.ask(&parts, &relayed, url).await {
            Ok(heard) => self.granted(caller, url, &parts, (&batch, heard)),
            Err(error) => content_refusal(&error),
        }
    }

    /// A Batch through `http.proxy` (mode C): the client rewrites addresses itself, so nothing is changed here.
    pub(super) async fn proxied_batch(&self, url: &str, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Some(body) = whole(body, Bounds::default().bytes).await else {
            return reply::closing(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the Batch is too long, or its body broke off",
            );
        };
        match self.ask(&parts, &body, url).await {
            Ok(heard) => heard.passed_on(),
            Err(error) => content_refusal(&error),
        }
    }

    /// Asks the origin within the client's patience.
    async fn ask(&self, parts: &http::request::Parts, body: &Bytes, url: &str) -> Result<Heard, OriginError> {
        let span = tracing::info_span!("batch", otel.kind = "client", status = tracing::field::Empty);
        let heard = in_time(url, self.ask_again(parts, body, url)).instrument(span.clone()).await;
        if let Ok(heard) = &heard {
            span.record("status", heard.status.as_u16());
        }
        heard
    }

    /// Asks the origin, again after a passing failure.
    async fn ask_again(
        &self,
        parts: &http::request::Parts,
        body: &Bytes,
        url: &str,
    ) -> Result<Heard, OriginError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let heard = self.ask_once(parts.clone(), body.clone(), url).await;
            let passing = match &heard {
                Ok(heard) => matches!(heard.status.as_u16(), 500 | 502 | 504),
                Err(error) => error.is_passing() && error.retry_after_s().is_none(),
            };
            match pauses.next() {
                Some(pause) if passing => tokio::time::sleep(pause).await,
                _ => return heard,
            }
        }
    }

    async fn ask_once(
        &self,
        mut parts: http::request::Parts,
        body: Bytes,
        url: &str,
    ) -> Result<Heard, OriginError> {
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.remove(header::EXPECT);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let request =
            readdressed(parts, reply::full(body), url).ok_or(OriginError::Malformed("it names no host"))?;
        let (parts, body) = self.origin.exchange(request, Kind::Batch).await?.into_parts();
        let body = whole(body, ANSWER_BYTES).await.ok_or(OriginError::Cut { at: 0 })?;
        Ok(Heard { status: parts.status, headers: parts.headers, body })
    }

    fn granted(
        &self,
        caller: &Arc<Caller>,
        url: &str,
        parts: &http::request::Parts,
        (batch, heard): (&Batch, Heard),
    ) -> Response<Body> {
        let is_plain = heard.headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        if heard.status != StatusCode::OK || !is_plain {
            return heard.passed_on();
        }
        let untouched = batch.operation == Operation::Upload && !batch.has_bad();
        let Some(mut answer) = Answer::parse(&heard.body, &Bounds::default()).ok().filter(|_| !untouched)
        else {
            return heard.passed_on();
        };
        if batch.operation == Operation::Download && !self.is_leaving() {
            let authorization =
                parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let asked: HashMap<Oid, u64> = batch.good().collect();
            let upstream = provenance(url);
            let granting = Granting {
                endpoint: url,
                upstream: &upstream,
                base: &base(caller, &parts.headers),
                authorization,
                asked: &asked,
                trace: telemetry::current_traceparent(),
                now_ms: self.clock.now_ms(),
            };
            let tickets = granting.rewrite(&mut answer, &self.tickets, |href| self.is_listed(href));
            self.prefetch(caller, authorization, &tickets);
        }
        answered(heard.headers, &with_bad(answer, batch))
    }
}

impl Heard {
    /// As it came; only an outage is put into other words.
    fn passed_on(self) -> Response<Body> {
        let Self { status, headers, body } = self;
        let waits = headers.get(header::RETRY_AFTER).cloned();
        if is_outage(status) || status == StatusCode::TOO_MANY_REQUESTS && waits.is_none() {
            let mut response =
                reply::wait(AGAIN_AFTER_S, &format!("the origin answered {status}; it is asked again"));
            if let Some(waits) = waits {
                response.headers_mut().insert(header::RETRY_AFTER, waits);
            }
            return response;
        }
        let mut response = Response::new(reply::full(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

async fn in_time(
    url: &str,
    asking: impl Future<Output = Result<Heard, OriginError>>,
) -> Result<Heard, OriginError> {
    let heard = tokio::time::timeout(ANSWER_WITHIN, asking).await;
    heard.unwrap_or_else(|_elapsed| {
        let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let words = "no answer in time".to_owned();
        Err(OriginError::Unreachable { host: host.unwrap_or_default(), words })
    })
}

/// What may be over in a while. The others of the 5xx mean "for good" and reach the user as they are.
fn is_outage(status: StatusCode) -> bool {
    status.is_server_error() && !matches!(status.as_u16(), 501 | 505 | 507 | 509 | 511)
}

/// A body read to its end; `None` where it breaks off or is longer than `limit`.
async fn whole<B: http_body::Body<Data = Bytes> + Unpin>(mut body: B, limit: usize) -> Option<Bytes> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        if read.len().saturating_add(bytes.len()) > limit {
            return None;
        }
        read.extend_from_slice(&bytes);
    }
    Some(read.freeze())
}

/// The objects that were never well-formed, each with its 422, behind what the origin said of the others.
fn with_bad(mut answer: Answer, batch: &Batch) -> Answer {
    let bad = batch.objects.iter().filter_map(|asked| match asked {
        Asked::Bad { oid, size, .. } => Some(Answered::refused(oid.clone(), (*size).max(0), asked.error()?)),
        Asked::Good { .. } => None,
    });
    answer.objects.extend(bad);
    answer
}

fn answered(mut headers: HeaderMap, answer: &Answer) -> Response<Body> {
    for gone in [header::CONTENT_LENGTH, header::ETAG, header::CONTENT_ENCODING] {
        headers.remove(gone);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let mut response = Response::new(reply::full(answer.to_json()));
    *response.headers_mut() = headers;
    response
}

/// `<scheme>://<host>` by which the client reached us. A `Host` that is none is not repeated to anybody.
fn base(caller: &Caller, headers: &HeaderMap) -> String {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let readable = |host: &&str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
    };
    let host = named.filter(readable).map_or_else(|| caller.local.to_string(), str::to_owned);
    format!("{}://{host}", caller.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_origin_becomes_a_time_to_wait_before_git_lfs_gives_up() {
        let begun = tokio::time::Instant::now();
        let Err(error) = in_time("https://h/o/r", std::future::pending()).await else { panic!() };
        assert!(begun.elapsed() < Duration::from_secs(30));
        let response = content_refusal(&error);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
