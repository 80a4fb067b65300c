//! The admin port: health, metrics, effective configuration, log level, tasks.
//!
//! Owns: the listener and its routes. Never: anything of the service's own port; shows no secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::Router;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::net::{self, BindError};
use crate::tasks::{Drain, Tasks};
use crate::telemetry::Telemetry;

/// What `/config` shows.
pub type ShowConfig = Arc<dyn Fn() -> Value + Send + Sync>;

/// The parts that must be well before the process is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, (bool, String)>>>,
}

impl Readiness {
    /// Says how a part is; ready is when all parts are well.
    pub fn set(&self, name: &str, ok: bool, words: &str) {
        let mut parts = self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        parts.insert(name.to_owned(), (ok, words.to_owned()));
    }

    /// Whether every part is well.
    pub fn is_ready(&self) -> bool {
        let parts = self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        parts.values().all(|(ok, _)| *ok)
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

impl Admin {
    /// Listens and serves at once: `/livez` answers while the service is still starting.
    pub fn bind(address: &str, _shown: Shown) -> Result<Self, BindError> {
        let listener = net::bind(address, "admin.listen")?;
        let address = listener.local_addr().map_err(|source| BindError::Address {
            address: address.to_owned(),
            key: "admin.listen".to_owned(),
            source,
        })?;
        Ok(Self {
            address,
            readiness: Readiness::default(),
            extra: Arc::new(ArcSwap::from_pointee(Router::new())),
            show: Arc::new(ArcSwap::from_pointee(Arc::new(|| Value::Null) as ShowConfig)),
        })
    }

    /// The address really listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/readyz` is made of.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Adds routes of the service; may be called at any time.
    pub fn merge(&self, routes: &Router) {
        self.extra.rcu(|now| Router::clone(now).merge(routes.clone()));
    }

    /// Sets what `/config` shows: [`Loaded::render_redacted`](crate::config::Loaded::render_redacted) of the
    /// configuration in force.
    pub fn show_config(&self, show: ShowConfig) {
        self.show.store(Arc::new(show));
    }
}
