//! The feed against a manager in the same process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_chassis::tasks::{Drain, Tasks};
use darner_chassis::{grpc, net};
use darner_lfs::Oid;
use darner_proto::v1::manager_server::{self, ManagerServer};
use darner_proto::v1::tombstone::What;
use darner_proto::v1::{self, report::Report};
use darner_store::{Store, StoreConfig};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Feed, FeedConfig, Purged};

const SOON: Duration = Duration::from_secs(30);

type Told = Pin<Box<dyn Stream<Item = Result<v1::Feed, Status>> + Send>>;

/// A node's stream as the manager sees it.
struct Attached {
    reports: Streaming<v1::Report>,
    out: mpsc::Sender<Result<v1::Feed, Status>>,
}

/// A manager that hands its streams to the test.
struct Manager(mpsc::Sender<Attached>);

#[tonic::async_trait]
impl manager_server::Manager for Manager {
    type AttachStream = Told;

    async fn attach(&self, request: Request<Streaming<v1::Report>>) -> Result<Response<Told>, Status> {
        let (out, told) = mpsc::channel(8);
        let attached = Attached { reports: request.into_inner(), out };
        self.0.send(attached).await.map_err(|_closed| Status::unavailable("the test ended"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

struct Stage {
    tasks: Tasks,
    address: String,
    streams: Mutex<mpsc::Receiver<Attached>>,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let (tasks, drain) = (Tasks::new(), Drain::new());
        let listener = net::bind("127.0.0.1:0", "grpc.listen").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (streams, attached) = mpsc::channel(8);
        let routes = tonic::service::Routes::new(ManagerServer::new(Manager(streams)));
        grpc::serve(listener, routes, None, &tasks, &drain);
        Self { tasks, address, streams: Mutex::new(attached), dir: tempfile::tempdir().unwrap() }
    }

    fn node(&self, manager: Option<String>) -> (Feed, Tasks) {
        let tasks = self.tasks.child();
        let node = v1::NodeIdentity { id: "n1".to_owned(), ..Default::default() };
        let hello = v1::Hello { node: Some(node), ..Default::default() };
        let config = FeedConfig {
            surroundings_file: None,
            manager,
            component: "peer-daemon".to_owned(),
            state_file: Some(self.dir.path().join("feed.state")),
            ..FeedConfig::default()
        };
        (Feed::start(config, hello, Arc::new(v1::NodeStats::default), &tasks), tasks)
    }

    /// The next stream and its hello.
    async fn attached(&self) -> (Attached, v1::ManagerHello) {
        let next = async { self.streams.lock().await.recv().await.unwrap() };
        let mut attached = tokio::time::timeout(SOON, next).await.expect("no node came");
        match attached.hear().await {
            Report::Hello(hello) => (attached, hello),
            other => panic!("not a hello: {other:?}"),
        }
    }
}

impl Attached {
    async fn hear(&mut self) -> Report {
        let heard = tokio::time::timeout(SOON, self.reports.message()).await.expect("nothing was told");
        heard.unwrap().unwrap().report.unwrap()
    }

    async fn until(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        let heard = async {
            loop {
                let report = self.hear().await;
                if wanted(&report) {
                    return report;
                }
            }
        };
        tokio::time::timeout(SOON, heard).await.expect("it was never told")
    }

    async fn push(&self, version: u64, json: &str) {
        let config = v1::ConfigVersion { version, json: json.as_bytes().to_vec().into() };
        self.tell(v1::feed::Feed::Config(config)).await;
    }

    async fn purge(&self, sequences: impl Iterator<Item = u64>) {
        let tombstones = sequences.map(|sequence| v1::Tombstone { sequence, ..Default::default() }).collect();
        self.tell(v1::feed::Feed::Tombstones(v1::Tombstones { tombstones })).await;
    }

    async fn tell(&self, feed: v1::feed::Feed) {
        self.out.send(Ok(v1::Feed { feed: Some(feed) })).await.unwrap();
    }
}

#[tokio::test]
async fn a_pushed_configuration_is_in_force_and_outlives_the_node() {
    let stage = Stage::new();
    let (feed, tasks) = stage.node(Some(stage.address.clone()));
    let mut config = feed.config();
    let (mut manager, _) = stage.attached().await;
    manager.push(7, r#"{"serve":false}"#).await;
    tokio::time::timeout(SOON, config.wait_for(|config| config.version == 7)).await.unwrap().unwrap();
    assert!(!config.borrow().wanted.serves());
    assert!(feed.connected());
    let told = manager.until(|report| matches!(report, Report::Config(_))).await;
    assert_eq!(told, Report::Config(v1::ConfigState { version: 7, error: String::new() }));
    let kept = stage.dir.path().join("feed.state");
    let written = async {
        while !std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("serve")) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, written).await.unwrap();
    tasks.close().await;

    let (alone, _tasks) = stage.node(None);
    assert_eq!(alone.config().borrow().version, 7);
    assert!(!alone.config().borrow().wanted.serves() && !alone.connected());
}

#[tokio::test]
async fn a_configuration_that_is_not_understood_changes_nothing_and_is_told() {
    let stage = Stage::new();
    let (feed, _tasks) = stage.node(Some(stage.address.clone()));
    let (mut manager, _) = stage.attached().await;
    manager.push(3, r#"{"later":1}"#).await;
    match manager.until(|report| matches!(report, Report::Config(_))).await {
        Report::Config(told) => assert!(told.version == 3 && told.error.contains("`later`"), "{told:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(feed.config().borrow().version, 0);
}

#[tokio::test]
async fn a_tombstone_counts_once_it_is_applied() {
    let stage = Stage::new();
    let (feed, _tasks) = stage.node(Some(stage.address.clone()));
    let mut tombstones = feed.tombstones().unwrap();
    assert!(feed.tombstones().is_none());
    let (manager, hello) = stage.attached().await;
    assert_eq!(hello.tombstone_sequence, 0);
    manager.purge([5, 6].into_iter()).await;
    for expected in [5, 6] {
        let told = tokio::time::timeout(SOON, tombstones.recv()).await.unwrap().unwrap();
        assert_eq!(told.sequence, expected);
    }
    feed.applied(5);
    drop(manager);
    let (_manager, hello) = stage.attached().await;
    assert_eq!(hello.tombstone_sequence, 5);
}

#[tokio::test]
async fn what_was_purged_is_forgotten_before_the_tombstone_counts() {
    let stage = Stage::new();
    let (feed, tasks) = stage.node(Some(stage.address.clone()));
    let store = Store::open(StoreConfig::at(stage.dir.path().join("store"))).await.unwrap();
    let key = store.put(Oid::EMPTY, Bytes::new(), None).await.unwrap().key();
    let (forgotten, mut heard) = mpsc::channel(4);
    let (held, own) = (store.clone(), feed.clone());
    let forget = move |purged: &Purged| {
        assert!(!held.contains(&key), "purged first");
        forgotten.try_send((*purged, *own.0.applied.borrow())).unwrap();
    };
    tasks.spawn("feed purges", feed.clone().purge(store, forget));
    let (manager, _) = stage.attached().await;
    let whats = [None, Some(What::Key(key.into())), Some(What::Upstream("https://h/o".to_owned()))];
    let tombstones = whats.into_iter().zip(1..).map(|(what, sequence)| v1::Tombstone {
        sequence,
        what,
        ..Default::default()
    });
    manager.tell(v1::feed::Feed::Tombstones(v1::Tombstones { tombstones: tombstones.collect() })).await;
    let mut applied = feed.0.applied.subscribe();
    tokio::time::timeout(SOON, applied.wait_for(|applied| *applied == 3)).await.unwrap().unwrap();
    assert_eq!(heard.try_recv().unwrap(), (Purged::Object(key), 1));
    assert_eq!(heard.try_recv().unwrap(), (Purged::Upstream, 2));
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn more_tombstones_than_there_is_room_for_open_the_stream_anew() {
    let stage = Stage::new();
    let (feed, _tasks) = stage.node(Some(stage.address.clone()));
    let mut tombstones = feed.tombstones().unwrap();
    let (manager, _) = stage.attached().await;
    manager.purge(1..=2000).await;
    let (_manager, hello) = stage.attached().await;
    assert_eq!(hello.tombstone_sequence, 0);
    // What is there is in order and without a gap.
    for expected in 1..=1024 {
        assert_eq!(tombstones.recv().await.unwrap().sequence, expected);
    }
}

#[tokio::test]
async fn numbers_and_downloads_are_reported() {
    let stage = Stage::new();
    let (feed, _tasks) = stage.node(Some(stage.address.clone()));
    let (mut manager, hello) = stage.attached().await;
    assert_eq!(hello.component, "peer-daemon");
    feed.download(v1::Download { task: "t".to_owned(), ..Default::default() });
    let (mut numbers, mut downloads) = (false, Vec::new());
    while !numbers || downloads.is_empty() {
        match manager.until(|report| matches!(report, Report::Stats(_) | Report::Downloads(_))).await {
            Report::Downloads(told) => downloads.extend(told.downloads),
            _ => numbers = true,
        }
    }
    assert_eq!(downloads[0].task, "t");
}

#[tokio::test]
async fn without_a_manager_nothing_waits() {
    let stage = Stage::new();
    let (feed, tasks) = stage.node(None);
    for _ in 0..5000 {
        feed.download(v1::Download::default());
    }
    assert_eq!(feed.config().borrow().version, 0);
    tasks.close().await;
}
