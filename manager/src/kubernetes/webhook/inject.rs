//! Which change makes git in a pod go through the daemon of the pod's own node.
//!
//! Owns: the pure function from a pod to the change of its containers' environment. Git reads `GIT_CONFIG_COUNT`,
//! `GIT_CONFIG_KEY_n` and `GIT_CONFIG_VALUE_n`; what a container has of them stays, and ours follow. The node's address
//! is only known when the pod runs: a field reference holds it, and Kubernetes puts it into the values that come after.
//! Never: refuses a pod, nor touches one it does not understand; a container whose count is not a plain number is left
//! as it is, and the warning says so.

use darner_lfs::gateway::lines::{Setting, Wish, Worth, settings};
use darner_lfs::gateway::provider::Provider;
use serde_json::{Value, json};

/// The variable that holds the node's address.
pub const NODE_ADDRESS: &str = "DARNER_HOST_IP";
/// Label and annotation: `disabled` on a pod keeps it as it is.
pub const INJECT: &str = "darner.dev/inject";
/// Annotation of a pod that was changed.
pub const INJECTED: &str = "darner.dev/injected";
/// More settings than that are no configuration of a person.
const MOST_COUNT: usize = 10_000;
const COUNT: &str = "GIT_CONFIG_COUNT";

/// A change of a pod: a JSON patch, and what its author should be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Operations of the patch; none: the pod stays as it is.
    pub operations: Vec<Value>,
    /// Words for whoever made the pod.
    pub warnings: Vec<String>,
}

/// The settings for these upstreams, behind the daemon at `port` of a pod's node.
pub fn wanted(upstreams: &[String], port: u16) -> Vec<(String, String)> {
    let wish = Wish {
        gateway: format!("http://$({NODE_ADDRESS}):{port}"),
        providers: upstreams.iter().filter_map(|entry| provider(entry)).collect(),
        only: None,
        ci: false,
    };
    if wish.providers.is_empty() {
        return Vec::new();
    }
    settings(&wish).into_iter().filter_map(plain).collect()
}

/// The forge of an entry of the allow-list. Of `A -> B` git only knows A.
fn provider(entry: &str) -> Option<Provider> {
    let entry = entry.split("->").next()?.trim().trim_end_matches('/');
    // A name without a dot is no forge we know, yet a good host inside a company.
    Provider::named(entry).or_else(|| Provider::named(&format!("https://{entry}")))
}

fn plain(setting: Setting) -> Option<(String, String)> {
    match setting.worth {
        Worth::Text(value) => Some((setting.key, value)),
        // Only a shell could complete it.
        Worth::Shell(_) => None,
    }
}

/// The change that gives every container of `pod` these settings.
pub fn change(pod: &Value, settings: &[(String, String)]) -> Change {
    let mut change = Change::default();
    if settings.is_empty() || stays(pod) {
        return change;
    }
    for kind in ["initContainers", "containers"] {
        let containers = pod.pointer(&format!("/spec/{kind}")).and_then(Value::as_array);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let before = container.get("env").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            match environment(before, settings) {
                Ok(after) => change
                    .operations
                    .push(json!({"op": "add", "path": format!("/spec/{kind}/{index}/env"), "value": after})),
                Err(why) => {
                    let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
                    change.warnings.push(format!("darner: container {name} keeps its environment: {why}"));
                }
            }
        }
    }
    if !change.operations.is_empty() {
        change.operations.push(mark(pod));
    }
    change
}

/// Whether the pod is not ours to change: its author said so, it was changed before, or it runs no POSIX shell.
fn stays(pod: &Value) -> bool {
    let said = |kind: &str, key: &str| pod.pointer(&format!("/metadata/{kind}")).and_then(|map| map.get(key));
    let disabled = ["labels", "annotations"]
        .iter()
        .any(|kind| said(kind, INJECT).and_then(Value::as_str) == Some("disabled"));
    let windows = pod.pointer("/spec/os/name").and_then(Value::as_str) == Some("windows");
    disabled || windows || said("annotations", INJECTED).is_some()
}

fn mark(pod: &Value) -> Value {
    if pod.pointer("/metadata/annotations").is_some_and(Value::is_object) {
        let escaped = INJECTED.replace('~', "~0").replace('/', "~1");
        json!({"op": "add", "path": format!("/metadata/annotations/{escaped}"), "value": "git"})
    } else {
        json!({"op": "add", "path": "/metadata/annotations", "value": {INJECTED: "git"}})
    }
}

/// A container's environment with the settings after its own.
fn environment(before: &[Value], settings: &[(String, String)]) -> Result<Vec<Value>, &'static str> {
    let name = |entry: &Value| entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut first = 0;
    let mut after = Vec::with_capacity(before.len() + 2 * settings.len() + 2);
    for entry in before {
        match name(entry).as_str() {
            COUNT => first = count(entry)?,
            NODE_ADDRESS => return Err("DARNER_HOST_IP is set already"),
            _ => after.push(entry.clone()),
        }
    }
    // The last of two entries with one name wins, so nothing that stands before may hide ours.
    let taken = |at: usize| {
        let ours = [format!("GIT_CONFIG_KEY_{at}"), format!("GIT_CONFIG_VALUE_{at}")];
        before.iter().any(|entry| ours.contains(&name(entry)))
    };
    if (first..first + settings.len()).any(taken) {
        return Err("it has a GIT_CONFIG_KEY_n beyond its GIT_CONFIG_COUNT");
    }
    after.insert(0, json!({"name": NODE_ADDRESS, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}));
    after.push(json!({"name": COUNT, "value": (first + settings.len()).to_string()}));
    for (at, (key, value)) in (first..).zip(settings) {
        after.push(json!({"name": format!("GIT_CONFIG_KEY_{at}"), "value": key}));
        after.push(json!({"name": format!("GIT_CONFIG_VALUE_{at}"), "value": value}));
    }
    Ok(after)
}

fn count(entry: &Value) -> Result<usize, &'static str> {
    if entry.get("valueFrom").is_some() {
        return Err("its GIT_CONFIG_COUNT comes from somewhere else");
    }
    let text = entry.get("value").and_then(Value::as_str).unwrap_or_default();
    match text.parse() {
        Ok(count) if count <= MOST_COUNT => Ok(count),
        // Git takes an empty count for none.
        Err(_) if text.is_empty() => Ok(0),
        _ => Err("its GIT_CONFIG_COUNT is no number"),
    }
}

#[cfg(test)]
mod tests;
