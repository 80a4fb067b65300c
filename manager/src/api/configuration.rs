//! The pushed configuration.
//!
//! Owns: that a change names the version it was made from (`If-Match`), so that of two operators one is told. What a
//! configuration may say is the nodes' vocabulary, which knows no key that widens what a node's own file allows.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use darner_proto::wanted::Wanted;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::access::{Admin, Viewer};
use crate::catalog::{Configuration, JsonText};
use crate::control::Control;
use crate::problem::Problem;

/// The configuration in force; its `ETag` is what a change must name.
#[utoipa::path(
    get, path = "/api/v1/config", tag = "config", security(("session" = []), ("token" = [])),
    responses((status = 200, body = Configuration), (status = 401, body = Problem))
)]
pub(super) async fn current(State(control): State<Control>, _caller: Viewer) -> Result<Response, Problem> {
    Ok(tagged(control.catalog().configuration().await?))
}

/// Put a configuration in force and push it to the nodes. Keys: `upstreams`, `public` (lists, of which a node keeps
/// those it has), `fallback` (`origin` or `fail`), `storage.budget`, `prefetchOnBatch`, `serve` (false sends git to
/// its origin).
#[utoipa::path(
    put, path = "/api/v1/config", tag = "config", request_body = Object,
    params(("If-Match" = String, Header, description = "`ETag` of the configuration this one was made from")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, body = Configuration), (status = 403, body = Problem), (status = 412, body = Problem),
        (status = 422, body = Problem), (status = 428, body = Problem)
    )
)]
pub(super) async fn change(
    State(control): State<Control>,
    Admin(caller): Admin,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let expected = expected(&headers)?;
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    Wanted::from_value(&value).map_err(|mistakes| {
        Problem::mistakes("the configuration is not one a node understands", mistakes.0)
    })?;
    let changed = control.configure(expected, &JsonText::of(&value), &caller.user).await?;
    let changed = changed.ok_or_else(|| {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "somebody changed the configuration meanwhile; read it again",
        )
    })?;
    control.audit(&caller, "config.change", &changed.version.to_string()).await;
    Ok(tagged(changed))
}

fn expected(headers: &HeaderMap) -> Result<i64, Problem> {
    let named = headers.get(header::IF_MATCH).ok_or_else(|| {
        Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "name the version you changed in `If-Match` (its `ETag`)",
        )
    })?;
    let version = named.to_str().ok().and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    version.ok_or_else(|| Problem::bad_request("`If-Match` must be an `ETag` of /api/v1/config, as \"7\""))
}

fn tagged(configuration: Configuration) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", configuration.version));
    let mut response = Json(configuration).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Option<&str>) -> Result<i64, u16> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::IF_MATCH, value.parse().unwrap());
        }
        expected(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn a_change_names_the_version_it_was_made_from() {
        assert_eq!(read(Some("\"7\"")), Ok(7));
        assert_eq!(read(None), Err(428));
        for wrong in ["7", "*", "W/\"7\"", "\"x\"", "\"", "\"1\", \"2\""] {
            assert_eq!(read(Some(wrong)), Err(400), "{wrong}");
        }
    }
}
