//! Signing in and out.
//!
//! Owns: the session cookie. It is a random text that scripts cannot read, sent back only with requests that begin
//! on our own page or a link; the catalog knows its hash. Never: tells whether the name or the password was wrong.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::ToSchema;

use crate::access::password::{LONGEST, PasswordError};
use crate::access::{COOKIE, Via, Viewer, origin, secret};
use crate::catalog::{Change, Role};
use crate::control::Control;
use crate::problem::Problem;

/// How long a session lasts: a working day.
const LASTS_S: i64 = 12 * 3600;
/// Longest name that is looked at.
const LONGEST_NAME: usize = 128;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The account.
    user: String,
    /// Its password.
    password: String,
}

/// Who one is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// The account.
    user: String,
    /// What this caller may do.
    role: Role,
    /// `session` or `token`.
    via: &'static str,
    /// When the session ends, milliseconds since the Unix epoch; null for a token.
    expires_ms: Option<i64>,
}

/// Sign in; the answer sets the session cookie.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session", request_body = Credentials,
    responses((status = 200, body = Session), (status = 401, body = Problem), (status = 429, body = Problem))
)]
pub(super) async fn sign_in(
    State(control): State<Control>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Problem> {
    // Another page must not sign its visitor in under an account of its choice.
    origin::check(&Method::POST, &headers)?;
    let now_ms = control.now_ms();
    let name = credentials.user.clone();
    control.attempts().allowed(address.ip(), &name, now_ms).map_err(|seconds| {
        Problem::later(StatusCode::TOO_MANY_REQUESTS, "too many failed attempts to sign in", seconds)
    })?;
    let Some(role) = known(&control, credentials).await? else {
        control.attempts().failed(address.ip(), &name, now_ms);
        audit(&control, &name, "refused").await;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the name or the password is wrong"));
    };
    let cookie = secret::new(control.random());
    let expires_ms = now_ms + LASTS_S * 1000;
    control.catalog().add_session(&secret::hash(&cookie), &name, now_ms, expires_ms).await?;
    audit(&control, &name, "done").await;
    let session = Session { user: name, role, via: "session", expires_ms: Some(expires_ms) };
    Ok((set_cookie(&cookie, LASTS_S), Json(session)).into_response())
}

async fn audit(control: &Control, actor: &str, outcome: &str) {
    let change = Change { actor, via: "password", action: "session.begin", target: "", outcome };
    control.audit_change(change).await;
}

async fn known(control: &Control, credentials: Credentials) -> Result<Option<Role>, Problem> {
    if credentials.user.len() > LONGEST_NAME || credentials.password.len() > LONGEST {
        return Ok(None);
    }
    let user = control.catalog().user(&credentials.user).await?;
    let kept = user.as_ref().map(|user| user.password_hash.clone());
    let matches =
        control.passwords().matches(credentials.password, kept).await.map_err(|error| match error {
            PasswordError::Busy => Problem::later(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), 5),
            PasswordError::Failed(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        })?;
    Ok(user.filter(|_| matches).map(|user| user.role))
}

/// Who I am.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "session", security(("session" = []), ("token" = [])),
    responses((status = 200, body = Session), (status = 401, body = Problem))
)]
pub(super) async fn who(Viewer(caller): Viewer) -> Json<Session> {
    let via = caller.via.name();
    let expires_ms = match caller.via {
        Via::Session { expires_ms, .. } => Some(expires_ms),
        Via::Token => None,
    };
    Json(Session { user: caller.user, role: caller.role, via, expires_ms })
}

/// Sign out: the session ends.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session", security(("session" = [])),
    responses((status = 204), (status = 401, body = Problem))
)]
pub(super) async fn sign_out(
    State(control): State<Control>,
    Viewer(caller): Viewer,
) -> Result<Response, Problem> {
    let Via::Session { hash, .. } = &caller.via else {
        return Err(Problem::bad_request("a token has no session to end; revoke it under /api/v1/tokens"));
    };
    control.catalog().end_session(hash).await?;
    control.audit(&caller, "session.end", "").await;
    Ok((StatusCode::NO_CONTENT, set_cookie("", 0)).into_response())
}

fn set_cookie(value: &str, lasts_s: i64) -> [(header::HeaderName, HeaderValue); 1] {
    let cookie = format!("{COOKIE}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={lasts_s}");
    // Only letters of base64 come here, so the fallback is never taken.
    let cookie = HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""));
    [(header::SET_COOKIE, cookie)]
}
