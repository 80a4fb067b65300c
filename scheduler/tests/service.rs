//! The service over real gRPC on loopback: hello, orders, members, the page, and what happens when things end.

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "tests state their sizes in plain numbers and may fail by panic"
)]

use std::net::SocketAddr;
use std::time::Duration;

use darner_chassis::clock::{Clock as _, System};
use darner_chassis::command::Started;
use darner_chassis::grpc;
use darner_lfs::{Layout, ObjectKey, Oid};
use darner_proto::v1::node_message::Message;
use darner_proto::v1::scheduler_client::SchedulerClient;
use darner_proto::v1::scheduler_message::Message as Said;
use darner_proto::{PROTOCOL_VERSION, features, v1};
use darner_scheduler::Config;
use darner_scheduler::config::Grpc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Nothing here takes this long; a test that does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn scheduler_with(config: Config) -> (Started<Config>, SocketAddr) {
    let started = Started::in_process(config).unwrap();
    let address = darner_scheduler::start(&started).await.unwrap();
    (started, address)
}

async fn scheduler() -> (Started<Config>, SocketAddr) {
    scheduler_with(config()).await
}

fn config() -> Config {
    listening_on("127.0.0.1:0")
}

fn listening_on(address: &str) -> Config {
    let mut config = Config { grpc: Grpc { listen: address.to_owned() }, ..Config::default() };
    "127.0.0.1:0".clone_into(&mut config.shared.admin.listen);
    config
}

fn key(n: u8) -> ObjectKey {
    Oid::from_bytes([n; 32]).into()
}

fn node(id: &str) -> v1::NodeIdentity {
    let role = if id.starts_with("seed") { v1::Role::Seed } else { v1::Role::Daemon };
    v1::NodeIdentity {
        id: id.to_owned(),
        role: role.into(),
        piece_address: format!("{id}:65002"),
        grpc_address: format!("{id}:65000"),
        ..Default::default()
    }
}

fn hello(id: &str) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        features: features::ALL,
        node: Some(node(id)),
        clock_ms: System.now_ms(),
    }
}

/// A node's end of a stream.
struct Node {
    say: mpsc::Sender<v1::NodeMessage>,
    said: Streaming<v1::SchedulerMessage>,
}

async fn open(address: SocketAddr, first: Message) -> Result<Node, Status> {
    let (say, queue) = mpsc::channel(64);
    say.send(v1::NodeMessage { message: Some(first) }).await.unwrap();
    let mut client = SchedulerClient::new(grpc::channel(&address.to_string()).unwrap());
    let said =
        timeout(PATIENCE, client.join(ReceiverStream::new(queue))).await.expect("an answer in time")?;
    Ok(Node { say, said: said.into_inner() })
}

/// Joined and welcomed.
async fn join(address: SocketAddr, id: &str) -> Node {
    let mut node = open(address, Message::Hello(hello(id))).await.unwrap();
    assert!(matches!(node.hear().await, Said::Welcome(_)));
    node
}

impl Node {
    async fn say(&self, message: Message) {
        self.say.send(v1::NodeMessage { message: Some(message) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<v1::SchedulerMessage>, Status> {
        timeout(PATIENCE, self.said.message()).await.expect("a message in time")
    }

    async fn hear(&mut self) -> Said {
        self.next().await.unwrap().unwrap().message.unwrap()
    }

    /// The status the stream ends with.
    async fn end(&mut self) -> Option<Status> {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    async fn want(&self, n: u8) {
        let wants = vec![v1::Want { key: Some(key(n).into()), size: Some(1 << 30), ..Default::default() }];
        self.say(Message::Wants(v1::Wants { id: 1, wants })).await;
    }

    async fn hold(&self, n: u8) {
        let held = v1::Held {
            key: Some(key(n).into()),
            layout: Some(Layout::of_size(1 << 30).into()),
            complete: true,
            ..Default::default()
        };
        self.say(Message::Inventory(v1::Inventory { added: vec![held], ..Default::default() })).await;
    }

    /// Hears until the orders name this ordinary parent.
    async fn parents_with(&mut self, id: &str) -> Vec<v1::Parent> {
        loop {
            let Said::Orders(orders) = self.hear().await else { continue };
            for order in orders.orders {
                let named =
                    |parent: &v1::Parent| parent.node.as_ref().unwrap().id == id && !parent.last_resort;
                if order.parents.iter().any(named) {
                    return order.parents;
                }
            }
        }
    }

    /// Hears until the ring has this many seeds.
    async fn ring_of(&mut self, seeds: usize) -> v1::Membership {
        loop {
            if let Said::Membership(members) = self.hear().await
                && members.seeds.len() == seeds
            {
                return members;
            }
        }
    }
}

async fn page(address: SocketAddr) -> String {
    let mut browser = TcpStream::connect(address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nhost: scheduler\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    timeout(PATIENCE, browser.read_to_string(&mut page)).await.expect("a page in time").unwrap();
    page
}

async fn refused(hello: v1::Hello) -> Status {
    let (started, address) = scheduler().await;
    let refused = open(address, Message::Hello(hello)).await.err().expect("a refusal");
    started.tasks.close().await;
    refused
}

#[tokio::test]
async fn a_node_is_welcomed_with_the_common_features_and_an_epoch() {
    let (started, address) = scheduler().await;
    let first = v1::Hello { features: features::WATCH | 1 << 60, ..hello("n1") };
    let mut node = open(address, Message::Hello(first)).await.unwrap();
    let Said::Welcome(welcome) = node.hear().await else { panic!("no welcome") };
    assert_eq!((welcome.protocol_version, welcome.features), (PROTOCOL_VERSION, features::WATCH));
    assert!(welcome.epoch > 0 && welcome.clock_ms > 0);
    started.tasks.close().await;
}

#[tokio::test]
async fn another_protocol_version_is_refused_in_words() {
    let status = refused(v1::Hello { protocol_version: 7, ..hello("n1") }).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("protocol version 7"), "{status}");
}

#[tokio::test]
async fn a_clock_minutes_off_is_refused_in_words() {
    let status = refused(v1::Hello { clock_ms: 1, ..hello("n1") }).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("clock"), "{status}");
}

#[tokio::test]
async fn wants_are_answered_with_the_seed_and_then_with_the_holder() {
    let (started, address) = scheduler().await;
    let mut seed = join(address, "seed").await;
    seed.ring_of(1).await;
    let (holder, mut child) = (join(address, "holder").await, join(address, "child").await);
    child.want(1).await;
    child.parents_with("seed").await;
    holder.hold(1).await;
    let parents = child.parents_with("holder").await;
    assert!(parents.iter().any(|parent| parent.last_resort), "the seed is the last resort now");
    started.tasks.close().await;
}

#[tokio::test]
async fn a_thousand_wants_are_answered_in_a_few_messages() {
    let (started, address) = scheduler().await;
    let mut seed = join(address, "seed").await;
    seed.ring_of(1).await;
    let mut child = join(address, "child").await;
    let want = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        v1::Want {
            key: Some(ObjectKey::from(Oid::from_bytes(bytes)).into()),
            size: Some(10),
            ..Default::default()
        }
    };
    child.say(Message::Wants(v1::Wants { id: 1, wants: (0..1_000).map(want).collect() })).await;
    let (mut answered, mut messages) = (0, 0);
    while answered < 1_000 {
        if let Said::Orders(orders) = child.hear().await {
            assert!(orders.orders.iter().all(|order| order.parents.len() == 1));
            answered += orders.orders.len();
            messages += 1;
        }
    }
    assert_eq!((answered, messages), (1_000, 2));
    started.tasks.close().await;
}

#[tokio::test]
async fn a_complaint_brings_new_orders_at_once() {
    let (started, address) = scheduler().await;
    let (bad, good) = (join(address, "bad").await, join(address, "good").await);
    let mut child = join(address, "child").await;
    child.want(1).await;
    bad.hold(1).await;
    child.parents_with("bad").await;
    good.hold(1).await;
    child.parents_with("good").await;
    let trouble = v1::Trouble {
        key: Some(key(1).into()),
        parent: "bad".to_owned(),
        kind: v1::TroubleKind::Corrupt.into(),
    };
    child.say(Message::Trouble(trouble)).await;
    loop {
        let parents = child.parents_with("good").await;
        if parents.iter().all(|parent| parent.node.as_ref().unwrap().id != "bad") {
            break;
        }
    }
    started.tasks.close().await;
}

#[tokio::test]
async fn a_seed_that_comes_or_goes_is_told_to_all_in_a_later_epoch() {
    let (started, address) = scheduler().await;
    let mut watcher = join(address, "watcher").await;
    let before = watcher.ring_of(0).await.epoch;
    let seed = join(address, "seed").await;
    let with = watcher.ring_of(1).await;
    assert!(with.epoch > before);
    drop(seed);
    let without = watcher.ring_of(0).await;
    assert!(without.epoch > with.epoch);
    started.tasks.close().await;
}

#[tokio::test]
async fn a_second_stream_of_a_node_ends_the_first() {
    let (started, address) = scheduler().await;
    let mut first = join(address, "n1").await;
    let mut second = join(address, "n1").await;
    assert_eq!(first.end().await.map(|status| status.code()), Some(Code::Aborted));
    second.want(1).await;
    assert!(matches!(second.hear().await, Said::Membership(_)), "the second one is served");
    started.tasks.close().await;
}

#[tokio::test]
async fn a_malformed_message_costs_its_sender_the_stream_and_nobody_else() {
    let (started, address) = scheduler().await;
    let (mut bad, mut other) = (join(address, "bad").await, join(address, "other").await);
    bad.say(Message::Wants(v1::Wants { id: 1, wants: vec![v1::Want::default()] })).await;
    let status = bad.end().await.expect("words");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`key`"), "{status}");
    let _seed = join(address, "seed").await;
    other.ring_of(1).await;
    started.tasks.close().await;
}

#[tokio::test]
async fn a_browser_is_shown_a_page_of_plain_text_on_the_same_port() {
    let (started, address) = scheduler().await;
    let mut seed = join(address, "seed-a").await;
    seed.ring_of(1).await;
    let page = page(address).await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("text/plain") && page.contains("seed-a"), "{page}");
    started.tasks.close().await;
}

#[tokio::test]
async fn a_restarted_scheduler_speaks_of_later_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.shared.data = folder.path().to_owned();
    std::fs::write(folder.path().join("epoch"), "99999999999999").unwrap();
    let (started, address) = scheduler_with(config).await;
    let mut node = open(address, Message::Hello(hello("n1"))).await.unwrap();
    let Said::Welcome(welcome) = node.hear().await else { panic!("no welcome") };
    assert!(welcome.epoch > 99_999_999_999_999);
    started.tasks.close().await;
}

#[tokio::test]
async fn the_drain_ends_every_stream_and_every_task() {
    let (started, address) = scheduler().await;
    let mut nodes = vec![join(address, "n1").await, join(address, "seed").await];
    started.drain.start();
    for node in &mut nodes {
        node.end().await;
    }
    timeout(PATIENCE, started.tasks.close()).await.expect("no task outlives the scope");
    assert_eq!(started.tasks.count(), 0);
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_key() {
    let (started, address) = scheduler().await;
    let second = Started::in_process(listening_on(&address.to_string())).unwrap();
    let error = darner_scheduler::start(&second).await.expect_err("busy").to_string();
    assert!(error.contains("`grpc.listen`") && error.contains(&address.to_string()), "{error}");
    started.tasks.close().await;
    second.tasks.close().await;
}
