//! A streaming relay: Batch, locks, verify, uploads, git's own smart HTTP.
//!
//! Owns: what of a request goes on and what of an answer comes back. Never: following a redirect, reading a body,
//! answering in the upstream's place. A 429 or 503 is relayed as it is and opens the host's circuit for the others.

use bytes::Bytes;
use darner_chassis::metrics::{Kind, Metrics, Role};
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::allow::AllowList;
use crate::error::OriginError;
use crate::follow::trust_of;
use crate::headers::{check_framing, strip_hop_by_hop};
use crate::send::{Body, BoxError, Sender, asks_to_wait};
use crate::target::Target;

/// Relays one request whose address is absolute.
pub(crate) async fn relay(
    list: &AllowList,
    sender: &Sender,
    request: Request<Body>,
    kind: Kind,
) -> Result<Response<Body>, OriginError> {
    let target = list.upgraded(Target::parse(&request.uri().to_string())?);
    let trust = trust_of(list, &target.site)?;
    let (mut parts, body) = request.into_parts();
    check_framing(&parts.headers)?;
    strip_hop_by_hop(&mut parts.headers);
    // The address says whom we speak to, whatever the client's Host said.
    parts.headers.remove(header::HOST);
    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(basic) =
        target.userinfo.as_ref().filter(|_| !parts.headers.contains_key(header::AUTHORIZATION))
    {
        let value = HeaderValue::from_str(basic).map_err(|_why: header::InvalidHeaderValue| {
            OriginError::Malformed("its userinfo makes no header")
        })?;
        parts.headers.insert(header::AUTHORIZATION, value);
    }
    parts.uri = target.uri()?;
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    let count = counter(sender.metrics.clone(), kind, sender.role);
    let body =
        if kind == Kind::Upload && !body.is_end_stream() { counted(body, count.clone()) } else { body };
    let response = sender.send(&target.site, trust, Request::from_parts(parts, body), kind).await?;
    let (mut parts, body) = response.into_parts();
    if asks_to_wait(parts.status) {
        let wait_s = sender.trip(&target.site, &parts.headers);
        parts.headers.entry(header::RETRY_AFTER).or_insert_with(|| HeaderValue::from(wait_s));
    }
    strip_hop_by_hop(&mut parts.headers);
    let body = body.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync();
    let body = if kind == Kind::Upload { body } else { counted(body, count) };
    Ok(Response::from_parts(parts, body))
}

fn counter(metrics: Metrics, kind: Kind, role: Role) -> impl Fn(&Bytes) + Clone + Send + 'static {
    move |bytes| metrics.origin_bytes(kind, role, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// The same body, its bytes counted as they pass. Its length stays known, so that its framing stays the same.
fn counted(body: Body, count: impl Fn(&Bytes) + Send + 'static) -> Body {
    Counted { body, count }.boxed_unsync()
}

struct Counted<F> {
    body: Body,
    count: F,
}

impl<F: Fn(&Bytes) + Send + 'static> http_body::Body for Counted<F>
where
    Self: Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            (self.count)(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl<F> Unpin for Counted<F> {}
