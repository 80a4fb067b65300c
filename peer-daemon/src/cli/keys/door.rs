//! The webhook's certificate as a Secret, and the word to the Kubernetes API that it is to be believed.
//!
//! Owns: the pair, made once, and the one field of a webhook's configuration that a chart cannot render without chance.
//! The right to write it exists only while a hook of the chart runs: nothing that stays up holds it. Never: any other
//! field of that configuration.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use darner_chassis::authority::door::door;
use darner_chassis::clock::{Clock as _, System};
use http::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::secret;
use crate::cli::failure::{Failure, Outcome, io};
use crate::cli::say;
use crate::cli::up::write;

/// The webhook's certificate, and who is to believe it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DoorArgs {
    /// Secret that receives a certificate for the webhook
    #[arg(long, value_name = "NAME", group = "where", conflicts_with = "out", requires = "webhook_host")]
    pub webhook: Option<String>,
    /// Host name by which the Kubernetes API calls the webhook
    #[arg(long, value_name = "HOST", requires = "webhook")]
    pub webhook_host: Option<String>,
    /// `MutatingWebhookConfiguration` that is told to believe --ca
    #[arg(long, value_name = "NAME", group = "where", conflicts_with_all = ["out", "remove"], requires = "ca")]
    pub trust: Option<String>,
    /// PEM file of the root that --trust is about
    #[arg(long, value_name = "FILE", requires = "trust")]
    pub ca: Option<PathBuf>,
}

impl DoorArgs {
    /// Makes what is missing of the Secret, and tells the API.
    pub(super) async fn provide(&self, api: &Api, labels: &[String]) -> Outcome {
        if let (Some(name), Some(host)) = (&self.webhook, &self.webhook_host) {
            secret::provide(api, name, labels, |home| make(home, host)).await?;
        }
        if let (Some(name), Some(ca)) = (&self.trust, &self.ca) {
            let root = std::fs::read_to_string(ca).map_err(|error| io("read", ca, &error))?;
            trust(api, name, &root).await?;
        }
        Ok(())
    }

    /// Removes the Secret.
    pub(super) async fn remove(&self, api: &Api) -> Outcome {
        match &self.webhook {
            Some(name) => secret::remove(api, name).await,
            None => Ok(()),
        }
    }
}

/// Writes a new pair unless one is there; the names.
fn make(home: &Path, host: &str) -> Result<Vec<String>, Failure> {
    let names = ["ca.crt", "tls.crt", "tls.key"];
    let there = names.iter().filter(|name| home.join(name).is_file()).count();
    if there == names.len() {
        return Ok(Vec::new());
    }
    if there > 0 {
        return Err(Failure::negative(format!(
            "the webhook's Secret holds only some of {}",
            names.join(", ")
        )));
    }
    let made = door(host, System.now_ms()).map_err(|error| Failure::negative(format!("webhook: {error}")))?;
    for (name, text) in names.into_iter().zip([made.root, made.certificate, made.key]) {
        write(&home.join(name), &text)?;
    }
    Ok(names.map(str::to_owned).to_vec())
}

async fn trust(api: &Api, name: &str, root: &str) -> Outcome {
    let what = format!("MutatingWebhookConfiguration {name}");
    let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}");
    let there = api.look(&what, &path).await?;
    let there = there.ok_or_else(|| Failure::negative(format!("{what} does not exist")))?;
    let patch = patch(&there, root);
    if patch.as_array().is_some_and(Vec::is_empty) {
        say::note(&format!("{what}: believes the webhook already"));
        return Ok(());
    }
    if !api.write(&what, (Method::PATCH, &path), &patch).await? {
        return Err(Failure::negative(format!("{what}: somebody else writes it just now")));
    }
    say::note(&format!("{what}: believes the webhook"));
    Ok(())
}

/// The JSON patch that makes every webhook of this configuration believe the root.
fn patch(configuration: &Value, root: &str) -> Value {
    let root = STANDARD.encode(root);
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let patch = webhooks.into_iter().flatten().enumerate().filter_map(|(at, webhook)| {
        let now = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
        let path = format!("/webhooks/{at}/clientConfig/caBundle");
        (now != Some(&root)).then(|| json!({"op": "add", "path": path, "value": root}))
    });
    Value::Array(patch.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_made_once_and_half_of_one_is_left_alone() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(make(home.path(), "h.n.svc").expect("made").len(), 3);
        assert_eq!(make(home.path(), "h.n.svc").expect("made"), Vec::<String>::new());
        std::fs::remove_file(home.path().join("tls.key")).expect("removed");
        assert!(make(home.path(), "h.n.svc").unwrap_err().to_string().contains("only some"));
    }

    #[test]
    fn only_what_differs_is_patched() {
        let believes = STANDARD.encode("root");
        let configuration = json!({"webhooks": [
            {"name": "a", "clientConfig": {"caBundle": believes}}, {"name": "b", "clientConfig": {}}
        ]});
        let told = json!([{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": believes}]);
        assert_eq!(patch(&configuration, "root"), told);
        assert_eq!(patch(&json!({}), "root"), json!([]));
    }
}
