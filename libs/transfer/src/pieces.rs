//! The serving side of the piece link: `GET /v1/objects/<key>` (a range), `GET /v1/objects/<key>/watch`,
//! `POST /v1/bundle`, over HTTP/1.1 on the piece port.
//!
//! Every request shows a grant that names the object, the asking node and a time, signed by a seed (or by this node
//! itself while it acts as one). Where nodes have certificates, the asking node is the one whose certificate was shown. Bytes of objects that are still arriving move on as they arrive. Connections and
//! waiting are bounded; a peer that stops reading loses its connection with the socket's send buffer.

mod answer;
mod bundle;
mod reading;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_chassis::clock::Clock;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{Arrived, Wire};
use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_store::Store;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::trust::Trust;

/// Connections served at once; a further one waits to be accepted.
const MAX_CONNECTIONS: usize = 2048;
/// A peer must have sent its next request head within this time; longer than the links of a peer keep a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a peer is let wait for a byte of an object that is still arriving.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Who else takes an object here: parents for those whom no scheduler answers.
pub trait Referrals: Send + Sync + std::fmt::Debug {
    /// Takers of the object, most recent first.
    fn takers(&self, key: &ObjectKey) -> Vec<v1::NodeIdentity>;
}

/// Serves the objects of a store to peers.
#[derive(Debug, Clone)]
pub struct PieceServer {
    pub(crate) store: Store,
    pub(crate) trust: Trust,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) referrals: Option<Arc<dyn Referrals>>,
    readings: reading::Readings,
    wire: Wire,
}

impl PieceServer {
    /// Serves `store` to whoever `trust` admits.
    pub fn new(store: Store, trust: Trust, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            trust,
            clock,
            referrals: None,
            readings: reading::Readings::default(),
            wire: Wire::clear(),
        }
    }

    /// Tells watchers who else takes an object here.
    #[must_use]
    pub fn with_referrals(mut self, referrals: Arc<dyn Referrals>) -> Self {
        self.referrals = Some(referrals);
        self
    }

    /// Takes connections as this wire says.
    #[must_use]
    pub fn over(mut self, wire: &Wire) -> Self {
        self.wire = wire.clone();
        self
    }

    /// Accepts until the tasks are closed.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tasks.spawn("piece connection", async move {
                        server.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "piece port cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let stream = match self.wire.arrive(stream).await {
            Ok(Arrived::Peer(stream)) => stream,
            Ok(Arrived::ClearText(_)) => return,
            Err(error) => return tracing::debug!(%error, "piece connection not greeted"),
        };
        let peer = stream.peer().clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(&peer, request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "piece connection ended");
        }
    }
}

pub(crate) type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, crate::tail::TailError>;
