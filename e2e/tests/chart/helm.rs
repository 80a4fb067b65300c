//! Running Helm on the chart, and reading what comes out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

/// The release and namespace of the seed documents.
const RELEASE: [&str; 3] = ["dragonfly", "--namespace", "dragonfly-system"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The values file of a seed document: `en` or `zh`.
pub(crate) fn seed(language: &str) -> String {
    let name = format!("e2e/tests/chart/seeds/charts-config.{language}.yaml");
    root().join(name).to_string_lossy().into_owned()
}

/// Helm itself: the one on the path, or the one the scripts of `e2e` keep.
pub(crate) fn program() -> PathBuf {
    let kept =
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/darner-cluster/bin/helm"));
    match kept {
        Some(kept) if kept.is_file() => kept,
        _ => PathBuf::from("helm"),
    }
}

/// What a run of Helm came to: its output, or its complaints.
pub(crate) fn run(verb: &[&str], options: &[&str]) -> anyhow::Result<Result<String, String>> {
    let chart = root().join("helm/darner");
    let ran = Command::new(program())
        .args(verb)
        .arg(chart)
        .args(options)
        .env_remove("KUBECONFIG")
        .output()
        .context("helm cannot be run; `e2e/test` installs it")?;
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let err = String::from_utf8_lossy(&ran.stderr).into_owned();
    Ok(if ran.status.success() { Ok(out) } else { Err(err) })
}

/// The rendered text for a Kubernetes version.
pub(crate) fn text(kubernetes: &str, options: &[&str]) -> anyhow::Result<String> {
    let options = [&RELEASE[1..], &["--kube-version", kubernetes], options].concat();
    run(&["template", RELEASE[0]], &options)?.map_err(anyhow::Error::msg)
}

/// The words with which Helm refuses these options.
pub(crate) fn refused(options: &[&str]) -> anyhow::Result<String> {
    let options = [&RELEASE[1..], &["--kube-version", "1.34.4"], options].concat();
    match run(&["template", RELEASE[0]], &options)? {
        Ok(_) => anyhow::bail!("{options:?} was taken"),
        Err(words) => Ok(words),
    }
}

/// The rendered objects.
pub(crate) fn objects(kubernetes: &str, options: &[&str]) -> anyhow::Result<Vec<Value>> {
    let text = text(kubernetes, options)?;
    let documents = text.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let mut objects = Vec::new();
    for document in documents {
        let object: Value = serde_saphyr::from_str(document).with_context(|| document.to_owned())?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    anyhow::ensure!(!objects.is_empty(), "nothing was rendered");
    Ok(objects)
}

/// The one object of this kind and name.
pub(crate) fn one<'all>(objects: &'all [Value], kind: &str, name: &str) -> anyhow::Result<&'all Value> {
    let mut found =
        objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let first = found.next().with_context(|| format!("no {kind} {name}"))?;
    anyhow::ensure!(found.next().is_none(), "two of {kind} {name}");
    Ok(first)
}

/// The specs of all pods these objects make, with the name of what makes them.
pub(crate) fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let spec = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]).replace('"', "");
    let mut pods: Vec<_> = objects
        .iter()
        .filter(|object| object["spec"]["template"]["spec"].is_object())
        .map(|object| (spec(object), &object["spec"]["template"]["spec"]))
        .collect();
    pods.extend(objects.iter().filter(|object| object["kind"] == "Pod").map(|pod| (spec(pod), &pod["spec"])));
    pods
}

/// Options that switch on everything the chart has.
pub(crate) const EVERYTHING: &[&str] = &[
    "--set=jaeger.enable=true",
    "--set=networkPolicy.enable=true",
    "--set=monitoring.serviceMonitor.enable=true",
    "--set=monitoring.prometheusRule.enable=true",
    "--set=monitoring.dashboard.enable=true",
    "--set=priorityClass.create=true",
    "--set=scheduler.replicas=2",
    "--set=seedPeer.autoscaling.enable=true",
    "--set=seedPeer.storage.type=pvc",
    "--set=manager.storage.type=pvc",
    "--set=upstreamCa.existingConfigMap=roots",
    "--set=upstreams={github.com,http://lfs.corp:8080}",
    "--set=resolve={lfs.corp:8080:10.0.0.5}",
    "--set=dfdaemon.git.tls.certManager.issuer=corp",
    "--set=tenant=blue",
    "--set=webhook.enabled=true",
    "--set=manager.kubernetes.credentialSecrets={forge}",
];
