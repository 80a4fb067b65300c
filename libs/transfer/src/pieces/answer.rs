//! One request of the piece link: route, check the grant, answer a range.

use bytes::Bytes;
use darner_chassis::identity::Peer;
use darner_lfs::{ObjectKey, range};
use darner_proto::{grant, headers, v1};
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use super::reading::opens_growing;
use super::{AnswerBody, PATIENCE, PieceServer};
use crate::link::NODES;
use crate::tail::{Reader, Tail};
use crate::trust::Denied;

impl PieceServer {
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path().to_owned();
        if path == "/v1/bundle" && request.method() == Method::POST {
            return self.bundle(peer, request).await;
        }
        let Some(rest) = path.strip_prefix("/v1/objects/") else {
            return words(StatusCode::NOT_FOUND, "no such path on the piece port");
        };
        let (name, watching) = rest.strip_suffix("/watch").map_or((rest, false), |name| (name, true));
        let Ok(key) = name.parse::<ObjectKey>() else {
            return words(StatusCode::BAD_REQUEST, "no object key");
        };
        if request.method() != Method::GET {
            return words(StatusCode::METHOD_NOT_ALLOWED, "GET only");
        }
        let grant = match self.admit(peer, &key, request.headers()) {
            Ok(grant) => grant,
            Err(denied) => {
                tracing::debug!(%key, %denied, "piece request refused");
                return words(StatusCode::FORBIDDEN, &denied.to_string());
            }
        };
        if watching {
            let span = tracing::info_span!("serve pieces", oid = %key);
            darner_chassis::telemetry::set_parent(&span, request.headers());
            return self.watch(key, &grant, span).await;
        }
        self.range(key, &grant, request.headers()).await
    }

    fn admit(&self, peer: &Peer, key: &ObjectKey, headers: &HeaderMap) -> Result<v1::Grant, Denied> {
        let taker =
            headers.get(headers::NODE).and_then(|value| value.to_str().ok()).ok_or(Denied::Missing)?;
        peer.check_named(NODES, taker).map_err(|_mismatch| Denied::Other)?;
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .ok_or(Denied::Missing)?;
        let (scheme, text) = shown.split_once(' ').ok_or(Denied::Missing)?;
        if scheme != headers::GRANT_SCHEME {
            return Err(Denied::Missing);
        }
        let grant = grant::from_header(text).ok_or(Denied::Missing)?;
        self.trust.grant(&grant, key, taker, self.clock.now_ms())?;
        Ok(grant)
    }

    async fn range(&self, key: ObjectKey, grant: &v1::Grant, headers: &HeaderMap) -> Response<AnswerBody> {
        let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((start, end)) = range_of(asked) else {
            return words(StatusCode::BAD_REQUEST, "the piece link asks with `Range: bytes=a-b`");
        };
        if let Some(stored) = self.store.get(&key).await {
            if !self.readings.opens(grant, &stored) {
                return words(StatusCode::NOT_FOUND, OTHER_READ);
            }
            let size = stored.size();
            if start >= size {
                return words(StatusCode::RANGE_NOT_SATISFIABLE, "beyond the end");
            }
            let end = end.min(size);
            return partial_content(Tail::stored(stored, start, end), start, Some((end, size)));
        }
        let Some(partial) = self.store.live_partial(&key) else {
            return words(StatusCode::NOT_FOUND, "not here");
        };
        if !opens_growing(grant, &partial) {
            return words(StatusCode::NOT_FOUND, OTHER_READ);
        }
        let known = partial.layout().size().map(|size| (end.min(size), size));
        if known.is_some_and(|(end, _)| start >= end) {
            return words(StatusCode::RANGE_NOT_SATISFIABLE, "beyond the end");
        }
        partial_content(Tail::growing(partial, Reader::Peer, start, Some(end), PATIENCE), start, known)
    }
}

/// The grant was given for another read than the one this copy is of.
pub(super) const OTHER_READ: &str = "not here of that read";

/// `bytes=a-b`, both given: (a, b + 1).
fn range_of(header: &str) -> Option<(u64, u64)> {
    match range::parse(header, u64::MAX) {
        range::Ranged::Part(range) => Some((range.start, range.end)),
        range::Ranged::Whole | range::Ranged::Unsatisfiable => None,
    }
}

fn partial_content(tail: Tail, start: u64, known: Option<(u64, u64)>) -> Response<AnswerBody> {
    let body = StreamBody::new(tail.into_stream().map_ok(Frame::data)).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = answer.headers_mut();
    if let Some((end, size)) = known {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end.saturating_sub(start)));
        let told = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
        if let Ok(told) = HeaderValue::from_str(&told) {
            headers.insert(header::CONTENT_RANGE, told);
        }
    }
    answer
}

pub(super) fn words(status: StatusCode, text: &str) -> Response<AnswerBody> {
    let body = Full::new(Bytes::from(format!("{text}\n"))).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
