//! What strangers and mistakes send. Each is answered with a problem, and the manager goes on.

use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{Stage, config};

/// Text that breaks whoever pastes it into SQL, HTML, a path or a log.
const NASTY: &str = "'; DROP TABLE tokens; --<script>alert(1)</script>\u{202e}${jndi:x}%00../../";

#[tokio::test]
async fn a_huge_body_is_refused() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let huge = format!("{{\"public\":[\"{}\"]}}", "x".repeat(2 << 20));
    admin.configure(0, &huge).await.problem(413);
    let body = json!({ "user": "x".repeat(2 << 20), "password": "" }).to_string();
    let asked = Request::post("/api/v1/session").header("content-type", "application/json");
    stage.ask(asked, body).await.problem(413);
    assert_eq!(stage.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_long_head_and_no_http_end_the_connection_only() {
    let stage = Stage::new().await;
    for sent in [format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)), "\0\u{1}\u{2}\r\n\r\n".to_owned()]
    {
        let mut stream = tokio::net::TcpStream::connect(stage.http).await.unwrap();
        // The manager may close before all of it is written.
        drop(stream.write_all(sent.as_bytes()).await);
        let mut answer = Vec::new();
        drop(tokio::time::timeout(crate::stage::SOON, stream.read_to_end(&mut answer)).await.expect("hangs"));
        let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        assert!(line.is_empty() || line.contains(" 4"), "{line}");
    }
    assert_eq!(stage.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn json_that_is_none_is_told_apart() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let post = || Request::post("/api/v1/purges").header("content-type", "application/json");
    admin.ask(post(), "{").await.problem(400);
    admin.ask(post(), "[]").await.problem(422);
    assert!(admin.ask(post(), r#"{"oit":"x"}"#).await.problem(422).contains("`oit`"));
    admin.ask(post(), "[".repeat(100_000)).await.problem(422);
    admin.ask(Request::post("/api/v1/purges"), "{}").await.problem(415);
    admin.ask(post(), vec![0xff, 0xfe]).await.problem(400);
}

#[tokio::test]
async fn a_bad_cursor_or_limit_is_refused_by_every_list() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    for list in ["nodes", "objects", "downloads", "prefetches", "tokens", "audit", "purges"] {
        for wrong in
            ["cursor=x", "cursor=%27%20OR%201=1", "cursor=", "limit=0", "limit=-1", "limit=501", "limit=x"]
        {
            admin.get(&format!("/api/v1/{list}?{wrong}")).await.problem(400);
        }
        assert_eq!(admin.get(&format!("/api/v1/{list}")).await.status, 200, "{list}");
    }
}

#[tokio::test]
async fn nasty_text_is_kept_as_text() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let made = admin.post("/api/v1/tokens", &json!({ "name": NASTY })).await;
    assert_eq!(made.json()["name"], NASTY);
    assert_eq!(admin.items("/api/v1/tokens").await[0]["name"], NASTY);
    stage.sign_in(NASTY, NASTY).await.problem(401);
    assert!(admin.items("/api/v1/audit").await.iter().any(|entry| entry["actor"] == NASTY));
}

#[tokio::test]
async fn nasty_text_in_paths_and_queries_finds_nothing() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let nasty: Vec<_> = NASTY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let nasty = nasty.concat();
    admin.get(&format!("/api/v1/nodes/{nasty}")).await.problem(404);
    admin.get(&format!("/api/v1/objects/{nasty}")).await.problem(400);
    admin.get(&format!("/api/v1/objects?oid={nasty}")).await.problem(400);
    admin.get(&format!("/api/v1/events?topics={nasty}")).await.problem(400);
    admin.delete(&format!("/api/v1/tokens/{nasty}")).await.problem(400);
    assert!(admin.items(&format!("/api/v1/downloads?node={nasty}")).await.is_empty());
    admin.post("/api/v1/purges", &json!({ "upstream": NASTY })).await.problem(422);
    admin.post("/api/v1/purges", &json!({ "oid": NASTY })).await.problem(422);
    let unknown = stage.get(&format!("/api/v2/{nasty}")).await;
    unknown.problem(404);
    assert!(!String::from_utf8_lossy(&unknown.body).contains("<script>"));
}

#[tokio::test]
async fn a_configuration_that_widens_or_errs_is_refused_with_all_its_keys() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let answer = admin.configure(0, r#"{"allow":["x"],"serve":"no","storage":{"inodes":1}}"#).await;
    answer.problem(422);
    let mistakes = answer.json()["mistakes"].to_string();
    for key in ["`allow`", "`serve`", "`storage.inodes`"] {
        assert!(mistakes.contains(key), "{mistakes}");
    }
    admin.configure(0, "{").await.problem(400);
    admin.configure(0, "[]").await.problem(422);
    admin.ask(Request::put("/api/v1/config"), "{}").await.problem(428);
    admin.ask(Request::put("/api/v1/config").header("if-match", "*"), "{}").await.problem(400);
    assert_eq!(admin.get("/api/v1/config").await.json()["version"], 0);
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
    let stage = Stage::new().await;
    let answer = stage.ask(Request::delete("/api/v1/nodes"), "").await;
    answer.problem(405);
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test]
async fn a_prefetch_is_honestly_refused() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let wanted = json!({ "remote": "https://h/o/r", "ref": "main", "include": ["*.bin"], "dryRun": true });
    assert!(admin.post("/api/v1/prefetches", &wanted).await.problem(501).contains("later"));
    admin.post("/api/v1/prefetches", &json!({ "remote": 7 })).await.problem(422);
    assert_eq!(admin.get("/api/v1/prefetches").await.json(), json!({ "items": [], "next": Value::Null }));
}

#[tokio::test]
async fn another_database_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = config(dir.path());
    wrong.database = Some("postgres://u:secret@h/db".to_owned());
    let started = darner_chassis::command::Started::in_process(wrong).unwrap();
    let words = darner_manager::service::run(started).await.unwrap_err().to_string();
    assert!(
        words.contains("`database`") && words.contains("comes later") && !words.contains("secret"),
        "{words}"
    );
}

#[tokio::test]
async fn a_busy_port_and_an_unusable_directory_are_told_by_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut wrong = config(dir.path());
    wrong.http.listen = busy.local_addr().unwrap().to_string();
    let started = darner_chassis::command::Started::in_process(wrong).unwrap();
    let words = darner_manager::service::run(started).await.unwrap_err().to_string();
    assert!(words.contains("http.listen"), "{words}");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut wrong = config(dir.path());
    wrong.shared.data = file.join("data");
    let started = darner_chassis::command::Started::in_process(wrong).unwrap();
    let words = darner_manager::service::run(started).await.unwrap_err().to_string();
    assert!(words.contains("`data`"), "{words}");
}
