//! REST, as `/api/v1/openapi.json` describes it.
//!
//! Owns: the routes (each is registered with its description, so the document cannot leave one out), the limits of
//! a request, and the dress of every answer. Never: SQL, or a rule that the gRPC door would need too.

mod audit;
mod configuration;
mod downloads;
mod dress;
mod events;
mod front;
mod nodes;
mod objects;
mod openapi;
mod prefetches;
mod purges;
mod session;
mod tokens;

use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::routing::get;
use axum::{Extension, Router};
use http::{StatusCode, Uri};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::Control;
use crate::problem::Problem;

/// Longest body of a request: a configuration with all its lists full is shorter.
const MOST_BODY_BYTES: usize = 256 * 1024;

/// All routes over this state.
pub fn router(control: Control) -> Router {
    let (described, document) = described().split_for_parts();
    described
        .route("/", get(front::page))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(openapi::Document::of(&document)))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(map_response(dress::answer))
        .with_state(control)
}

fn described() -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(openapi::healthz))
        .routes(routes!(openapi::document))
        .routes(routes!(session::sign_in, session::who, session::sign_out))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one))
        .routes(routes!(objects::list))
        .routes(routes!(objects::one))
        .routes(routes!(downloads::list))
        .routes(routes!(prefetches::list, prefetches::start))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(configuration::current, configuration::change))
        .routes(routes!(purges::list, purges::purge))
        .routes(routes!(events::watch))
}

async fn unknown_path(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {shown}; see /api/v1/openapi.json"))
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take that method; see /api/v1/openapi.json",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that others rely on (contract of the house).
    const CONTRACT: [(&str, &str); 16] = [
        ("get", "/healthz"),
        ("get", "/api/v1/openapi.json"),
        ("post", "/api/v1/session"),
        ("get", "/api/v1/session"),
        ("delete", "/api/v1/session"),
        ("get", "/api/v1/nodes"),
        ("get", "/api/v1/objects"),
        ("get", "/api/v1/downloads"),
        ("get", "/api/v1/prefetches"),
        ("post", "/api/v1/prefetches"),
        ("get", "/api/v1/tokens"),
        ("post", "/api/v1/tokens"),
        ("get", "/api/v1/audit"),
        ("put", "/api/v1/config"),
        ("post", "/api/v1/purges"),
        ("get", "/api/v1/events"),
    ];

    #[test]
    fn the_document_holds_every_path_of_the_contract() {
        let document = serde_json::to_value(described().into_openapi()).unwrap();
        for (method, path) in CONTRACT {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
    }

    #[test]
    fn every_operation_says_who_may_call_it() {
        let document = serde_json::to_value(described().into_openapi()).unwrap();
        let open = ["/healthz", "/api/v1/openapi.json", "post /api/v1/session"];
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let free =
                    open.contains(&path.as_str()) || open.contains(&format!("{method} {path}").as_str());
                assert_eq!(operation["security"].is_array(), !free, "{method} {path}");
                assert!(operation["summary"].is_string(), "{method} {path}");
            }
        }
    }

    /// `route(` registers a path that the document does not know: only the page at `/` may.
    #[test]
    fn every_route_is_registered_with_its_description() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = vec![directory.join("api.rs")];
        sources.extend(std::fs::read_dir(directory.join("api")).unwrap().map(|entry| entry.unwrap().path()));
        let undescribed = sources.iter().map(|path| {
            let source = std::fs::read_to_string(path).unwrap();
            source.lines().filter(|line| line.trim().starts_with(".route(")).count()
        });
        assert_eq!(undescribed.sum::<usize>(), 1);
    }
}
