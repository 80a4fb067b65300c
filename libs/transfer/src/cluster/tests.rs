//! The client against a scheduler that says what the test says, over real gRPC on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use darner_lfs::{Holding, Layout, ObjectKey, Oid};
use darner_proto::v1::node_message::Message;
use darner_proto::v1::scheduler_message::Message as Said;
use darner_proto::v1::scheduler_server::{Scheduler, SchedulerServer};
use darner_proto::{PROTOCOL_VERSION, v1};
use darner_store::Item;
use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// Nothing here takes this long; a test that does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test holds of one stream.
struct Joined {
    heard: Streaming<v1::NodeMessage>,
    say: mpsc::Sender<Result<v1::SchedulerMessage, Status>>,
}

struct Scripted(mpsc::Sender<Joined>);

#[tonic::async_trait]
impl Scheduler for Scripted {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<v1::SchedulerMessage, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (say, said) = mpsc::channel(64);
        self.0.send(Joined { heard: request.into_inner(), say }).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

/// A scheduler on loopback; its streams arrive on the channel.
struct Place {
    address: SocketAddr,
    streams: mpsc::Receiver<Joined>,
}

async fn scheduler(tasks: &Tasks) -> Place {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, streams) = mpsc::channel(8);
    let server = tonic::transport::Server::builder().add_service(SchedulerServer::new(Scripted(arrived)));
    tasks.spawn("scripted scheduler", async move {
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    Place { address, streams }
}

impl Place {
    /// The next stream, its hello read and answered.
    async fn welcome(&mut self, epoch: u64) -> Joined {
        let mut joined = timeout(PATIENCE, self.streams.recv()).await.expect("a stream in time").unwrap();
        let Message::Hello(hello) = joined.hear().await else { panic!("no hello") };
        assert_eq!(hello.node.unwrap().id, "node-1");
        let welcome = v1::Welcome { protocol_version: PROTOCOL_VERSION, features: 0, epoch, clock_ms: 0 };
        joined.say(Said::Welcome(welcome)).await;
        joined
    }
}

impl Joined {
    async fn hear(&mut self) -> Message {
        let message = timeout(PATIENCE, self.heard.message()).await.expect("a message in time");
        message.unwrap().unwrap().message.unwrap()
    }

    async fn say(&self, message: Said) {
        self.say.send(Ok(v1::SchedulerMessage { message: Some(message) })).await.unwrap();
    }

    async fn order(&self, epoch: u64, key: ObjectKey, parent: &str) {
        let node = v1::NodeIdentity { id: parent.to_owned(), ..Default::default() };
        let parents = vec![v1::Parent { node: Some(node), complete: true, last_resort: false }];
        let orders = vec![v1::Order { key: Some(key.into()), parents }];
        self.say(Said::Orders(v1::Orders { epoch, order_id: 1, orders })).await;
    }

    async fn members(&self, epoch: u64, seeds: &[&str]) {
        let seeds = seeds.iter().map(|id| node(id)).collect();
        self.say(Said::Membership(v1::Membership { epoch, seeds, daemons: vec![node("node-2")] })).await;
    }

    /// Hears until wants come.
    async fn wants(&mut self) -> Vec<ObjectKey> {
        loop {
            if let Message::Wants(wants) = self.hear().await {
                let keys = wants.wants.iter();
                return keys.map(|want| darner_proto::convert::key(want.key.as_ref()).unwrap()).collect();
            }
        }
    }

    /// Hears until holdings come.
    async fn inventory(&mut self) -> v1::Inventory {
        loop {
            if let Message::Inventory(news) = self.hear().await {
                return news;
            }
        }
    }
}

/// A store of nothing but keys.
#[derive(Clone)]
struct Shelf {
    items: Arc<Mutex<BTreeMap<ObjectKey, Item>>>,
    news: broadcast::Sender<Announced>,
}

impl Shelf {
    fn new() -> Self {
        Self { items: Arc::default(), news: broadcast::channel(256).0 }
    }

    fn put(&self, key: ObjectKey) {
        let item = Item { key, layout: Layout::of_size(10), complete: true, holding: Holding::empty() };
        self.items.lock().unwrap().insert(key, item);
        drop(self.news.send(Announced::Changed(key)));
    }

    fn remove(&self, key: &ObjectKey) {
        self.items.lock().unwrap().remove(key);
        drop(self.news.send(Announced::Changed(*key)));
    }
}

impl Inventory for Shelf {
    fn all(&self) -> Vec<Item> {
        self.items.lock().unwrap().values().cloned().collect()
    }

    fn one(&self, key: &ObjectKey) -> Option<Item> {
        self.items.lock().unwrap().get(key).cloned()
    }

    fn news(&self) -> Pin<Box<dyn Stream<Item = Announced> + Send>> {
        let news = BroadcastStream::new(self.news.subscribe());
        Box::pin(news.map(|news| news.unwrap_or(Announced::Lost)))
    }
}

fn key(n: u8) -> ObjectKey {
    Oid::from_bytes([n; 32]).into()
}

fn node(id: &str) -> v1::NodeIdentity {
    let role = if id.starts_with("seed") { v1::Role::Seed } else { v1::Role::Daemon };
    v1::NodeIdentity {
        id: id.to_owned(),
        role: role.into(),
        grpc_address: format!("{id}:65000"),
        piece_address: format!("{id}:65002"),
        ..Default::default()
    }
}

fn config(schedulers: &[SocketAddr]) -> ClusterConfig {
    ClusterConfig {
        identity: node("node-1"),
        schedulers: schedulers.iter().map(ToString::to_string).collect(),
        seed_peers: vec!["static-1:65000".to_owned(), "static-2:65000".to_owned()],
        state_file: None,
        wire: darner_chassis::tls::Wire::clear(),
    }
}

async fn parents(orders: &mut watch::Receiver<Parents>) -> Vec<String> {
    timeout(PATIENCE, orders.changed()).await.expect("orders in time").unwrap();
    let now = orders.borrow_and_update();
    now.iter().map(|parent| parent.node.clone().unwrap().id).collect()
}

#[tokio::test]
async fn a_want_goes_up_and_its_orders_come_down() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    let mut stream = place.welcome(5).await;
    cluster.want(vec![(key(1), Some(9)), (key(2), None)]);
    let mut orders = cluster.orders(&key(1));
    assert_eq!(stream.wants().await, [key(1), key(2)]);
    stream.order(5, key(1), "node-9").await;
    assert_eq!(parents(&mut orders).await, ["node-9"]);
    assert_eq!(cluster.connected(), 1);
    tasks.close().await;
}

#[tokio::test]
async fn a_new_stream_begins_with_the_whole_list_and_then_says_what_changed() {
    let tasks = Tasks::new();
    let shelf = Shelf::new();
    shelf.put(key(1));
    let mut place = scheduler(&tasks).await;
    let _cluster = Cluster::start(config(&[place.address]), shelf.clone(), &tasks);
    let mut stream = place.welcome(5).await;
    let first = stream.inventory().await;
    assert!(first.full && !first.more);
    assert_eq!((first.sequence, first.added.len()), (1, 1));
    shelf.put(key(2));
    shelf.remove(&key(1));
    let (mut added, mut removed) = (0, 0);
    while (added, removed) != (1, 1) {
        let delta = stream.inventory().await;
        assert!(!delta.full);
        added += delta.added.len();
        removed += delta.removed.len();
    }
    tasks.close().await;
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_nothing_is_lost() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let shelf = Shelf::new();
    let cluster = Cluster::start(config(&[place.address]), shelf.clone(), &tasks);
    let mut first = place.welcome(5).await;
    cluster.want(vec![(key(1), None)]);
    assert_eq!(first.wants().await, [key(1)]);
    drop(first);
    shelf.put(key(7));
    cluster.want(vec![(key(2), None)]);
    let mut second = place.welcome(6).await;
    let mut wanted = second.wants().await;
    while wanted.len() < 2 {
        wanted.extend(second.wants().await);
    }
    wanted.sort_unstable();
    wanted.dedup();
    assert_eq!(wanted, [key(1), key(2)]);
    let list = second.inventory().await;
    assert!(list.full);
    assert_eq!(list.added.len(), 1);
    tasks.close().await;
}

#[tokio::test]
async fn a_forgotten_key_is_given_up_and_not_wanted_again() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    let mut first = place.welcome(5).await;
    cluster.want(vec![(key(1), None), (key(2), None)]);
    assert_eq!(first.wants().await.len(), 2);
    cluster.forget(&key(1));
    loop {
        if let Message::Forget(forget) = first.hear().await {
            assert_eq!(forget.keys, [v1::ObjectKey::from(key(1))]);
            break;
        }
    }
    drop(first);
    assert_eq!(place.welcome(6).await.wants().await, [key(2)]);
    tasks.close().await;
}

#[tokio::test]
async fn a_complaint_reaches_the_scheduler() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    let mut stream = place.welcome(5).await;
    stream.inventory().await;
    cluster.trouble(&key(1), "node-3", v1::TroubleKind::Corrupt);
    let Message::Trouble(trouble) = stream.hear().await else { panic!("no trouble") };
    assert_eq!((trouble.parent.as_str(), trouble.kind()), ("node-3", v1::TroubleKind::Corrupt));
    tasks.close().await;
}

#[tokio::test]
async fn orders_of_an_older_epoch_are_dropped() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    let mut stream = place.welcome(5).await;
    cluster.want(vec![(key(1), None)]);
    let mut orders = cluster.orders(&key(1));
    stream.wants().await;
    stream.members(8, &["seed-1"]).await;
    stream.order(7, key(1), "stale").await;
    stream.order(8, key(1), "fresh").await;
    assert_eq!(parents(&mut orders).await, ["fresh"]);
    tasks.close().await;
}

#[tokio::test]
async fn the_ring_is_the_memberships_and_without_one_the_static_seeds() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    let addresses = |seeds: Vec<SeedAt>| {
        let mut addresses: Vec<String> = seeds.into_iter().map(|seed| seed.grpc_address).collect();
        addresses.sort_unstable();
        addresses
    };
    assert_eq!(addresses(cluster.seeds_for(&key(1))), ["static-1:65000", "static-2:65000"]);
    let mut members = cluster.watch_membership();
    let stream = place.welcome(5).await;
    stream.members(6, &["seed-1", "seed-2"]).await;
    timeout(PATIENCE, members.wait_for(|members| members.epoch == 6)).await.unwrap().unwrap();
    assert_eq!(addresses(cluster.seeds_for(&key(1))), ["seed-1:65000", "seed-2:65000"]);
    assert!(cluster.seeds_for(&key(1)).iter().all(|seed| seed.identity.is_some()));
    let mut daemons: Vec<String> = cluster.daemons_for(&key(1)).into_iter().map(|node| node.id).collect();
    daemons.sort_unstable();
    assert_eq!(daemons, ["node-1", "node-2"], "a daemon is one of those that may act as seed");
    tasks.close().await;
}

#[tokio::test]
async fn a_node_starts_with_its_last_membership_while_no_scheduler_answers() {
    let folder = tempfile::tempdir().unwrap();
    let state_file = Some(folder.path().join("membership"));
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let with_file = ClusterConfig { state_file: state_file.clone(), ..config(&[place.address]) };
    let cluster = Cluster::start(with_file, Shelf::new(), &tasks);
    let stream = place.welcome(5).await;
    stream.members(6, &["seed-1"]).await;
    let mut members = cluster.watch_membership();
    timeout(PATIENCE, members.wait_for(|members| members.epoch == 6)).await.unwrap().unwrap();
    let path = state_file.clone().unwrap();
    // The copy follows within a second; each look yields to it.
    let kept = async {
        while disk::read(&path).epoch != 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("kept in time");
    tasks.close().await;

    let tasks = Tasks::new();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], darner_chassis::net::free_port().unwrap()));
    let alone = Cluster::start(ClusterConfig { state_file, ..config(&[nowhere]) }, Shelf::new(), &tasks);
    assert_eq!(alone.seeds_for(&key(1))[0].grpc_address, "seed-1:65000");
    assert_eq!(alone.connected(), 0);
    tasks.close().await;
}

#[tokio::test]
async fn each_key_belongs_to_one_of_several_schedulers() {
    let tasks = Tasks::new();
    let (mut one, mut two) = (scheduler(&tasks).await, scheduler(&tasks).await);
    let shelf = Shelf::new();
    let keys: Vec<ObjectKey> = (0..64).map(key).collect();
    for key in &keys {
        shelf.put(*key);
    }
    let cluster = Cluster::start(config(&[one.address, two.address]), shelf, &tasks);
    let (mut first, mut second) = (one.welcome(1).await, two.welcome(1).await);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let (held_a, held_b) = (first.inventory().await.added.len(), second.inventory().await.added.len());
    assert_eq!(held_a + held_b, 64, "each is told of its own share");
    cluster.want(keys.iter().map(|key| (*key, None)).collect());
    while a.len() + b.len() < 64 {
        tokio::select! {
            more = first.wants() => a.extend(more),
            more = second.wants() => b.extend(more),
        }
    }
    assert_eq!((a.len(), b.len()), (held_a, held_b));
    assert!(a.iter().all(|key| !b.contains(key)));
    assert!(!a.is_empty() && !b.is_empty());
    tasks.close().await;
}

#[tokio::test]
async fn with_no_scheduler_at_all_everything_answers() {
    let tasks = Tasks::new();
    let cluster = Cluster::start(config(&[]), Shelf::new(), &tasks);
    cluster.want(vec![(key(1), None)]);
    cluster.trouble(&key(1), "x", v1::TroubleKind::Stalled);
    assert!(cluster.orders(&key(1)).borrow().is_empty());
    cluster.forget(&key(1));
    assert_eq!(cluster.seeds_for(&key(1)).len(), 2);
    assert_eq!((cluster.connected(), tasks.count()), (0, 0));
}

#[tokio::test]
async fn an_older_instance_of_the_scheduler_is_not_listened_to() {
    let tasks = Tasks::new();
    let mut place = scheduler(&tasks).await;
    let cluster = Cluster::start(config(&[place.address]), Shelf::new(), &tasks);
    cluster.want(vec![(key(1), None)]);
    let mut orders = cluster.orders(&key(1));
    drop(place.welcome(50).await);
    let stale = place.welcome(40).await;
    // The client has hung up or will; what this one says does not count.
    drop(stale.say.send(Ok(v1::SchedulerMessage::default())).await);
    let fresh = place.welcome(51).await;
    fresh.order(51, key(1), "fresh").await;
    assert_eq!(parents(&mut orders).await, ["fresh"]);
    tasks.close().await;
}
