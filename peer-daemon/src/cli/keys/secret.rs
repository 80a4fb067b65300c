//! The keys as a Secret of the pod's own namespace.
//!
//! Owns: four calls of the Kubernetes API (look, make, replace, remove) with the pod's own service account. Never: touches
//! an entry that is there; somebody who wrote at the same time is read again, five times at most.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use darner_chassis::clock::System;
use darner_chassis::metrics::{Kind, Metrics};
use darner_origin::{Origin, OriginConfig};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};

use crate::cli::failure::{Failure, Outcome, io};
use crate::cli::say;

/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The name in the API server's certificate.
const HOST: &str = "kubernetes.default.svc";

/// More than any Secret may hold.
const ANSWER_BYTES: usize = 4 << 20;

/// Writers that came in between are met again so often.
const TRIES: usize = 5;

/// The API as the pod's own account sees it.
struct Api {
    origin: Origin,
    token: String,
    namespace: String,
}

/// Makes what the Secret lacks, and the Secret when there is none.
pub(super) async fn provide(name: &str, labels: &[String], seeds: &[String]) -> Outcome {
    let api = Api::of_this_pod()?;
    for _ in 0..TRIES {
        let there = api.look(name).await?;
        let home =
            tempfile::tempdir().map_err(|error| io("make a directory in", &std::env::temp_dir(), &error))?;
        if let Some(secret) = &there {
            lay_out(secret, home.path())?;
        }
        let made = super::provide(home.path(), seeds)?;
        if made.is_empty() && there.is_some() {
            say::note(&format!("Secret {name}: every key is there"));
            return Ok(());
        }
        let secret = composed(name, labels, there.as_ref(), home.path())?;
        if api.put(name, &secret, there.is_some()).await? {
            say::note(&format!("Secret {name}: {}", super::told(&made)));
            return Ok(());
        }
    }
    Err(Failure::negative(format!("Secret {name}: somebody else writes it all the time")))
}

/// Removes the Secret; one that is not there is as good.
pub(super) async fn remove(name: &str) -> Outcome {
    let api = Api::of_this_pod()?;
    let (status, words) = api.call(Method::DELETE, &api.path(Some(name)), None).await?;
    if status.is_success() || status == StatusCode::NOT_FOUND {
        Ok(())
    } else {
        Err(refused(name, status, &words))
    }
}

impl Api {
    fn of_this_pod() -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = Path::new(ACCOUNT).join(name);
            std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|error| {
                io("read", &path, &error)
                    .hint("`--secret` is for a pod whose service account is mounted; elsewhere use --out")
            })
        };
        let (token, namespace) = (read("token")?, read("namespace")?);
        let resolve =
            std::env::var("KUBERNETES_SERVICE_HOST").ok().map(|address| format!("{HOST}:443:{address}"));
        let config = OriginConfig {
            upstreams: vec![HOST.to_owned()],
            resolve: resolve.into_iter().collect(),
            upstream_ca: Some(Path::new(ACCOUNT).join("ca.crt")),
            ..OriginConfig::default()
        };
        let origin = Origin::new(&config, Metrics::new(), Arc::new(System))
            .map_err(|error| Failure::negative(error.to_string()))?;
        Ok(Self { origin, token, namespace })
    }

    fn path(&self, name: Option<&str>) -> String {
        let all = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        name.map_or_else(|| all.clone(), |name| format!("{all}/{name}"))
    }

    async fn look(&self, name: &str) -> Result<Option<Value>, Failure> {
        let (status, words) = self.call(Method::GET, &self.path(Some(name)), None).await?;
        match status {
            StatusCode::OK => Ok(Some(words)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(name, status, &words)),
        }
    }

    /// Whether it was written; not when somebody else came first.
    async fn put(&self, name: &str, secret: &Value, there: bool) -> Result<bool, Failure> {
        let (method, path) =
            if there { (Method::PUT, self.path(Some(name))) } else { (Method::POST, self.path(None)) };
        let (status, words) = self.call(method, &path, Some(secret)).await?;
        match status {
            _ if status.is_success() => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(refused(name, status, &words)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::negative(format!("the Kubernetes API does not answer: {why}"))
        };
        let body = Bytes::from(body.map(ToString::to_string).unwrap_or_default());
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{HOST}{path}"))
            .header(http::header::HOST, HOST)
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONTENT_LENGTH, body.len())
            .body(Full::new(body).map_err(|nothing| match nothing {}).boxed_unsync())
            .map_err(|error| failed(&error))?;
        // Counted nowhere: these metrics are thrown away with the process.
        let answer = self.origin.exchange(request, Kind::Lock).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let content =
            Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(|error| failed(&error))?;
        Ok((status, serde_json::from_slice(&content.to_bytes()).unwrap_or(Value::Null)))
    }
}

fn refused(name: &str, status: StatusCode, words: &Value) -> Failure {
    let words = words.get("message").and_then(Value::as_str).unwrap_or("without a word");
    Failure::negative(format!("Secret {name}: the Kubernetes API answered {}: {words}", status.as_u16()))
}

/// Writes the entries of a Secret as files.
fn lay_out(secret: &Value, home: &Path) -> Outcome {
    for (name, text) in secret.get("data").and_then(Value::as_object).into_iter().flatten() {
        let content = text.as_str().and_then(|text| STANDARD.decode(text).ok());
        let content = content
            .ok_or_else(|| Failure::negative(format!("the entry {name} of the Secret cannot be read")))?;
        let path = home.join(name);
        std::fs::write(&path, content).map_err(|error| io("write", &path, &error))?;
    }
    Ok(())
}

/// The Secret with every file of the directory.
fn composed(name: &str, labels: &[String], there: Option<&Value>, home: &Path) -> Result<Value, Failure> {
    let failed = |error: &std::io::Error| io("read", home, error);
    let mut data = BTreeMap::new();
    for entry in std::fs::read_dir(home).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let content = std::fs::read(entry.path()).map_err(|error| failed(&error))?;
        data.insert(entry.file_name().to_string_lossy().into_owned(), STANDARD.encode(content));
    }
    if let Some(there) = there {
        let mut secret = there.clone();
        if let Some(secret) = secret.as_object_mut() {
            secret.insert("data".to_owned(), json!(data));
        }
        return Ok(secret);
    }
    let mut all = BTreeMap::new();
    for label in labels {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`--label {label}` needs KEY=VALUE")))?;
        all.insert(key, value);
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "labels": all }, "data": data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_secret_holds_survives_a_second_making() {
        let home = tempfile::tempdir().expect("a directory");
        super::super::provide(home.path(), &["s-0".to_owned()]).expect("keys");
        let labels = ["app=dragonfly".to_owned()];
        let mut secret = composed("keys", &labels, None, home.path()).expect("a secret");
        assert_eq!(secret["metadata"]["labels"]["app"], "dragonfly");
        secret["metadata"]["resourceVersion"] = json!("7");

        let again = tempfile::tempdir().expect("a directory");
        lay_out(&secret, again.path()).expect("files");
        super::super::provide(again.path(), &["s-0".to_owned(), "s-1".to_owned()]).expect("keys");
        let grown = composed("keys", &[], Some(&secret), again.path()).expect("a secret");
        for entry in ["tickets", "grants-s-0"] {
            assert_eq!(grown["data"][entry], secret["data"][entry], "{entry}");
        }
        assert!(grown["data"]["grants-s-1"].is_string());
        // Kubernetes refuses it when somebody else wrote in between.
        assert_eq!(grown["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn a_label_that_is_none_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        let words = composed("keys", &["app".to_owned()], None, home.path()).unwrap_err().to_string();
        assert!(words.contains("`--label app`"), "{words}");
    }
}
