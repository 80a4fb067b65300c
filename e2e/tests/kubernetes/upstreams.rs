//! LfsUpstreams: what the schema refuses, what the manager says of the others, and that they open an upstream.

use darner_e2e::lfs;
use darner_e2e::origin::shelf::Access;
use darner_e2e::origin::{Config, Origin};
use darner_e2e::scene::{REPOSITORY, plant};
use darner_e2e::wait;
use http::StatusCode;
use serde_json::{Value, json};

use super::stage::{Process, SOON, Stage};

/// A seed and a daemon that let the cluster add upstreams, and know `forge.test` and `content.test` as this machine.
async fn nodes(stage: &mut Stage, manager: &Process, origin: &Origin) -> Process {
    let at = origin.at();
    let ports = [("forge.test", at.forge_tls.port()), ("content.test", at.content_tls.port())];
    let resolve: Vec<_> = ports.iter().map(|(name, port)| format!("{name}:{port}:127.0.0.1")).collect();
    let shared = json!({
        "manager": manager.at("grpc"), "upstreamsFromCluster": true, "resolve": resolve,
        "grpc": {"listen": "127.0.0.1:0"}, "piece": {"listen": "127.0.0.1:0"}
    });
    let seed = stage.start("seed-peer", "seed", shared.clone()).await;
    let mut daemon = shared;
    daemon["git"] = json!({"listen": "127.0.0.1:0"});
    daemon["seedPeers"] = json!([seed.at("grpc")]);
    daemon["keys"] = json!({"grantsPublic": stage.path().join("seed/grants-public")});
    stage.start("peer-daemon", "daemon", daemon).await
}

async fn asked(
    daemon: &Process,
    origin: &Origin,
    object: (darner_lfs::Oid, u64),
) -> anyhow::Result<StatusCode> {
    let host = format!("forge.test:{}", origin.at().forge_tls.port());
    let repository = format!("http://{}/https/{host}/{REPOSITORY}.git", daemon.at("proxy"));
    Ok(lfs::batch(&repository, &[object], None).await?.status)
}

#[tokio::test]
async fn an_upstream_of_the_cluster_opens_it_with_its_own_trust_and_is_closed_again() {
    let mut stage = Stage::set("opens");
    let origin = Origin::start(Config::new(&stage.path().join("origin"))).await.unwrap();
    let planted = plant(&origin, REPOSITORY, Access::default(), &[300_000]).unwrap();
    let object = (planted[0].1, planted[0].2);
    let manager = stage.manager("manager", json!({})).await;
    let daemon = nodes(&mut stage, &manager, &origin).await;
    assert_eq!(asked(&daemon, &origin, object).await.unwrap(), StatusCode::FORBIDDEN);

    let ca = std::fs::read_to_string(&origin.at().ca).unwrap();
    let url = format!("https://forge.test:{}", origin.at().forge_tls.port());
    let content = format!("https://content.test:{}", origin.at().content_tls.port());
    stage.upstream("corp", &json!({"url": url, "redirectsTo": [content], "tls": {"caBundle": ca}})).unwrap();
    stage.condition("corp", "Ready", "True", "InForce").await;
    assert_eq!(stage.get("lfsupstream/corp").unwrap()["status"]["nodes"], "2/2");
    let host = format!("forge.test:{}", origin.at().forge_tls.port());
    let repository = format!("http://{}/https/{host}/{REPOSITORY}.git", daemon.at("proxy"));
    let actions = lfs::actions(&repository, &[object], None).await.unwrap();
    let reply = actions[0].get(None).await.unwrap();
    assert_eq!(
        (reply.status, reply.body.len(), reply.whole),
        (StatusCode::OK, 300_000, true),
        "{}",
        daemon.log()
    );

    stage.kubectl(&["delete", "lfsupstream/corp"], "").unwrap();
    let closed =
        || async { Ok((asked(&daemon, &origin, object).await? == StatusCode::FORBIDDEN).then_some(())) };
    wait::within(SOON, "the upstream is closed", closed).await.unwrap();
}

#[tokio::test]
async fn a_node_whose_file_does_not_let_it_takes_nothing() {
    let mut stage = Stage::set("alone");
    let manager = stage.manager("manager", json!({})).await;
    let config = json!({
        "manager": manager.at("grpc"), "grpc": {"listen": "127.0.0.1:0"}, "piece": {"listen": "127.0.0.1:0"}
    });
    let seed = stage.start("seed-peer", "seed", config).await;
    stage.upstream("corp", &json!({"url": "https://git.corp.test"})).unwrap();
    let words = stage.condition("corp", "InForce", "Unknown", "NoNodes").await;
    assert!(words.contains("`upstreamsFromCluster`"), "{words}");
    assert!(!seed.log().contains("upstreams of the cluster are in force"), "{}", seed.log());
}

#[tokio::test]
async fn what_the_shape_alone_tells_wrong_is_refused_by_the_api_server() {
    let stage = Stage::set("shape");
    let key = json!({"name": "x"});
    for (spec, word) in [
        (json!({}), "spec.url"),
        (json!({"url": "ftp://h.test"}), "spec.url"),
        (json!({"url": "https://h.test/path"}), "spec.url"),
        (json!({"url": "https://user:secret@h.test"}), "spec.url"),
        (json!({"url": "http://h.test:8080", "tls": {"caBundle": "x"}}), "`tls` is for https"),
        (json!({"url": "https://h.test", "tls": {}}), "exactly one of"),
        (json!({"url": "https://h.test", "tls": {"caBundle": "x", "configMapRef": key}}), "exactly one of"),
        (json!({"url": "https://h.test", "credentials": {}}), "secretRef"),
    ] {
        let words = stage.upstream("wrong", &spec).unwrap_err();
        assert!(words.contains(word), "{spec}: {words}");
    }
    stage.upstream("right", &json!({"url": "https://h.test:8443/"})).unwrap();
    let columns = stage.kubectl(&["get", "lfsu", "-o", "wide"], "").unwrap();
    assert!(columns.starts_with("NAME") && columns.contains("https://h.test:8443/"), "{columns}");
}

fn events(stage: &Stage, name: &str) -> Vec<(String, String)> {
    let listed = stage.get("events.events.k8s.io").unwrap();
    let about = |event: &&Value| event["regarding"]["name"] == name;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = listed["items"].as_array().unwrap().iter().filter(about);
    found.map(|event| (text(&event["type"]), text(&event["reason"]))).collect()
}

#[tokio::test]
async fn each_mistake_is_a_condition_and_an_event_in_words() {
    let mut stage = Stage::set("words");
    stage.manager("manager", json!({})).await;
    let secret = |name: &str| json!({"secretRef": {"name": name}});
    let url = |name: &str| format!("https://{name}.test");
    stage.upstream("badca", &json!({"url": url("badca"), "tls": {"caBundle": "junk"}})).unwrap();
    stage
        .upstream("noca", &json!({"url": url("noca"), "tls": {"configMapRef": {"name": "corp-ca"}}}))
        .unwrap();
    stage.upstream("absent", &json!({"url": url("absent"), "credentials": secret("absent")})).unwrap();
    stage.upstream("hidden", &json!({"url": url("hidden"), "credentials": secret("hidden")})).unwrap();
    let words = stage.condition("badca", "Accepted", "False", "InvalidCaBundle").await;
    assert!(words.contains("`tls.caBundle`"), "{words}");
    let words = stage.condition("noca", "Accepted", "False", "CaBundleMissing").await;
    assert!(words.contains("ConfigMap corp-ca does not exist"), "{words}");
    stage.condition("absent", "CredentialsFound", "False", "SecretMissing").await;
    stage.condition("absent", "Accepted", "True", "Accepted").await;
    let words = stage.condition("hidden", "CredentialsFound", "False", "NotPermitted").await;
    assert!(words.contains("Secret hidden") && words.contains("values"), "{words}");
    for (name, reason) in [
        ("badca", "InvalidCaBundle"),
        ("noca", "CaBundleMissing"),
        ("absent", "SecretMissing"),
        ("hidden", "NotPermitted"),
    ] {
        let warned = || async {
            Ok(events(&stage, name).contains(&("Warning".to_owned(), reason.to_owned())).then_some(()))
        };
        wait::within(SOON, "a warning", warned).await.unwrap();
    }
    // What was missing comes, and the younger of two for one URL learns of the older.
    let ca = rcgen::generate_simple_self_signed(["noca.test".to_owned()]).unwrap().cert.pem();
    stage.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp-ca"}, "data": {"ca.crt": ca}}).to_string()).unwrap();
    stage.condition("noca", "Accepted", "True", "Accepted").await;
    stage.upstream("younger", &json!({"url": "https://ABSENT.test:443"})).unwrap();
    let words = stage.condition("younger", "Accepted", "False", "DuplicateUrl").await;
    assert!(words.starts_with("absent"), "{words}");
}
