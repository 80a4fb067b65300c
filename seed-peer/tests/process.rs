//! A whole seed in this process: its gRPC service, its piece link, its store, against a real upstream.

#![allow(
    clippy::as_conversions,
    clippy::assigning_clones,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests state their sizes in plain numbers and fail by panicking"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use darner_chassis::command::Started;
use darner_chassis::grpc;
use darner_chassis::metrics::{Kind, Role};
use darner_lfs::{ObjectKey, Oid};
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::v1::seed_client::SeedClient;
use darner_seed_peer::{Config, Reached, StartError};
use darner_transfer::link::{Ask, HttpLinks, Links as _};
use futures::StreamExt as _;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SIZE: usize = 700_000;

fn content() -> Arc<Vec<u8>> {
    Arc::new((0..SIZE).map(|n| (n * 7 / 3 % 251) as u8).collect())
}

/// Serves the content whole; its second half waits for the gate.
struct Upstream {
    address: SocketAddr,
    gate: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    async fn start(content: Arc<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (waiting, count) = (Arc::clone(&gate), Arc::clone(&asked));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (first, second) = content.split_at(SIZE / 2);
                let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
                stream.write_all(&[said.as_bytes(), first].concat()).await.unwrap();
                waiting.acquire().await.unwrap().forget();
                stream.write_all(second).await.unwrap();
            }
        });
        Self { address, gate, asked, _tasks: tasks }
    }
}

fn config(data: &std::path::Path, upstreams: Vec<String>) -> Config {
    let mut config = Config { upstreams, ..Config::default() };
    config.shared.data = data.to_owned();
    config.shared.admin.listen = "127.0.0.1:0".to_owned();
    config.grpc.listen = "127.0.0.1:0".to_owned();
    config.piece.listen = "127.0.0.1:0".to_owned();
    config.storage.reserve.0 = 0;
    config
}

async fn open(reached: Reached, taker: &str, key: ObjectKey, url: &str) -> v1::Opened {
    let mut client = SeedClient::new(grpc::channel(&reached.grpc.to_string()).unwrap());
    let taker = v1::NodeIdentity { id: taker.to_owned(), ..Default::default() };
    let credential = v1::Credential { url: url.to_owned(), ..Default::default() };
    let object = v1::OpenObject { key: Some(key.into()), credential: Some(credential), ..Default::default() };
    let request = v1::OpenRequest { taker: Some(taker), objects: vec![object], content_bytes: 0 };
    let mut replies = client.open(request).await.unwrap().into_inner();
    match replies.message().await.unwrap().unwrap().outcome.unwrap() {
        Outcome::Opened(opened) => opened,
        other => panic!("{other:?}"),
    }
}

/// A range of the object as a node takes it from the seed.
async fn take(
    opened: &v1::Opened,
    node: &str,
    key: ObjectKey,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, String> {
    let peer = HttpLinks::new(node).peer(opened.seed.as_ref().unwrap());
    let ask = Ask { key, range, grant: Arc::new(opened.grant.clone().unwrap()) };
    let mut chunks = peer.fetch(ask).await.map_err(|error| error.to_string())?;
    let mut got = Vec::new();
    while let Some(chunk) = chunks.next().await {
        got.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
    }
    Ok(got)
}

#[tokio::test]
async fn a_node_takes_bytes_of_an_object_that_is_still_coming_and_the_origin_is_read_once() {
    let content = content();
    let key: ObjectKey = Oid::from_bytes(sha2::Sha256::digest(content.as_slice()).into()).into();
    let upstream = Upstream::start(Arc::clone(&content)).await;
    let data = tempfile::tempdir().unwrap();
    let started =
        Started::in_process(config(data.path(), vec![format!("http://{}", upstream.address)])).unwrap();
    let reached = darner_seed_peer::start(&started).await.unwrap();
    let opened = open(reached, "daemon-1", key, &format!("http://{}/x", upstream.address)).await;
    assert_eq!(opened.seed.as_ref().unwrap().piece_address, reached.piece.to_string());
    let half = SIZE as u64 / 2;
    let first = take(&opened, "daemon-1", key, 0..half).await.unwrap();
    assert_eq!(first, content[..SIZE / 2], "before the origin has said the rest");
    assert!(take(&opened, "daemon-2", key, 0..half).await.is_err(), "a grant is for its node");
    upstream.gate.add_permits(1);
    let rest = take(&opened, "daemon-1", key, half..SIZE as u64).await.unwrap();
    assert_eq!(rest, content[SIZE / 2..]);
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 1);
    assert_eq!(started.metrics.origin_bytes_so_far(Kind::Content, Role::Seed), SIZE as u64);
    started.tasks.close().await;
}

#[tokio::test]
async fn every_mistake_of_the_configuration_is_told_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let mut wrong = config(data.path(), vec!["ftp://h".to_owned(), "*.example".to_owned()]);
    wrong.resolve = vec!["nonsense".to_owned()];
    let started = Started::in_process(wrong).unwrap();
    match darner_seed_peer::start(&started).await {
        Err(StartError::Config(error)) => assert_eq!(error.mistakes().len(), 3, "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_busy_port_is_told_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut busy = config(data.path(), Vec::new());
    busy.piece.listen = taken.local_addr().unwrap().to_string();
    let started = Started::in_process(busy).unwrap();
    let words = darner_seed_peer::start(&started).await.unwrap_err().to_string();
    assert!(words.contains("`piece.listen`"), "{words}");
}
