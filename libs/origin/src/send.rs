//! One request, one answer: the circuit before, the counting after.
//!
//! Owns: the two connection pools (listed upstreams; redirects and forges), the wait for an answer's head, the metrics of
//! requests. Never: redirects, ranges, bodies.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_chassis::clock::Clock;
use darner_chassis::metrics::{Kind, Metrics, Role};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::circuit::{Circuits, retry_after_s};
use crate::connection::Connector;
use crate::dial::{Dialer, Trust};
use crate::error::OriginError;
use crate::target::Site;

/// What can fail inside a body that is on its way.
pub type BoxError = Box<dyn StdError + Send + Sync>;
/// A streaming body, either way.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Clients give up after 30 s without a byte: an answer's head must be here before that.
const HEAD_TIMEOUT: Duration = Duration::from_secs(25);
/// Idle connections are kept as long as common servers keep theirs.
const POOL_IDLE: Duration = Duration::from_mins(1);
/// Idle connections per site.
const POOL_PER_SITE: usize = 32;

/// Sends requests under the rules of a [`Dialer`].
pub(crate) struct Sender {
    listed: Client<Connector, Body>,
    public: Client<Connector, Body>,
    pub(crate) circuits: Circuits,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) role: Role,
}

impl Sender {
    pub(crate) fn new(dialer: &Arc<Dialer>, metrics: Metrics, clock: Arc<dyn Clock>, role: Role) -> Self {
        let client = |trust| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(POOL_IDLE)
                .pool_max_idle_per_host(POOL_PER_SITE)
                .build(Connector { dialer: dialer.clone(), trust })
        };
        let (listed, public) = (client(Trust::Listed), client(Trust::Public));
        Self { listed, public, circuits: Circuits::default(), metrics, clock, role }
    }

    /// Sends one request whose address is `site`'s, and returns the answer as it is.
    pub(crate) async fn send(
        &self,
        site: &Site,
        trust: Trust,
        request: Request<Body>,
        kind: Kind,
    ) -> Result<Response<Incoming>, OriginError> {
        let host = site.host_and_port();
        self.circuits
            .admit(&host, self.clock.now_ms())
            .map_err(|retry_after_s| OriginError::Busy { host: site.host.clone(), retry_after_s })?;
        // Dropped while it waits (the caller went away), a trial must not keep the others out.
        let undecided = Undecided { circuits: &self.circuits, host: &host };
        let client = if trust == Trust::Listed { &self.listed } else { &self.public };
        let answer = client.request(request);
        // An upload is answered when it has been read: its client's patience is the bound.
        let answered = if kind == Kind::Upload {
            answer.await
        } else {
            let waited = tokio::time::timeout(HEAD_TIMEOUT, answer).await;
            waited.map_err(|_elapsed| {
                self.metrics.origin_request(kind, self.role);
                unreachable(site, "no answer in time")
            })?
        };
        let response = answered.map_err(|error| self.failed(site, kind, &error))?;
        drop(undecided);
        let redirect =
            response.status().is_redirection() && response.headers().contains_key(header::LOCATION);
        self.metrics.origin_request(if redirect { Kind::Redirect } else { kind }, self.role);
        if !asks_to_wait(response.status()) {
            self.circuits.close(&host);
        }
        Ok(response)
    }

    /// Opens the circuit for a 429 or 503 and tells for how long.
    pub(crate) fn trip(&self, site: &Site, response_headers: &http::HeaderMap) -> u32 {
        let now_ms = self.clock.now_ms();
        let said = response_headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait_s = said.and_then(|value| retry_after_s(value, now_ms));
        let host = site.host_and_port();
        let wait_s = self.circuits.open(&host, wait_s, now_ms);
        tracing::warn!(host, wait_s, "an upstream asks to wait");
        wait_s
    }

    fn failed(&self, site: &Site, kind: Kind, error: &hyper_util::client::legacy::Error) -> OriginError {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(ours) = inner.downcast_ref::<OriginError>() {
                return ours.clone();
            }
            source = inner.source();
        }
        // It was sent, as far as anybody can tell from here.
        self.metrics.origin_request(kind, self.role);
        unreachable(site, "the connection broke before an answer came")
    }
}

/// Whether an answer is about the host rather than about the request.
pub(crate) fn asks_to_wait(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}

fn unreachable(site: &Site, words: &str) -> OriginError {
    OriginError::Unreachable { host: site.host.clone(), words: words.to_owned() }
}

struct Undecided<'a> {
    circuits: &'a Circuits,
    host: &'a str,
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        self.circuits.undecided(self.host);
    }
}
