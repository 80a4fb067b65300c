//! The wiring of a seed: which room stands on which, in what order they start and end.
//!
//! Owns: the listeners and the start order. Never: a decision. A seed starts and serves with no scheduler and no manager
//! reachable (I8).

use std::sync::Arc;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::{Ended, Started};
use darner_chassis::config::ConfigError;
use darner_chassis::grpc;
use darner_chassis::metrics::Role;
use darner_origin::{Origin, OriginConfig};
use darner_proto::v1::seed_server::SeedServer;
use darner_seeding::{Parts, Reach, Seeding, narrow_upstreams};
use darner_transfer::download::{Downloads, Timing};
use darner_transfer::node::{self, Ground, Kind, Node, Reached, StartError};
use darner_transfer::pieces::PieceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::config::Config;
use crate::keys::keys;

/// Runs a seed until the drain.
pub async fn run(started: Started<Config>) -> Ended {
    let reached = start(&started).await?;
    started.ready.write(&[("grpc", reached.grpc.to_string()), ("piece", reached.piece.to_string())])?;
    node::leave(&started.drain).await;
    Ok(())
}

/// Starts a seed on the tasks of `started`; it serves until they close.
pub async fn start(started: &Started<Config>) -> Result<Reached, StartError> {
    let config = &started.config.value;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let origin = Origin::new(&origin_config(config), started.metrics.clone(), Arc::clone(&clock))
        .map_err(|words| ConfigError::new(words.0))?;
    let data = Kind::Seed.data(&config.shared)?;
    // Bound before anything else, so that a busy port is told at once.
    let grpc = node::bind(&config.grpc.listen, "grpc.listen")?;
    let piece = node::bind(&config.piece.listen, "piece.listen")?;
    let reached = Reached { grpc: node::address(&grpc)?, piece: node::address(&piece)? };
    let (signer, honoured) = keys(&data, &config.keys)?;
    let host = &config.shared.host;
    let id = node::kept_id(Kind::Seed, &data, &config.shared)?;
    let manager = config.manager.as_deref();
    let wire = Kind::Seed.wire(&config.shared, (&id, &data), manager, &started.tasks).await?;
    let identity = node::identity(Kind::Seed, id, host, reached, signer.public_key());
    let ground = Ground {
        kind: Kind::Seed,
        data,
        identity,
        honoured,
        schedulers: config.schedulers.clone(),
        seed_peers: Vec::new(),
        storage: config.storage.clone(),
        wire,
    };
    let node = Node::stand(ground, &started.tasks).await?;
    let seeding = Seeding::new(Parts {
        identity: node.cluster.identity().clone(),
        store: node.store.clone(),
        origin: origin.clone(),
        signer: Arc::new(signer),
        cluster: Some(node.cluster.clone()),
        downloads: Some(Downloads::new(node.parts(started), Timing::default())),
        metrics: started.metrics.clone(),
        clock,
        random: Arc::new(System),
        tasks: started.tasks.clone(),
    });
    let feed = node.attach(started, config.manager.clone());
    let reach = Reach {
        own: config.upstreams.clone(),
        from_cluster: config.upstreams_from_cluster,
        forges: config.forges,
    };
    started.tasks.spawn("feed upstreams", narrow_upstreams(origin.clone(), &feed, reach));
    serve(started, (grpc, piece), &seeding, &node);
    if config.upstreams_from_cluster {
        started.tasks.spawn("cluster upstreams", darner_seeding::take_upstreams(origin, feed.clone()));
    }
    node.tell_joined(started);
    node.keep(feed, &started.tasks, || 0, move |_purged| seeding.forget_verdicts());
    tracing::info!(grpc = %reached.grpc, piece = %reached.piece, "seed peer listens");
    Ok(reached)
}

fn serve(
    started: &Started<Config>,
    (grpc, piece): (TcpListener, TcpListener),
    seeding: &Seeding,
    node: &Node,
) {
    let tasks = &started.tasks;
    let pieces = PieceServer::new(node.store.clone(), node.trust.clone(), Arc::new(System));
    let pieces = pieces.with_referrals(seeding.referrals()).over(node.cluster.wire());
    tasks.spawn("piece port", pieces.serve(piece, tasks.clone()));
    let routes = Routes::new(SeedServer::new(seeding.clone()));
    let port = grpc::Port { wire: node.cluster.wire().clone(), pages: None };
    port.serve(grpc, routes, tasks, &started.drain);
}

fn origin_config(config: &Config) -> OriginConfig {
    OriginConfig {
        upstreams: config.upstreams.clone(),
        resolve: config.resolve.clone(),
        upstream_ca: config.upstream_ca.clone(),
        proxy: config.origin.proxy.clone(),
        connect_forges: config.forges,
        role: Role::Seed,
    }
}
