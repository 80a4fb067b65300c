//! Streaming relay of what is not ours to answer, and the words for an upstream that does not.

use darner_chassis::metrics::{Kind, Source};
use darner_origin::{Blame, Body, BoxError, OriginError};
use darner_proto::v1;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Gate;
use crate::reply;

/// After which a client may try again where nothing better is known.
pub(super) const AGAIN_AFTER_S: u32 = 5;

impl Gate {
    /// Passes a request on and its answer back, both as streams.
    pub(super) async fn relay(&self, url: &str, request: Request<Incoming>, kind: Kind) -> Response<Body> {
        let is_content = matches!(kind, Kind::Content | Kind::Probe);
        let body = request.into_parts();
        let (parts, body) = (body.0, body.1.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync());
        let Some(request) = readdressed(parts, body, url) else {
            return reply::words(StatusCode::BAD_REQUEST, "the address cannot be read");
        };
        match self.origin.exchange(request, kind).await {
            Ok(response) if is_content => self.without_challenge(response),
            Ok(response) => response,
            Err(error) if is_content => content_refusal(&error),
            Err(error) => refusal(&error),
        }
    }

    /// The origin's own answer to a credential, where nothing here can stand for it.
    pub(super) async fn read_through(
        &self,
        credential: &v1::Credential,
    ) -> Result<Response<Body>, OriginError> {
        let mut parts = Request::new(()).into_parts().0;
        for shown in &credential.headers {
            if let (Ok(name), Ok(value)) = (
                http::HeaderName::try_from(&shown.name),
                http::HeaderValue::from_maybe_shared(shown.value.clone()),
            ) {
                parts.headers.append(name, value);
            }
        }
        let request = readdressed(parts, reply::empty(), &credential.url);
        let request = request.ok_or(OriginError::Malformed("it names no host"))?;
        Ok(self.without_challenge(self.origin.exchange(request, Kind::Content).await?))
    }

    /// An answer to an object GET: never a challenge for a password, never a 429 without its time.
    fn without_challenge(&self, mut response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::UNAUTHORIZED {
            return reply::words(
                StatusCode::FORBIDDEN,
                "the origin wants another credential for this object",
            );
        }
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(AGAIN_AFTER_S.into());
        }
        let metrics = self.metrics.clone();
        response.map(|body| {
            body.map_frame(move |frame| {
                let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                metrics.served(Source::Origin, u64::try_from(bytes).unwrap_or(u64::MAX));
                frame
            })
            .boxed_unsync()
        })
    }
}

/// The same request for an upstream's own address; `None` where that is none.
pub(super) fn readdressed(mut parts: http::request::Parts, body: Body, url: &str) -> Option<Request<Body>> {
    let parsed = url::Url::parse(url).ok()?;
    // The text of the address is kept byte for byte: a signature may cover it.
    let after = url.split_once("://")?.1;
    let path = after.find(['/', '?']).map_or("/", |at| after.get(at..).unwrap_or("/"));
    let path = path.split('#').next().unwrap_or(path);
    let path: PathAndQuery = path.parse().ok()?;
    let authority = match (parsed.username(), parsed.password()) {
        ("", None) => authority(&parsed)?,
        (user, None) => format!("{user}@{}", authority(&parsed)?),
        (user, Some(password)) => format!("{user}:{password}@{}", authority(&parsed)?),
    };
    parts.uri =
        Uri::builder().scheme(parsed.scheme()).authority(authority).path_and_query(path).build().ok()?;
    Some(Request::from_parts(parts, body))
}

fn authority(url: &url::Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// What a client hears when an upstream cannot be asked.
pub(super) fn refusal(error: &OriginError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return reply::wait(error.retry_after_s().unwrap_or(AGAIN_AFTER_S), &error.to_string());
    }
    reply::words(status, &error.to_string())
}

/// The same for an object GET or a Batch: an outage is something to wait for, not to fail on.
pub(super) fn content_refusal(error: &OriginError) -> Response<Body> {
    if error.blame() == Blame::Host {
        return reply::wait(error.retry_after_s().unwrap_or(AGAIN_AFTER_S), &error.to_string());
    }
    refusal(error)
}

/// The words for an upstream that is not on the list.
pub(super) fn not_listed(url: &str) -> Response<Body> {
    let site =
        url::Url::parse(url).ok().and_then(|url| Some(format!("{}://{}", url.scheme(), authority(&url)?)));
    let upstream = site.unwrap_or_else(|| "this address".to_owned());
    reply::words(StatusCode::FORBIDDEN, &OriginError::NotAllowed { upstream }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(url: &str) -> String {
        let parts = Request::new(()).into_parts().0;
        readdressed(parts, reply::empty(), url).unwrap().uri().to_string()
    }

    #[test]
    fn the_address_is_kept_byte_for_byte() {
        for url in [
            "https://h/a//b%2Fc/%7e?x=%20&y=+&sig=a%2Bb/c=",
            "http://h:8080/?q",
            "https://[2001:db8::1]:8443/a",
            "https://u:p@h/a",
        ] {
            assert_eq!(to(url), url);
        }
        assert_eq!(to("https://h"), "https://h/");
    }

    #[test]
    fn an_outage_is_waited_for_and_a_refusal_is_not() {
        let gone = OriginError::Unreachable { host: "h".to_owned(), words: "x".to_owned() };
        let response = content_refusal(&gone);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let refused = OriginError::NotAllowed { upstream: "https://h:443".to_owned() };
        assert_eq!(content_refusal(&refused).status(), StatusCode::FORBIDDEN);
    }
}
