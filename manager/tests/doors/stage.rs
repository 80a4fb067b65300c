//! What the tests stand on: a running manager, a person with a browser or a token, and a node.
//!
//! Owns: the data directory and the service's task; both end with the stage.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use darner_chassis::command::Started;
use darner_chassis::grpc;
use darner_chassis::settings::{Admin, Shared};
use darner_chassis::tasks::{Drain, Tasks};
use darner_manager::config::{Ca, Config, Grpc, Http};
use darner_manager::service;
use darner_proto::PROTOCOL_VERSION;
use darner_proto::v1::{self, manager_client::ManagerClient, report};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// No wait of a test lasts longer.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A running manager.
pub(crate) struct Stage {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: String,
    pub(crate) drain: Drain,
    pub(crate) tasks: Tasks,
    data: PathBuf,
    running: JoinSet<Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    dir: Option<tempfile::TempDir>,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The answer is a problem of this status; its words.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// The configuration of a test: every port free, everything in `data`.
pub(crate) fn config(data: &Path) -> Config {
    let free = || "127.0.0.1:0".to_owned();
    let shared = Shared {
        data: data.to_owned(),
        admin: Admin { listen: free() },
        ready_file: Some(data.join("ready.json")),
        ..Shared::default()
    };
    Config {
        shared,
        http: Http { listen: free() },
        grpc: Grpc { listen: free() },
        database: None,
        schedulers: vec!["scheduler.example:8002".to_owned()],
        kubernetes: darner_manager::kubernetes::config::Kubernetes::default(),
        ca: Ca::default(),
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Self::over(dir.path()).await;
        stage.dir = Some(dir);
        stage
    }

    /// A manager over a directory that may hold one's records already.
    pub(crate) async fn over(data: &Path) -> Self {
        let started = Started::in_process(config(data)).unwrap();
        let (drain, tasks) = (started.drain.clone(), started.tasks.clone());
        let mut running = JoinSet::new();
        running.spawn(service::run(started));
        let ready = data.join("ready.json");
        let addresses: Value = tokio::time::timeout(SOON, async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&ready) {
                    break serde_json::from_str(&text).unwrap();
                }
                if let Some(ended) = running.try_join_next() {
                    panic!("the manager ended: {ended:?}");
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .unwrap();
        let http = addresses["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let grpc = addresses["grpc"].as_str().unwrap().to_owned();
        Self { http, grpc, drain, tasks, data: data.to_owned(), running, dir: None }
    }

    /// Tell the manager to leave and wait until it has.
    pub(crate) async fn leave(mut self) {
        self.drain.start();
        let ended = tokio::time::timeout(SOON, self.running.join_next()).await.expect("the manager hangs");
        ended.unwrap().unwrap().unwrap();
        assert_eq!(self.tasks.count(), 0, "{:?}", self.tasks.names());
        std::fs::remove_file(self.data.join("ready.json")).unwrap();
    }

    pub(crate) fn password(&self) -> String {
        std::fs::read_to_string(self.data.join("admin-password")).unwrap().trim().to_owned()
    }

    pub(crate) async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        let stream = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let request = request.header("host", self.http.to_string()).body(Full::new(body.into())).unwrap();
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let asked = async {
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer { status: parts.status, headers: parts.headers, body }
        };
        tokio::time::timeout(SOON, asked).await.expect("no answer")
    }

    /// Nobody in particular reads.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path), "").await
    }

    pub(crate) async fn sign_in(&self, user: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "user": user, "password": password }).to_string();
        self.ask(Request::post("/api/v1/session").header("content-type", "application/json"), body).await
    }

    /// The first account, signed in.
    pub(crate) async fn admin(&self) -> Person<'_> {
        let answer = self.sign_in("admin", &self.password()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        Person { stage: self, shown: ("cookie", cookie) }
    }

    /// Somebody with a token of this role.
    pub(crate) async fn with_role(&self, role: &str) -> Person<'_> {
        let wanted = serde_json::json!({ "name": role, "role": role });
        let made = self.admin().await.post("/api/v1/tokens", &wanted).await;
        assert_eq!(made.status, 201, "{made:?}");
        self.bearer(made.json()["secret"].as_str().unwrap())
    }

    pub(crate) fn bearer(&self, token: &str) -> Person<'_> {
        Person { stage: self, shown: ("authorization", format!("Bearer {token}")) }
    }
}

/// Somebody who shows a cookie or a token.
pub(crate) struct Person<'a> {
    stage: &'a Stage,
    pub(crate) shown: (&'static str, String),
}

impl Person<'_> {
    pub(crate) async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        self.stage.ask(request.header(self.shown.0, &self.shown.1), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path), "").await
    }

    /// The items of a list.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Request::post(path).header("content-type", "application/json"), body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Request::delete(path), "").await
    }

    /// Change the configuration from this version.
    pub(crate) async fn configure(&self, version: i64, config: &str) -> Answer {
        let request = Request::put("/api/v1/config").header("if-match", format!("\"{version}\""));
        self.ask(request, config.to_owned()).await
    }

    /// Read a list until it shows what is looked for.
    pub(crate) async fn until(&self, path: &str, found: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let looked = async {
            loop {
                let items = self.items(path).await;
                if found(&items) {
                    return items;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, looked).await.expect("the list never showed it")
    }
}

/// A node's stream.
pub(crate) struct Node {
    out: mpsc::Sender<v1::Report>,
    feed: Streaming<v1::Feed>,
}

/// The hello of a daemon of this name.
pub(crate) fn hello(id: &str) -> v1::ManagerHello {
    let node = v1::NodeIdentity { id: id.to_owned(), zone: "z1".to_owned(), ..Default::default() };
    let hello = v1::Hello { protocol_version: PROTOCOL_VERSION, node: Some(node), ..Default::default() };
    v1::ManagerHello { hello: Some(hello), component: "peer-daemon".to_owned(), ..Default::default() }
}

impl Node {
    pub(crate) async fn attach(stage: &Stage, hello: v1::ManagerHello) -> Result<Self, tonic::Status> {
        let (out, reports) = mpsc::channel(16);
        out.send(v1::Report { report: Some(report::Report::Hello(hello)) }).await.unwrap();
        let mut client = ManagerClient::new(grpc::channel(&stage.grpc).unwrap());
        let feed = client.attach(ReceiverStream::new(reports)).await?.into_inner();
        Ok(Self { out, feed })
    }

    pub(crate) async fn tell(&self, report: report::Report) {
        self.out.send(v1::Report { report: Some(report) }).await.unwrap();
    }

    /// The next message, or nothing when the manager ended the stream.
    pub(crate) async fn hear(&mut self) -> Option<v1::feed::Feed> {
        let heard = tokio::time::timeout(SOON, self.feed.message()).await.expect("nothing was told");
        heard.ok().flatten().and_then(|feed| feed.feed)
    }

    pub(crate) async fn hear_config(&mut self) -> (u64, Value) {
        match self.hear().await {
            Some(v1::feed::Feed::Config(config)) => {
                (config.version, serde_json::from_slice(&config.json).unwrap())
            }
            other => panic!("not a configuration: {other:?}"),
        }
    }

    pub(crate) async fn hear_tombstones(&mut self) -> Vec<v1::Tombstone> {
        match self.hear().await {
            Some(v1::feed::Feed::Tombstones(told)) => told.tombstones,
            other => panic!("not tombstones: {other:?}"),
        }
    }
}
