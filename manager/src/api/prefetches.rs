//! Prefetch jobs: their place in the API. The engine that runs them comes with a later version.
//!
//! Owns: the shape of a request, which is final. Never: pretends: asking for a job is refused with 501.

use axum::Json;
use axum::extract::{Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Operator, Viewer};
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// What to fetch ahead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrefetchWanted {
    /// URL of the git remote.
    remote: String,
    /// Branch, tag or commit.
    #[serde(rename = "ref")]
    reference: String,
    /// Only paths that match one of these patterns.
    #[serde(default)]
    include: Vec<String>,
    /// No path that matches one of these.
    #[serde(default)]
    exclude: Vec<String>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// One prefetch job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Prefetch {
    /// Grows.
    id: i64,
    /// `running`, `done` or `failed`.
    state: String,
}

/// Prefetch jobs; none yet.
#[utoipa::path(
    get, path = "/api/v1/prefetches", tag = "prefetch", params(Paging), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Prefetch>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    _caller: Viewer,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<Prefetch>>, Problem> {
    paging.place("prefetches").map(|_| Json(Page::empty()))
}

/// Start a prefetch job; comes with a later version.
#[utoipa::path(
    post, path = "/api/v1/prefetches", tag = "prefetch", request_body = PrefetchWanted,
    security(("session" = []), ("token" = [])),
    responses((status = 403, body = Problem), (status = 501, body = Problem))
)]
pub(super) async fn start(
    State(control): State<Control>,
    Operator(caller): Operator,
    Json(wanted): Json<PrefetchWanted>,
) -> Problem {
    control.audit(&caller, "prefetch.refused", &wanted.reference).await;
    let patterns = wanted.include.len() + wanted.exclude.len();
    tracing::debug!(
        bytes = wanted.remote.len(),
        patterns,
        dry_run = wanted.dry_run,
        "a prefetch was asked for"
    );
    Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "prefetch jobs come with a later version; clone through a daemon instead",
    )
}
