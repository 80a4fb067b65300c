//! One stream of one node: the hello is checked, then messages become events and what the model says goes back.
//!
//! Two tasks per stream, both ended by either end's leaving or by the drain. A node that says something malformed is
//! told so and loses its stream; what it said before stands until then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use darner_chassis::clock::Clock;
use darner_chassis::identity::{self, Peer};
use darner_chassis::tasks::{Drain, Tasks};
use darner_lfs::ObjectKey;
use darner_proto::convert::{self, Malformed};
use darner_proto::v1;
use darner_proto::v1::node_message::Message;
use darner_proto::{PROTOCOL_VERSION, features};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream as TokioStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::core::{Core, Stream};
use super::decision::Decisions;
use super::outbox::{Ended, Next, Outbox};
use crate::swarm::{Closed, Complaint, Event, Holdings, Session, Trouble};

/// How long a stream may stay silent before its hello.
const HELLO: Duration = Duration::from_secs(10);
/// Nodes whose clock differs more are refused: grants and tickets would not hold between them (they allow for 60 s).
const MAX_SKEW_MS: i64 = 300_000;
/// From here on a skew is warned about.
const WARN_SKEW_MS: i64 = 30_000;
/// Messages under way to a node.
const QUEUE: usize = 8;
/// Longest text of an identity.
const MAX_TEXT: usize = 256;

type Said = Result<v1::SchedulerMessage, Status>;

/// The gRPC service.
#[derive(Debug)]
pub(super) struct Streams {
    core: Core,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    drain: Drain,
    last: AtomicU64,
}

impl Streams {
    pub(super) const fn new(core: Core, clock: Arc<dyn Clock>, tasks: Tasks, drain: Drain) -> Self {
        Self { core, clock, tasks, drain, last: AtomicU64::new(0) }
    }
}

#[tonic::async_trait]
impl v1::scheduler_server::Scheduler for Streams {
    type JoinStream = Pin<Box<dyn TokioStream<Item = Said> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        if self.drain.is_draining() {
            return Err(Status::unavailable("the scheduler is leaving"));
        }
        let peer = Peer::of_call(request.extensions());
        let mut incoming = request.into_inner();
        let first = timeout(HELLO, incoming.message())
            .await
            .map_err(|_elapsed| Status::deadline_exceeded("no hello in time"))??;
        let now_ms = self.clock.now_ms();
        let checked = check(first.and_then(|first| first.message), now_ms)?;
        check_speaks_for_itself(&peer, &checked.node)?;
        let session = Session(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let outbox = Arc::new(Outbox::default());
        let stream = Stream { outbox: Arc::clone(&outbox), skew_ms: checked.skew_ms };
        let epoch = self.core.open(session, stream).await.map_err(gone)?;
        let welcome = v1::Welcome {
            protocol_version: PROTOCOL_VERSION,
            features: checked.features & features::ALL,
            epoch,
            clock_ms: now_ms,
        };
        let (out, queue) = mpsc::channel(QUEUE);
        self.tasks.spawn("stream writer", write(Arc::clone(&outbox), out, welcome));
        let reader = Reader { core: self.core.clone(), session, node: checked.node, outbox };
        self.tasks.spawn("stream reader", reader.run(incoming, self.drain.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn gone(gone: super::core::Gone) -> Status {
    Status::unavailable(gone.to_string())
}

/// A hello that may stay.
struct Checked {
    node: Arc<v1::NodeIdentity>,
    features: u64,
    skew_ms: i64,
}

/// What a node must say first. Refusals are words for the person who reads the node's log.
fn check(first: Option<Message>, now_ms: u64) -> Result<Checked, Status> {
    let Some(Message::Hello(hello)) = first else {
        return Err(Status::invalid_argument("the first message must be a hello"));
    };
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "protocol version {} is not spoken here, {PROTOCOL_VERSION} is",
            hello.protocol_version
        )));
    }
    let node = hello.node.ok_or_else(|| Status::invalid_argument("`hello.node` is missing"))?;
    check_identity(&node)?;
    let skew_ms = signed(hello.clock_ms).saturating_sub(signed(now_ms));
    if skew_ms.abs() > MAX_SKEW_MS {
        return Err(Status::failed_precondition(format!(
            "the node's clock is {} s off the scheduler's; set it, at most 300 s are allowed",
            skew_ms / 1_000
        )));
    }
    if skew_ms.abs() > WARN_SKEW_MS {
        tracing::warn!(node = %node.id, skew_ms, "clocks differ");
    }
    Ok(Checked { node: Arc::new(node), features: hello.features, skew_ms })
}

/// A node joins under the name and role of its certificate; without certificates it is believed.
fn check_speaks_for_itself(peer: &Peer, node: &v1::NodeIdentity) -> Result<(), Status> {
    let role = match node.role() {
        v1::Role::Seed => identity::Role::SeedPeer,
        v1::Role::Daemon | v1::Role::Unspecified => identity::Role::PeerDaemon,
    };
    peer.check_is(role, &node.id).map_err(|mismatch| Status::permission_denied(mismatch.to_string()))
}

fn check_identity(node: &v1::NodeIdentity) -> Result<(), Status> {
    let refused = |words: &str| Err(Status::invalid_argument(words.to_owned()));
    if node.role() == v1::Role::Unspecified {
        return refused("`node.role` is missing");
    }
    if node.id.is_empty() {
        return refused("`node.id` is missing");
    }
    let texts = [
        &node.id,
        &node.piece_address,
        &node.grpc_address,
        &node.zone,
        &node.tenant,
        &node.version,
        &node.host_name,
    ];
    if texts.iter().any(|text| text.len() > MAX_TEXT) || node.public_key.len() > MAX_TEXT {
        return refused("a text of `node` is longer than 256 bytes");
    }
    let is_address = |text: &str| {
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !is_address(&node.piece_address) {
        return refused("`node.piece_address` is not HOST:PORT");
    }
    if !is_address(&node.grpc_address) {
        return refused("`node.grpc_address` is not HOST:PORT");
    }
    Ok(())
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

async fn write(outbox: Arc<Outbox>, out: mpsc::Sender<Said>, welcome: v1::Welcome) {
    let welcome = v1::scheduler_message::Message::Welcome(welcome);
    let mut messages = vec![v1::SchedulerMessage { message: Some(welcome) }];
    loop {
        for message in messages {
            if out.send(Ok(message)).await.is_err() {
                return;
            }
        }
        messages = match outbox.next().await {
            Next::Say(messages) => messages,
            Next::End(reason) => {
                if let Some(status) = status(reason) {
                    // The node may have gone already.
                    drop(out.send(Err(status)).await);
                }
                return;
            }
        };
    }
}

/// The words a stream ends with, when there is anybody to hear them.
fn status(ended: Ended) -> Option<Status> {
    match ended {
        Ended::Closed(Closed::Replaced) => Some(Status::aborted("the node opened another stream")),
        Ended::Closed(Closed::Full) => {
            Some(Status::resource_exhausted("the scheduler knows as many nodes as it can"))
        }
        Ended::Malformed(words) => Some(Status::invalid_argument(words)),
        Ended::Draining => Some(Status::unavailable("the scheduler is leaving")),
        Ended::Left => None,
    }
}

/// The half of a stream that listens.
struct Reader {
    core: Core,
    session: Session,
    node: Arc<v1::NodeIdentity>,
    outbox: Arc<Outbox>,
}

impl Reader {
    async fn run(self, incoming: Streaming<v1::NodeMessage>, drain: Drain) {
        tracing::info!(node = %self.node.id, zone = %self.node.zone, "node joined");
        let ended = tokio::select! {
            ended = self.listen(incoming) => ended,
            () = drain.wait() => Ended::Draining,
        };
        tracing::info!(node = %self.node.id, reason = ?ended, "node left");
        self.outbox.close(ended);
        // Fails only when the model itself is gone.
        drop(self.core.apply(Event::Left { session: self.session }).await);
    }

    async fn listen(&self, mut incoming: Streaming<v1::NodeMessage>) -> Ended {
        let joined = Event::Joined { session: self.session, node: Arc::clone(&self.node) };
        let mut next = Ok(Some(joined));
        let mut decisions = Decisions::default();
        loop {
            match next {
                Ok(Some(event)) => {
                    if self.core.decide(event, std::mem::take(&mut decisions)).await.is_err() {
                        return Ended::Draining;
                    }
                }
                Ok(None) => {}
                Err(malformed) => return Ended::Malformed(Malformed::to_string(&malformed)),
            }
            next = match incoming.message().await {
                Ok(Some(v1::NodeMessage { message: Some(message) })) => {
                    decisions = Decisions::of(&message, &self.node.id);
                    event(self.session, message)
                }
                Ok(Some(v1::NodeMessage { message: None })) => Ok(None),
                Ok(None) => return Ended::Left,
                Err(status) => {
                    tracing::debug!(node = %self.node.id, %status, "stream broke");
                    return Ended::Left;
                }
            };
        }
    }
}

/// A message as an event; words of a newer node that mean nothing here are none.
fn event(session: Session, message: Message) -> Result<Option<Event>, Malformed> {
    Ok(Some(match message {
        Message::Hello(_) => return Ok(None),
        Message::Inventory(news) => Event::Holds { session, news: holdings(&news)? },
        Message::Wants(wants) => {
            let want = |want: &v1::Want| Ok((convert::key(want.key.as_ref())?, want.size));
            Event::Wants { session, wants: wants.wants.iter().map(want).collect::<Result<_, Malformed>>()? }
        }
        Message::Forget(forget) => Event::Forgets { session, keys: keys(&forget.keys)? },
        Message::Trouble(trouble) => {
            let kind = match trouble.kind() {
                v1::TroubleKind::Unspecified => return Ok(None),
                v1::TroubleKind::Stalled => Complaint::Stalled,
                v1::TroubleKind::Corrupt => Complaint::Corrupt,
                v1::TroubleKind::Unreachable => Complaint::Unreachable,
                v1::TroubleKind::Refused => Complaint::Refused,
            };
            let key = convert::key(trouble.key.as_ref())?;
            Event::Trouble { session, trouble: Trouble { key, parent: trouble.parent, kind } }
        }
        Message::Load(load) => Event::Load { session, load },
    }))
}

fn holdings(news: &v1::Inventory) -> Result<Holdings, Malformed> {
    let held = |held: &v1::Held| Ok((convert::key(held.key.as_ref())?, held.complete));
    Ok(Holdings {
        full: news.full,
        more: news.more,
        added: news.added.iter().map(held).collect::<Result<_, Malformed>>()?,
        removed: keys(&news.removed)?,
    })
}

fn keys(keys: &[v1::ObjectKey]) -> Result<Vec<ObjectKey>, Malformed> {
    keys.iter().map(|key| convert::key(Some(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::Hello {
        let node = v1::NodeIdentity {
            id: "n".to_owned(),
            role: v1::Role::Daemon.into(),
            piece_address: "127.0.0.1:1".to_owned(),
            grpc_address: "[::1]:2".to_owned(),
            ..Default::default()
        };
        v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            features: 0xff,
            node: Some(node),
            clock_ms: 1_000_000,
        }
    }

    fn refused(change: impl FnOnce(&mut v1::Hello)) -> String {
        let mut hello = hello();
        change(&mut hello);
        let checked = check(Some(Message::Hello(hello)), 1_000_000);
        checked.err().map(|status| status.message().to_owned()).unwrap_or_default()
    }

    fn node(hello: &mut v1::Hello) -> &mut v1::NodeIdentity {
        hello.node.as_mut().unwrap()
    }

    #[test]
    fn a_hello_is_checked_by_name() {
        assert_eq!(refused(|_| {}), "");
        assert!(refused(|hello| hello.protocol_version = 9).contains("protocol version 9"));
        assert!(refused(|hello| hello.node = None).contains("`hello.node`"));
        assert!(refused(|hello| node(hello).id.clear()).contains("`node.id`"));
        assert!(refused(|hello| node(hello).role = 0).contains("`node.role`"));
        assert!(refused(|hello| node(hello).piece_address = "x".to_owned()).contains("`node.piece_address`"));
        assert!(refused(|hello| node(hello).grpc_address = ":1".to_owned()).contains("`node.grpc_address`"));
        assert!(refused(|hello| node(hello).zone = "z".repeat(300)).contains("256"));
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_refused_with_the_skew() {
        assert_eq!(refused(|hello| hello.clock_ms += 299_000), "");
        assert!(refused(|hello| hello.clock_ms += 301_000).contains("301 s"));
        assert!(refused(|hello| hello.clock_ms = 0).contains("-1000 s"));
    }

    #[test]
    fn anything_but_a_hello_is_refused_at_first() {
        let first = Message::Wants(v1::Wants::default());
        assert!(check(Some(first), 0).is_err());
        assert!(check(None, 0).is_err());
    }

    #[test]
    fn a_malformed_key_is_said_by_name() {
        let wants = v1::Wants { id: 1, wants: vec![v1::Want::default()] };
        let heard = event(Session(1), Message::Wants(wants));
        assert_eq!(heard.err(), Some(Malformed::Missing("key")));
    }

    #[test]
    fn words_of_a_newer_node_are_passed_over() {
        let key = Some(ObjectKey::from(darner_lfs::Oid::EMPTY).into());
        let trouble = v1::Trouble { key, parent: "p".to_owned(), kind: 99 };
        assert!(matches!(event(Session(1), Message::Trouble(trouble)), Ok(None)));
    }
}
