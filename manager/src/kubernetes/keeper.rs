//! Keeps the LfsUpstreams: reads what they name, gives the accepted ones to the nodes, tells each what became of it.
//!
//! Owns: the last good reading of every ConfigMap: an API server that is away withdraws no upstream. Every manager gives
//! the list to the nodes attached to it; only the leader looks for Secrets and writes. Never: keeps, logs or passes on a
//! credential: of a Secret only the names of its keys are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt as _};

use super::condition::renewed;
use super::frame::{Judged, Keeper};
use super::judge::{self, Asked, Heard, Read, Unread};
use super::lease::Leadership;
use super::upstream::{LfsUpstream, LfsUpstreamStatus};
use crate::control::Control;

/// Keeper of the LfsUpstreams.
#[derive(Debug)]
pub struct Upstreams {
    control: Control,
    config_maps: Api<ConfigMap>,
    secrets: Api<Secret>,
    leadership: Leadership,
    bundles: Read<String>,
}

impl Upstreams {
    /// The keeper in this namespace.
    pub fn new(control: Control, client: &Client, namespace: &str, leadership: Leadership) -> Self {
        Self {
            control,
            config_maps: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            leadership,
            bundles: Read::new(),
        }
    }

    async fn read_bundles(&mut self, asked: &[Asked]) {
        let named: BTreeSet<String> = asked.iter().filter_map(|one| judge::bundle_of(&one.spec)).collect();
        self.bundles.retain(|name, _| named.contains(name));
        for bundle in named {
            let Some((name, key)) = bundle.split_once('/') else { continue };
            let read = match self.config_maps.get_opt(name).await {
                Ok(Some(found)) => found.data.unwrap_or_default().remove(key).ok_or_else(|| Unread {
                    reason: "CaBundleMissing",
                    words: format!("ConfigMap {name} has no key `{key}`"),
                }),
                Ok(None) => Err(missing("ConfigMap", name, "CaBundleMissing")),
                // What was read before is as good as ever.
                Err(error) if self.bundles.contains_key(&bundle) && !is_forbidden(&error) => continue,
                Err(error) => Err(unread("ConfigMap", name, &error)),
            };
            self.bundles.insert(bundle, read);
        }
    }

    async fn read_secrets(&self, asked: &[Asked]) -> Read<BTreeSet<String>> {
        let names = asked.iter().filter_map(|one| Some(&one.spec.credentials.as_ref()?.secret_ref.name));
        let mut secrets = Read::new();
        for name in names.collect::<BTreeSet<_>>() {
            let read = match self.secrets.get_opt(name).await {
                Ok(Some(found)) => Ok(found.data.unwrap_or_default().into_keys().collect()),
                Ok(None) => Err(missing("Secret", name, "SecretMissing")),
                Err(error) => Err(unread("Secret", name, &error)),
            };
            secrets.insert(name.clone(), read);
        }
        secrets
    }

    async fn heard(&self) -> Vec<Heard> {
        match self.control.catalog().upstreams_heard().await {
            Ok(heard) => heard.into_iter().map(Heard::from).collect(),
            Err(error) => {
                tracing::warn!(%error, "what nodes said of upstreams cannot be read");
                Vec::new()
            }
        }
    }
}

impl From<crate::catalog::UpstreamsHeard> for Heard {
    fn from(row: crate::catalog::UpstreamsHeard) -> Self {
        let refused: BTreeMap<String, String> =
            serde_json::from_str(row.upstreams_refused.as_str()).unwrap_or_default();
        Self { node: row.id, component: row.component, revision: row.upstreams_revision, refused }
    }
}

fn missing(kind: &str, name: &str, reason: &'static str) -> Unread {
    Unread { reason, words: format!("{kind} {name} does not exist in this namespace") }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

fn unread(kind: &str, name: &str, error: &kube::Error) -> Unread {
    if is_forbidden(error) {
        let words = format!("the manager may not read {kind} {name}: name it in the chart's values");
        return Unread { reason: "NotPermitted", words };
    }
    Unread { reason: "NotRead", words: format!("{kind} {name} cannot be read now") }
}

impl Keeper for Upstreams {
    type Kind = LfsUpstream;

    async fn judge(&mut self, all: Vec<Arc<LfsUpstream>>) -> Vec<Judged<LfsUpstream>> {
        let asked: Vec<Asked> = all.iter().map(|one| asked(one)).collect();
        self.read_bundles(&asked).await;
        let verdicts = judge::accept(&asked, &self.bundles);
        let list = judge::list(&verdicts);
        let revision = list.revision.clone();
        self.control.cluster().give_upstreams(list);
        if !self.leadership.leads() {
            return Vec::new();
        }
        let (secrets, heard) = (self.read_secrets(&asked).await, self.heard().await);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let judged = all.into_iter().zip(&asked).filter_map(|(object, one)| {
            let told = judge::said(one, verdicts.get(&one.name)?, &secrets, &revision, &heard);
            let before = object.status.as_ref().map(|status| status.conditions.as_slice());
            let generation = object.metadata.generation.unwrap_or_default();
            let status = LfsUpstreamStatus {
                observed_generation: generation,
                nodes: told.nodes,
                conditions: renewed(before.unwrap_or_default(), told.said, generation, &now),
                refused: told.refused,
            };
            Some((object, status))
        });
        judged.collect()
    }
}

fn asked(object: &LfsUpstream) -> Asked {
    let made = object.creation_timestamp().map(|made| made.0.to_string()).unwrap_or_default();
    Asked { name: object.name_any(), made, spec: object.spec.clone() }
}
