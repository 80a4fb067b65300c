//! What the parts may do in Kubernetes, and the webhook that pods never wait for.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::helm::{EVERYTHING, objects, one, pods, text};

const WEBHOOK: &[&str] = &["--set=webhook.enabled=true,upstreams={github.com}"];

fn of_kind<'all>(objects: &'all [Value], kind: &'static str) -> impl Iterator<Item = &'all Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

#[test]
fn no_right_reaches_beyond_the_namespace() -> anyhow::Result<()> {
    for options in [&[][..], EVERYTHING] {
        let objects = objects("1.34.4", options)?;
        let wide = of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "ClusterRoleBinding"));
        for role in wide {
            // The one exception is there while a hook runs, and for one object by name.
            assert!(role["metadata"]["annotations"]["helm.sh/hook"].is_string(), "{role}");
            for rule in role["rules"].as_array().into_iter().flatten() {
                assert_eq!(rule["resourceNames"], json!(["dragonfly-system-dragonfly-webhook"]), "{rule}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_manager_may_read_only_the_secrets_that_are_named() -> anyhow::Result<()> {
    let rules = |options: &[&str]| -> anyhow::Result<Vec<Value>> {
        let objects = objects("1.34.4", options)?;
        let role = one(&objects, "Role", "dragonfly-manager")?;
        Ok(role["rules"].as_array().context("rules")?.clone())
    };
    let on_secrets = |rules: &[Value]| {
        rules.iter().filter(|rule| rule["resources"] == json!(["secrets"])).cloned().collect::<Vec<_>>()
    };
    assert_eq!(on_secrets(&rules(&[])?), Vec::<Value>::new());
    let named = on_secrets(&rules(&["--set=manager.kubernetes.credentialSecrets={forge-a,forge-b}"])?);
    assert_eq!(named.len(), 1);
    assert_eq!(
        (&named[0]["verbs"], &named[0]["resourceNames"]),
        (&json!(["get"]), &json!(["forge-a", "forge-b"]))
    );
    for rule in rules(&[])? {
        for word in ["verbs", "resources", "apiGroups"] {
            assert!(!rule[word].to_string().contains('*'), "{rule}");
        }
    }
    Ok(())
}

#[test]
fn only_the_manager_and_the_hooks_hold_a_token_of_the_cluster() -> anyhow::Result<()> {
    for (option, managers) in
        [("--set=manager.kubernetes.enable=true", true), ("--set=manager.kubernetes.enable=false", false)]
    {
        for (name, pod) in pods(&objects("1.34.4", &[option])?) {
            let expected = name.starts_with("Job") || (managers && name == "Deployment dragonfly-manager");
            assert_eq!(pod["automountServiceAccountToken"], expected, "{name} with {option}");
        }
    }
    Ok(())
}

#[test]
fn what_the_cluster_adds_is_taken_unless_it_is_said_otherwise() -> anyhow::Result<()> {
    let added = |option: &str| {
        text("1.34.4", &[option]).map(|text| text.matches("upstreamsFromCluster: true").count())
    };
    assert_eq!(added("--set=manager.kubernetes.upstreams=true")?, 2, "seeds and daemons");
    assert_eq!(added("--set=manager.kubernetes.upstreams=false")?, 0);
    assert_eq!(added("--set=manager.kubernetes.enable=false")?, 0);
    Ok(())
}

#[test]
fn the_webhook_is_off_and_when_it_is_on_no_pod_waits_for_it() -> anyhow::Result<()> {
    assert!(!text("1.34.4", EVERYTHING_BUT_IT)?.contains("MutatingWebhookConfiguration"));
    let objects = objects("1.34.4", WEBHOOK)?;
    let configuration = one(&objects, "MutatingWebhookConfiguration", "dragonfly-system-dragonfly-webhook")?;
    let webhook = &configuration["webhooks"][0];
    assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Ignore"), &json!(3)));
    assert_eq!(webhook["namespaceSelector"]["matchLabels"], json!({"darner.dev/inject": "enabled"}));
    assert!(webhook["clientConfig"]["caBundle"].is_null(), "it would be chance in a template");
    let called = &webhook["clientConfig"]["service"];
    let service = one(&objects, "Service", called["name"].as_str().context("name")?)?;
    assert_eq!((&service["spec"]["ports"][0]["port"], &called["port"]), (&json!(443), &json!(443)));
    let manager =
        &one(&objects, "Deployment", "dragonfly-manager")?["spec"]["template"]["spec"]["containers"][0];
    let ports = manager["ports"].as_array().context("ports")?;
    assert!(ports.iter().any(
        |port| port["name"] == service["spec"]["ports"][0]["targetPort"] && port["containerPort"] == 9443
    ));
    Ok(())
}

const EVERYTHING_BUT_IT: &[&str] = &["--set=jaeger.enable=true,networkPolicy.enable=true"];

#[test]
fn pods_are_sent_to_the_port_that_nodes_have() -> anyhow::Result<()> {
    for (option, port) in [
        ("--set=dfdaemon.port=65001", 30950),
        ("--set=dfdaemon.hostPort=7001", 7001),
        ("--set=webhook.gitPort=7002,dfdaemon.hostPort=7001", 7002),
    ] {
        let objects = objects("1.34.4", &[WEBHOOK, &[option]].concat())?;
        let map = one(&objects, "ConfigMap", "dragonfly-manager")?;
        let config: Value =
            serde_saphyr::from_str(map["data"]["config.yaml"].as_str().context("config.yaml")?)?;
        let webhook = &config["kubernetes"]["webhook"];
        assert_eq!(
            (&webhook["gitPort"], &webhook["upstreams"]),
            (&json!(port), &json!(["github.com"])),
            "{option}"
        );
    }
    Ok(())
}

#[test]
fn its_certificate_comes_from_a_hook_or_cert_manager_or_the_operator() -> anyhow::Result<()> {
    let with = |options: &[&str]| text("1.34.4", &[WEBHOOK, options].concat());
    let made = with(&[])?;
    assert!(
        made.contains("--webhook=dragonfly-webhook-tls")
            && made.contains("--trust=dragonfly-system-dragonfly-webhook")
    );
    let issued = with(&["--set=webhook.tls.certManager.issuer=corp"])?;
    assert!(issued.contains("cert-manager.io/inject-ca-from: dragonfly-system/dragonfly-webhook-tls"));
    let given = with(&[
        "--set=webhook.tls.existingSecret=corp-webhook",
        "--set=webhook.tls.caBundle=-----BEGIN CERTIFICATE-----",
    ])?;
    assert!(given.contains("secretName: corp-webhook") && given.contains("caBundle: LS0tLS1CRUdJTi"));
    for other in [issued, given] {
        assert!(!other.contains("--trust="), "nobody but the operator makes it believed");
    }
    Ok(())
}
