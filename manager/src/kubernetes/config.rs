//! The configuration block `kubernetes`.
//!
//! Owns: its keys and what can be told wrong before anything starts. Never: acts on a value.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `kubernetes.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubernetes {
    /// Whether the controllers run. Outside Kubernetes nothing of them does.
    pub enabled: bool,
    /// Name of the Helm release: the label `app` of its Services, and the beginning of the Lease's name.
    pub release: String,
    /// The namespace of the release. Empty: the one of the pod's service account.
    pub namespace: String,
    /// How the API server is reached. Absent: as a pod reaches it.
    pub kubeconfig: Option<PathBuf>,
    /// The webhook that gives pods their git configuration.
    pub webhook: Webhook,
}

/// `kubernetes.webhook.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Address to listen on. Empty: there is no webhook.
    pub listen: String,
    /// PEM file of its certificate chain, looked at again when it changes.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// Port of the daemon at a node's own address.
    pub git_port: u16,
    /// Upstreams that git in pods reaches through the daemon; the accepted LfsUpstreams are added.
    pub upstreams: Vec<String>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            enabled: false,
            release: "darner".to_owned(),
            namespace: String::new(),
            kubeconfig: None,
            webhook: Webhook::default(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: String::new(),
            cert: PathBuf::from("/etc/darner/webhook/tls.crt"),
            key: PathBuf::from("/etc/darner/webhook/tls.key"),
            git_port: 65001,
            upstreams: Vec::new(),
        }
    }
}

impl Kubernetes {
    /// Everything that is wrong, each with its key.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let is_name = |text: &str| {
            let plain = text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
            plain && !text.is_empty() && text.len() <= 63
        };
        if self.enabled && !is_name(&self.release) {
            mistakes.push("`kubernetes.release` must be the name of the release".to_owned());
        }
        if !self.namespace.is_empty() && !is_name(&self.namespace) {
            mistakes.push("`kubernetes.namespace` is no name of a namespace".to_owned());
        }
        if !self.enabled && !self.webhook.listen.is_empty() {
            mistakes.push("`kubernetes.webhook.listen` needs `kubernetes.enabled`".to_owned());
        }
        if self.webhook.git_port == 0 {
            mistakes.push("`kubernetes.webhook.gitPort` must be a port".to_owned());
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_runs_unless_it_is_said() {
        let config = Kubernetes::default();
        assert!(!config.enabled && config.webhook.listen.is_empty());
        assert!(config.mistakes().is_empty());
    }

    #[test]
    fn mistakes_are_told_at_once_by_key() {
        let webhook = Webhook { listen: "0.0.0.0:9443".to_owned(), git_port: 0, ..Webhook::default() };
        let namespace = "Not A Name".to_owned();
        let config = Kubernetes { namespace, webhook, ..Kubernetes::default() };
        let told = config.mistakes().join("; ");
        for key in ["`kubernetes.namespace`", "`kubernetes.webhook.listen`", "`kubernetes.webhook.gitPort`"] {
            assert!(told.contains(key), "{key} in {told}");
        }
        let unnamed = Kubernetes { enabled: true, release: String::new(), ..Kubernetes::default() };
        assert_eq!(unnamed.mistakes().len(), 1);
    }
}
