//! Nodes at their door: what they tell is shown, what the operator wants is pushed.

use darner_lfs::{ObjectKey, Oid};
use darner_proto::v1::{self, report::Report};
use serde_json::{Value, json};

use crate::stage::{Node, Stage, hello};

fn object() -> ObjectKey {
    ObjectKey::Sha256(Oid::EMPTY)
}

fn state_is(id: &str, state: &str) -> impl Fn(&[Value]) -> bool {
    let (id, state) = (json!(id), json!(state));
    move |nodes| nodes.iter().any(|node| node["id"] == id && node["state"] == state)
}

#[tokio::test]
async fn a_node_is_attached_and_then_away() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let mut node = Node::attach(&stage, hello("n1")).await.unwrap();
    assert_eq!(node.hear_config().await, (0, json!({})));
    let nodes = admin.until("/api/v1/nodes", state_is("n1", "attached")).await;
    assert!(nodes.iter().any(|node| node["zone"] == "z1"));
    assert_eq!(admin.get("/api/v1/nodes/n1").await.json()["component"], "peer-daemon");
    drop(node);
    admin.until("/api/v1/nodes", state_is("n1", "away")).await;
}

#[tokio::test]
async fn numbers_downloads_and_holdings_are_shown() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let node = Node::attach(&stage, hello("n1")).await.unwrap();
    node.tell(Report::Stats(v1::NodeStats { stored_bytes: 77, ..Default::default() })).await;
    let key = Some(object().into());
    let held =
        v1::HeldObject { key: key.clone(), size: 5, state: "verified".to_owned(), ..Default::default() };
    node.tell(Report::Holdings(v1::HoldingsReport { full: true, added: vec![held], removed: vec![] })).await;
    let download = v1::Download { task: "t".to_owned(), key, state: "done".to_owned(), ..Default::default() };
    node.tell(Report::Downloads(v1::DownloadsReport { downloads: vec![download] })).await;

    let downloads = admin.until("/api/v1/downloads?node=n1", |items| !items.is_empty()).await;
    assert_eq!(
        (&downloads[0]["object"], &downloads[0]["state"]),
        (&json!(object().to_string()), &json!("done"))
    );
    let objects = admin.items("/api/v1/objects?oid=e3b0c44").await;
    assert_eq!((&objects[0]["copies"], &objects[0]["size"]), (&json!(1), &json!(5)));
    let holders = admin.get(&format!("/api/v1/objects/{}", Oid::EMPTY)).await.json();
    assert_eq!(holders["holders"][0]["node"], "n1");
    assert_eq!(admin.get("/api/v1/nodes/n1").await.json()["stats"]["storedBytes"], 77);
}

#[tokio::test]
async fn a_configuration_is_pushed_and_its_refusal_shown() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let mut node = Node::attach(&stage, hello("n1")).await.unwrap();
    node.hear_config().await;
    admin.configure(0, r#"{"serve":false}"#).await;
    assert_eq!(node.hear_config().await, (1, json!({ "serve": false })));
    node.tell(Report::Config(v1::ConfigState { version: 1, error: "<b>older than me</b>".to_owned() })).await;
    let refused = |nodes: &[Value]| nodes.iter().any(|node| node["configError"] == "<b>older than me</b>");
    let nodes = admin.until("/api/v1/nodes", refused).await;
    assert!(nodes.iter().any(|node| node["id"] == "n1" && node["configVersion"] == 0));
}

#[tokio::test]
async fn a_node_that_was_away_hears_what_it_missed() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    admin.configure(0, r#"{"fallback":"fail"}"#).await;
    let purge = |target: Value| {
        let admin = &admin;
        async move { admin.post("/api/v1/purges", &target).await.json() }
    };
    let first = purge(json!({ "oid": Oid::EMPTY.to_string() })).await;
    let second = purge(json!({ "upstream": "https://h/o/r" })).await;

    let mut fresh = Node::attach(&stage, hello("fresh")).await.unwrap();
    assert_eq!(fresh.hear_config().await.0, 1);
    let told = fresh.hear_tombstones().await;
    assert_eq!(
        told.iter().map(|one| json!(one.sequence)).collect::<Vec<_>>(),
        [&first, &second].map(|one| one["sequence"].clone())
    );
    assert_eq!(told[0].what, Some(v1::tombstone::What::Key(object().into())));

    let mut knows = hello("knows");
    knows.tombstone_sequence = first["sequence"].as_u64().unwrap();
    let mut knows = Node::attach(&stage, knows).await.unwrap();
    knows.hear_config().await;
    assert_eq!(
        knows.hear_tombstones().await[0].what,
        Some(v1::tombstone::What::Upstream("https://h/o/r".to_owned()))
    );
}

#[tokio::test]
async fn the_next_purge_waits_until_the_former_is_honoured() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let mut node = Node::attach(&stage, hello("n1")).await.unwrap();
    node.hear_config().await;
    let purge = json!({ "upstream": "https://h/o" });
    admin.post("/api/v1/purges", &purge).await;
    let first = node.hear_tombstones().await[0].sequence;
    admin.post("/api/v1/purges", &purge).await;
    admin.configure(0, "{}").await;
    // The configuration comes although the second purge waits.
    node.hear_config().await;
    node.tell(Report::Tombstones(v1::TombstonesApplied { sequence: first })).await;
    assert!(node.hear_tombstones().await[0].sequence > first);
    admin.until("/api/v1/nodes", |nodes| nodes.iter().any(|node| node["tombstoneSequence"] == first)).await;
}

#[tokio::test]
async fn more_tombstones_than_fit_come_in_turns() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    for number in 0..502 {
        admin.post("/api/v1/purges", &json!({ "upstream": format!("https://h/{number}") })).await;
    }
    let mut node = Node::attach(&stage, hello("n1")).await.unwrap();
    node.hear_config().await;
    let told = node.hear_tombstones().await;
    assert_eq!(told.len(), 500);
    node.tell(Report::Tombstones(v1::TombstonesApplied { sequence: told[499].sequence })).await;
    assert_eq!(node.hear_tombstones().await.len(), 2);
}

#[tokio::test]
async fn a_second_stream_of_a_node_ends_the_first() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let mut first = Node::attach(&stage, hello("n1")).await.unwrap();
    first.hear_config().await;
    let mut second = Node::attach(&stage, hello("n1")).await.unwrap();
    second.hear_config().await;
    assert_eq!(first.hear().await, None);
    admin.until("/api/v1/nodes", state_is("n1", "attached")).await;
}

#[tokio::test]
async fn a_node_without_a_proper_hello_is_refused() {
    let stage = Stage::new().await;
    let mut other = hello("n1");
    other.hello.as_mut().unwrap().protocol_version += 1;
    let refused = Node::attach(&stage, other).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(Node::attach(&stage, hello("")).await.is_err());
    assert!(Node::attach(&stage, hello("'; DROP TABLE nodes; --")).await.is_err());
    assert!(
        stage.admin().await.items("/api/v1/nodes").await.iter().all(|node| node["component"] == "scheduler")
    );
}
