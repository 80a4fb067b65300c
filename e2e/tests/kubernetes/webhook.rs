//! The API server asks the manager how a pod should look, in namespaces with the label and in no others.

use std::net::UdpSocket;

use anyhow::Context as _;
use darner_e2e::wait;
use serde_json::{Value, json};

use super::stage::{SOON, Stage};

/// The address of this machine as the API server reaches it.
fn own_address(stage: &Stage) -> String {
    let view = stage.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"], "").unwrap();
    let view: Value = serde_json::from_str(&view).unwrap();
    let server = view["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let authority = server.split("://").nth(1).unwrap().trim_end_matches('/').to_owned();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(authority).unwrap();
    socket.local_addr().unwrap().ip().to_string()
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "x", "env": [
            {"name": "GIT_CONFIG_COUNT", "value": "1"},
            {"name": "GIT_CONFIG_KEY_0", "value": "user.name"},
            {"name": "GIT_CONFIG_VALUE_0", "value": "me"}
        ]}]}
    })
}

fn env<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let entries = pod["spec"]["containers"][0]["env"].as_array()?;
    entries.iter().find(|entry| entry["name"] == name)
}

/// An address nobody listens on yet; the manager takes it a moment later.
fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn pods_of_a_labelled_namespace_are_given_the_configuration() {
    let mut stage = Stage::set("webhook");
    let address = own_address(&stage);
    let made = rcgen::generate_simple_self_signed([address.clone()]).unwrap();
    let (cert, key) = (stage.path().join("tls.crt"), stage.path().join("tls.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let webhook = json!({
        "listen": format!("0.0.0.0:{port}"), "cert": cert, "key": key, "gitPort": 30950,
        "upstreams": ["https://git.corp.test"]
    });
    stage.manager("manager", json!({"kubernetes": {"webhook": webhook}})).await;
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, made.cert.pem());
    let name = stage.namespace.clone();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "pods.darner.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": 3,
            "clientConfig": {"url": format!("https://{address}:{port}/mutate/pods"), "caBundle": bundle},
            "namespaceSelector": {"matchLabels": {"darner.dev/inject": "enabled", "kubernetes.io/metadata.name": name}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        }]
    });
    stage.apply(&configuration.to_string()).unwrap();
    let account = || async { stage.get("serviceaccount/default").map(Some) };
    wait::within(SOON, "the namespace has its account", account).await.unwrap();
    stage.apply(&pod("unlabelled").to_string()).unwrap();
    assert_eq!(env(&stage.get("pod/unlabelled").unwrap(), "DARNER_HOST_IP"), None);

    stage.kubectl(&["label", "namespace", &name, "darner.dev/inject=enabled"], "").unwrap();
    stage.upstream("added", &json!({"url": "https://added.test"})).unwrap();
    // The API server takes a moment to know the configuration and the label, the manager the resource.
    let given = || async {
        stage
            .kubectl(&["delete", "pod/asks", "--ignore-not-found", "--now"], "")
            .map_err(anyhow::Error::msg)?;
        stage.apply(&pod("asks").to_string()).map_err(anyhow::Error::msg)?;
        let pod = stage.get("pod/asks")?;
        let text = pod.to_string();
        let added = text.contains("url.http://$(DARNER_HOST_IP):30950/https/added.test/.insteadOf");
        added.then_some(Some(pod)).context(text)
    };
    let pod = wait::within(SOON, "a pod is given the configuration", given).await.unwrap();
    let whence = env(&pod, "DARNER_HOST_IP").unwrap();
    assert_eq!(whence["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP");
    assert_eq!(env(&pod, "GIT_CONFIG_KEY_0").unwrap()["value"], "user.name");
    let own = env(&pod, "GIT_CONFIG_KEY_1").unwrap()["value"].as_str().unwrap();
    assert_eq!(own, "url.http://$(DARNER_HOST_IP):30950/https/git.corp.test/.insteadOf");
    assert_eq!(pod["metadata"]["annotations"]["darner.dev/injected"], "git");
    stage.kubectl(&["delete", "mutatingwebhookconfiguration", &name], "").unwrap();
}
