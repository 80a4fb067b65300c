//! What the operator says at the manager is what the nodes do: upstreams taken away, a budget, a purge.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not what it set up"
)]

use std::path::Path;
use std::time::Duration;

use darner_chassis::grpc;
use darner_e2e::cluster::{Metrics, program};
use darner_e2e::http::{self, Reply};
use darner_e2e::operator::Operator;
use darner_e2e::origin::counts::Kind;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use darner_e2e::{lfs, wait};
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::v1::seed_client::SeedClient;
use rustix::process::Signal;
use serde_json::{Value, json};

const SIZES: [u64; 2] = [3_000_000, 2_000_000];
const QUIET: Duration = Duration::from_secs(3);

/// A cluster with one object everywhere and one nowhere, whose operator keeps no upstream of the origin.
async fn narrowed() -> (Scene, Operator) {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    let first = scene.ticketed(0, 0).await.unwrap().get(None).await.unwrap();
    assert_eq!((first.status.as_u16(), first.whole), (200, true));
    let operator = Operator::sign_in(&scene.cluster).await.unwrap();
    operator.configure(&json!({ "upstreams": ["https://elsewhere.test"] })).await.unwrap();
    let closed = || async { Ok((batch(&scene).await.status == 403).then_some(())) };
    wait::until("the daemon keeps to the operator's upstreams", closed).await.unwrap();
    (scene, operator)
}

async fn batch(scene: &Scene) -> Reply {
    let (_, oid, size) = scene.planted[0].clone();
    lfs::batch(&scene.gateway(0).unwrap(), &[(oid, size)], None).await.unwrap()
}

/// The seed's word about one object for somebody with a good address of it.
async fn opened(scene: &Scene, file: usize) -> Outcome {
    let ready = scene.cluster.data().join("seed-peer-0/ready.json");
    let ready: Value = serde_json::from_slice(&std::fs::read(ready).unwrap()).unwrap();
    let channel = grpc::channel(ready["grpc"].as_str().unwrap()).unwrap();
    let (_, oid, size) = scene.planted[file].clone();
    let href = lfs::actions(&scene.direct(), &[(oid, size)], None).await.unwrap()[0].href.clone();
    let object = v1::OpenObject {
        key: Some(darner_lfs::ObjectKey::from(oid).into()),
        size: Some(size),
        credential: Some(v1::Credential { url: href, ..Default::default() }),
        urgent: true,
        ..Default::default()
    };
    let node =
        v1::NodeIdentity { id: "somebody".to_owned(), role: v1::Role::Daemon.into(), ..Default::default() };
    let request = v1::OpenRequest { taker: Some(node), objects: vec![object], ..Default::default() };
    let mut replies = SeedClient::new(channel).open(request).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap().outcome.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_upstreams_bind_the_seed_stored_or_not() {
    let (scene, operator) = narrowed().await;
    let refused = || async {
        Ok(matches!(opened(&scene, 0).await, Outcome::Refusal(words) if words.status == 403).then_some(()))
    };
    wait::until("the seed keeps to the operator's upstreams", refused).await.unwrap();
    scene.origin.counters.reset();
    for file in [0, 1] {
        match opened(&scene, file).await {
            Outcome::Refusal(words) => {
                assert_eq!(words.status, 403, "{words:?}");
                assert!(words.message.contains("`upstreams`"), "{words:?}");
            }
            other => panic!("the seed opens file {file}: {other:?}"),
        }
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!((counts.of(Kind::Content).requests, counts.of(Kind::Probe).requests), (0, 0), "{counts:#?}");
    operator.configure(&json!({})).await.unwrap();
    let given_back = || async { Ok(matches!(opened(&scene, 1).await, Outcome::Opened(_)).then_some(())) };
    wait::until("the seed reads again", given_back).await.unwrap();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_an_unlisted_upstream_is_counted_under_its_verdict() {
    let (scene, _operator) = narrowed().await;
    let admin = &scene.cluster.peer_daemons[0].admin;
    let counted = async |labels: &[(&str, &str)]| {
        Metrics::of(admin).await.unwrap().sum("darner_authorization_total", labels)
    };
    let (all, unlisted) = (counted(&[]).await, counted(&[("verdict", "not listed")]).await);
    assert_eq!(batch(&scene).await.status, 403);
    assert_eq!(counted(&[("verdict", "not listed")]).await, unlisted + 1);
    assert_eq!(counted(&[]).await, all + 1, "one decision, one verdict");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_upstreams_bind_the_command_line() {
    let (scene, _operator) = narrowed().await;
    for file in [0, 1] {
        let (_, oid, size) = scene.planted[file].clone();
        let href = lfs::actions(&scene.direct(), &[(oid, size)], None).await.unwrap()[0].href.clone();
        let (oid, size) = (oid.to_string(), size.to_string());
        let data = scene.cluster.data().to_str().unwrap();
        let mut get = tokio::process::Command::new(program("darner").unwrap());
        get.args(["get", &oid, "--size", &size, "--url", &href, "--data", data]).kill_on_drop(true);
        let ran = tokio::time::timeout(wait::PATIENCE, get.output()).await.unwrap().unwrap();
        let said = [&ran.stdout[..], &ran.stderr[..]].map(String::from_utf8_lossy).concat();
        assert!(!ran.status.success() && said.contains("`upstreams`"), "file {file}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_the_operator_does_not_keep_is_not_reached_by_connect() {
    let home = tempfile::tempdir().unwrap();
    let values = home.path().join("values.yaml");
    std::fs::write(&values, "dfdaemon: {config: {proxy: {proxies: [{regx: blobs/sha256.*}]}}}\n").unwrap();
    let mut plan = Plan::new(1, &SIZES);
    // No packet leaves this machine.
    plan.options.more = vec!["--config".to_owned(), values.to_str().unwrap().to_owned()];
    plan.options.more.extend(["--resolve".to_owned(), "github.com:443:127.0.0.1".to_owned()]);
    let scene = Scene::set(plan).await.unwrap();
    let proxy = scene.cluster.proxy(0).unwrap();
    let connect = async || {
        let request = b"CONNECT github.com:443 HTTP/1.1\r\nHost: github.com\r\n\r\n";
        http::raw(proxy, request, QUIET).await.unwrap()
    };
    // Nobody has to listen there: to be dialled at all is what counts.
    let before = connect().await;
    assert!(!before.starts_with("HTTP/1.1 403"), "the seed vocabulary opens forges: {before}");
    let operator = Operator::sign_in(&scene.cluster).await.unwrap();
    operator.configure(&json!({ "upstreams": ["https://forge.test"] })).await.unwrap();
    let refused = || async {
        let answer = connect().await;
        Ok((answer.starts_with("HTTP/1.1 403") && answer.contains("upstreams")).then_some(()))
    };
    wait::until("the forge is refused", refused).await.unwrap();
    operator.configure(&json!({ "upstreams": ["github.com"] })).await.unwrap();
    let given_back = || async { Ok((!connect().await.starts_with("HTTP/1.1 403")).then_some(())) };
    wait::until("the forge that is kept by name is dialled", given_back).await.unwrap();
}

/// Bytes of the finished objects under a data directory.
fn kept(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => kept(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_the_operators_budget_is_evicted_down_to_at_once_and_holds() {
    const BUDGET: u64 = 7_000_000;
    let scene = Scene::set(Plan::new(1, &[3_000_000; 5])).await.unwrap();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    let nodes = || scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons);
    let all =
        || async { Ok(nodes().all(|node| kept(&node.data.join("objects")) == 15_000_000).then_some(())) };
    wait::until("everything is kept", all).await.unwrap();
    let operator = Operator::sign_in(&scene.cluster).await.unwrap();
    operator.configure(&json!({ "storage": { "budget": BUDGET } })).await.unwrap();
    let within = || async {
        let kept = nodes().map(|node| kept(&node.data.join("objects"))).max();
        Ok(kept.filter(|kept| *kept <= BUDGET))
    };
    let left = wait::until("what is kept lies within the operator's budget", within).await.unwrap();
    assert!(left >= 3_000_000, "evicted down to the budget, not to nothing: {left}");
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    assert!(nodes().all(|node| kept(&node.data.join("objects")) <= BUDGET), "and it holds");
    operator.configure(&json!({})).await.unwrap();
    let given_back = || async {
        scene.clone(Mode::B, Wire::Clear, 0).await?;
        let daemon = &scene.cluster.peer_daemons[0];
        Ok((kept(&daemon.data.join("objects")) == 15_000_000).then_some(()))
    };
    wait::until("the node's own budget counts again", given_back).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_every_node_and_one_that_was_away() {
    let home = tempfile::tempdir().unwrap();
    let mut plan = Plan::new(2, &SIZES);
    plan.options.data = Some(home.path().join("cluster"));
    let mut scene = Scene::set(plan).await.unwrap();
    for daemon in [0, 1] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
    }
    let (purged, other) = (scene.oid(0).unwrap(), scene.oid(1).unwrap());
    let holders = |scene: &Scene, oid| {
        let nodes = scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons);
        nodes.map(|node| Scene::holds(node, oid)).collect::<Vec<_>>()
    };
    let all = || async { Ok((holders(&scene, purged) == [true; 3]).then_some(())) };
    wait::until("all hold the object", all).await.unwrap();
    darner_e2e::cluster::signal(scene.cluster.peer_daemons[1].pid, Signal::KILL).unwrap();
    let operator = Operator::sign_in(&scene.cluster).await.unwrap();
    operator.purge(purged).await.unwrap();
    let gone = || async { Ok((holders(&scene, purged) == [false, false, true]).then_some(())) };
    wait::until("who is there lets go of it", gone).await.unwrap();
    scene.restart().await.unwrap();
    let gone = || async { Ok((holders(&scene, purged) == [false; 3]).then_some(())) };
    wait::until("who was away lets go of it", gone).await.unwrap();
    assert_eq!(holders(&scene, other), [true; 3], "and of nothing else");
    scene.origin.counters.reset();
    for daemon in [1, 0] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.of(Kind::Content).requests, 1, "the purged one, once: {counts:#?}");
}
