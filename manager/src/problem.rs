//! What the API answers when it does not do what was asked: RFC 9457.
//!
//! Owns: the one mapping of errors to status codes. Never: shows an error of the database or a secret to a caller;
//! those are logged here, once.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::CatalogError;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Every mistake of what was sent, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<String>,
    /// Seconds after which to try again, also sent as `Retry-After`.
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        let (kind, status, detail) = ("about:blank", status.as_u16(), detail.into());
        Self { kind, title, status, detail, mistakes: Vec::new(), retry_after_s: None }
    }

    /// What was sent is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// What was sent is understood and cannot be, for these reasons.
    pub fn mistakes(detail: impl Into<String>, mistakes: Vec<String>) -> Self {
        Self { mistakes, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Nobody, or nobody known, asks.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign in at /api/v1/session, or send a token as Bearer")
    }

    /// Later, please.
    pub fn later(status: StatusCode, detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(status, detail) }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        if let CatalogError::Full(_) = error {
            return Self::new(StatusCode::CONFLICT, error.to_string());
        }
        tracing::error!(%error, "the catalog failed");
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer; the log says why", 5)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_it_is() {
        let response = Problem::later(StatusCode::TOO_MANY_REQUESTS, "slowly", 7).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }

    #[test]
    fn an_error_of_the_database_is_not_shown() {
        let problem = Problem::from(CatalogError::Database(sqlx::Error::Protocol("secret words".to_owned())));
        assert_eq!(problem.status, 503);
        assert!(!problem.detail.contains("secret"));
    }

    #[test]
    fn a_full_table_is_a_conflict() {
        assert_eq!(Problem::from(CatalogError::Full("token")).status, 409);
    }
}
