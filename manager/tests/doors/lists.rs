//! Lists, and the pushed configuration as a person sees it.

use serde_json::json;

use crate::stage::{Answer, Stage};

#[tokio::test]
async fn pages_of_a_list_join_without_a_gap() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    for number in 0..5 {
        admin.post("/api/v1/tokens", &json!({ "name": format!("t{number}") })).await;
    }
    let (mut names, mut path) = (Vec::new(), "/api/v1/tokens?limit=2".to_owned());
    loop {
        let page: Answer = admin.get(&path).await;
        let page = page.json();
        names.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tokens?limit=2&cursor={next}");
    }
    assert_eq!(names, ["t4", "t3", "t2", "t1", "t0"]);
}

#[tokio::test]
async fn a_cursor_of_one_list_is_not_taken_by_another() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    for number in 0..2 {
        admin.post("/api/v1/tokens", &json!({ "name": format!("t{number}") })).await;
    }
    let page = admin.get("/api/v1/tokens?limit=1").await.json();
    admin.get(&format!("/api/v1/audit?cursor={}", page["next"].as_str().unwrap())).await.problem(400);
}

#[tokio::test]
async fn the_configured_schedulers_are_among_the_nodes() {
    let stage = Stage::new().await;
    let nodes = stage.admin().await.items("/api/v1/nodes").await;
    assert_eq!((&nodes[0]["component"], &nodes[0]["state"]), (&json!("scheduler"), &json!("configured")));
    assert_eq!(nodes[0]["grpcAddress"], "scheduler.example:8002");
}

#[tokio::test]
async fn of_two_operators_one_is_told_to_read_again() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let first = admin.get("/api/v1/config").await;
    assert_eq!((first.headers["etag"].to_str().unwrap(), &first.json()["config"]), ("\"0\"", &json!({})));
    let changed = admin.configure(0, r#"{"serve":false}"#).await;
    assert_eq!((changed.status.as_u16(), changed.headers["etag"].to_str().unwrap()), (200, "\"1\""));
    admin.configure(0, r#"{"serve":true}"#).await.problem(412);
    let now = admin.get("/api/v1/config").await.json();
    assert_eq!((&now["config"], &now["author"]), (&json!({ "serve": false }), &json!("admin")));
}
