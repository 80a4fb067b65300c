//! What a git-lfs client says, said by hand: for callers that want to say it wrongly.

use ::http::StatusCode;
use anyhow::Context as _;
use darner_lfs::Oid;
use serde_json::{Value, json};

use crate::http::{self, Ask, Open, Reply};

/// Where an object is to be had, as a Batch says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The address.
    pub href: String,
    /// The headers to send with it.
    pub headers: Vec<(String, String)>,
}

impl Action {
    /// The same action, with its host reached through a daemon as modes A and C do.
    #[must_use]
    pub fn through(&self, proxy: &str) -> Self {
        let (scheme, rest) = self.href.split_once("://").unwrap_or(("http", &self.href));
        Self { href: format!("http://{proxy}/{scheme}/{rest}"), headers: self.headers.clone() }
    }

    /// Asks for it and reads the head of the answer; a range is `bytes=...`.
    pub async fn open(&self, range: Option<&str>) -> anyhow::Result<Open> {
        let (address, target) = split(&self.href)?;
        http::open(address, self.ask(target, range)).await
    }

    /// Asks for it and reads all of the answer.
    pub async fn get(&self, range: Option<&str>) -> anyhow::Result<Reply> {
        let (address, target) = split(&self.href)?;
        http::ask(address, self.ask(target, range)).await
    }

    fn ask<'a>(&'a self, target: &'a str, range: Option<&'a str>) -> Ask<'a> {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(range.map(|range| ("range", range)));
        Ask { target, headers, ..Ask::default() }
    }
}

/// `host:port` and the request target of an `http://` address.
pub fn split(url: &str) -> anyhow::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not clear-text http"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (address, target) = rest.split_at(at);
    Ok((address, if target.is_empty() { "/" } else { target }))
}

/// Posts a Batch for downloads to `<repository>/info/lfs/objects/batch`.
pub async fn batch(
    repository: &str,
    objects: &[(Oid, u64)],
    authorization: Option<&str>,
) -> anyhow::Result<Reply> {
    let objects: Vec<Value> =
        objects.iter().map(|(oid, size)| json!({ "oid": oid.to_string(), "size": size })).collect();
    let body =
        json!({ "operation": "download", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256" });
    post_batch(repository, body.to_string().into_bytes(), authorization).await
}

/// Posts any bytes as a Batch.
pub async fn post_batch(
    repository: &str,
    body: Vec<u8>,
    authorization: Option<&str>,
) -> anyhow::Result<Reply> {
    let (address, target) = split(repository)?;
    let target = format!("{target}/info/lfs/objects/batch");
    let mut headers = vec![
        ("accept", "application/vnd.git-lfs+json"),
        ("content-type", "application/vnd.git-lfs+json; charset=utf-8"),
    ];
    headers.extend(authorization.map(|value| ("authorization", value)));
    http::ask(address, Ask { method: "POST", target: &target, headers, body }).await
}

/// The download actions a Batch answers with, in order of the objects asked for.
pub async fn actions(
    repository: &str,
    objects: &[(Oid, u64)],
    authorization: Option<&str>,
) -> anyhow::Result<Vec<Action>> {
    let reply = batch(repository, objects, authorization).await?;
    anyhow::ensure!(reply.status == StatusCode::OK, "the Batch was answered {reply:?}");
    let reply = reply.json()?;
    let entries = reply.pointer("/objects").and_then(Value::as_array).context("objects")?;
    objects
        .iter()
        .map(|(oid, _)| {
            let named = |entry: &&Value| entry.get("oid").and_then(Value::as_str) == Some(&oid.to_string());
            let entry = entries.iter().find(named).with_context(|| format!("{oid} in {reply}"))?;
            action(entry).with_context(|| entry.to_string())
        })
        .collect()
}

fn action(entry: &Value) -> Option<Action> {
    let download = entry.pointer("/actions/download")?;
    let href = download.get("href")?.as_str()?.to_owned();
    let headers = match download.get("header").and_then(Value::as_object) {
        Some(headers) => headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        None => Vec::new(),
    };
    Some(Action { href, headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_falls_into_host_and_target() {
        assert_eq!(split("http://h:1/a/b?c").unwrap(), ("h:1", "/a/b?c"));
        assert_eq!(split("http://h").unwrap(), ("h", "/"));
        assert!(split("https://h/").is_err());
    }

    #[test]
    fn an_action_goes_through_a_daemon_by_its_path() {
        let action = Action { href: "https://h:1/a?b".to_owned(), headers: Vec::new() };
        assert_eq!(action.through("d:2").href, "http://d:2/https/h:1/a?b");
    }
}
