//! What every answer wears.
//!
//! Owns: the safety headers, and that a refusal made by the framework (a body too long, JSON that is none, a wrong
//! content type) is a problem like all others. Never: changes an answer that is a success.

use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::problem::{MEDIA_TYPE, Problem};

/// Longest text of the framework that is passed on.
const MOST_WORDS_BYTES: usize = 4096;

const WORN: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// Dress an answer.
pub(super) async fn answer(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    let mut response =
        if refused && !is_problem(response.headers()) { as_problem(response).await } else { response };
    for (name, value) in WORN {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE)
}

async fn as_problem(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let words = to_bytes(body, MOST_WORDS_BYTES).await.unwrap_or_default();
    let mut problem = Problem::new(parts.status, String::from_utf8_lossy(&words)).into_response();
    if let Some(allowed) = parts.headers.get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[tokio::test]
    async fn a_refusal_of_the_framework_becomes_a_problem() {
        let dressed = answer((StatusCode::PAYLOAD_TOO_LARGE, "length limit exceeded").into_response()).await;
        assert_eq!(dressed.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(dressed.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let body = to_bytes(dressed.into_body(), 4096).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["status"], &problem["detail"]), (&413.into(), &"length limit exceeded".into()));
    }

    #[tokio::test]
    async fn a_success_keeps_its_body_and_type() {
        let dressed = answer("well".into_response()).await;
        assert_eq!(dressed.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(to_bytes(dressed.into_body(), 9).await.unwrap(), "well");
    }
}
