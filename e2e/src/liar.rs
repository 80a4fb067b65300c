//! A peer that lies: it joins the scheduler like a daemon, says it holds an object, and gives wrong bytes for it.
//! Promise I9 is about such a peer; no real process can be talked into being one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, Oid};
use darner_proto::v1::link_event::Event;
use darner_proto::v1::node_message::Message;
use darner_proto::v1::scheduler_client::SchedulerClient;
use darner_proto::{PROTOCOL_VERSION, features, v1};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::origin::answer::{self, Body};

/// A lying peer; it stops lying when dropped.
#[derive(Debug)]
pub struct Liar {
    given: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Liar {
    /// Joins a scheduler (`host:port`) and claims to hold one object.
    pub async fn join(scheduler: &str, oid: Oid, size: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let given = Arc::new(AtomicU64::new(0));
        let held = v1::Held {
            key: Some(ObjectKey::from(oid).into()),
            layout: Some(Layout::of_size(size).into()),
            complete: true,
            pieces: Bytes::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, held.clone(), given.clone()));
        let (say, said) = tokio::sync::mpsc::channel(4);
        let inventory = v1::Inventory { full: true, added: vec![held], ..v1::Inventory::default() };
        for message in [Message::Hello(hello(&address)), Message::Inventory(inventory)] {
            say.send(v1::NodeMessage { message: Some(message) }).await.ok().context("the stream is open")?;
        }
        let mut client = SchedulerClient::connect(format!("http://{scheduler}")).await?;
        let mut orders = client.join(ReceiverStream::new(said)).await?.into_inner();
        orders.next().await.context("a welcome")??;
        tasks.spawn(async move {
            // The stream stays open as long as both ends hold theirs.
            let _open = say;
            while orders.next().await.is_some() {}
        });
        Ok(Self { given, _tasks: tasks })
    }

    /// Wrong bytes given out so far.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }
}

fn hello(address: &str) -> v1::Hello {
    let node = v1::NodeIdentity {
        id: format!("liar-{address}"),
        role: v1::Role::Daemon.into(),
        piece_address: address.to_owned(),
        grpc_address: address.to_owned(),
        version: "0.1.0".to_owned(),
        host_name: "liar".to_owned(),
        incarnation: 1,
        public_key: Bytes::from_static(&[7; 32]),
        ..v1::NodeIdentity::default()
    };
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    v1::Hello { protocol_version: PROTOCOL_VERSION, features: features::ALL, node: Some(node), clock_ms: now }
}

async fn serve(listener: TcpListener, held: v1::Held, given: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (held, given) = (held.clone(), given.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = lie(&request, &held, &given);
            async move { Ok::<_, Infallible>(answer) }
        });
        connections.spawn(async move {
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// The right shape with the wrong bytes.
fn lie(request: &Request<Incoming>, held: &v1::Held, given: &AtomicU64) -> Response<Body> {
    if request.uri().path().ends_with("/watch") {
        let event = v1::LinkEvent { event: Some(Event::Held(held.clone())) };
        let told = Bytes::from(event.encode_length_delimited_to_vec());
        let never_ends = futures::stream::iter([Ok(Frame::data(told))]).chain(futures::stream::pending());
        return Response::new(StreamBody::new(never_ends).boxed_unsync());
    }
    let size = held.layout.as_ref().and_then(|layout| layout.size).unwrap_or_default();
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((Ok(start), Ok(last))) = range.map(|(from, to)| (from.parse::<u64>(), to.parse::<u64>())) else {
        return answer::plain(StatusCode::NOT_FOUND, "not here");
    };
    let length = last.min(size.saturating_sub(1)).saturating_add(1).saturating_sub(start);
    given.fetch_add(length, Ordering::Relaxed);
    let mut lie =
        answer::plain(StatusCode::PARTIAL_CONTENT, vec![0xEE; usize::try_from(length).unwrap_or_default()]);
    let told = format!("bytes {start}-{}/{size}", start + length.saturating_sub(1));
    if let Ok(told) = told.parse() {
        lie.headers_mut().insert(header::CONTENT_RANGE, told);
    }
    lie
}
