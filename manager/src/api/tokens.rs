//! Personal access tokens.
//!
//! Owns: what a token may be. Its text is shown once, when it is made. A token cannot make tokens: a leaked one then
//! ends with its revocation.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Caller, Via, Viewer, secret};
use crate::catalog::{Role, Token};
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Longest name of a token.
const LONGEST_NAME: usize = 100;
/// Longest life of a token that expires.
const MOST_DAYS: i64 = 3660;
const DAY_MS: i64 = 24 * 3_600_000;

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenWanted {
    /// What to call it.
    name: String,
    /// What it may do, at most what the account may; `viewer` when absent.
    role: Option<Role>,
    /// Days until it ends, 1 to 3660; never when absent.
    expires_in_days: Option<i64>,
}

/// A token as it is shown once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewToken {
    /// Send it as `Authorization: Bearer`; it is not shown again.
    secret: String,
    /// As it is listed.
    #[serde(flatten)]
    token: Token,
}

/// My tokens; everybody's for an admin.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "access", params(Paging), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Token>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    Viewer(caller): Viewer,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<Token>>, Problem> {
    let place = paging.place("tokens")?;
    let tokens = control.catalog().tokens(reach(&caller), place.before()?, place.fetched()).await?;
    Ok(Json(place.page(tokens, |token| token.id.to_string())))
}

/// Make a token.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "access", request_body = TokenWanted, security(("session" = [])),
    responses((status = 201, body = NewToken), (status = 403, body = Problem), (status = 422, body = Problem))
)]
pub(super) async fn create(
    State(control): State<Control>,
    Viewer(caller): Viewer,
    Json(wanted): Json<TokenWanted>,
) -> Result<Response, Problem> {
    if caller.via == Via::Token {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a token cannot make tokens; sign in"));
    }
    let (role, created_ms) = (wanted.role.unwrap_or(Role::Viewer), control.now_ms());
    if role > caller.role {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a token cannot do more than its account"));
    }
    let name = name(&wanted.name)?;
    let expires_ms = expiry(wanted.expires_in_days, created_ms)?;
    let user_name = caller.user.clone();
    let token = Token { id: 0, name, user_name, role, created_ms, expires_ms, revoked_ms: 0, used_ms: 0 };
    let secret = secret::token(control.random());
    let token = control.catalog().add_token(&secret::hash(&secret), &token).await?;
    control.audit(&caller, "token.create", &token.id.to_string()).await;
    Ok((StatusCode::CREATED, Json(NewToken { secret, token })).into_response())
}

/// Revoke a token; it stops working at once.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "access", params(("id" = i64, Path, description = "Token id")),
    security(("session" = []), ("token" = [])),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn revoke(
    State(control): State<Control>,
    Viewer(caller): Viewer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    if !control.catalog().revoke_token(id, reach(&caller), control.now_ms()).await? {
        return Err(Problem::not_found("token"));
    }
    control.audit(&caller, "token.revoke", &id.to_string()).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose tokens a caller reaches: everybody's is empty.
fn reach(caller: &Caller) -> &str {
    if caller.role == Role::Admin { "" } else { &caller.user }
}

fn name(wanted: &str) -> Result<String, Problem> {
    let name = wanted.trim();
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        let detail = format!("`name` must have 1 to {LONGEST_NAME} characters and no control characters");
        return Err(Problem::mistakes(detail, Vec::new()));
    }
    Ok(name.to_owned())
}

fn expiry(days: Option<i64>, now_ms: i64) -> Result<i64, Problem> {
    match days {
        None => Ok(0),
        Some(days) if (1..=MOST_DAYS).contains(&days) => Ok(now_ms + days * DAY_MS),
        Some(_) => Err(Problem::mistakes(format!("`expiresInDays` must be 1 to {MOST_DAYS}"), Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name(" ci <b>'; -- ").unwrap(), "ci <b>'; --");
        for wrong in ["", "  ", "a\nb", "a\0b", &"x".repeat(101)] {
            assert_eq!(name(wrong).unwrap_err().status, 422, "{wrong:?}");
        }
    }

    #[test]
    fn an_expiry_is_some_days_away() {
        assert_eq!(expiry(None, 5).unwrap(), 0);
        assert_eq!(expiry(Some(1), 5).unwrap(), 5 + DAY_MS);
        for wrong in [0, -1, i64::MAX] {
            assert!(expiry(Some(wrong), 5).is_err());
        }
    }
}
