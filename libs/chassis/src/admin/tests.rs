//! The admin port over real HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

struct Port {
    admin: Admin,
    shown: Shown,
}

fn port() -> Port {
    let (metrics, telemetry) = (Metrics::new(), Telemetry::none());
    let shown = Shown { metrics, telemetry, tasks: Tasks::new(), drain: Drain::new() };
    Port { admin: Admin::bind("127.0.0.1:0", shown.clone()).unwrap(), shown }
}

impl Port {
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.admin.address()).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").await
    }
}

#[tokio::test]
async fn the_process_is_ready_when_all_parts_are_and_it_is_not_leaving() {
    let port = port();
    let readiness = port.admin.readiness();
    readiness.set("store", false, "reading the index");
    assert_eq!(port.get("/readyz").await, (503, "no store: reading the index\n".to_owned()));
    readiness.set("store", true, "open");
    assert_eq!(port.get("/readyz").await.0, 200);
    port.shown.drain.start();
    let (status, words) = port.get("/readyz").await;
    assert!(status == 503 && words.contains("leaving"), "{words}");
    assert_eq!(port.get("/livez").await, (200, "ok\n".to_owned()));
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn metrics_have_their_media_type_and_end() {
    let port = port();
    port.shown.metrics.cross_zone(7);
    let (status, text) = port.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("darner_cross_zone_bytes_total 7") && text.ends_with("# EOF\n"), "{text}");
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn the_configuration_shown_is_the_one_in_force() {
    let port = port();
    let version = Arc::new(AtomicUsize::new(1));
    let shown = Arc::clone(&version);
    port.admin.show_config(Arc::new(move || json!({"version": shown.load(Ordering::SeqCst)})));
    assert_eq!(port.get("/config").await, (200, "{\"version\":1}".to_owned()));
    version.store(2, Ordering::SeqCst);
    assert_eq!(port.get("/config").await.1, "{\"version\":2}");
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn a_bad_log_level_is_refused_in_words() {
    let port = port();
    assert_eq!(port.get("/log-level").await.0, 200);
    let (status, words) = port.ask("PUT", "/log-level", "a=b=c").await;
    assert!(status == 400 && words.contains("a=b=c"), "{words}");
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn tasks_are_listed_by_name() {
    let port = port();
    port.shown.tasks.spawn("flight", std::future::pending());
    let _guard = port.shown.drain.guard();
    let (_, text) = port.get("/debug/tasks").await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["tasks"]["flight"], &shown["requestsUnderWay"]), (&json!(1), &json!(1)));
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn routes_of_the_service_can_be_added_later() {
    let port = port();
    assert_eq!(port.get("/swarm").await.0, 404);
    port.admin.merge(&Router::new().route("/swarm", get(async || "swarm")));
    port.admin.merge(&Router::new().route("/store", get(async || "store")));
    assert_eq!(port.get("/swarm").await, (200, "swarm".to_owned()));
    assert_eq!(port.get("/store").await, (200, "store".to_owned()));
    port.shown.tasks.close().await;
}

#[tokio::test]
async fn an_occupied_port_is_named_by_its_key() {
    let port = port();
    let words = Admin::bind(&port.admin.address().to_string(), port.shown.clone()).unwrap_err().to_string();
    assert!(words.contains("`admin.listen`"), "{words}");
    port.shown.tasks.close().await;
}
