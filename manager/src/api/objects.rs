//! The objects of the cluster.

use axum::Json;
use axum::extract::{Path, Query, State};
use darner_lfs::{ObjectKey, Oid};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Viewer;
use crate::catalog::{Holder, Object};
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Which objects.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The first letters of an oid.
    oid: Option<String>,
    /// Items per page, 1 to 500; 50 when absent.
    limit: Option<i64>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// One object and who holds it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Held {
    /// `sha256:HEX` or `url:HEX`.
    object: String,
    /// Nodes, at most 1000.
    holders: Vec<Holder>,
}

/// Every object that a known node holds.
#[utoipa::path(
    get, path = "/api/v1/objects", tag = "cluster", params(Wanted), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Object>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    _caller: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Object>>, Problem> {
    let prefix = match &wanted.oid {
        Some(oid) if oid.len() <= 64 && oid.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("sha256:{}", oid.to_ascii_lowercase())
        }
        Some(_) => {
            return Err(Problem::bad_request("`oid` must be the first letters of a hexadecimal digest"));
        }
        None => String::new(),
    };
    let place = Paging { limit: wanted.limit, cursor: wanted.cursor }.place("objects")?;
    let objects = control.catalog().objects(&prefix, place.after(), place.fetched()).await?;
    Ok(Json(place.page(objects, |object| object.object.clone())))
}

/// Who holds one object.
#[utoipa::path(
    get, path = "/api/v1/objects/{object}", tag = "cluster",
    params(("object" = String, Path, description = "An oid, or `sha256:HEX`, or `url:HEX`")),
    security(("session" = []), ("token" = [])),
    responses((status = 200, body = Held), (status = 400, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn one(
    State(control): State<Control>,
    _caller: Viewer,
    Path(object): Path<String>,
) -> Result<Json<Held>, Problem> {
    let key: ObjectKey = match object.parse::<Oid>() {
        Ok(oid) => oid.into(),
        Err(_) => object.parse().map_err(|_not_a_key| Problem::bad_request("that names no object"))?,
    };
    let object = key.to_string();
    let holders = control.catalog().holders(&object).await?;
    if holders.is_empty() { Err(Problem::not_found("object")) } else { Ok(Json(Held { object, holders })) }
}
