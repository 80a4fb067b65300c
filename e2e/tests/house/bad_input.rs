//! Odd and wrong input from people and clients: answered in words or with the right status, and survived.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::path::Path;
use std::process::Output;

use darner_e2e::cluster::program;
use darner_e2e::http::{self, Ask};
use darner_e2e::lfs;
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use serde_json::{Value, json};
use tokio::process::Command;

const SERVICES: [&str; 4] = ["manager", "scheduler", "seed-peer", "peer-daemon"];

async fn run(name: &str, arguments: &[&str]) -> Output {
    let ran = Command::new(program(name).unwrap()).args(arguments).kill_on_drop(true).output();
    tokio::time::timeout(std::time::Duration::from_secs(30), ran).await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn written(directory: &Path, text: &str) -> String {
    let file = directory.join("config.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_unknown_and_wrong_key_is_named_at_once() {
    let home = tempfile::tempdir().unwrap();
    let file = written(home.path(), "nonsense: 1\nadmin:\n  listne: x\nlog:\n  format: purple\n");
    for service in SERVICES {
        let output = run(service, &["--config", &file]).await;
        assert!(!output.status.success(), "{service} accepts nonsense");
        let said = said(&output);
        for key in ["`nonsense`", "`admin.listne`", "`log.format`"] {
            assert!(said.contains(key), "{service} does not name {key}: {said}");
        }
    }
}

#[tokio::test]
async fn every_service_tells_its_version_and_configuration() {
    for service in SERVICES {
        let version = run(service, &["--version"]).await;
        assert!(version.status.success() && said(&version).contains("0.1"), "{service}: {}", said(&version));
        let printed = run(service, &["--print-config"]).await;
        assert!(
            printed.status.success() && said(&printed).contains("admin"),
            "{service}: {}",
            said(&printed)
        );
    }
}

#[tokio::test]
async fn a_busy_port_is_said_with_its_address_and_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let text = format!("admin:\n  listen: \"{address}\"\ndata: {}\n", home.path().join("data").display());
    let file = written(home.path(), &text);
    for service in SERVICES {
        let output = run(service, &["--config", &file]).await;
        assert!(!output.status.success(), "{service}");
        let said = said(&output);
        assert!(said.contains(&address) && said.contains("admin.listen"), "{service}: {said}");
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_said() {
    let home = tempfile::tempdir().unwrap();
    let blocked = home.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let text = format!("admin:\n  listen: 127.0.0.1:0\ndata: {}\n", blocked.display());
    let file = written(home.path(), &text);
    for service in ["manager", "seed-peer", "peer-daemon"] {
        let output = run(service, &["--config", &file]).await;
        assert!(!output.status.success(), "{service}");
        let said = said(&output);
        assert!(said.contains(blocked.to_str().unwrap()), "{service}: {said}");
        assert!(!said.contains("panicked"), "{service}: {said}");
    }
}

#[tokio::test]
async fn a_flag_of_a_later_issue_says_so_and_exits_2() {
    for arguments in [&["up", "--redis", "redis://x"][..], &["up", "--lfs-server"][..]] {
        let output = run("darner", arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(arguments[1]), "{}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_oids_and_odd_refs_cost_only_themselves() {
    let scene = Scene::set(Plan::new(1, &[1000])).await.unwrap();
    let gateway = scene.gateway(0).unwrap();
    let good = scene.oid(0).unwrap().to_string();
    let bad = [
        json!({ "oid": "abc", "size": 1 }),
        json!({ "oid": "z".repeat(64), "size": 1 }),
        json!({ "oid": format!("{good}00"), "size": 1 }),
        json!({ "oid": good.replace(&good[..1], "0"), "size": -1 }),
    ];
    for reference in [json!({}), Value::Null, json!({ "name": "HEAD" }), json!({ "name": "refs/heads/main" })]
    {
        let mut objects = bad.to_vec();
        objects.push(json!({ "oid": good, "size": 1000 }));
        let body = json!({ "operation": "download", "ref": reference, "objects": objects });
        let reply = lfs::post_batch(&gateway, body.to_string().into_bytes(), None).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let reply = reply.json().unwrap();
        for entry in reply["objects"].as_array().unwrap() {
            if entry["oid"] == good.as_str() && entry["size"] == 1000 {
                assert!(entry["actions"]["download"]["href"].is_string(), "{entry}");
            } else {
                assert_eq!(entry["error"]["code"], 422, "{entry}");
            }
        }
        assert_eq!(reply["objects"].as_array().unwrap().len(), 5, "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_answered_exactly() {
    let scene = Scene::set(Plan::new(1, &[1000, 700_000])).await.unwrap();
    for file in [0, 1] {
        let truth = std::fs::read(scene.origin.shelf.object(scene.oid(file).unwrap())).unwrap();
        let size = truth.len();
        let action = scene.ticketed(0, file).await.unwrap();
        for (range, start, end) in [
            ("bytes=0-0".to_owned(), 0, 1),
            ("bytes=10-19".to_owned(), 10, 20),
            (format!("bytes={}-", size - 7), size - 7, size),
            ("bytes=-5".to_owned(), size - 5, size),
            (format!("bytes=500-{}", size * 3), 500, size),
        ] {
            let reply = action.get(Some(&range)).await.unwrap();
            assert_eq!(reply.status, 206, "{range}");
            assert_eq!(reply.body[..], truth[start..end], "{range}");
            let expected = format!("bytes {start}-{}/{size}", end - 1);
            assert_eq!(reply.header("content-range"), Some(expected.as_str()));
        }
        let beyond = action.get(Some(&format!("bytes={size}-"))).await.unwrap();
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()));
        for odd in ["bytes=5-2", "pieces=1-2", "bytes=a-b", "bytes="] {
            let reply = action.get(Some(odd)).await.unwrap();
            assert!([200, 416].contains(&reply.status.as_u16()), "{odd}: {}", reply.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_encoded_is_never_taken_for_the_object() {
    let scene = Scene::set(Plan::new(1, &[300_000])).await.unwrap();
    scene.origin.switches.set(None, Switch { gzip: true, ..Switch::default() });
    let reply = scene.ticketed(0, 0).await.unwrap().get(None).await.unwrap();
    assert!(!(reply.status == 200 && reply.whole && reply.body.len() != 300_000), "{reply:?}");
    let oid = scene.oid(0).unwrap();
    assert!(!Scene::holds(&scene.cluster.seed_peers[0], oid), "kept without having been read as it is");
    scene.origin.switches.clear();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_and_proxy_headers_do_not_travel() {
    let scene = Scene::set(Plan::new(1, &[1000])).await.unwrap();
    let action = scene.presigned(0, 0).await.unwrap();
    let (address, target) = lfs::split(&action.href).unwrap();
    let headers = vec![("connection", "x-mine"), ("x-mine", "1"), ("accept-encoding", "gzip")];
    let reply = http::ask(address, Ask { target, headers, ..Ask::default() }).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (200, true));
    assert_eq!(reply.header("content-encoding"), None);
    assert_eq!(reply.header("content-length"), Some("1000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_say_what_is_missing_and_never_401() {
    let scene = Scene::set(Plan::new(1, &[1000])).await.unwrap();
    let proxy = scene.cluster.proxy(0).unwrap();
    for target in ["/", "/nonsense", "/https/", "/http//x", "/ftp/host/x", "/%2e%2e/etc/passwd"] {
        let reply = http::get(proxy, target).await.unwrap();
        assert!(reply.status.is_client_error() || reply.status.is_success(), "{target}: {}", reply.status);
        assert_ne!(reply.status, 401, "{target}");
        assert!(!reply.body.is_empty(), "{target} is answered with silence");
    }
}
