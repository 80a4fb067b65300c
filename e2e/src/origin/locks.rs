//! The locking API, in memory: enough for real clients to lock, list, verify and unlock.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{self, Answer, LFS_JSON};

#[derive(Debug, Clone, Serialize)]
struct Lock {
    id: String,
    path: String,
    locked_at: String,
    owner: Owner,
}

#[derive(Debug, Clone, Serialize)]
struct Owner {
    name: String,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    locks: BTreeMap<(String, String), Lock>,
}

/// The locks of all repositories.
#[derive(Debug, Default)]
pub struct Locks(Mutex<Book>);

/// One request to the locking API.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The repository.
    pub repository: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// What follows `/locks`: empty, `/verify`, `/<id>/unlock`.
    pub rest: &'a str,
    /// The query, for `path` and `id`.
    pub query: &'a str,
    /// The body, `null` for a GET.
    pub body: Value,
}

impl Locks {
    /// Answers one request.
    pub fn serve(&self, method: &Method, asked: &Asked<'_>) -> Answer {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (method, asked.rest) {
            (&Method::GET, "") => book.list(asked),
            (&Method::POST, "") => book.lock(asked),
            (&Method::POST, "/verify") => book.verify(asked),
            (&Method::POST, rest) => match rest.strip_suffix("/unlock") {
                Some(id) => book.unlock(asked, id.trim_start_matches('/')),
                None => answer::refusal(StatusCode::NOT_FOUND, "no such lock route"),
            },
            _ => answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "no such lock route"),
        }
    }
}

impl Book {
    fn of<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Lock> {
        self.locks.iter().filter(move |((of, _), _)| of == repository).map(|(_, lock)| lock)
    }

    fn list(&self, asked: &Asked<'_>) -> Answer {
        let field = |name: &str| {
            url::form_urlencoded::parse(asked.query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let (path, id) = (field("path"), field("id"));
        let found: Vec<&Lock> = self
            .of(asked.repository)
            .filter(|lock| path.as_ref().is_none_or(|path| *path == lock.path))
            .filter(|lock| id.as_ref().is_none_or(|id| *id == lock.id))
            .collect();
        answer::json(StatusCode::OK, LFS_JSON, &json!({ "locks": found }))
    }

    fn lock(&mut self, asked: &Asked<'_>) -> Answer {
        let path = asked.body.get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (asked.repository.to_owned(), path.clone());
        if let Some(lock) = self.locks.get(&key) {
            let taken = json!({ "lock": lock, "message": "already created lock" });
            return answer::json(StatusCode::CONFLICT, LFS_JSON, &taken);
        }
        self.next += 1;
        let locked_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let owner = Owner { name: asked.user.to_owned() };
        let lock = Lock { id: self.next.to_string(), path, locked_at, owner };
        let made = json!({ "lock": &lock });
        self.locks.insert(key, lock);
        answer::json(StatusCode::CREATED, LFS_JSON, &made)
    }

    fn verify(&self, asked: &Asked<'_>) -> Answer {
        let (ours, theirs): (Vec<&Lock>, Vec<&Lock>) =
            self.of(asked.repository).partition(|lock| lock.owner.name == asked.user);
        answer::json(StatusCode::OK, LFS_JSON, &json!({ "ours": ours, "theirs": theirs }))
    }

    fn unlock(&mut self, asked: &Asked<'_>, id: &str) -> Answer {
        let forced = asked.body.get("force").and_then(Value::as_bool).unwrap_or_default();
        let key = self.locks.iter().find(|((of, _), lock)| of == asked.repository && lock.id == id);
        let Some((key, lock)) = key.map(|(key, lock)| (key.clone(), lock.clone())) else {
            return answer::refusal(StatusCode::NOT_FOUND, "no such lock");
        };
        if lock.owner.name != asked.user && !forced {
            return answer::refusal(StatusCode::FORBIDDEN, "somebody else's lock");
        }
        self.locks.remove(&key);
        answer::json(StatusCode::OK, LFS_JSON, &json!({ "lock": lock }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(user: &'a str, rest: &'a str, body: Value) -> Asked<'a> {
        Asked { repository: "o/r", user, rest, query: "", body }
    }

    #[test]
    fn a_lock_is_somebodys_until_they_or_force_open_it() {
        let locks = Locks::default();
        let post = |asked: &Asked<'_>| locks.serve(&Method::POST, asked).status();
        let path = json!({ "path": "a.bin" });
        assert_eq!(post(&asked("ann", "", path.clone())), StatusCode::CREATED);
        assert_eq!(post(&asked("bob", "", path)), StatusCode::CONFLICT);
        assert_eq!(post(&asked("bob", "/1/unlock", json!({}))), StatusCode::FORBIDDEN);
        assert_eq!(post(&asked("bob", "/1/unlock", json!({ "force": true }))), StatusCode::OK);
        assert_eq!(post(&asked("ann", "/1/unlock", json!({}))), StatusCode::NOT_FOUND);
    }
}
