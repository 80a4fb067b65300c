//! The control port: what the in-process methods do, as JSON over HTTP, so that a shell script can do it too.
//!
//! `GET /counts` `POST /reset` `GET /addresses` `GET /ca.pem` `GET /repositories` · `PUT /switch[?object=NAME]`
//! `PUT /batch` `POST /clear` · `POST /repositories` `POST /plant` `PUT /files/PATH` · `POST /clock`

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::State;
use super::answer::{self, Answer};
use super::shelf::{Access, Planted};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    access: Access,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plant {
    repository: String,
    files: Vec<Planted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    #[serde(rename = "aheadS")]
    ahead_s: i64,
}

/// Answers one request of the control port.
pub async fn serve(state: &State, request: Request<Incoming>) -> Answer {
    match act(state, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn act(state: &State, request: Request<Incoming>) -> Result<Answer, Answer> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    match (&parts.method, path.as_str()) {
        (&Method::GET, "/counts") => Ok(shown(&state.counters.snapshot())),
        (&Method::GET, "/repositories") => Ok(shown(&state.shelf.list())),
        (&Method::GET, "/addresses") => Ok(shown(&state.addresses())),
        (&Method::GET, "/ca.pem") => std::fs::read(&state.authority.ca)
            .map(|pem| answer::plain(StatusCode::OK, pem))
            .map_err(|error| broken(&error.into())),
        (&Method::POST, "/reset") => {
            state.counters.reset();
            Ok(done())
        }
        (&Method::POST, "/clear") => {
            state.switches.clear();
            Ok(done())
        }
        (&Method::PUT, "/switch") => {
            let query = parts.uri.query().unwrap_or_default();
            let object = query.strip_prefix("object=");
            state.switches.set(object, answer::parsed(body).await?);
            Ok(done())
        }
        (&Method::PUT, "/batch") => {
            state.switches.set_batch(answer::parsed(body).await?);
            Ok(done())
        }
        (&Method::POST, "/clock") => {
            let clock: Clock = answer::parsed(body).await?;
            state.set_clock_ahead(clock.ahead_s);
            Ok(done())
        }
        (&Method::POST, "/repositories") => {
            let create: Create = answer::parsed(body).await?;
            state.shelf.create(&create.name, create.access).map_err(|error| broken(&error))?;
            Ok(done())
        }
        (&Method::POST, "/plant") => {
            let plant: Plant = answer::parsed(body).await?;
            let planted = state.shelf.plant(&plant.repository, &plant.files);
            Ok(shown(&planted.map_err(|error| broken(&error))?.iter().map(row).collect::<Vec<_>>()))
        }
        (&Method::PUT, path) => {
            let Some(path) = path.strip_prefix("/files/") else { return Err(nothing()) };
            let content = answer::whole(body).await?;
            state.put_file(path, &content).map_err(|error| broken(&error))?;
            Ok(done())
        }
        _ => Err(nothing()),
    }
}

fn row((path, oid, size): &(String, darner_lfs::Oid, u64)) -> serde_json::Value {
    json!({ "path": path, "oid": oid.to_string(), "size": size })
}

fn shown(value: &impl serde::Serialize) -> Answer {
    answer::json(StatusCode::OK, "application/json", value)
}

fn done() -> Answer {
    shown(&json!({ "ok": true }))
}

fn nothing() -> Answer {
    answer::refusal(StatusCode::NOT_FOUND, "no such control; see the head of control.rs")
}

fn broken(error: &anyhow::Error) -> Answer {
    answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"))
}
