//! The stream of events.

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use crate::stage::{SOON, Stage};

/// A browser that watches: events as `name data`.
struct Watcher {
    body: hyper::body::Incoming,
    text: String,
    _connection: tokio::task::JoinSet<()>,
}

impl Watcher {
    async fn open(stage: &Stage, path: &str) -> Self {
        let (name, value) = stage.admin().await.shown;
        let stream = tokio::net::TcpStream::connect(stage.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(async move { drop(connection.await) });
        let request = Request::get(path).header("host", "manager").header(name, value);
        let request = request.body(Empty::<axum::body::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new(), _connection: connections }
    }

    /// The name of the next event; nothing when the stream ended.
    async fn next(&mut self) -> Option<String> {
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.clone().split_once("\n\n") {
                    let name = event.lines().find_map(|line| line.strip_prefix("event: ")).map(str::to_owned);
                    rest.clone_into(&mut self.text);
                    return name;
                }
                let frame = self.body.frame().await?.ok()?;
                self.text.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
            }
        };
        tokio::time::timeout(SOON, next).await.expect("no event came")
    }
}

#[tokio::test]
async fn a_watcher_hears_only_its_topics() {
    let stage = Stage::new().await;
    let mut watcher = Watcher::open(&stage, "/api/v1/events?topics=purges").await;
    assert_eq!(watcher.next().await.as_deref(), Some("ready"));
    let admin = stage.admin().await;
    admin.configure(0, "{}").await;
    admin.post("/api/v1/purges", &serde_json::json!({ "upstream": "https://h/o" })).await;
    assert_eq!(watcher.next().await.as_deref(), Some("purges"));
}

#[tokio::test]
async fn a_leaving_manager_ends_the_streams() {
    let stage = Stage::new().await;
    let mut watcher = Watcher::open(&stage, "/api/v1/events").await;
    assert_eq!(watcher.next().await.as_deref(), Some("ready"));
    stage.drain.start();
    assert_eq!(watcher.next().await, None);
    stage.leave().await;
}

#[tokio::test]
async fn the_places_of_watchers_are_bounded_and_given_back() {
    let stage = Stage::new().await;
    let (name, value) = stage.admin().await.shown;
    let mut watchers = Vec::new();
    for _ in 0..64 {
        let mut watcher = Watcher::open(&stage, "/api/v1/events").await;
        watcher.next().await;
        watchers.push(watcher);
    }
    stage.ask(Request::get("/api/v1/events").header(name, value), "").await.problem(503);
    watchers.clear();
    let free = async {
        loop {
            let (name, value) = stage.admin().await.shown;
            let topics = Request::get("/api/v1/events?topics=none").header(name, value);
            stage.ask(topics, "").await.problem(400);
            if let Ok(watcher) = tokio::time::timeout(SOON, try_open(&stage)).await.unwrap() {
                return watcher;
            }
        }
    };
    tokio::time::timeout(SOON, free).await.expect("no place was given back");
}

/// Whether a watcher finds a place now.
async fn try_open(stage: &Stage) -> Result<(), ()> {
    let (name, value) = stage.admin().await.shown;
    let stream = tokio::net::TcpStream::connect(stage.http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = Request::get("/api/v1/events").header("host", "manager").header(name, value);
    let request = request.body(Empty::<axum::body::Bytes>::new()).unwrap();
    tokio::select! {
        answer = sender.send_request(request) => if answer.unwrap().status() == 200 { Ok(()) } else { Err(()) },
        _ = connection => Err(()),
    }
}
