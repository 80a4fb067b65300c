//! A crowd of nodes that exist in name only: their streams to a real scheduler or manager, to see what each costs there.
//!
//! Owns: the streams, and the words a node says on them. Never: a byte of an object, nor anything a service does.

use std::time::Duration;

use anyhow::Context as _;
use darner_chassis::clock::{Clock as _, System};
use darner_chassis::grpc;
use darner_lfs::{Layout, ObjectKey, Oid};
use darner_proto::v1::manager_client::ManagerClient;
use darner_proto::v1::node_message::Message;
use darner_proto::v1::report::Report;
use darner_proto::v1::scheduler_client::SchedulerClient;
use darner_proto::v1::scheduler_message::Message as Said;
use darner_proto::{PROTOCOL_VERSION, features, v1};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Objects in one message about holdings, as real nodes send them.
const PER_MESSAGE: u64 = 500;
/// Objects one node wants at once: a Batch of git-lfs.
pub const BATCH: u64 = 100;
/// Streams opened at once.
const AT_ONCE: usize = 32;
/// Nodes that hold each object.
const COPIES: u64 = 3;
/// Messages under way on one stream.
const QUEUE: usize = 64;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// A node's streams.
#[derive(Debug)]
pub struct Member {
    number: u64,
    say: mpsc::Sender<v1::NodeMessage>,
    said: Streaming<v1::SchedulerMessage>,
}

/// A node's stream to the manager; held, so that it stays attached.
#[derive(Debug)]
pub struct Attached {
    _report: mpsc::Sender<v1::Report>,
    _feed: Streaming<v1::Feed>,
}

fn hello(number: u64) -> v1::Hello {
    let (high, low) = (number / 250, number % 250);
    let node = v1::NodeIdentity {
        id: format!("dragonfly-dfdaemon-{number:05}"),
        role: v1::Role::Daemon.into(),
        piece_address: format!("10.{}.{}.{low}:65002", high / 250, high % 250),
        grpc_address: format!("10.{}.{}.{low}:65000", high / 250, high % 250),
        zone: format!("zone-{}", number % 3),
        host_name: format!("node-{number}"),
        version: "0.1.0".to_owned(),
        public_key: vec![7; 32].into(),
        ..Default::default()
    };
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        features: features::ALL,
        node: Some(node),
        clock_ms: System.now_ms(),
    }
}

fn key(number: u64) -> ObjectKey {
    let words = [1_u64, 3, 5, 7]
        .map(|odd| number.wrapping_add(1).wrapping_mul(odd.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_be_bytes())) {
        *place = byte;
    }
    Oid::from_bytes(bytes).into()
}

/// The objects node `number` of `nodes` holds when each holds `objects`.
fn held(number: u64, nodes: u64, objects: u64) -> impl Iterator<Item = ObjectKey> {
    let universe = (nodes * objects / COPIES).max(1);
    (0..objects).map(move |at| key((number * objects + at) % universe))
}

/// Joins a scheduler as `nodes` nodes of `objects` objects each, and waits until all were heard.
pub async fn join(scheduler: &str, nodes: u64, objects: u64) -> anyhow::Result<Vec<Member>> {
    let joining = (0..nodes).map(|number| join_one(scheduler, number, nodes, objects));
    let members: Vec<_> = futures::stream::iter(joining).buffer_unordered(AT_ONCE).collect().await;
    members.into_iter().collect()
}

async fn join_one(scheduler: &str, number: u64, nodes: u64, objects: u64) -> anyhow::Result<Member> {
    let (say, queue) = mpsc::channel(QUEUE);
    say.send(v1::NodeMessage { message: Some(Message::Hello(hello(number))) }).await?;
    let mut client = SchedulerClient::new(grpc::channel(scheduler)?);
    let mut said = client.join(ReceiverStream::new(queue)).await?.into_inner();
    let welcome = said.message().await?.and_then(|said| said.message);
    anyhow::ensure!(matches!(welcome, Some(Said::Welcome(_))), "node {number} is not welcome");
    let keys: Vec<ObjectKey> = held(number, nodes, objects).collect();
    let size = usize::try_from(PER_MESSAGE)?;
    let parts: Vec<&[ObjectKey]> = keys.chunks(size).collect();
    for (at, part) in parts.iter().enumerate() {
        let added = part.iter().map(|key| v1::Held {
            key: Some((*key).into()),
            layout: Some(Layout::of_size(1 << 20).into()),
            complete: true,
            ..Default::default()
        });
        let news = v1::Inventory {
            sequence: u64::try_from(at)? + 1,
            full: true,
            added: added.collect(),
            more: at + 1 < parts.len(),
            ..Default::default()
        };
        say.send(v1::NodeMessage { message: Some(Message::Inventory(news)) }).await?;
    }
    Ok(Member { number, say, said })
}

impl Member {
    /// Wants a Batch of what others hold, and waits for the orders; then forgets it.
    pub async fn batch(&mut self, nodes: u64, objects: u64) -> anyhow::Result<()> {
        let other = (self.number + nodes / 2) % nodes;
        let keys: Vec<ObjectKey> =
            held(other, nodes, objects.max(BATCH)).take(usize::try_from(BATCH)?).collect();
        let want = |key: &ObjectKey| v1::Want {
            key: Some((*key).into()),
            size: Some(1 << 20),
            ..Default::default()
        };
        let wants = v1::Wants { id: 1, wants: keys.iter().map(want).collect() };
        self.say.send(v1::NodeMessage { message: Some(Message::Wants(wants)) }).await?;
        let mut ordered = 0;
        while ordered < keys.len() {
            let said =
                tokio::time::timeout(PATIENCE, self.said.message()).await??.context("the stream ended")?;
            if let Some(Said::Orders(orders)) = said.message {
                ordered += orders.orders.len();
            }
        }
        let keys = keys.into_iter().map(Into::into).collect();
        self.say.send(v1::NodeMessage { message: Some(Message::Forget(v1::Forget { keys })) }).await?;
        Ok(())
    }
}

/// Attaches to a manager as `nodes` nodes that tell of `objects` objects each.
pub async fn attach(manager: &str, nodes: u64, objects: u64) -> anyhow::Result<Vec<Attached>> {
    let attaching = (0..nodes).map(|number| attach_one(manager, number, nodes, objects));
    let attached: Vec<_> = futures::stream::iter(attaching).buffer_unordered(AT_ONCE).collect().await;
    attached.into_iter().collect()
}

async fn attach_one(manager: &str, number: u64, nodes: u64, objects: u64) -> anyhow::Result<Attached> {
    let (report, queue) = mpsc::channel(QUEUE);
    let tell = async |what: Report| report.send(v1::Report { report: Some(what) }).await;
    let hello = v1::ManagerHello {
        hello: Some(hello(number)),
        component: "peer-daemon".to_owned(),
        admin_address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    tell(Report::Hello(hello)).await?;
    let feed =
        ManagerClient::new(grpc::channel(manager)?).attach(ReceiverStream::new(queue)).await?.into_inner();
    let keys: Vec<ObjectKey> = held(number, nodes, objects).collect();
    for (at, part) in keys.chunks(usize::try_from(PER_MESSAGE)?).enumerate() {
        let added = part.iter().map(|key| v1::HeldObject {
            key: Some((*key).into()),
            size: 1 << 20,
            state: "verified".to_owned(),
            upstreams: vec!["https://forge.example/organisation/repository".to_owned()],
            used_ms: System.now_ms(),
        });
        let holdings = v1::HoldingsReport { full: at == 0, added: added.collect(), removed: Vec::new() };
        tell(Report::Holdings(holdings)).await?;
    }
    tell(Report::Stats(v1::NodeStats {
        at_ms: System.now_ms(),
        stored_objects: objects,
        ..Default::default()
    }))
    .await?;
    Ok(Attached { _report: report, _feed: feed })
}
