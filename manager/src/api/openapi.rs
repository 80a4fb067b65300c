//! The description of the API, and the question whether it is well.
//!
//! Owns: what the document says beside the routes (title, ways to show who one is). Both answers need no credential.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use crate::access::COOKIE;
use crate::control::Control;
use crate::problem::Problem;

/// The document, written once.
#[derive(Debug, Clone)]
pub(super) struct Document(String);

impl Document {
    /// Write the document down.
    pub(super) fn of(document: &OpenApi) -> Self {
        Self(serde_json::to_string(document).unwrap_or_default())
    }
}

/// The document without its routes.
pub(super) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Darner manager")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What the operator of a Darner cluster wants and sees. Lists are pages: pass `next` as `cursor`. \
             Refusals are problems (RFC 9457).",
        ))
        .build();
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(COOKIE)));
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components =
        ComponentsBuilder::new().security_scheme("session", session).security_scheme("token", token).build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// How the manager is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
}

/// Whether the manager and its database answer.
#[utoipa::path(get, path = "/healthz", tag = "about", responses((status = 200, body = Health), (status = 503, body = Problem)))]
pub(super) async fn healthz(State(control): State<Control>) -> Result<Json<Health>, Problem> {
    control.catalog().ping().await?;
    Ok(Json(Health { status: "ok" }))
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "about", responses((status = 200, body = Object)))]
pub(super) async fn document(Extension(Document(text)): Extension<Document>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text).into_response()
}
