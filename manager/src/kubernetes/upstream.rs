//! `LfsUpstream`: an upstream that the cluster adds to what its nodes may dial.
//!
//! Owns: the shape of the resource and what can be told wrong by its shape alone (the API server refuses that by the
//! schema and its rules). Never: a secret. A credential is named here and stays in its Secret.

#![expect(clippy::duplicated_attributes, reason = "each printer column says its type")]
#![expect(unreachable_pub, reason = "the derived schema makes a copy of each struct inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::frame::Kept;

/// What the operator wants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "darner.dev",
    version = "v1alpha1",
    kind = "LfsUpstream",
    plural = "lfsupstreams",
    shortname = "lfsu",
    category = "darner",
    namespaced,
    status = "LfsUpstreamStatus",
    derive = "PartialEq",
    doc = "An upstream (a forge or a Git LFS server) that Darner's nodes may dial, added to the chart's own list. Only \
           resources in the namespace of the release count.",
    label("app.kubernetes.io/part-of", "darner"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || self.url.startsWith('https://')")
    .message("`tls` is for https: a plain http upstream shows no certificate"))]
pub struct LfsUpstreamSpec {
    /// Scheme, host and, when it is not the usual one, port: `https://git.example.com` or `http://lfs.corp:8080`. Plain http
    /// only when said. No path: the upstream's own answers decide who may read what.
    #[schemars(length(min = 8, max = 300), regex(pattern = r"^https?://[^/@?#\\*\s]+/?$"))]
    pub url: String,
    /// Hosts inside the cluster or company network that redirects of this upstream may lead to (an object store behind the
    /// forge). Redirects to public https hosts need no entry.
    #[serde(default)]
    #[schemars(
        length(max = 16),
        inner(length(min = 8, max = 300), regex(pattern = r"^https?://[^/@?#\\*\s]+/?$"))
    )]
    pub redirects_to: Vec<String>,
    /// Certificates trusted for this upstream and the hosts of `redirectsTo`, beside those of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A credential of the cluster's own for this upstream, for work that nobody's request carries (prefetch). Requests of
    /// git use their own credentials, never this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Trust for one upstream: the certificates themselves, or where they are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.caBundle) != has(self.configMapRef)")
    .message("exactly one of `caBundle` and `configMapRef`"))]
pub struct Tls {
    /// PEM certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// A ConfigMap of the same namespace with PEM certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

/// A key of a ConfigMap.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// Where a credential is kept.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret of the same namespace, as `kubernetes.io/basic-auth` has it: `password`, and `username` unless a token is
    /// enough.
    pub secret_ref: SecretRef,
}

/// A Secret by name.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What became of it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LfsUpstreamStatus {
    /// The generation that was looked at.
    pub observed_generation: i64,
    /// Nodes that dial it, of those that take upstreams from the cluster: `3/3`.
    pub nodes: String,
    /// `Accepted`, `CredentialsFound`, `InForce` and, over all, `Ready`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The nodes that refuse it, and why, at most sixteen.
    pub refused: Vec<Refused>,
}

/// A node that refuses the upstream.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Refused {
    /// Its id.
    pub node: String,
    /// `seed-peer` or `peer-daemon`.
    pub component: String,
    /// Its own words.
    pub reason: String,
}

impl Kept for LfsUpstream {
    type Status = LfsUpstreamStatus;

    fn status(&self) -> Option<&LfsUpstreamStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &LfsUpstreamStatus) -> &[Condition] {
        &status.conditions
    }
}
