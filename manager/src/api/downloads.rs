//! The downloads of the nodes.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::access::Viewer;
use crate::catalog::Download;
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Which downloads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this node.
    node: Option<String>,
    /// Items per page, 1 to 500; 50 when absent.
    limit: Option<i64>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Downloads that run or ended lately, newest first.
#[utoipa::path(
    get, path = "/api/v1/downloads", tag = "cluster", params(Wanted), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Download>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    _caller: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Download>>, Problem> {
    let place = Paging { limit: wanted.limit, cursor: wanted.cursor }.place("downloads")?;
    let node = wanted.node.unwrap_or_default();
    let downloads = control.catalog().downloads(&node, place.before()?, place.fetched()).await?;
    Ok(Json(place.page(downloads, |download| download.id.to_string())))
}
