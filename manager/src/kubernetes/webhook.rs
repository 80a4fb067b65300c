//! The door through which Kubernetes asks how a new pod should look.
//!
//! Owns: the HTTPS port, the path `/mutate/pods`, and the answer to an AdmissionReview. Off unless the configuration names
//! an address. Never: refuses a pod: what is not understood is allowed as it is, and the chart tells Kubernetes to go on
//! without an answer, so that no pod ever waits for us. Every manager answers, leader or not.

pub mod inject;
mod serve;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use inject::Change;
pub use serve::serve;

/// The path that the chart's MutatingWebhookConfiguration names.
pub const PATH: &str = "/mutate/pods";
/// Kubernetes' own bound of an object, and room for the review around it.
const MOST_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The settings in force, as pairs of key and value.
pub type Settings = watch::Receiver<Arc<Vec<(String, String)>>>;

/// The only route of the port.
pub fn router(settings: Settings) -> Router {
    Router::new().route(PATH, post(mutate)).layer(DefaultBodyLimit::max(MOST_BODY_BYTES)).with_state(settings)
}

async fn mutate(
    State(settings): State<Settings>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, &'static str)> {
    let review: Value =
        serde_json::from_slice(&body).map_err(|_no_json| (StatusCode::BAD_REQUEST, "no JSON"))?;
    let settings = settings.borrow().clone();
    answer(&review, &settings)
        .map(Json)
        .ok_or((StatusCode::BAD_REQUEST, "no AdmissionReview of admission.k8s.io/v1"))
}

/// The review that answers this one; none when it is no review.
pub fn answer(review: &Value, settings: &[(String, String)]) -> Option<Value> {
    let request = review.get("request")?;
    let uid = request.get("uid")?.as_str()?;
    if review.get("apiVersion")?.as_str()? != "admission.k8s.io/v1" {
        return None;
    }
    let of = |path: &str| request.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let is_pod = of("/kind/kind") == "Pod" && of("/operation") == "CREATE";
    let change = match request.get("object") {
        Some(pod) if is_pod => inject::change(pod, settings),
        _ => Change::default(),
    };
    let mut response = Map::from_iter([("uid".to_owned(), json!(uid)), ("allowed".to_owned(), json!(true))]);
    if !change.operations.is_empty() {
        let patch = STANDARD.encode(Value::Array(change.operations).to_string());
        response.insert("patchType".to_owned(), json!("JSONPatch"));
        response.insert("patch".to_owned(), json!(patch));
    }
    if !change.warnings.is_empty() {
        response.insert("warnings".to_owned(), json!(change.warnings));
    }
    Some(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(operation: &str, kind: &str) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": operation, "kind": {"group": "", "version": "v1", "kind": kind},
                "object": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}
            }
        })
    }

    fn settings() -> Vec<(String, String)> {
        vec![("a.b".to_owned(), "1".to_owned())]
    }

    #[test]
    fn a_new_pod_is_allowed_with_a_patch() {
        let answer = answer(&review("CREATE", "Pod"), &settings()).unwrap();
        let response = &answer["response"];
        assert_eq!((response["uid"].as_str(), response["allowed"].as_bool()), (Some("u-1"), Some(true)));
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch[0]["path"], "/spec/containers/0/env");
    }

    #[test]
    fn anything_else_is_allowed_as_it_is() {
        for review in [review("UPDATE", "Pod"), review("CREATE", "Job")] {
            let answer = answer(&review, &settings()).unwrap();
            assert_eq!(answer["response"], json!({"uid": "u-1", "allowed": true}));
        }
    }

    #[test]
    fn what_is_no_review_has_no_answer() {
        for odd in [
            json!(null),
            json!({"request": {"uid": 7}}),
            json!({"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "x"}}),
        ] {
            assert_eq!(answer(&odd, &settings()), None, "{odd}");
        }
    }
}
