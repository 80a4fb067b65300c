//! The nodes of the cluster.

use axum::Json;
use axum::extract::{Path, Query, State};

use crate::access::Viewer;
use crate::catalog::Node;
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Every node that attached lately, and the configured schedulers.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "cluster", params(Paging), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Node>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    _caller: Viewer,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<Node>>, Problem> {
    let place = paging.place("nodes")?;
    let nodes = control.catalog().nodes(place.after(), place.fetched()).await?;
    Ok(Json(place.page(nodes, |node| node.id.clone())))
}

/// One node.
#[utoipa::path(
    get, path = "/api/v1/nodes/{id}", tag = "cluster", params(("id" = String, Path, description = "Node id")),
    security(("session" = []), ("token" = [])),
    responses((status = 200, body = Node), (status = 401, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn one(
    State(control): State<Control>,
    _caller: Viewer,
    Path(id): Path<String>,
) -> Result<Json<Node>, Problem> {
    control.catalog().node(&id).await?.map(Json).ok_or_else(|| Problem::not_found("node"))
}
