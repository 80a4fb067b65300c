//! Which room of a daemon stands on which.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use darner_chassis::clock::{Clock, Random, System};
use darner_chassis::command::Started;
use darner_chassis::grpc;
use darner_chassis::sign::Signer;
use darner_origin::Origin;
use darner_proto::v1::daemon_server::DaemonServer;
use darner_proto::v1::seed_server::SeedServer;
use darner_seeding::{Reach, Seeding, narrow_upstreams};
use darner_transfer::download::{Downloads, Timing};
use darner_transfer::feed::{Feed, Purged};
use darner_transfer::node::Node;
use darner_transfer::pieces::PieceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

use super::followed::{self, Followed};
use super::started::StartError;
use crate::acting::Acting;
use crate::config::seed_words::Rules;
use crate::config::{Config, Fallback};
use crate::edge::{Certificate, Edge, Limits};
use crate::gate::{Gate, Rooms, Switches};
use crate::prober::SeedProber;
use crate::proof::{Proof, Seams};
use crate::service::Service;
use crate::stories::Stories;
use crate::ticket::Tickets;

/// What everything else stands on.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) origin: Origin,
    pub(super) node: Node,
    /// Signs what the node says while it acts as a seed.
    pub(super) signer: Signer,
}

/// The rooms, built.
pub(super) struct House {
    clock: Arc<dyn Clock>,
    origin: Origin,
    node: Node,
    downloads: Downloads,
    seeding: Seeding,
    acting: Acting,
    alone: Arc<AtomicBool>,
    proof: Arc<Proof>,
    stories: Arc<Stories>,
    switches: Arc<Switches>,
    feed: Feed,
}

impl House {
    pub(super) fn build(started: &Started<Config>, base: Base) -> Self {
        let config = &started.config.value;
        let Base { clock, origin, node, signer } = base;
        let (store, cluster) = (&node.store, &node.cluster);
        let random: Arc<dyn Random> = Arc::new(System);
        let downloads = Downloads::new(node.parts(started), Timing::default());
        let seeding = Seeding::new(darner_seeding::Parts {
            identity: cluster.identity().clone(),
            store: store.clone(),
            origin: origin.clone(),
            signer: Arc::new(signer),
            cluster: Some(cluster.clone()),
            // Its own grants open no other daemon: it reads on with what is here.
            downloads: None,
            metrics: started.metrics.clone(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            tasks: started.tasks.clone(),
        });
        let alone = Arc::new(AtomicBool::new(config.fallback == Fallback::Origin));
        let acting = Acting::new(seeding.clone(), cluster.clone(), Arc::clone(&alone));
        downloads.set_acting(Arc::new(acting.clone()));
        let prober = Arc::new(SeedProber::new(cluster.clone(), origin.clone(), Arc::clone(&alone)));
        let seams = Seams { clock: Arc::clone(&clock), random };
        let proof =
            Arc::new(Proof::new(store.clone(), prober, &config.public, seams, started.metrics.clone()));
        let feed = node.attach(started, config.manager.clone());
        let reach = Reach {
            own: config.upstreams.clone(),
            from_cluster: config.upstreams_from_cluster,
            forges: config.connects_to_forges(),
        };
        started.tasks.spawn("feed upstreams", narrow_upstreams(origin.clone(), &feed, reach));
        let (stories, switches) = (Arc::default(), Arc::default());
        Self { clock, origin, node, downloads, seeding, acting, alone, proof, stories, switches, feed }
    }

    /// Opens the git-facing port.
    pub(super) fn open_git(
        &self,
        started: &Started<Config>,
        (listener, certificate): (TcpListener, Certificate),
        (tickets, rules): (Tickets, Rules),
    ) {
        let config = &started.config.value;
        let gate = Gate::new(Rooms {
            origin: self.origin.clone(),
            store: self.node.store.clone(),
            downloads: self.downloads.clone(),
            proof: Arc::clone(&self.proof),
            tickets,
            rules,
            stories: Arc::clone(&self.stories),
            switches: Arc::clone(&self.switches),
            clock: Arc::clone(&self.clock),
            metrics: started.metrics.clone(),
            tasks: started.tasks.clone(),
            drain: started.drain.clone(),
            node: self.node.cluster.identity().id.clone(),
            feed: Some(self.feed.clone()),
        });
        let limits = Limits { connections: config.git.connections, plaintext: config.plaintext() };
        if let Some(following) = certificate.follow() {
            started.tasks.spawn("git certificate", following);
        }
        let edge = Edge::new(&certificate, Arc::new(gate), limits, &started.tasks, &started.drain);
        started.tasks.spawn("git port", edge.serve(listener));
    }

    /// Opens what other nodes and the command line speak to.
    pub(super) fn open_nodes(
        &self,
        started: &Started<Config>,
        grpc: TcpListener,
        piece: TcpListener,
    ) -> Result<(), StartError> {
        let (tasks, drain) = (&started.tasks, &started.drain);
        let pieces =
            PieceServer::new(self.node.store.clone(), self.node.trust.clone(), Arc::clone(&self.clock));
        let pieces = pieces.with_referrals(self.seeding.referrals()).over(self.node.cluster.wire());
        tasks.spawn("piece port", pieces.serve(piece, tasks.clone()));
        let service = Service {
            cluster: self.node.cluster.clone(),
            origin: self.origin.clone(),
            metrics: started.metrics.clone(),
            store: self.node.store.clone(),
            root: self.node.data.clone(),
            downloads: self.downloads.clone(),
            proof: Arc::clone(&self.proof),
            stories: Arc::clone(&self.stories),
            feed: self.feed.clone(),
            drain: drain.clone(),
        };
        // Other nodes have no business with the service of the command line.
        let routes = Routes::new(SeedServer::new(self.acting.clone()));
        let port = grpc::Port { wire: self.node.cluster.wire().clone(), pages: None };
        port.serve(grpc, routes, tasks, drain);
        let named = started.config.value.grpc.socket.clone();
        let socket = named.unwrap_or_else(|| self.node.data.join("daemon.sock"));
        grpc::serve_unix(&socket, Routes::new(DaemonServer::new(service)), tasks, drain)?;
        Ok(())
    }

    /// Starts what follows the control plane, as far as there is one.
    pub(super) fn follow(self, started: &Started<Config>) {
        let (tasks, node) = (&started.tasks, &self.node);
        tasks.spawn("membership keys", followed::learn(node.cluster.clone(), node.trust.clone()));
        let (proof, seeding, downloads) = (Arc::clone(&self.proof), self.seeding, self.downloads);
        let forget = move |purged: &Purged| {
            proof.forget(purged);
            seeding.forget_verdicts();
        };
        node.keep(self.feed.clone(), tasks, move || downloads.list().len(), forget);
        node.tell_joined(started);
        if started.config.value.upstreams_from_cluster {
            let taking = darner_seeding::take_upstreams(self.origin, self.feed.clone());
            tasks.spawn("cluster upstreams", taking);
        }
        let followed = Followed {
            own: started.config.value.clone(),
            switches: self.switches,
            proof: self.proof,
            alone: self.alone,
        };
        tasks.spawn("feed switches", followed.follow(self.feed));
    }
}
