//! Answers the daemon makes itself: short JSON in the words git-lfs shows to its user.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use darner_chassis::tasks::Guard;
use darner_lfs::batch::MEDIA_TYPE;
use darner_origin::{Body, BoxError};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

/// A body that is here already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A status and its reason, as `{"message": ...}`.
pub fn words(status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// The same, and the connection ends.
pub fn closing(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = words(status, message);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 429 with `Retry-After`: git-lfs waits and comes again. Without that header some of its versions panic.
pub fn wait(seconds: u32, message: &str) -> Response<Body> {
    let mut response = words(StatusCode::TOO_MANY_REQUESTS, message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// 307 to another address, without a body; `None` where the address makes no header.
pub fn elsewhere(url: &str) -> Option<Response<Body>> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(url).ok()?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// The same body; the guard is held until it ends.
pub fn guarded(body: Body, guard: Guard) -> Body {
    Guarded { body, _guard: guard }.boxed_unsync()
}

struct Guarded {
    body: Body,
    _guard: Guard,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_always_says_when_to_come_again() {
        for seconds in [0, 1, 30] {
            let response = wait(seconds, "busy");
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert!(response.headers()[header::RETRY_AFTER].to_str().unwrap().parse::<u32>().unwrap() >= 1);
        }
    }

    #[test]
    fn an_address_with_a_line_end_is_no_redirect() {
        assert!(elsewhere("https://h/\r\nX: y").is_none());
        assert_eq!(elsewhere("https://h/x").unwrap().headers()[header::LOCATION], "https://h/x");
    }
}
