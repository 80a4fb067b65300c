//! Who is who between the parts: each finds what its role needs to join, and nothing of another's.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::helm::{objects, one, pods, text};

const ROLES: [(&str, &str); 3] = [
    ("StatefulSet dragonfly-scheduler", "dragonfly-join-scheduler"),
    ("StatefulSet dragonfly-seed-peer", "dragonfly-join-seed-peer"),
    ("DaemonSet dragonfly-dfdaemon", "dragonfly-join-dfdaemon"),
];

fn secrets(pod: &Value) -> Vec<String> {
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| Some(volume["secret"]["secretName"].as_str()?.to_owned())).collect()
}

fn config(objects: &[Value], part: &str) -> anyhow::Result<Value> {
    let map = one(objects, "ConfigMap", &format!("dragonfly-{part}"))?;
    Ok(serde_saphyr::from_str(map["data"]["config.yaml"].as_str().context("config.yaml")?)?)
}

fn arguments(objects: &[Value], job: &str) -> anyhow::Result<Vec<String>> {
    let command = &one(objects, "Job", job)?["spec"]["template"]["spec"]["containers"][0]["command"];
    let words = command.as_array().context("command")?.iter();
    Ok(words.filter_map(|word| word.as_str().map(str::to_owned)).collect())
}

#[test]
fn every_part_joins_with_its_own_token_and_only_the_manager_has_the_key() -> anyhow::Result<()> {
    let objects = objects("1.34.4", &[])?;
    for (name, pod) in pods(&objects) {
        let mut mounted = secrets(pod);
        mounted.retain(|secret| !secret.ends_with("-keys"));
        let own = ROLES.iter().find(|(workload, _)| *workload == name).map(|(_, secret)| *secret);
        let expected = if name == "Deployment dragonfly-manager" { Some("dragonfly-authority") } else { own };
        assert_eq!(mounted, expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
    for part in ["scheduler", "seed-peer", "dfdaemon"] {
        assert_eq!(
            config(&objects, part)?["tls"],
            json!({"caCert": "/etc/darner/join/ca.crt", "joinToken": "/etc/darner/join/token"}),
            "{part}"
        );
    }
    let manager = config(&objects, "manager")?;
    assert_eq!(manager["ca"]["key"], "/etc/darner/authority/ca.key");
    assert_eq!(manager["ca"]["lifetimeSeconds"], 86_400);
    Ok(())
}

#[test]
fn what_seeds_sign_with_is_mounted_by_seeds_alone() -> anyhow::Result<()> {
    for (name, pod) in pods(&objects("1.34.4", &[])?) {
        let mut keys = secrets(pod);
        keys.retain(|secret| secret.ends_with("-keys"));
        let expected: &[&str] = match name.as_str() {
            "DaemonSet dragonfly-dfdaemon" => &["dragonfly-keys"],
            "StatefulSet dragonfly-seed-peer" => &["dragonfly-seed-keys"],
            _ => &[],
        };
        assert_eq!(keys, expected, "{name}");
    }
    let both = objects("1.34.4", &["--set=keys.existingSecret=corp-keys"])?;
    let both: Vec<String> = pods(&both).into_iter().flat_map(|(_, pod)| secrets(pod)).collect();
    assert_eq!(both.iter().filter(|secret| *secret == "corp-keys").count(), 2, "one Secret may hold both");
    Ok(())
}

#[test]
fn the_secrets_are_made_once_by_the_hook_and_go_with_the_release() -> anyhow::Result<()> {
    let objects = objects("1.34.4", &[])?;
    let made = arguments(&objects, "dragonfly-make-keys")?;
    for word in [
        "--authority=dragonfly-authority",
        "--trust-domain=dragonfly.dragonfly-system",
        "--join=scheduler=dragonfly-join-scheduler",
        "--join=seed-peer=dragonfly-join-seed-peer",
        "--join=peer-daemon=dragonfly-join-dfdaemon",
    ] {
        assert!(made.iter().any(|made| made == word), "{word} in {made:?}");
    }
    let names = |more: &[&str]| {
        let all = ["keys", "seed-keys", "authority", "join-scheduler", "join-seed-peer", "join-dfdaemon"];
        json!(all.iter().chain(more).map(|name| format!("dragonfly-{name}")).collect::<Vec<_>>())
    };
    for (job, verbs, expected) in [
        ("dragonfly-make-keys", json!(["get", "update"]), names(&[])),
        // An earlier revision may have had a webhook.
        ("dragonfly-remove-keys", json!(["delete"]), names(&["webhook-tls"])),
    ] {
        let rules = one(&objects, "Role", job)?["rules"].as_array().context("rules")?.clone();
        let named = rules.iter().find(|rule| rule["verbs"] == verbs).context("a rule by name")?;
        assert_eq!(named["resourceNames"], expected, "{job}");
    }
    assert!(arguments(&objects, "dragonfly-remove-keys")?.contains(&"--remove".to_owned()));
    Ok(())
}

#[test]
fn a_pod_may_join_with_its_own_token_and_then_no_other_counts() -> anyhow::Result<()> {
    let objects = objects("1.34.4", &["--set=mtls.joinWith=serviceAccount"])?;
    let audience = "darner/dragonfly-system/dragonfly";
    for (name, pod) in pods(&objects) {
        let Some((_, secret)) = ROLES.iter().find(|(workload, _)| *workload == name) else { continue };
        let mut volumes = pod["volumes"].as_array().context("volumes")?.iter();
        let join = volumes.find(|volume| volume["name"] == "join").context("join")?;
        let sources = &join["projected"]["sources"];
        assert_eq!(
            sources[0]["secret"],
            json!({"name": secret, "items": [{"key": "ca.crt", "path": "ca.crt"}]})
        );
        let token = &sources[1]["serviceAccountToken"];
        assert_eq!((&token["audience"], &token["path"]), (&json!(audience), &json!("token")), "{name}");
        // It is the only token in the pod: none for the Kubernetes API.
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
    }
    let ca = &config(&objects, "manager")?["ca"];
    assert!(ca["tokens"].is_null() && ca["audience"] == audience, "{ca}");
    let role = one(&objects, "ClusterRole", "dragonfly-system-dragonfly-manager")?;
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}])
    );
    Ok(())
}

#[test]
fn switched_off_nothing_of_it_is_left_but_its_removal() -> anyhow::Result<()> {
    let objects = objects("1.34.4", &["--set=mtls.enabled=false"])?;
    for (name, pod) in pods(&objects) {
        assert!(secrets(pod).iter().all(|secret| secret.ends_with("-keys")), "{name}");
    }
    for part in ["manager", "scheduler", "seed-peer", "dfdaemon"] {
        let config = config(&objects, part)?;
        assert!(config["tls"].is_null() && config["ca"].is_null(), "{part}");
    }
    let words = |job| arguments(&objects, job).map(|words| words.join(" "));
    assert!(!words("dragonfly-make-keys")?.contains("authority"));
    // An earlier revision may have made one.
    assert!(words("dragonfly-remove-keys")?.contains("--authority=dragonfly-authority"));
    Ok(())
}

#[test]
fn an_authority_of_ones_own_is_taken_and_never_touched() -> anyhow::Result<()> {
    let given = [
        "--set=mtls.existingSecrets.authority=corp-ca",
        "--set=mtls.existingSecrets.scheduler=corp-scheduler",
        "--set=mtls.existingSecrets.seedPeer=corp-seed",
        "--set=mtls.existingSecrets.dfdaemon=corp-daemon",
    ];
    let rendered = text("1.34.4", &given)?;
    assert!(!rendered.contains("--authority") && !rendered.contains("--join"), "{rendered}");
    let objects = objects("1.34.4", &given)?;
    let all: Vec<String> = pods(&objects).into_iter().flat_map(|(_, pod)| secrets(pod)).collect();
    for secret in ["corp-ca", "corp-scheduler", "corp-seed", "corp-daemon"] {
        assert_eq!(all.iter().filter(|one| *one == secret).count(), 1, "{secret} in {all:?}");
    }
    let keyless = text("1.34.4", &[&given[..], &["--set=keys.existingSecret=corp-keys"]].concat())?;
    assert!(!keyless.contains("kind: Job"), "nothing is left to be made");
    Ok(())
}
