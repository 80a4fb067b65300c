//! Starting: what is wrong is said in words, what was kept is found again, a damaged disk leaks nothing.

use super::stand::{config_at, content, stand, stand_with};
use crate::config::{Config, Tls};
use crate::daemon::start;
use darner_chassis::command::Started;
use darner_chassis::metrics::{Kind, Role};
use darner_proto::v1;

async fn refusal(config: Config) -> String {
    let started = Started::in_process(config).unwrap();
    let words = start(&started).await.expect_err("it must not start").to_string();
    started.tasks.close().await;
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_the_configuration_is_told_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config_at(data.path());
    config.upstreams = vec!["ftp://x".to_owned(), "a/b".to_owned()];
    config.resolve = vec!["nonsense".to_owned()];
    config.git.tls = Tls { cert: Some(data.path().join("x")), key: None };
    let rule = crate::config::seed_words::Rule { regx: "(".to_owned(), ..Default::default() };
    config.proxy = Some(crate::config::Proxy { proxies: vec![rule], ..Default::default() });
    let words = refusal(config).await;
    for key in ["ftp://x", "a/b", "`resolve`", "`git.tls.key`", "`proxy.proxies[0].regx`"] {
        assert!(words.contains(key), "{key}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_has_just_started_acts_as_no_seed_while_its_scheduler_may_still_tell() {
    // It accepts, and has not told anybody anything yet.
    let scheduler = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = scheduler.local_addr().unwrap().to_string();
    let stand = stand_with(|config| config.schedulers = vec![address]).await;
    let oid = stand.forge.put(content(7, 1000));
    let url = format!("http://{}/store/{}?sig=good", stand.forge_at, oid.path());
    let object = v1::OpenObject {
        key: Some(darner_lfs::ObjectKey::from(oid).into()),
        size: Some(1000),
        credential: Some(v1::Credential { url, ..Default::default() }),
        ..Default::default()
    };
    let taker =
        v1::NodeIdentity { id: "other".to_owned(), role: v1::Role::Daemon.into(), ..Default::default() };
    let request = v1::OpenRequest { taker: Some(taker), objects: vec![object], ..Default::default() };
    let channel = darner_chassis::grpc::channel(&stand.at.grpc.to_string()).unwrap();
    let told = v1::seed_client::SeedClient::new(channel).open(request).await.expect_err("it must not read");
    assert_eq!(told.code(), tonic::Code::Unavailable, "{told}");
    assert!(told.message().contains("just started"), "{told}");
    assert!(stand.forge.seen("/store/").is_empty(), "the origin was read");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_named_with_its_key() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut config = config_at(data.path());
    config.git.listen = busy.local_addr().unwrap().to_string();
    let words = refusal(config).await;
    assert!(
        words.contains("`git.listen`") && words.contains(&busy.local_addr().unwrap().to_string()),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_no_use_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let words = refusal(config_at(&file.join("below"))).await;
    assert!(words.contains("`data`") && words.contains("below"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let stand = stand().await;
    let words = refusal(config_at(stand.data())).await;
    assert!(words.contains("`data`"), "{words}");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_objects_tickets_and_identity() {
    let mut stand = stand().await;
    let whole = content(1, 500_000);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, whole.len()).await;
    assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    stand.again().await;
    assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    assert_eq!(stand.started.metrics.origin_requests_so_far(Kind::Content, Role::Daemon), 0);
    assert_eq!(std::fs::read(stand.data().join("objects").join(oid.path())).unwrap(), whole);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_the_disk_flipped_is_never_answered_to_the_end() {
    let mut stand = stand().await;
    let whole = content(2, 900_000);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, whole.len()).await;
    assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    let file = stand.data().join("objects").join(oid.path());
    stand.again().await;
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[600_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let broken = stand.get(&path, &[("Authorization", &ticket)]).await;
    assert!(broken.body.len() < whole.len() && whole.starts_with(&broken.body), "{}", broken.body.len());
    let range = format!("bytes={}-", broken.body.len());
    let resumed = stand.get(&path, &[("Authorization", &ticket), ("Range", &range)]).await;
    let mut healed = broken.body;
    if resumed.status == 206 {
        healed.extend_from_slice(&resumed.body);
    } else {
        healed = stand.get(&path, &[("Authorization", &ticket)]).await.body;
    }
    assert!(healed == whole, "the client ends with the right bytes");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_leaves_batches_and_objects_to_the_origin() {
    let stand = stand_with(|config| config.git.bypass = true).await;
    let oid = stand.forge.put(content(3, 500));
    // The switch is set by a task at start.
    let untouched = async {
        loop {
            let answer = stand.batch("o/r.git", "download", &[(oid.to_string(), 500)]).await.json();
            let href = answer["objects"][0]["actions"]["download"]["href"].as_str().unwrap().to_owned();
            if href.contains("/store/") {
                return href;
            }
        }
    };
    let href = tokio::time::timeout(std::time::Duration::from_secs(10), untouched).await.unwrap();
    assert!(href.starts_with(&format!("http://{}/", stand.forge_at)), "{href}");
    stand.close().await;
}

#[test]
fn the_seed_documents_words_are_read_as_they_stand() {
    let text = r#"{"verbose":true,"pprofPort":18066,"proxy":{"defaultFilter":"X-Amz-Date&X-Amz-Signature","security":{"insecure":true,
        "cacert":"","cert":"","key":""},"tcpListen":{"namespace":"","port":65001},"registryMirror":{"url":"https://index.docker.io",
        "insecure":true,"certs":[],"direct":false},"proxies":[{"regx":"blobs/sha256.*"},{"regx":"github-cloud.githubusercontent.com.*"}]}}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    assert!(config.shared.verbose && config.plaintext() && config.connects_to_forges());
    assert_eq!(config.proxy.unwrap().default_filter, ["X-Amz-Date", "X-Amz-Signature"]);
}
