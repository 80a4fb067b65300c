//! Who changed what.

use axum::Json;
use axum::extract::{Query, State};

use crate::access::Admin;
use crate::catalog::AuditEntry;
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Changes and attempts to sign in, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "access", params(Paging), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<AuditEntry>), (status = 401, body = Problem), (status = 403, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    _caller: Admin,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let place = paging.place("audit")?;
    let entries = control.catalog().audit_entries(place.before()?, place.fetched()).await?;
    Ok(Json(place.page(entries, |entry| entry.id.to_string())))
}
