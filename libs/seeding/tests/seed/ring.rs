//! Several seeds: one read among them, whoever is asked (I3, H45, H46).

use std::sync::Arc;

use darner_chassis::clock::{Seeded, System};
use darner_chassis::metrics::{Kind, Metrics, Role};
use darner_chassis::sign::Signer;
use darner_chassis::tasks::{Drain, Tasks};
use darner_chassis::{grpc, net};
use darner_origin::{Origin, OriginConfig};
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::v1::seed_client::SeedClient;
use darner_proto::v1::seed_server::SeedServer;
use darner_seeding::{Parts, Seeding};
use darner_store::{Store, StoreConfig};
use darner_transfer::cluster::{Cluster, ClusterConfig};
use prost::Message as _;
use tonic::service::Routes;

use crate::upstream::{Answer, Upstream};
use crate::{content, credential, key_of, opened};

struct Seed {
    seeding: Seeding,
    store: Store,
    metrics: Metrics,
    address: String,
    tasks: Tasks,
    _directory: tempfile::TempDir,
}

/// Seeds that know one another from the last membership on their disks.
async fn ring(count: usize, upstream: &Upstream) -> Vec<Seed> {
    let listeners: Vec<_> = (0..count).map(|_| net::bind("127.0.0.1:0", "test").unwrap()).collect();
    let identity = |n: usize| v1::NodeIdentity {
        id: format!("seed-{n}"),
        role: v1::Role::Seed.into(),
        grpc_address: listeners[n].local_addr().unwrap().to_string(),
        tenant: "t".to_owned(),
        ..Default::default()
    };
    let known = v1::Membership { epoch: 1, seeds: (0..count).map(identity).collect(), daemons: Vec::new() };
    let identities = known.seeds.clone();
    let mut seeds = Vec::new();
    for (listener, identity) in listeners.into_iter().zip(identities) {
        let directory = tempfile::tempdir().unwrap();
        let state_file = directory.path().join("membership");
        std::fs::write(&state_file, known.encode_to_vec()).unwrap();
        let store = Store::open(StoreConfig::at(directory.path().join("store"))).await.unwrap();
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let config =
            OriginConfig { upstreams: vec![upstream.entry()], role: Role::Seed, ..OriginConfig::default() };
        let address = identity.grpc_address.clone();
        let cluster = ClusterConfig {
            identity: identity.clone(),
            schedulers: Vec::new(),
            seed_peers: Vec::new(),
            state_file: Some(state_file),
            wire: darner_chassis::tls::Wire::clear(),
        };
        let seeding = Seeding::new(Parts {
            identity,
            store: store.clone(),
            origin: Origin::new(&config, metrics.clone(), Arc::new(System)).unwrap(),
            signer: Arc::new(Signer::generate("seeds").unwrap()),
            downloads: None,
            cluster: Some(Cluster::start(cluster, store.clone(), &tasks)),
            metrics: metrics.clone(),
            clock: Arc::new(System),
            random: Arc::new(Seeded::new(1)),
            tasks: tasks.clone(),
        });
        grpc::serve(listener, Routes::new(SeedServer::new(seeding.clone())), None, &tasks, &Drain::new());
        seeds.push(Seed { seeding, store, metrics, address, tasks, _directory: directory });
    }
    seeds
}

impl Seed {
    async fn open(&self, request: v1::OpenRequest) -> Outcome {
        let mut client = SeedClient::new(grpc::channel(&self.address).unwrap());
        let mut replies = client.open(request).await.unwrap().into_inner();
        replies.message().await.unwrap().unwrap().outcome.unwrap()
    }

    async fn quiet(&self) {
        while self.seeding.reads() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn request(key: darner_lfs::ObjectKey, url: &str) -> v1::OpenRequest {
    let taker = v1::NodeIdentity { id: "daemon-1".to_owned(), tenant: "t".to_owned(), ..Default::default() };
    let object =
        v1::OpenObject { key: Some(key.into()), credential: Some(credential(url)), ..Default::default() };
    v1::OpenRequest { taker: Some(taker), objects: vec![object], content_bytes: 0 }
}

fn content_requests(seeds: &[Seed]) -> u64 {
    seeds.iter().map(|seed| seed.metrics.origin_requests_so_far(Kind::Content, Role::Seed)).sum()
}

#[tokio::test]
async fn seeds_that_are_all_asked_at_once_read_once_among_them() {
    let content = content(500_000);
    let (key, held) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |_| Answer::Held(held.clone(), 100_000)).await;
    let seeds = ring(3, &upstream).await;
    let asked = seeds.iter().map(|seed| seed.open(request(key, &upstream.url("/x"))));
    let outcomes = futures::future::join_all(asked).await;
    let opened = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Opened(_))).count();
    assert_eq!(opened, 1, "{outcomes:?}");
    let told: Vec<&str> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Elsewhere(node) => Some(node.grpc_address.as_str()),
            _ => None,
        })
        .collect();
    let reader = seeds.iter().find(|seed| seed.seeding.reads() == 1).unwrap();
    assert_eq!(told, [reader.address.as_str(); 2]);
    upstream.let_go();
    reader.quiet().await;
    assert_eq!(content_requests(&seeds), 1);
}

#[tokio::test]
async fn a_seed_that_is_new_in_the_ring_points_at_the_one_that_holds_the_object() {
    let content = content(500_000);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let seeds = ring(2, &upstream).await;
    for (holder, asked) in [(0, 1), (1, 0)] {
        let other = crate::content(1_000 + holder);
        let (seed, key) = (&seeds[holder], key_of(&other));
        seed.store.put(key.oid().unwrap(), other.as_ref().clone().into(), None).await.unwrap();
        match seeds[asked].open(request(key, &upstream.url("/y"))).await {
            Outcome::Elsewhere(node) => assert_eq!(node.grpc_address, seed.address),
            outcome => panic!("{outcome:?}"),
        }
    }
    assert_eq!(content_requests(&seeds), 0);
    opened(seeds[0].open(request(key, &upstream.url("/x"))).await);
}

#[tokio::test]
async fn a_seed_that_is_gone_keeps_nobody_from_reading() {
    let content = content(500_000);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let mut seeds = ring(3, &upstream).await;
    let left = seeds.remove(0);
    for gone in &seeds {
        gone.tasks.close().await;
    }
    opened(left.open(request(key, &upstream.url("/x"))).await);
}
