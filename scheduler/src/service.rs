//! The service around the model: streams in, orders out, a page for people.
//!
//! Owns: the listener, one reader and one writer per stream, the one task that owns the model. Never: a decision.
//! One task applies every event in order, so the model needs no lock; its queue is bounded and makes nodes wait.

mod core;
mod decision;
mod epoch;
mod join;
mod outbox;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::{Ended, Started};
use darner_chassis::config::ConfigError;
use darner_chassis::{grpc, net};
use darner_proto::v1::scheduler_server::SchedulerServer;
use tonic::service::Routes;

pub(crate) use self::core::{Core, Shown};
use crate::config::Config;
use crate::page;
use crate::swarm::{Limits, Swarm};

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] net::BindError),
    /// The listener does not know its address.
    #[error("listening address: {0}")]
    Address(#[from] std::io::Error),
    /// The data directory cannot be used.
    #[error("`data`: {0}")]
    Data(std::io::Error),
}

/// Starts the service on the tasks of `started`; it runs until they close. The address it listens on.
pub async fn start(started: &Started<Config>) -> Result<SocketAddr, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(System);
    start_with(started, clock).await
}

/// The same with a clock of the caller's.
pub async fn start_with(started: &Started<Config>, clock: Arc<dyn Clock>) -> Result<SocketAddr, StartError> {
    let config = &started.config.value;
    let kept = epoch::Kept::open(&config.shared.data).await.map_err(StartError::Data)?;
    let listener = net::bind(&config.grpc.listen, "grpc.listen")?;
    let address = listener.local_addr()?;
    let wire = wire::open(config, &started.tasks).await?;
    let swarm = Swarm::new(Limits::default(), kept.last(), clock.now_ms());
    let core = core::start(swarm, Arc::clone(&clock), kept, &started.metrics, &started.tasks);
    let streams = join::Streams::new(core.clone(), clock, started.tasks.clone(), started.drain.clone());
    let routes = Routes::new(SchedulerServer::new(streams));
    let port = grpc::Port { wire, pages: Some(page::router(core)) };
    port.serve(listener, routes, &started.tasks, &started.drain);
    tracing::info!(%address, "scheduler listens");
    Ok(address)
}

/// What `main` runs: until the drain.
pub async fn run(started: Started<Config>) -> Ended {
    let address = start(&started).await?;
    started.ready.write(&[("grpc", address.to_string())])?;
    started.drain.wait().await;
    started.drain.finished().await;
    Ok(())
}
