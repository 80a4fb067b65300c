//! The manager leaves and comes back.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::stage::{Node, Stage, hello};

#[tokio::test]
async fn what_the_operator_said_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = Stage::over(dir.path()).await;
    let admin = first.admin().await;
    let token = admin.post("/api/v1/tokens", &json!({ "name": "ci" })).await.json();
    admin.configure(0, r#"{"serve":false}"#).await;
    admin.post("/api/v1/purges", &json!({ "upstream": "https://h/o" })).await;
    let (cookie, password) = (admin.shown, first.password());
    first.leave().await;

    let second = Stage::over(dir.path()).await;
    assert_eq!(second.password(), password);
    let person = second.bearer(token["secret"].as_str().unwrap());
    assert_eq!(person.get("/api/v1/config").await.json()["version"], 1);
    let asked = http::Request::get("/api/v1/session").header(cookie.0, cookie.1);
    assert_eq!(second.ask(asked, "").await.status, 200);
    let mut node = Node::attach(&second, hello("n1")).await.unwrap();
    assert_eq!(node.hear_config().await, (1, json!({ "serve": false })));
    assert_eq!(node.hear_tombstones().await.len(), 1);
    second.leave().await;
}

#[tokio::test]
async fn leaving_ends_the_streams_of_the_nodes_and_leaves_no_task() {
    let stage = Stage::new().await;
    let mut node = Node::attach(&stage, hello("n1")).await.unwrap();
    node.hear_config().await;
    stage.leave().await;
    assert_eq!(node.hear().await, None);
}

#[tokio::test]
async fn the_first_password_is_readable_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::over(dir.path()).await;
    let mode = std::fs::metadata(dir.path().join("admin-password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(stage.password().len() >= 40);
    stage.leave().await;
}

#[tokio::test]
async fn a_node_attached_before_a_crash_is_away_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Stage::over(dir.path()).await;
    let mut node = Node::attach(&first, hello("n1")).await.unwrap();
    node.hear_config().await;
    let tasks = first.tasks.clone();
    // The service and its tasks are dropped where they stand.
    drop(first);
    tasks.close().await;
    std::fs::remove_file(dir.path().join("ready.json")).unwrap();
    let second = Stage::over(dir.path()).await;
    let found = second.admin().await.get("/api/v1/nodes/n1").await.json();
    assert_eq!(found["state"], "away");
}
