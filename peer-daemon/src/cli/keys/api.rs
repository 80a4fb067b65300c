//! The Kubernetes API as a pod's own service account sees it.
//!
//! Owns: one call at a time, over verified TLS, and the words of what was refused. Never: a kubeconfig, a watch, or a
//! second try; the token is read once and shown to nobody else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use darner_chassis::clock::System;
use darner_chassis::metrics::{Kind, Metrics};
use darner_origin::{Origin, OriginConfig};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;

use crate::cli::failure::{Failure, Outcome, io};

/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The name in the API server's certificate.
const HOST: &str = "kubernetes.default.svc";

/// More than any object may hold.
const ANSWER_BYTES: usize = 4 << 20;

/// The API as the pod's own account sees it.
pub(super) struct Api {
    origin: Origin,
    token: String,
    namespace: String,
}

impl Api {
    /// As this pod's account.
    pub(super) fn of_this_pod() -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = Path::new(ACCOUNT).join(name);
            std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|error| {
                io("read", &path, &error)
                    .hint("this is for a pod whose service account is mounted; elsewhere use --out")
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

    /// The path of the Secrets of this namespace, or of one of them.
    pub(super) fn secrets(&self, name: Option<&str>) -> String {
        let all = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        name.map_or_else(|| all.clone(), |name| format!("{all}/{name}"))
    }

    /// What is there, if anything; `what` is for people.
    pub(super) async fn look(&self, what: &str, path: &str) -> Result<Option<Value>, Failure> {
        let (status, words) = self.call(Method::GET, path, None).await?;
        match status {
            StatusCode::OK => Ok(Some(words)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(what, status, &words)),
        }
    }

    /// Whether it was written; not when somebody else came first.
    pub(super) async fn write(
        &self,
        what: &str,
        (method, path): (Method, &str),
        body: &Value,
    ) -> Result<bool, Failure> {
        let (status, words) = self.call(method, path, Some(body)).await?;
        match status {
            _ if status.is_success() => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(refused(what, status, &words)),
        }
    }

    /// Removes it; what is not there is as good.
    pub(super) async fn remove(&self, what: &str, path: &str) -> Outcome {
        let (status, words) = self.call(Method::DELETE, path, None).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(refused(what, status, &words))
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
        let content =
            if method == Method::PATCH { "application/json-patch+json" } else { "application/json" };
        let body = Bytes::from(body.map(ToString::to_string).unwrap_or_default());
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{HOST}{path}"))
            .header(http::header::HOST, HOST)
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(http::header::CONTENT_TYPE, content)
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

fn refused(what: &str, status: StatusCode, words: &Value) -> Failure {
    let words = words.get("message").and_then(Value::as_str).unwrap_or("without a word");
    Failure::negative(format!("{what}: the Kubernetes API answered {}: {words}", status.as_u16()))
}
