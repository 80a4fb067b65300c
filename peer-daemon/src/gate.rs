//! Behind the git-facing port: what each request gets.
//!
//! Owns: the order of decisions (route, allow-list, proof, source) and the answer. Never: listens, fetches from peers,
//! or dials an upstream except through `darner_origin`. No answer here is a 401 of our own making on data, a 429
//! without `Retry-After`, or a body that ends well with a wrong byte in it.
//! Called by `edge` for every request; a request that is dropped half-way lets go of everything it held.

mod batch;
mod delivery;
mod grant;
mod greeting;
mod listed;
mod object;
mod prefetch;
mod relay;
mod tunnel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use darner_chassis::clock::Clock;
use darner_chassis::metrics::{Kind, Metrics};
use darner_chassis::tasks::{Drain, Tasks};
use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_origin::{Body, Origin};
use darner_proto::v1;
use darner_store::Store;
use darner_transfer::download::Downloads;
use darner_transfer::feed::Feed;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::config::seed_words::Rules;
use crate::edge::{Answering, Caller, Door};
use crate::proof::Proof;
use crate::reply;
use crate::route::{self, Purpose, Route, Upstream};
use crate::stories::Stories;
use crate::tainted::Tainted;
use crate::ticket::Tickets;
use object::Ask;

/// Switches an operator may turn while the daemon runs.
#[derive(Debug, Default)]
pub struct Switches {
    /// The kill switch: every client is sent to its origin.
    pub bypass: AtomicBool,
    /// Batches start no downloads ahead of their GETs.
    pub no_prefetch: AtomicBool,
}

/// The rooms a gate stands on.
#[derive(Debug)]
pub struct Rooms {
    /// Upstreams.
    pub origin: Origin,
    /// Objects kept here.
    pub store: Store,
    /// Objects on their way here.
    pub downloads: Downloads,
    /// Who may read them.
    pub proof: Arc<Proof>,
    /// What a Batch hands out.
    pub tickets: Tickets,
    /// Swarm or pass-through.
    pub rules: Rules,
    /// What happened to each object, for people.
    pub stories: Arc<Stories>,
    /// Turned by the feed.
    pub switches: Arc<Switches>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
    /// Owner of what outlives a request.
    pub tasks: Tasks,
    /// The word "we are leaving".
    pub drain: Drain,
    /// This node's id.
    pub node: String,
    /// Who hears of finished downloads.
    pub feed: Option<Feed>,
}

/// Answers the requests of the git-facing port. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rooms: Rooms,
    tainted: Tainted,
    windows: prefetch::Windows,
    open: greeting::Open,
    listed: listed::Listed,
}

impl std::ops::Deref for Gate {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.inner.rooms
    }
}

impl Door for Gate {
    fn answer(&self, caller: Arc<Caller>, request: Request<Incoming>) -> Answering {
        let span = tracing::info_span!(
            "git request",
            otel.kind = "server",
            method = %request.method(),
            status = tracing::field::Empty,
            oid = tracing::field::Empty,
        );
        telemetry::set_parent(&span, request.headers());
        let gate = self.clone();
        let answering = async move {
            let response = gate.respond(&caller, request).await;
            tracing::Span::current().record("status", response.status().as_u16());
            response
        };
        Box::pin(answering.instrument(span))
    }
}

impl Gate {
    /// A gate over these rooms.
    pub fn new(rooms: Rooms) -> Self {
        let (tainted, windows, open) =
            (Tainted::default(), prefetch::Windows::default(), greeting::Open::default());
        let listed = listed::Listed::default();
        Self { inner: Arc::new(Inner { rooms, tainted, windows, open, listed }) }
    }

    async fn respond(&self, caller: &Arc<Caller>, request: Request<Incoming>) -> Response<Body> {
        // Only an address with a host can name this listener as its own.
        let own = request
            .uri()
            .authority()
            .map(|_| [caller.local.to_string(), format!("localhost:{}", caller.local.port())]);
        let own = own.as_ref().map_or(&[][..], |own| own.as_slice());
        match route::route(request.method(), request.uri(), own) {
            Route::Ticketed(oid) => self.ticketed(caller, oid.into(), &request).await,
            Route::Upstream(upstream) => self.upstream(caller, upstream, request).await,
            Route::Connect { host, port } => self.tunnel(&host, port, request).await,
            Route::Front => reply::words(
                StatusCode::OK,
                "this is a Darner peer daemon; `darner git-config` prints the lines for git",
            ),
            Route::Absent(words) => reply::words(StatusCode::NOT_FOUND, words),
            Route::Malformed(words) => reply::closing(StatusCode::BAD_REQUEST, words),
        }
    }

    async fn upstream(
        &self,
        caller: &Arc<Caller>,
        upstream: Upstream,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let Upstream { url, proxied } = upstream;
        let url = self.origin.upgrade(&url);
        let purpose = route::purpose(request.method(), route::path_of(&url), request.headers());
        if !self.is_listed(&url) {
            return self.unlisted(purpose, &url, &request);
        }
        match purpose {
            Purpose::InfoRefs if !proxied && !request.headers().contains_key(header::AUTHORIZATION) => {
                self.greeting(&url, request).await
            }
            Purpose::Batch if !proxied => self.batch(caller, &url, request).await,
            Purpose::Batch => self.proxied_batch(&url, request).await,
            Purpose::Content(oid) if *request.method() == Method::GET && self.rules.swarm(&url) => {
                let ask = Ask::presented(ObjectKey::from(oid), &url, &request, self.clock.now_ms());
                self.object(caller, ask, request.headers()).await
            }
            // A HEAD asks whether the object is there: no content moves.
            Purpose::Content(_) if *request.method() == Method::HEAD => {
                self.relay(&url, request, Kind::Probe).await
            }
            Purpose::Content(_) => self.relay(&url, request, Kind::Content).await,
            Purpose::Lock => self.relay(&url, request, Kind::Lock).await,
            Purpose::Upload => self.relay(&url, request, Kind::Upload).await,
            // Passed on for git itself: neither content of objects nor anything Darner counts as such.
            Purpose::InfoRefs | Purpose::Other => self.relay(&url, request, Kind::Redirect).await,
        }
    }

    /// Nothing of what is not (or no longer) listed is asked for, whatever the request is for.
    fn unlisted(&self, purpose: Purpose, url: &str, request: &Request<Incoming>) -> Response<Body> {
        if let Purpose::Content(oid) = purpose {
            let ask = Ask::presented(ObjectKey::from(oid), url, request, self.clock.now_ms());
            return self.not_listed(&ask);
        }
        self.metrics.authorization("not listed");
        relay::not_listed(url)
    }

    async fn ticketed(
        &self,
        caller: &Arc<Caller>,
        key: ObjectKey,
        request: &Request<Incoming>,
    ) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return reply::words(StatusCode::METHOD_NOT_ALLOWED, "objects are read with GET or HEAD here");
        }
        let Some(oid) = key.oid() else { return reply::words(StatusCode::NOT_FOUND, "no such object") };
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match self.tickets.read(shown, &oid, self.clock.now_ms()) {
            Ok(ticket) => {
                if let Some(trace) = &ticket.trace {
                    telemetry::link(&tracing::Span::current(), trace);
                }
                let ask = Ask::ticketed(&ticket, *request.method() == Method::HEAD);
                // What was listed when the ticket was handed out may not be any more.
                if !self.is_still_listed(&ticket.href) {
                    return self.not_listed(&ask);
                }
                self.object(caller, ask, request.headers()).await
            }
            Err(error) => {
                self.metrics.authorization("ticket refused");
                // 403, never 401: git-lfs then asks for a new Batch instead of a password.
                reply::words(StatusCode::FORBIDDEN, &error.to_string())
            }
        }
    }

    /// As [`Self::is_listed`] of the upgraded address, remembered by scheme and host: a ticket comes with every GET.
    fn is_still_listed(&self, url: &str) -> bool {
        let Some(site) = listed::site(url) else { return self.is_listed(&self.origin.upgrade(url)) };
        let version = self.origin.version();
        self.inner.listed.known(version, site).unwrap_or_else(|| {
            let is_listed = self.is_listed(&self.origin.upgrade(url));
            self.inner.listed.learn(version, site, is_listed);
            is_listed
        })
    }

    /// Whether clients are to be sent to their origin.
    fn is_leaving(&self) -> bool {
        self.drain.is_draining() || self.switches.bypass.load(Ordering::Relaxed)
    }

    fn report(&self, download: v1::Download) {
        if let Some(feed) = &self.feed {
            feed.download(download);
        }
    }

    fn is_listed(&self, url: &str) -> bool {
        url::Url::parse(url).is_ok_and(|url| {
            let port = url.port_or_known_default().unwrap_or_default();
            url.host_str().is_some_and(|host| self.origin.allows(url.scheme(), host, port))
        })
    }
}
