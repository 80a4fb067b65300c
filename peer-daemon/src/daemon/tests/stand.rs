//! A daemon alone in this process, a small forge it may ask, and a client with a socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use darner_chassis::command::Started;
use darner_lfs::Oid;
use darner_lfs::verify::RunningSha256;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Config;
use crate::daemon::{Addresses, start};

/// What the forge was asked and how it behaves.
#[derive(Debug, Default)]
pub(super) struct Forge {
    objects: Mutex<HashMap<Oid, Bytes>>,
    seen: Mutex<Vec<Seen>>,
    /// Answers this to every Batch instead.
    pub(super) batch_status: Mutex<Option<(u16, Option<&'static str>)>>,
    /// Answers this to every content request instead.
    pub(super) content_status: Mutex<Option<u16>>,
    /// Does not say how long content is.
    pub(super) chunked: AtomicBool,
    /// Grants any oid, and serves this for it.
    pub(super) grants_anything: Mutex<Option<Bytes>>,
}

/// One request the forge saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) body: Bytes,
    pub(super) sent: usize,
}

/// The whole stand.
pub(super) struct Stand {
    pub(super) forge: Arc<Forge>,
    pub(super) forge_at: SocketAddr,
    pub(super) at: Addresses,
    pub(super) started: Started<Config>,
    forge_tasks: darner_chassis::tasks::Tasks,
    directory: tempfile::TempDir,
}

/// An answer, read to its end (or as far as it came).
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let line = self
            .head
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.head))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Bytes that repeat nowhere near.
pub(super) fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub(super) fn oid_of(content: &[u8]) -> Oid {
    let mut hash = RunningSha256::default();
    hash.update(content);
    hash.finish()
}

impl Forge {
    pub(super) fn put(&self, content: Bytes) -> Oid {
        let oid = oid_of(&content);
        self.objects.lock().unwrap().insert(oid, content);
        oid
    }

    /// Requests whose target contains this text.
    pub(super) fn seen(&self, text: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.target.contains(text)).cloned().collect()
    }

    fn content(&self, request: &Seen) -> Response<Full<Bytes>> {
        if let Some(status) = *self.content_status.lock().unwrap() {
            return plain(status, "the forge says no");
        }
        if !request.target.contains("sig=good") && request.authorization.as_deref() != Some("Basic good") {
            return plain(403, "bad signature");
        }
        let path = request.target.split('?').next().unwrap_or_default();
        let oid = darner_lfs::key::oid_in_path(path);
        let held = oid.and_then(|oid| self.objects.lock().unwrap().get(&oid).cloned());
        let granted = self.grants_anything.lock().unwrap().clone().filter(|_| path.contains("/evil/"));
        let Some(whole) = granted.or(held) else { return plain(404, "no such object") };
        let size = whole.len() as u64;
        let ranged = request.range.as_deref().map(|range| darner_lfs::range::parse(range, size));
        if let Some(darner_lfs::range::Ranged::Part(part)) = ranged {
            let mut response = Response::new(Full::new(whole.slice(part.start as usize..part.end as usize)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, text.parse().unwrap());
            return response;
        }
        let mut response = Response::new(Full::new(whole));
        if self.chunked.load(Ordering::Relaxed) {
            response.headers_mut().insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap());
        }
        response
    }

    fn batch(&self, request: &Seen, host: &str) -> Response<Full<Bytes>> {
        if let Some((status, again)) = *self.batch_status.lock().unwrap() {
            let mut response = plain(status, "the forge is not well");
            if let Some(again) = again {
                response.headers_mut().insert(header::RETRY_AFTER, again.parse().unwrap());
            }
            return response;
        }
        if request.authorization.as_deref() != Some("Basic good") {
            let mut response = plain(401, "who are you");
            response.headers_mut().insert("LFS-Authenticate", "Basic realm=\"forge\"".parse().unwrap());
            return response;
        }
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let operation = asked["operation"].as_str().unwrap();
        let place = if request.target.contains("/evil/") { "evil" } else { "store" };
        let objects: Vec<serde_json::Value> = asked["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| {
                let oid = object["oid"].as_str().unwrap();
                let known = oid.parse().is_ok_and(|oid| self.objects.lock().unwrap().contains_key(&oid));
                if operation == "download" && !known && place != "evil" {
                    return serde_json::json!({"oid": oid, "size": object["size"], "error": {"code": 404, "message": "none"}});
                }
                let href = format!("http://{host}/{place}/{}/{}/{oid}?sig=good", &oid[..2], &oid[2..4]);
                serde_json::json!({"oid": oid, "size": object["size"], "actions": {operation: {"href": href, "expires_in": 600}}})
            })
            .collect();
        let body = serde_json::json!({"transfer": "basic", "objects": objects}).to_string();
        let mut response = Response::new(Full::new(body.into()));
        response.headers_mut().insert(header::CONTENT_TYPE, "application/vnd.git-lfs+json".parse().unwrap());
        response
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let text = |name: header::HeaderName| {
            request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let host = text(header::HOST).unwrap_or_default();
        let (range, authorization) = (text(header::RANGE), text(header::AUTHORIZATION));
        let (method, target) = (request.method().clone(), request.uri().to_string());
        let body =
            request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut seen = Seen { method, target, range, authorization, body, sent: 0 };
        let response = match seen.target.as_str() {
            target if target.ends_with("/objects/batch") => self.batch(&seen, &host),
            target if target.contains("/private/") && seen.authorization.is_none() => {
                let mut response = plain(401, "who are you");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"".parse().unwrap());
                response
            }
            target
                if target.contains("/store/")
                    || target.contains("/evil/")
                    || target.contains("/objects/") =>
            {
                self.content(&seen)
            }
            _ => plain(200, &format!("{} {} from {host}", seen.method, seen.target)),
        };
        seen.sent = http_body::Body::size_hint(response.body()).exact().unwrap_or_default() as usize;
        self.seen.lock().unwrap().push(seen);
        response
    }
}

fn plain(status: u16, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(words.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A configuration for ports that are free.
pub(super) fn config_at(data: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.shared.data = data.to_owned();
    config.shared.admin.listen = "127.0.0.1:0".to_owned();
    for listen in [&mut config.git.listen, &mut config.grpc.listen, &mut config.piece.listen] {
        "127.0.0.1:0".clone_into(listen);
    }
    config.storage.reserve = darner_chassis::config::ByteSize(0);
    config
}

/// A daemon alone, its forge listed.
pub(super) async fn stand() -> Stand {
    stand_with(|_| {}).await
}

/// The same, its configuration changed first.
pub(super) async fn stand_with(change: impl FnOnce(&mut Config)) -> Stand {
    let forge = Arc::new(Forge::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forge_at = listener.local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut config = config_at(data.path());
    config.upstreams = vec![format!("http://{forge_at}")];
    change(&mut config);
    let started = Started::in_process(config).unwrap();
    let serving = Arc::clone(&forge);
    let forge_tasks = darner_chassis::tasks::Tasks::new();
    let tasks = forge_tasks.clone();
    forge_tasks.spawn("forge", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let forge = Arc::clone(&serving);
            tasks.spawn("forge connection", async move {
                let service = service_fn(|request| {
                    let forge = Arc::clone(&forge);
                    async move { Ok::<_, std::convert::Infallible>(forge.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    let at = start(&started).await.unwrap();
    Stand { forge, forge_at, at, started, forge_tasks, directory: data }
}

impl Stand {
    /// The forge as mode A or B names it.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/http/{}{rest}", self.forge_at)
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let said: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
        let host = self.at.proxy;
        let text =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{said}\r\n");
        self.raw(&[text.as_bytes(), body].concat()).await
    }

    pub(super) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", target, headers, b"").await
    }

    /// These bytes on a connection of their own.
    pub(super) async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.at.proxy).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        drop(stream.read_to_end(&mut read).await);
        let end = read.windows(4).position(|four| four == b"\r\n\r\n").map_or(read.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Answer { status, head, body: read[end..].to_vec() }
    }

    /// A Batch for some objects through mode B.
    pub(super) async fn batch(&self, repository: &str, operation: &str, objects: &[(String, i64)]) -> Answer {
        let objects: Vec<_> =
            objects.iter().map(|(oid, size)| serde_json::json!({"oid": oid, "size": size})).collect();
        let body = serde_json::json!({"operation": operation, "objects": objects, "ref": {}}).to_string();
        let target = self.path(&format!("/{repository}/info/lfs/objects/batch"));
        self.ask("POST", &target, &[("Authorization", "Basic good")], body.as_bytes()).await
    }

    /// The path and the ticket a Batch hands out for one object.
    pub(super) async fn ticket(&self, oid: Oid, size: usize) -> (String, String) {
        let answer = self.batch("o/r.git", "download", &[(oid.to_string(), size as i64)]).await;
        let action = answer.json()["objects"][0]["actions"]["download"].clone();
        let href = action["href"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        let path = href.strip_prefix(&format!("http://{}", self.at.proxy)).unwrap().to_owned();
        (path, action["header"]["Authorization"].as_str().unwrap().to_owned())
    }

    /// The story of an object, as `darner explain` hears it.
    pub(super) async fn told(&self, oid: Oid) -> Vec<String> {
        let channel = darner_chassis::grpc::unix_channel(&self.data().join("daemon.sock")).unwrap();
        let key = Some(darner_lfs::ObjectKey::from(oid).into());
        let mut client = darner_proto::v1::daemon_client::DaemonClient::new(channel);
        let reply = client.explain(darner_proto::v1::ExplainRequest { key }).await.unwrap().into_inner();
        reply.told.into_iter().map(|told| told.line).collect()
    }

    /// Another daemon where this one was; the first has ended.
    pub(super) async fn again(&mut self) {
        let config = self.started.config.value.clone();
        self.started.drain.start();
        self.started.tasks.close().await;
        self.started = Started::in_process(config).unwrap();
        self.at = start(&self.started).await.unwrap();
    }

    /// The directory of the daemon's data.
    pub(super) fn data(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(super) async fn close(self) {
        self.started.drain.start();
        self.started.tasks.close().await;
        self.forge_tasks.close().await;
    }
}
