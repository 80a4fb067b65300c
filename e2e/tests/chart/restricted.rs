//! Pod Security `restricted`: what an admission controller would look at, on every pod the chart can make.

use serde_json::{Value, json};

use super::helm::{EVERYTHING, objects, pods};

/// What `restricted` forbids in this pod.
fn complaints(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |ok: bool, words: &str| {
        if !ok {
            found.push(words.to_owned());
        }
    };
    let of_pod = &pod["securityContext"];
    want(of_pod["runAsNonRoot"] == true, "runAsNonRoot");
    want(of_pod["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile");
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        want(pod[key].is_null(), key);
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        want(volume["hostPath"].is_null(), "hostPath");
    }
    let containers = ["containers", "initContainers"].map(|key| pod[key].as_array().into_iter().flatten());
    for container in containers.into_iter().flatten() {
        let context = &container["securityContext"];
        want(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        want(context["capabilities"] == json!({ "drop": ["ALL"] }), "capabilities");
        want(context["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
        want(context["runAsUser"] != 0, "runAsUser");
        for port in container["ports"].as_array().into_iter().flatten() {
            want(port["hostPort"].is_null(), "hostPort");
        }
    }
    found
}

#[test]
fn every_pod_passes_restricted_by_default() -> anyhow::Result<()> {
    let objects = objects("1.34.4", EVERYTHING)?;
    let pods = pods(&objects);
    assert!(pods.len() >= 6, "{}", pods.len());
    for (name, pod) in pods {
        assert_eq!(complaints(pod), Vec::<String>::new(), "{name}");
        let token = &pod["automountServiceAccountToken"];
        assert!(token == false || name.contains("manager") || name.starts_with("Job"), "{name}");
    }
    Ok(())
}

#[test]
fn what_does_not_pass_is_what_the_values_say() -> anyhow::Result<()> {
    for (option, expected) in [
        ("--set=dfdaemon.storage.type=hostPath", vec!["hostPath", "capabilities", "runAsUser"]),
        ("--set=dfdaemon.hostPort=65001", vec!["hostPort"]),
    ] {
        let objects = objects("1.34.4", &[option])?;
        let all: Vec<String> = pods(&objects).into_iter().flat_map(|(_, pod)| complaints(pod)).collect();
        assert_eq!(all, expected, "{option}");
    }
    Ok(())
}

#[test]
fn every_part_says_when_it_is_ready_and_leaves_in_peace() -> anyhow::Result<()> {
    let objects = objects("1.34.4", &[])?;
    for (name, pod) in pods(&objects).into_iter().filter(|(name, _)| !name.starts_with("Pod")) {
        if name.starts_with("Job") {
            continue;
        }
        let container = &pod["containers"][0];
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz", "{name}");
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez", "{name}");
        assert!(container["lifecycle"]["preStop"].is_object(), "{name}");
        // The process itself takes up to 25 s after the word to leave.
        assert!(pod["terminationGracePeriodSeconds"].as_u64() >= Some(30), "{name}");
    }
    Ok(())
}
