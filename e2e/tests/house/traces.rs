//! One download is one trace: a collector of the test hears all four services, and nothing that opens a door.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not what it set up"
)]

use std::collections::BTreeSet;
use std::path::Path;

use darner_e2e::collector::{Collector, Sent, services};
use darner_e2e::scene::{Plan, Scene};
use darner_e2e::wait;

const SERVICES: [&str; 4] = ["darner-manager", "darner-peer-daemon", "darner-scheduler", "darner-seed-peer"];

/// A cluster that tells everything to a collector.
async fn told(peers: usize, home: &Path) -> (Scene, Collector) {
    let collector = Collector::start().await.unwrap();
    let values = home.join("values.yaml");
    let part = "{config: {telemetry: {sample: 1.0}}}";
    let parts = ["manager", "scheduler", "seedPeer", "dfdaemon"].map(|name| format!("{name}: {part}\n"));
    std::fs::write(&values, parts.concat()).unwrap();
    let mut plan = Plan::new(peers, &[3_000_000]);
    plan.options.more = vec!["--config".to_owned(), values.to_str().unwrap().to_owned()];
    plan.options.more.extend(["--otlp".to_owned(), format!("http://{}", collector.at)]);
    (Scene::set(plan).await.unwrap(), collector)
}

/// The trace that a daemon's line about its finished download names.
async fn named(log: &Path, oid: &str) -> String {
    let line = || async {
        let text = std::fs::read_to_string(log)?;
        let done = text.lines().find(|line| line.contains("peer task done") && line.contains(oid));
        let trace = done.and_then(|line| line.split("trace=\"").nth(1)?.split('"').next());
        Ok(trace.map(str::to_owned))
    };
    let trace = wait::until("the download's line is written", line).await.unwrap();
    assert_eq!((trace.len(), trace.bytes().all(|byte| byte.is_ascii_hexdigit())), (32, true), "{trace}");
    trace
}

fn assert_connected(spans: &[Sent]) {
    let ids: BTreeSet<&[u8]> = spans.iter().map(|sent| sent.span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), spans.len(), "a span was told twice");
    let name = |sent: &Sent| format!("{}: {}", sent.service, sent.span.name);
    let roots: Vec<_> = spans.iter().filter(|sent| sent.span.parent_span_id.is_empty()).map(name).collect();
    let is_orphan = |sent: &&Sent| {
        !sent.span.parent_span_id.is_empty() && !ids.contains(sent.span.parent_span_id.as_slice())
    };
    let orphans: Vec<_> = spans.iter().filter(is_orphan).map(name).collect();
    let all: Vec<_> = spans.iter().map(name).collect();
    assert_eq!((roots.len(), orphans.len()), (1, 0), "roots {roots:?}, orphans {orphans:?} of {all:#?}");
    assert_eq!(roots, ["darner-peer-daemon: git request"]);
}

/// Whole traces come in pieces: each process tells once a second.
async fn whole(collector: &Collector, trace: &str, wanted: &[&str]) -> Vec<Sent> {
    let all = || async {
        let spans = collector.of(trace);
        let ids: BTreeSet<&[u8]> = spans.iter().map(|sent| sent.span.span_id.as_slice()).collect();
        let known = |sent: &Sent| {
            let parent = sent.span.parent_span_id.as_slice();
            parent.is_empty() || ids.contains(parent)
        };
        let is_whole = spans.iter().all(known) && wanted.iter().all(|name| services(&spans).contains(name));
        anyhow::ensure!(is_whole, "{:?} so far", services(&spans));
        Ok(Some(spans))
    };
    wait::until("the whole trace has come", all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_download_is_one_connected_trace_through_all_four_services() {
    let home = tempfile::tempdir().unwrap();
    let (scene, collector) = told(2, home.path()).await;
    let oid = scene.oid(0).unwrap().to_string();
    for daemon in [0, 1] {
        let reply = scene.presigned(daemon, 0).await.unwrap().get(None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true));
        let trace = named(&scene.cluster.peer_daemons[daemon].log, &oid).await;
        let spans = whole(&collector, &trace, &SERVICES).await;
        assert_connected(&spans);
        let names: BTreeSet<&str> = spans.iter().map(|sent| sent.span.name.as_str()).collect();
        assert!(names.contains("download") && names.contains("decision"), "{names:?}");
        assert_eq!(names.contains("origin read"), daemon == 0, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trace_carries_an_address_a_header_or_a_token() {
    let home = tempfile::tempdir().unwrap();
    let (scene, collector) = told(1, home.path()).await;
    let presigned = scene.presigned(0, 0).await.unwrap();
    let ticketed = scene.ticketed(0, 0).await.unwrap();
    for action in [&presigned, &ticketed] {
        assert_eq!(action.get(None).await.unwrap().status, 200);
    }
    let oid = scene.oid(0).unwrap().to_string();
    let trace = named(&scene.cluster.peer_daemons[0].log, &oid).await;
    whole(&collector, &trace, &SERVICES).await;
    let mut secrets = vec!["http://".to_owned(), "https://".to_owned(), "Signature".to_owned()];
    secrets.extend(["/media/", "X-Amz", "?", "uthorization", "Bearer", "Basic "].map(str::to_owned));
    for (_, value) in presigned.headers.iter().chain(&ticketed.headers) {
        secrets.extend(value.split(' ').filter(|word| word.len() > 8).map(str::to_owned));
    }
    let all = collector.all();
    assert!(all.len() > 10, "{} spans", all.len());
    for sent in &all {
        let words = sent.words();
        for secret in &secrets {
            assert!(!words.contains(secret.as_str()), "{secret} in a span of {}: {words}", sent.service);
        }
    }
}
