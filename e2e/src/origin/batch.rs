//! The Batch API, and what it hands out: addresses that are new every time. Uploads end here too: `PUT` and `verify`.

use std::io::Write as _;

use darner_lfs::Oid;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::State;
use super::answer::{self, Answer, LFS_JSON};
use super::counts::Label;
use super::route::Door;
use super::sign::Subject;
use super::switches::BatchSwitch;

/// What is asked of a Batch. Unknown fields are let be, as forges do.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// `download` or `upload`.
    pub operation: String,
    objects: Vec<Wanted>,
    hash_algo: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    oid: String,
    size: i64,
}

/// Where a Batch came in and for which repository.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Scheme, host and who asks.
    pub door: &'a Door,
    /// The repository.
    pub repository: &'a str,
    /// How answers are switched.
    pub switch: BatchSwitch,
}

/// Answers a Batch the caller was found to be allowed.
pub fn serve(state: &State, scene: &Scene<'_>, batch: &Batch) -> Answer {
    if batch.hash_algo.as_deref().is_some_and(|algo| algo != "sha256") {
        return answer::refusal(StatusCode::CONFLICT, "hash_algo must be sha256");
    }
    let upload = batch.operation == "upload";
    let objects: Vec<Value> = batch.objects.iter().map(|wanted| one(state, scene, wanted, upload)).collect();
    let reply = json!({ "transfer": "basic", "objects": objects, "hash_algo": "sha256" });
    answer::json(StatusCode::OK, LFS_JSON, &reply)
}

fn one(state: &State, scene: &Scene<'_>, wanted: &Wanted, upload: bool) -> Value {
    let Wanted { oid: name, size } = wanted;
    let (Ok(oid), 0..) = (name.parse::<Oid>(), *size) else {
        return failed(wanted, 422, "not a valid oid and size");
    };
    let linked = state.shelf.linked(scene.repository, oid);
    let actions = match (upload, linked) {
        (true, Some(_)) => return json!({ "oid": name, "size": size }),
        (true, None) => upload_actions(state, scene, oid),
        (false, None) if !scene.switch.grant_anything => return failed(wanted, 404, "object does not exist"),
        (false, _) => download_action(state, scene, oid),
    };
    match actions {
        Ok(actions) => json!({ "oid": name, "size": size, "authenticated": true, "actions": actions }),
        Err(error) => failed(wanted, 500, &error.to_string()),
    }
}

fn failed(wanted: &Wanted, code: u16, message: &str) -> Value {
    json!({ "oid": wanted.oid, "size": wanted.size, "error": { "code": code, "message": message } })
}

fn download_action(state: &State, scene: &Scene<'_>, oid: Oid) -> anyhow::Result<Value> {
    let (door, expires) = (scene.door, scene.switch.expires_s);
    if !scene.switch.header_hrefs {
        let path = super::media_path(scene.repository, oid);
        let href = state.signed("GET", door, &path, expires)?;
        return Ok(json!({ "download": { "href": href, "expires_in": expires } }));
    }
    let path = format!("/{}.git/gitlab-lfs/objects/{oid}", scene.repository);
    let subject = Subject { method: "GET", host: &door.host, path: &path };
    let token = state.signer.token(subject, state.now_s(), expires)?;
    let href = format!("{}://{}{path}", door.scheme, door.host);
    let header = json!({ "Authorization": token });
    Ok(json!({ "download": { "href": href, "header": header, "expires_in": expires } }))
}

fn upload_actions(state: &State, scene: &Scene<'_>, oid: Oid) -> anyhow::Result<Value> {
    let (door, expires) = (scene.door, scene.switch.expires_s);
    let href = state.signed("PUT", door, &super::media_path(scene.repository, oid), expires)?;
    let path = format!("/{}.git/info/lfs/verify", scene.repository);
    let subject = Subject { method: "POST", host: &door.host, path: &path };
    let token = state.signer.token(subject, state.now_s(), expires)?;
    let verify = format!("{}://{}{path}", door.scheme, door.host);
    Ok(json!({
        "upload": { "href": href, "expires_in": expires },
        "verify": { "href": verify, "header": { "Authorization": token }, "expires_in": expires },
    }))
}

/// Takes an object in; it is kept and linked only when it hashes to its name.
pub async fn take(state: &State, request: Request<Incoming>, place: (&str, Oid), label: Label) -> Answer {
    let (repository, oid) = place;
    match receive(state, request, oid, &label).await {
        Ok(Some(size)) => {
            state.shelf.link(repository, oid, size);
            answer::plain(StatusCode::OK, "")
        }
        Ok(None) => answer::refusal(StatusCode::UNPROCESSABLE_ENTITY, "the bytes are not that object"),
        Err(error) => answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

async fn receive(
    state: &State,
    request: Request<Incoming>,
    oid: Oid,
    label: &Label,
) -> anyhow::Result<Option<u64>> {
    let mut place = state.shelf.incoming()?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut frames = BodyStream::new(request.into_body());
    while let Some(frame) = frames.next().await {
        let Ok(data) = frame?.into_data() else { continue };
        hash.update(&data);
        place.write_all(&data)?;
        let bytes = u64::try_from(data.len())?;
        state.counters.bytes(label, bytes);
        size += bytes;
    }
    if Oid::from_bytes(hash.finalize().into()) != oid {
        return Ok(None);
    }
    state.shelf.keep(oid, place)?;
    Ok(Some(size))
}

/// What a client says it has uploaded.
#[derive(Debug, Deserialize)]
pub struct Claim {
    oid: String,
    size: u64,
}

/// Answers `verify`.
pub fn verify(state: &State, repository: &str, claim: &Claim) -> Answer {
    let linked = claim.oid.parse().ok().and_then(|oid| state.shelf.linked(repository, oid));
    match linked {
        Some(size) if size == claim.size => answer::plain(StatusCode::OK, ""),
        Some(_) => answer::refusal(StatusCode::UNPROCESSABLE_ENTITY, "another size was uploaded"),
        None => answer::refusal(StatusCode::NOT_FOUND, "object does not exist"),
    }
}
