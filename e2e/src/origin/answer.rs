//! Bodies and small answers, said once for all parts of the origin.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A body whose error breaks the connection.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// What every part answers with.
pub type Answer = Response<Body>;

/// The content type of LFS.
pub const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// The largest JSON body taken in.
const LARGEST_JSON: usize = 32 * 1024 * 1024;

/// A body that is here already.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer with a body that is here already.
pub fn plain(status: StatusCode, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(content));
    *answer.status_mut() = status;
    answer
}

/// A JSON answer of the given content type.
pub fn json(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Answer {
    let mut answer = plain(status, serde_json::to_vec(value).unwrap_or_default());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A refusal in the shape of LFS.
pub fn refusal(status: StatusCode, message: &str) -> Answer {
    json(status, LFS_JSON, &serde_json::json!({ "message": message }))
}

/// The whole body, up to a bound.
pub async fn whole(body: Incoming) -> Result<Bytes, Answer> {
    let read = Limited::new(body, LARGEST_JSON).collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .map_err(|error| refusal(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()))
}

/// The whole body as JSON.
pub async fn parsed<T: DeserializeOwned>(body: Incoming) -> Result<T, Answer> {
    let bytes = whole(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| refusal(StatusCode::BAD_REQUEST, &error.to_string()))
}
