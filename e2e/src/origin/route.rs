//! What a path means, and who may. A request comes in by a door: a connection with its scheme, and a `Host`.

use darner_lfs::Oid;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;

use super::State;
use super::answer::{self, Answer};
use super::batch::{self, Scene};
use super::content::{self, Source};
use super::counts::{Kind, Label};
use super::git;
use super::locks;
use super::shelf::Caller;
use super::sign::{Refusal, Subject};

/// Where a request came in.
#[derive(Debug, Clone)]
pub struct Door {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The `Host` it asked for.
    pub host: String,
    /// `name/pid` of the asking process.
    pub asker: String,
}

/// What a path under a repository asks for.
enum Asked<'a> {
    Git,
    Batch,
    Verify,
    Locks(&'a str),
    Object(&'a str),
}

/// Answers one request of a forge or content listener.
pub async fn serve(state: &State, request: Request<Incoming>, door: Door) -> Answer {
    let path = request.uri().path().to_owned();
    if let Some(rest) = path.strip_prefix("/media/") {
        return media(state, request, &door, rest).await;
    }
    if let Some(rest) = path.strip_prefix("/files/") {
        return file(state, &request, &door, rest).await;
    }
    let Some((repository, asked)) = under_repository(&path).filter(|(name, _)| state.shelf.has(name)) else {
        return answer::refusal(StatusCode::NOT_FOUND, "no such repository");
    };
    match asked {
        Asked::Git => smart(state, request, &door, (repository, &path)).await,
        Asked::Object(name) => token_object(state, &request, &door, (repository, name)).await,
        Asked::Batch => batch_of(state, request, &door, repository).await,
        Asked::Verify => verify(state, request, &door, repository).await,
        Asked::Locks(rest) => lock(state, request, &door, (repository, rest)).await,
    }
}

/// The repository a path names, without its `.git`, and what is wanted of it.
fn under_repository(path: &str) -> Option<(&str, Asked<'_>)> {
    let path = path.strip_prefix('/')?;
    let cut = |mark: &str| path.split_once(mark).map(|(name, rest)| (bare(name), rest));
    if let Some((name, rest)) = cut("/info/lfs/") {
        return match rest {
            "objects/batch" => Some((name, Asked::Batch)),
            "verify" => Some((name, Asked::Verify)),
            _ => Some((name, Asked::Locks(rest.strip_prefix("locks")?))),
        };
    }
    if let Some((name, rest)) = cut("/gitlab-lfs/objects/") {
        return Some((name, Asked::Object(rest)));
    }
    let git = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];
    git.iter().find_map(|mark| path.strip_suffix(mark)).map(|name| (bare(name), Asked::Git))
}

fn bare(name: &str) -> &str {
    name.strip_suffix(".git").unwrap_or(name)
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
}

/// The caller when they may, else the answer to give.
fn admit(state: &State, headers: &HeaderMap, repository: &str, write: bool) -> Result<Caller, Box<Answer>> {
    let caller = state.shelf.caller(repository, authorization(headers));
    if state.shelf.may(repository, &caller, write) {
        return Ok(caller);
    }
    let mut refused = answer::refusal(StatusCode::UNAUTHORIZED, "credentials needed");
    let challenge = HeaderValue::from_static("Basic realm=\"origin\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.clone());
    refused.headers_mut().insert("lfs-authenticate", challenge);
    Err(Box::new(refused))
}

fn counted(state: &State, kind: Kind, object: Option<String>, door: &Door) -> Label {
    let label = Label { kind, object, asker: door.asker.clone() };
    state.counters.request(&label);
    label
}

fn refused(state: &State, object: &str, door: &Door, refusal: Refusal) -> Answer {
    counted(state, Kind::Refused, Some(object.to_owned()), door);
    answer::refusal(StatusCode::FORBIDDEN, refusal.words())
}

async fn smart(state: &State, request: Request<Incoming>, door: &Door, (name, path): (&str, &str)) -> Answer {
    let label = counted(state, Kind::Git, None, door);
    let query = request.uri().query().unwrap_or_default();
    let write = path.ends_with("/git-receive-pack") || query.contains("service=git-receive-pack");
    let caller = match admit(state, request.headers(), name, write) {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    let user = if let Caller::User(user) = &caller { Some(user.as_str()) } else { None };
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(name)).unwrap_or_default();
    let path = format!("/{name}.git{}", rest.strip_prefix(".git").unwrap_or(rest));
    git::serve(state, request, git::Asked { path: &path, user, label }).await
}

async fn batch_of(state: &State, request: Request<Incoming>, door: &Door, repository: &str) -> Answer {
    counted(state, Kind::Batch, None, door);
    let switch = state.switches.meet_batch();
    if let Some(status) = switch.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        let mut refused = answer::refusal(status, "as switched");
        if let Some(seconds) = switch.retry_after {
            refused.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return refused;
    }
    let headers = request.headers().clone();
    let wanted: batch::Batch = match answer::parsed(request.into_body()).await {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    match admit(state, &headers, repository, wanted.operation == "upload") {
        Ok(_) => batch::serve(state, &Scene { door, repository, switch }, &wanted),
        Err(refused) => *refused,
    }
}

async fn verify(state: &State, request: Request<Incoming>, door: &Door, repository: &str) -> Answer {
    counted(state, Kind::Upload, None, door);
    let path = request.uri().path().to_owned();
    let subject = Subject { method: "POST", host: &door.host, path: &path };
    if let Err(refusal) = state.signer.check_token(subject, authorization(request.headers()), state.now_s()) {
        return refused(state, "verify", door, refusal);
    }
    match answer::parsed(request.into_body()).await {
        Ok(claim) => batch::verify(state, repository, &claim),
        Err(refused) => refused,
    }
}

async fn lock(state: &State, request: Request<Incoming>, door: &Door, (name, rest): (&str, &str)) -> Answer {
    counted(state, Kind::Lock, None, door);
    let write = request.method() != Method::GET;
    let caller = match admit(state, request.headers(), name, write) {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    let user = if let Caller::User(user) = caller { user } else { "anonymous".to_owned() };
    let (parts, body) = request.into_parts();
    let body = if write { answer::parsed(body).await } else { Ok(Value::Null) };
    let body = match body {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let query = parts.uri.query().unwrap_or_default();
    state.locks.serve(&parts.method, &locks::Asked { repository: name, user: &user, rest, query, body })
}

/// `/media/<org>/<name>/aa/bb/<oid>`: signed in the query, for reading or writing.
async fn media(state: &State, request: Request<Incoming>, door: &Door, rest: &str) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut parts = rest.rsplitn(4, '/');
    let name = parts.next().unwrap_or_default();
    let repository = parts.nth(2).unwrap_or_default();
    let Ok(oid) = name.parse::<Oid>() else {
        return answer::refusal(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    let subject = Subject { method: method.as_str(), host: &door.host, path: &path };
    let query = request.uri().query().unwrap_or_default();
    if let Err(refusal) = state.signer.check(subject, query, state.now_s()) {
        return refused(state, name, door, refusal);
    }
    if method == Method::PUT {
        let label = counted(state, Kind::Upload, Some(name.to_owned()), door);
        return batch::take(state, request, (repository, oid), label).await;
    }
    let hopped = query.contains("hop=1");
    object(state, &request, door, Found { repository, oid, hopped }).await
}

/// `/<org>/<name>.git/gitlab-lfs/objects/<oid>`: the proof is in a header.
async fn token_object(
    state: &State,
    request: &Request<Incoming>,
    door: &Door,
    (repository, name): (&str, &str),
) -> Answer {
    let Ok(oid) = name.parse::<Oid>() else {
        return answer::refusal(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    let subject = Subject { method: request.method().as_str(), host: &door.host, path: request.uri().path() };
    let presented = authorization(request.headers());
    if let Err(refusal) = state.signer.check_token(subject, presented, state.now_s()) {
        return refused(state, name, door, refusal);
    }
    object(state, request, door, Found { repository, oid, hopped: false }).await
}

/// An object somebody was found to be allowed.
struct Found<'a> {
    repository: &'a str,
    oid: Oid,
    /// A redirect brought the caller here: it is not given again.
    hopped: bool,
}

async fn object(state: &State, request: &Request<Incoming>, door: &Door, found: Found<'_>) -> Answer {
    let Found { repository, oid, hopped } = found;
    let linked = state.shelf.linked(repository, oid).is_some();
    let path = if linked { state.shelf.object(oid) } else { state.lookalike(repository, oid) };
    let source = Source { name: oid.to_string(), path, asker: door.asker.clone(), hopped };
    let mut answer = content::give(state, request.method(), request.headers(), source).await;
    if let Some(base) = answer.extensions_mut().remove::<content::Onward>() {
        return onward(state, door, (repository, oid), &base.0);
    }
    answer
}

/// A redirect to the object at another base, signed for there.
fn onward(state: &State, door: &Door, (repository, oid): (&str, Oid), base: &str) -> Answer {
    let path = super::media_path(repository, oid);
    let here = Door { scheme: door.scheme, host: state.content_host(door), asker: String::new() };
    let there = match base.split_once("://") {
        Some((scheme, host)) => {
            Door { scheme: if scheme == "https" { "https" } else { "http" }, host: host.to_owned(), ..here }
        }
        None => here,
    };
    let subject = Subject { method: "GET", host: &there.host, path: &path };
    let Ok(query) = state.signer.query(subject, state.now_s(), 900) else {
        return answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    found_at(&format!("{}://{}{path}?{query}&hop=1", there.scheme, there.host))
}

fn found_at(location: &str) -> Answer {
    let mut answer = answer::plain(StatusCode::FOUND, "");
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

/// `/files/...`: public, unsigned, whatever was put there: where look-alikes live.
async fn file(state: &State, request: &Request<Incoming>, door: &Door, rest: &str) -> Answer {
    if rest.split('/').any(|part| part == ".." || part.is_empty()) {
        return answer::refusal(StatusCode::NOT_FOUND, "NoSuchKey");
    }
    let path = state.shelf.files_root().join(rest);
    let hopped = request.uri().query().unwrap_or_default().contains("hop=1");
    let source = Source { name: rest.to_owned(), path, asker: door.asker.clone(), hopped };
    let mut answer = content::give(state, request.method(), request.headers(), source).await;
    let Some(base) = answer.extensions_mut().remove::<content::Onward>() else { return answer };
    found_at(&format!("{}{}?hop=1", base.0, request.uri().path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_repository_with_or_without_git() {
        for path in ["/o/r.git/info/refs", "/o/r/git-upload-pack", "/o/r.git/info/lfs/objects/batch"] {
            assert_eq!(under_repository(path).unwrap().0, "o/r", "{path}");
        }
        assert!(matches!(
            under_repository("/o/r/info/lfs/locks/7/unlock"),
            Some(("o/r", Asked::Locks("/7/unlock")))
        ));
        assert!(under_repository("/o/r").is_none());
        assert!(under_repository("/o/r.git/info/lfs/nonsense").is_none());
    }
}
