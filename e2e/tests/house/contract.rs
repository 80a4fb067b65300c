//! The names others rely on: the line of `darner up`, admin ports, metrics, log lines, REST paths, the data directory,
//! the command line.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::os::unix::fs::MetadataExt as _;

use darner_e2e::cluster::{Metrics, Process, program};
use darner_e2e::http::{self, Ask, Reply};
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use darner_e2e::{lfs, wait};
use serde_json::Value;

async fn scene(peers: usize) -> Scene {
    Scene::set(Plan::new(peers, &[1000, 2_000_000])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_of_the_line_is_there_and_ready() {
    let mut plan = Plan::new(2, &[1000]);
    plan.options.seeds = 2;
    plan.options.more.extend(["--schedulers", "2", "--zone-of", "1=b"].map(str::to_owned));
    let scene = Scene::set(plan).await.unwrap();
    let line = &scene.cluster;
    assert_eq!((line.schedulers.len(), line.seed_peers.len(), line.peer_daemons.len()), (2, 2, 2));
    assert_eq!(line.peer_daemons[1].zone, "b");
    for process in line.all() {
        for path in ["/livez", "/readyz"] {
            let reply = http::get(&process.admin, path).await.unwrap();
            assert_eq!(reply.status, 200, "{path} of {process:?}: {}", reply.text());
        }
        let config = http::get(&process.admin, "/config").await.unwrap();
        assert!(config.text().contains("source"), "{}", config.text());
        let level = http::get(&process.admin, "/log-level").await.unwrap();
        assert_eq!(level.status, 200);
        assert!(process.log.is_file(), "{process:?}");
    }
    let page = http::get(&line.schedulers[0].grpc, "/").await.unwrap();
    assert_eq!(page.status, 200, "a browser gets a page of the scheduler");
    scene.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_contract_exist_before_anything_happens() {
    let scene = scene(1).await;
    for process in scene.cluster.peer_daemons.iter().chain(&scene.cluster.seed_peers) {
        let text = http::get(&process.admin, "/metrics").await.unwrap().text();
        for name in [
            "darner_origin_requests_total",
            "darner_origin_bytes_total",
            "darner_served_bytes_total",
            "darner_piece_rejected_total",
            "darner_authorization_total",
            "darner_cross_zone_bytes_total",
        ] {
            assert!(text.contains(name), "{name} is not served by {process:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_counted_by_where_they_came_from() {
    let scene = scene(2).await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    let served = |daemon: usize, source: &'static str| {
        let admin = scene.cluster.peer_daemons[daemon].admin.clone();
        async move { Metrics::of(&admin).await.unwrap().sum("darner_served_bytes_total", &[("source", source)]) }
    };
    assert_eq!(served(0, "seed").await + served(0, "peer").await + served(0, "local").await, 2_001_000);
    let before = served(0, "local").await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    assert_eq!(
        served(0, "local").await - before,
        2_001_000,
        "the second clone comes from the daemon's own disk"
    );
    assert_eq!(served(0, "origin").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_download_logs_one_line_with_its_fields() {
    let scene = scene(1).await;
    let oid = scene.oid(1).unwrap().to_string();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    let log = scene.cluster.peer_daemons[0].log.clone();
    let lines = || async {
        let text = std::fs::read_to_string(&log)?;
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains("peer task done") && line.contains(&oid))
            .map(str::to_owned)
            .collect();
        Ok((!lines.is_empty()).then_some(lines))
    };
    let lines = wait::until("the line is written", lines).await.unwrap();
    for field in ["oid", "size", "cost", "source", "peer", "task", "trace"] {
        assert!(lines[0].contains(field), "no {field} in {}", lines[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_keeps_what_is_finished_in_git_lfs_own_layout() {
    let scene = scene(1).await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    for file in [0, 1] {
        let oid = scene.oid(file).unwrap();
        let kept = || async { Ok(Scene::holds(&scene.cluster.peer_daemons[0], oid).then_some(())) };
        wait::until("the object is among the finished", kept).await.unwrap();
    }
}

/// A GET at the manager with a session cookie.
async fn asked(manager: &Process, cookie: &str, target: &str) -> Reply {
    let address = manager.url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let headers = if cookie.is_empty() { Vec::new() } else { vec![("cookie", cookie)] };
    http::ask(address, Ask { target, headers, ..Ask::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_answers_on_the_paths_others_rely_on() {
    let scene = scene(1).await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    let manager = &scene.cluster.manager;
    for open in ["/healthz", "/api/v1/openapi.json"] {
        assert_eq!(asked(manager, "", open).await.status, 200, "{open}");
    }
    assert_eq!(asked(manager, "", "/api/v1/nodes").await.status, 401);
    let file = &scene.cluster.admin.password_file;
    assert_eq!(
        std::fs::metadata(file).unwrap().mode() & 0o777,
        0o600,
        "the first password is for its owner's eyes"
    );
    let cookie = session(&scene, std::fs::read_to_string(file).unwrap().trim()).await.unwrap();
    assert!(session(&scene, "a guess").await.is_none());
    for path in ["session", "nodes", "objects", "downloads", "prefetches", "tokens", "audit"] {
        let reply = asked(manager, &cookie, &format!("/api/v1/{path}")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        if path != "session" {
            assert!(reply.json().unwrap()["items"].is_array(), "{path}: {}", reply.text());
        }
    }
    let both = || async {
        let nodes = asked(manager, &cookie, "/api/v1/nodes").await.json()?;
        let attached = |items: &Vec<Value>| items.iter().filter(|node| node["state"] == "attached").count();
        Ok((nodes["items"].as_array().map(attached) == Some(2)).then_some(()))
    };
    wait::until("seed and daemon are known to the manager", both).await.unwrap();
}

async fn session(scene: &Scene, password: &str) -> Option<String> {
    let address = scene.cluster.manager.url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let body = serde_json::json!({ "user": scene.cluster.admin.user, "password": password });
    let headers = vec![("content-type", "application/json")];
    let ask = Ask { method: "POST", target: "/api/v1/session", headers, body: body.to_string().into_bytes() };
    let reply = http::ask(address, ask).await.unwrap();
    let cookie = reply.header("set-cookie").filter(|_| reply.status.is_success())?;
    Some(cookie.split(';').next()?.to_owned())
}

async fn darner(arguments: &[&str]) -> (bool, String) {
    let ran =
        tokio::process::Command::new(program("darner").unwrap()).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_mins(1), ran).await.unwrap().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_status_and_story() {
    let scene = scene(1).await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    let data = scene.cluster.data().to_str().unwrap();
    let (ok, said) = darner(&["status", "--data", data]).await;
    assert!(ok, "{said}");
    let oid = scene.oid(1).unwrap().to_string();
    let (ok, said) = darner(&["explain", &oid, "--data", data]).await;
    assert!(ok && said.contains(&oid[..12]), "{said}");
}

#[tokio::test]
async fn git_config_prints_lines_for_every_provider_and_place() {
    for provider in ["github", "gitlab", "huggingface", "git.example.org"] {
        for place in ["pod", "node", "external"] {
            let mut arguments = vec!["git-config", provider, "--for", place];
            if place == "external" {
                arguments.extend(["--gateway", "https://darner.example.org"]);
            }
            let (ok, said) = darner(&arguments).await;
            assert!(ok, "{provider} for {place}: {said}");
            let lower = said.to_lowercase();
            assert!(
                lower.contains("insteadof") && lower.contains("credential"),
                "{provider} for {place}: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn info_refs_is_sent_straight_to_the_forge_unless_it_carries_a_credential() {
    let scene = scene(1).await;
    let gateway = scene.gateway(0).unwrap();
    let (address, target) = lfs::split(&gateway).unwrap();
    let target = format!("{target}/info/refs?service=git-upload-pack");
    let bare = http::get(address, &target).await.unwrap();
    assert_eq!(bare.status, 307);
    let location = format!("{}/info/refs?service=git-upload-pack", scene.direct());
    assert_eq!(bare.header("location"), Some(location.as_str()));
    let headers = vec![("authorization", "Basic YTpi")];
    let with = http::ask(address, Ask { target: &target, headers, ..Ask::default() }).await.unwrap();
    assert_eq!(with.status, 200, "{}", with.text());
    assert!(with.text().contains("refs/heads/main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_with_tickets_in_headers_and_nothing_secret_in_addresses() {
    let scene = scene(1).await;
    let (_, oid, size) = scene.planted[1].clone();
    let reply = lfs::batch(&scene.gateway(0).unwrap(), &[(oid, size)], None).await.unwrap();
    let content = reply.header("content-type").unwrap_or_default();
    assert!(content.starts_with("application/vnd.git-lfs+json"), "{content}");
    let reply: Value = reply.json().unwrap();
    let object = &reply["objects"][0];
    assert_eq!(object["authenticated"], true, "{object}");
    let href = object["actions"]["download"]["href"].as_str().unwrap();
    assert!(href.starts_with(&format!("http://{}/", scene.cluster.proxy(0).unwrap())), "{href}");
    assert!(!href.contains("Signature"), "{href}");
    assert!(
        object["actions"]["download"]["header"].as_object().is_some_and(|headers| !headers.is_empty()),
        "{object}"
    );
}
