//! Purges: of an object, or of everything that came from an upstream.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use darner_lfs::Oid;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::{Operator, Viewer};
use crate::catalog::{Purge, Purged};
use crate::control::Control;
use crate::page::{Page, Paging};
use crate::problem::Problem;

/// Longest upstream prefix.
const LONGEST: usize = 512;

/// What to purge: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeWanted {
    /// The object of this SHA-256, everywhere.
    oid: Option<String>,
    /// Every object read from this upstream, as `https://host/org/repo`.
    upstream: Option<String>,
}

/// Purges, newest first.
#[utoipa::path(
    get, path = "/api/v1/purges", tag = "purges", params(Paging), security(("session" = []), ("token" = [])),
    responses((status = 200, body = Page<Purge>), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(control): State<Control>,
    _caller: Viewer,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<Purge>>, Problem> {
    let place = paging.place("purges")?;
    let purges = control.catalog().purges(place.before()?, place.fetched()).await?;
    Ok(Json(place.page(purges, |purge| purge.sequence.to_string())))
}

/// Purge. Attached nodes hear of it at once, others when they return.
#[utoipa::path(
    post, path = "/api/v1/purges", tag = "purges", request_body = PurgeWanted,
    security(("session" = []), ("token" = [])),
    responses((status = 201, body = Purge), (status = 403, body = Problem), (status = 422, body = Problem))
)]
pub(super) async fn purge(
    State(control): State<Control>,
    Operator(caller): Operator,
    Json(wanted): Json<PurgeWanted>,
) -> Result<Response, Problem> {
    let purge = control.purge(&purged(&wanted)?, &caller.user).await?;
    control.audit(&caller, "purge", &purge.target).await;
    Ok((StatusCode::CREATED, Json(purge)).into_response())
}

fn purged(wanted: &PurgeWanted) -> Result<Purged, Problem> {
    let wrong = |words: &str| Problem::mistakes(words, Vec::new());
    match (&wanted.oid, &wanted.upstream) {
        (Some(oid), None) => {
            let oid: Oid = oid
                .parse()
                .map_err(|_not_an_oid| wrong("`oid` must be 64 lower-case hexadecimal letters"))?;
            Ok(Purged::Object(oid.into()))
        }
        (None, Some(upstream)) => {
            let upstream = upstream.trim_end_matches('/');
            if is_upstream(upstream) {
                Ok(Purged::Upstream(upstream.to_owned()))
            } else {
                Err(wrong("`upstream` must be as https://host/org/repo, without credentials or query"))
            }
        }
        _ => Err(wrong("name either `oid` or `upstream`")),
    }
}

fn is_upstream(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte));
    !host.is_empty() && plain && text.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(oid: Option<&str>, upstream: Option<&str>) -> Result<Purged, u16> {
        let wanted = PurgeWanted { oid: oid.map(str::to_owned), upstream: upstream.map(str::to_owned) };
        purged(&wanted).map_err(|problem| problem.status)
    }

    #[test]
    fn an_object_or_an_upstream_is_purged() {
        assert_eq!(of(Some(&Oid::EMPTY.to_string()), None), Ok(Purged::Object(Oid::EMPTY.into())));
        assert_eq!(of(None, Some("https://h/o/r/")), Ok(Purged::Upstream("https://h/o/r".to_owned())));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(of(None, None), Err(422));
        assert_eq!(of(Some(&Oid::EMPTY.to_string()), Some("https://h")), Err(422));
        for oid in ["", "xyz", "../../etc/passwd", "' OR 1=1 --"] {
            assert_eq!(of(Some(oid), None), Err(422), "{oid}");
        }
        for upstream in [
            "",
            "h/o",
            "ftp://h",
            "https://",
            "https:///o",
            "https://u:p@h/o",
            "https://h/<b>",
            "https://h/é",
        ] {
            assert_eq!(of(None, Some(upstream)), Err(422), "{upstream}");
        }
        assert_eq!(of(None, Some(&format!("https://h/{}", "x".repeat(600)))), Err(422));
    }
}
