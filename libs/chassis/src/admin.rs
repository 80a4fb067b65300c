//! The admin port: health, metrics, effective configuration, log level, tasks.
//!
//! Owns: the listener, its routes, what makes the process ready. Never: anything of the service's own ports; shows no
//! secret (`/config` is redacted before it gets here). It serves from before the service starts until its tasks
//! close, through the whole drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::metrics::Metrics;
use crate::net::{self, BindError};
use crate::serving::Serving;
use crate::tasks::{Drain, Tasks};
use crate::telemetry::Telemetry;

/// The media type of the `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What `/config` shows.
pub type ShowConfig = Arc<dyn Fn() -> Value + Send + Sync>;

/// The parts that must be well before the process is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, (bool, String)>>>,
}

impl Readiness {
    /// Says how a part is; the process is ready when all parts are well.
    pub fn set(&self, name: &str, ok: bool, words: &str) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name.to_owned(), (ok, words.to_owned()));
    }

    /// Whether every part is well.
    pub fn is_ready(&self) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().all(|(ok, _)| *ok)
    }

    /// One line per part: `ok name: words` or `no name: words`.
    pub fn words(&self) -> String {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(name, (ok, words)): (&String, &(bool, String))| {
            format!("{} {name}: {words}\n", if *ok { "ok" } else { "no" })
        };
        parts.iter().map(line).collect()
    }
}

/// The admin port. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    readiness: Readiness,
    extra: Arc<ArcSwap<Router>>,
    show: Arc<ArcSwap<ShowConfig>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the admin port shows of the process.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/log-level`.
    pub telemetry: Telemetry,
    /// `/debug/tasks`; also runs the port itself.
    pub tasks: Tasks,
    /// `/readyz` says no while draining.
    pub drain: Drain,
}

/// What the routes see.
#[derive(Clone)]
struct Served {
    shown: Shown,
    admin: Admin,
}

impl Admin {
    /// Listens and serves at once: `/livez` answers while the service is still starting.
    pub fn bind(address: &str, shown: Shown) -> Result<Self, BindError> {
        const KEY: &str = "admin.listen";
        let listener = net::bind(address, KEY)?;
        let bound = listener.local_addr().map_err(|source| BindError::Address {
            address: address.to_owned(),
            key: KEY.to_owned(),
            source,
        })?;
        let nothing: ShowConfig = Arc::new(|| json!({}));
        let admin = Self {
            address: bound,
            readiness: Readiness::default(),
            extra: Arc::new(ArcSwap::from_pointee(Router::new())),
            show: Arc::new(ArcSwap::from_pointee(nothing)),
        };
        let tasks = shown.tasks.clone();
        let routes = routes(Served { shown, admin: admin.clone() });
        // The port must answer during the drain, so it is given one of its own that never starts.
        Serving::clear("admin", routes, tasks, Drain::new()).tcp(listener);
        Ok(admin)
    }

    /// The address really listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/readyz` is made of.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Adds routes of the service; may be called at any time. The port's own routes win.
    pub fn merge(&self, routes: &Router) {
        self.extra.rcu(|now| Router::clone(now).merge(routes.clone()));
    }

    /// Sets what `/config` shows: [`Loaded::render_redacted`](crate::config::Loaded::render_redacted) of the
    /// configuration in force.
    pub fn show_config(&self, show: ShowConfig) {
        self.show.store(Arc::new(show));
    }
}

fn routes(served: Served) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/log-level", get(log_level).put(set_log_level))
        .route("/debug/tasks", get(tasks))
        .fallback(extra)
        .with_state(served)
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    let words = served.admin.readiness.words();
    if served.shown.drain.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("no drain: leaving\n{words}"));
    }
    let ready = served.admin.readiness.is_ready();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, words)
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], served.shown.metrics.text())
}

async fn config(State(served): State<Served>) -> Json<Value> {
    let show = served.admin.show.load_full();
    Json(show())
}

async fn log_level(State(served): State<Served>) -> String {
    format!("{}\n", served.shown.telemetry.level())
}

async fn set_log_level(State(served): State<Served>, filter: String) -> (StatusCode, String) {
    match served.shown.telemetry.set_level(&filter) {
        Ok(()) => {
            let now = served.shown.telemetry.level();
            tracing::info!(filter = now, "log level changed");
            (StatusCode::OK, format!("{now}\n"))
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

async fn tasks(State(served): State<Served>) -> Json<Value> {
    let names: BTreeMap<_, _> = served.shown.tasks.names().into_iter().collect();
    Json(json!({"tasks": names, "requestsUnderWay": served.shown.drain.under_way()}))
}

async fn extra(State(served): State<Served>, request: Request) -> Response {
    let router = Router::clone(&served.admin.extra.load());
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(nothing) => match nothing {},
    }
}

#[cfg(test)]
mod tests;
