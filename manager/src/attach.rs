//! Where the nodes attach: one long-lived stream each.
//!
//! Owns: who is attached now, and the tasks that carry the streams. A node that attaches again (restarted, or its
//! old connection not yet known to be dead) takes the place of its former stream. Never: dials a node; nothing here
//! is needed for a download. After a crash: nodes attach again by themselves and tell everything anew.

mod hello;
mod numbers;
mod stream;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use darner_chassis::identity::{Peer, Role};
use darner_chassis::tasks::Tasks;
use darner_proto::v1::{self, manager_server};
use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::catalog::Node;
use crate::control::Control;

/// Streams at once.
const MOST_STREAMS: usize = 10_000;
/// Messages under way to one node.
const QUEUE: usize = 4;
/// How long a node may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// The gRPC service.
#[derive(Debug, Clone)]
pub struct Attach {
    control: Control,
    tasks: Tasks,
    attached: Arc<Attached>,
}

impl Attach {
    /// The service; the streams are tasks of `tasks`.
    pub fn new(control: Control, tasks: Tasks) -> Self {
        Self { control, tasks, attached: Arc::default() }
    }
}

#[tonic::async_trait]
impl manager_server::Manager for Attach {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::Feed, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::Report>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = Peer::of_call(request.extensions());
        let mut reports = request.into_inner();
        let first = tokio::time::timeout(HELLO_WITHIN, reports.message())
            .await
            .map_err(|_elapsed| Status::deadline_exceeded("the first message must be a hello, soon"))??;
        let node = hello::node(first, self.control.now_ms())?;
        check_speaks_for_itself(&peer, &node)?;
        let place = self.attached.take(&node.id)?;
        let (out, feed) = mpsc::channel(QUEUE);
        let carried = stream::Carried::begin(self.control.clone(), node, out).await?;
        self.tasks.spawn("node stream", carried.carry(reports, place));
        Ok(Response::new(Box::pin(ReceiverStream::new(feed))))
    }
}

/// A node attaches as what its certificate says it is; without certificates it is believed.
fn check_speaks_for_itself(peer: &Peer, node: &Node) -> Result<(), Status> {
    let role: Role = node.component.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    peer.check_is(role, &node.id).map_err(|mismatch| Status::permission_denied(mismatch.to_string()))
}

/// Who is attached: node id -> the end of its present stream.
#[derive(Debug, Default)]
struct Attached(Mutex<HashMap<String, watch::Sender<bool>>>);

/// A stream's place among the attached, given up when dropped.
#[derive(Debug)]
struct Place {
    attached: Arc<Attached>,
    id: String,
    taken: watch::Receiver<bool>,
}

impl Attached {
    fn take(self: &Arc<Self>, id: &str) -> Result<Place, Status> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MOST_STREAMS && !places.contains_key(id) {
            return Err(Status::resource_exhausted("too many nodes are attached"));
        }
        let (end, taken) = watch::channel(false);
        if let Some(former) = places.insert(id.to_owned(), end) {
            former.send_replace(true);
        }
        Ok(Place { attached: self.clone(), id: id.to_owned(), taken })
    }
}

impl Place {
    /// Whether a newer stream of the same node has it.
    fn is_taken(&self) -> bool {
        *self.taken.borrow()
    }

    /// Returns when a newer stream of the same node takes it.
    async fn until_taken(&mut self) {
        // The sender lives in the map until then, or until this very place is dropped.
        drop(self.taken.wait_for(|taken| *taken).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_taken() {
            self.attached.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_attaches_again_takes_its_own_place() {
        let attached = Arc::new(Attached::default());
        let mut first = attached.take("a").unwrap();
        let second = attached.take("a").unwrap();
        first.until_taken().await;
        drop(first);
        assert!(!second.is_taken());
        assert_eq!(attached.0.lock().unwrap().len(), 1);
        drop(second);
        assert!(attached.0.lock().unwrap().is_empty());
    }
}
