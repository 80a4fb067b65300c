//! Certificates between all parts: who is let in, who is not, and that nobody notices when they change.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not what it set up"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use darner_chassis::authority::{self, Authority};
use darner_chassis::clock::{Clock as _, System};
use darner_chassis::grpc;
use darner_chassis::identity::Role;
use darner_chassis::settings::Tls;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{Expected, Wire};
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{Plan, Scene};
use darner_e2e::wait;
use darner_lfs::Oid;
use darner_proto::v1::identity_client::IdentityClient;
use darner_proto::v1::manager_client::ManagerClient;
use darner_proto::v1::scheduler_client::SchedulerClient;
use darner_proto::v1::seed_client::SeedClient;
use darner_proto::{PROTOCOL_VERSION, features, v1};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

const SIZE: u64 = 3_000_000;
const HOUR: Duration = Duration::from_hours(1);
const WITHIN: Duration = Duration::from_secs(5);

/// A scene whose cluster asks for certificates, and what the test adds to its values.
struct Guarded {
    scene: Scene,
    dir: tempfile::TempDir,
    tasks: Tasks,
}

impl Guarded {
    async fn set(peers: usize, sizes: &[u64], prepare: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let values = dir.path().join("values.yaml");
        std::fs::write(&values, format!("mtls: {{enabled: true}}\n{}", prepare(dir.path()))).unwrap();
        let mut plan = Plan::new(peers, sizes);
        plan.options.more = vec!["--config".to_owned(), values.to_str().unwrap().to_owned()];
        plan.options.data = Some(dir.path().join("cluster"));
        Self { scene: Scene::set(plan).await.unwrap(), dir, tasks: Tasks::new() }
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("cluster/keys")
    }

    fn authority(&self) -> Authority {
        let text = |name: &str| std::fs::read_to_string(self.keys().join("ca").join(name)).unwrap();
        Authority::of(&text("ca.crt"), &text("ca.key")).unwrap()
    }

    /// Somebody with a certificate of this cluster's authority.
    async fn somebody(&self, role: Role, name: &str) -> Wire {
        let roots = self.keys().join("ca/ca.crt");
        wire(&self.authority(), &roots, (role, name), (self.dir.path(), &self.tasks)).await
    }

    async fn whole(&self, daemon: usize, file: usize) {
        let reply = self.scene.ticketed(daemon, file).await.unwrap().get(None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{} bytes", reply.body.len());
        let oid = Oid::from_bytes(Sha256::digest(&reply.body).into());
        assert_eq!(oid, self.scene.oid(file).unwrap());
    }
}

/// Writes a pair of an authority and opens a wire with it.
async fn wire(
    authority: &Authority,
    roots: &Path,
    (role, name): (Role, &str),
    (dir, tasks): (&Path, &Tasks),
) -> Wire {
    let (cert, key) = pair(authority, (role, name), dir);
    let tls = Tls { ca_cert: Some(roots.to_owned()), cert: Some(cert), key: Some(key), join_token: None };
    Wire::open(&tls, (role, name), None, tasks).await.unwrap()
}

fn pair(authority: &Authority, (role, name): (Role, &str), dir: &Path) -> (PathBuf, PathBuf) {
    let pair = authority.issue((role, name), System.now_ms(), HOUR).unwrap();
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&cert, pair.issued.chain).unwrap();
    std::fs::write(&key, pair.key).unwrap();
    (cert, key)
}

fn node(role: v1::Role, id: &str) -> v1::NodeIdentity {
    let at = || "127.0.0.1:1".to_owned();
    v1::NodeIdentity {
        id: id.to_owned(),
        role: role.into(),
        piece_address: at(),
        grpc_address: at(),
        ..Default::default()
    }
}

fn hello(node: v1::NodeIdentity) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        features: features::ALL,
        node: Some(node),
        clock_ms: System.now_ms(),
    }
}

async fn join(channel: grpc::TracedChannel, node: v1::NodeIdentity) -> Result<(), Status> {
    let message = v1::node_message::Message::Hello(hello(node));
    let said = v1::NodeMessage { message: Some(message) };
    let open = futures::StreamExt::chain(futures::stream::iter([said]), futures::stream::pending());
    SchedulerClient::new(channel).join(open).await.map(drop)
}

async fn attach(channel: grpc::TracedChannel, component: &str, id: &str) -> Result<(), Status> {
    let hello = Some(hello(node(v1::Role::Daemon, id)));
    let hello = v1::ManagerHello { hello, component: component.to_owned(), ..Default::default() };
    let said = v1::Report { report: Some(v1::report::Report::Hello(hello)) };
    let open = futures::StreamExt::chain(futures::stream::iter([said]), futures::stream::pending());
    ManagerClient::new(channel).attach(open).await.map(drop)
}

async fn survey(channel: grpc::TracedChannel, asker: v1::NodeIdentity) -> Result<(), Status> {
    let question = v1::SurveyRequest { asker: Some(asker), keys: Vec::new() };
    SeedClient::new(channel).survey(question).await.map(drop)
}

/// The gRPC address of the seed, as its ready file tells it.
fn seed_address(guarded: &Guarded) -> String {
    let ready = guarded.dir.path().join("cluster/seed-peer-0/ready.json");
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(ready).unwrap()).unwrap();
    ready["grpc"].as_str().unwrap().to_owned()
}

fn code(answer: Result<(), Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_certificates_serves_and_refuses_clear_text_and_strangers() {
    let guarded = Guarded::set(2, &[SIZE], |_| String::new()).await;
    guarded.whole(0, 0).await;
    guarded.whole(1, 0).await;
    assert_eq!(guarded.scene.origin.counters.snapshot().of(Kind::Content).requests, 1);
    let scheduler = guarded.scene.cluster.schedulers[0].grpc.clone();
    let clear = join(grpc::channel(&scheduler).unwrap(), node(v1::Role::Daemon, "x")).await;
    let told = clear.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    assert!(told.message().contains("TLS"), "{told}");
    let founded = authority::found("darner.local", System.now_ms()).unwrap();
    let other = Authority::of(&founded.certificate, &founded.key).unwrap();
    // It trusts the cluster; the cluster does not trust it.
    let roots = guarded.keys().join("ca/ca.crt");
    let (cert, key) = pair(&other, (Role::PeerDaemon, "x"), guarded.dir.path());
    std::fs::write(
        guarded.dir.path().join("both.crt"),
        [std::fs::read(&roots).unwrap(), founded.certificate.into_bytes()].concat(),
    )
    .unwrap();
    let roots = Some(guarded.dir.path().join("both.crt"));
    let tls = Tls { ca_cert: roots, cert: Some(cert), key: Some(key), join_token: None };
    let stranger = Wire::open(&tls, (Role::PeerDaemon, "x"), None, &guarded.tasks).await.unwrap();
    let channel = stranger.channel(&scheduler, Expected::roles(&[Role::Scheduler])).unwrap();
    let refused = join(channel, node(v1::Role::Daemon, "x")).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_lets_nobody_speak_for_another() {
    let guarded = Guarded::set(1, &[SIZE], |_| String::new()).await;
    let cluster = &guarded.scene.cluster;
    let daemon = guarded.somebody(Role::PeerDaemon, "d").await;
    let at = |address: &str, role: &'static [Role]| daemon.channel(address, Expected::roles(role)).unwrap();
    let scheduler = || at(&cluster.schedulers[0].grpc, &[Role::Scheduler]);
    let manager = || at(&cluster.manager.grpc, &[Role::Manager]);
    let seed = seed_address(&guarded);
    let seed = || at(&seed, &[Role::SeedPeer]);
    assert_eq!(code(join(scheduler(), node(v1::Role::Daemon, "d")).await), Code::Ok);
    assert_eq!(code(join(scheduler(), node(v1::Role::Seed, "d")).await), Code::PermissionDenied);
    assert_eq!(code(join(scheduler(), node(v1::Role::Daemon, "e")).await), Code::PermissionDenied);
    assert_eq!(code(attach(manager(), "peer-daemon", "d").await), Code::Ok);
    for (component, id) in [("seed-peer", "d"), ("scheduler", "d"), ("peer-daemon", "e")] {
        assert_eq!(code(attach(manager(), component, id).await), Code::PermissionDenied, "{component} {id}");
    }
    assert_eq!(code(survey(seed(), node(v1::Role::Daemon, "d")).await), Code::Ok);
    assert_eq!(code(survey(seed(), node(v1::Role::Daemon, "e")).await), Code::PermissionDenied);
    let other = guarded.somebody(Role::Scheduler, "s").await;
    let channel = other.channel(&seed_address(&guarded), Expected::roles(&[Role::SeedPeer])).unwrap();
    let refused = survey(channel, v1::NodeIdentity::default()).await;
    assert_eq!(code(refused), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_with_a_token_that_is_not_its_own() {
    let guarded = Guarded::set(1, &[SIZE], |_| String::new()).await;
    let daemon = guarded.somebody(Role::PeerDaemon, "d").await;
    let manager = guarded.scene.cluster.manager.grpc.clone();
    let channel = || daemon.channel(&manager, Expected::roles(&[Role::Manager])).unwrap();
    let enroll = async |role: &str, token: &str| {
        let (request, _key) = authority::request().unwrap();
        let asked = v1::EnrollRequest {
            request: request.into(),
            role: role.to_owned(),
            name: "new".to_owned(),
            token: token.to_owned(),
        };
        code(IdentityClient::new(channel()).enroll(asked).await.map(drop))
    };
    let token = |part: &str| std::fs::read_to_string(guarded.keys().join(format!("join-{part}"))).unwrap();
    assert_eq!(enroll("peer-daemon", &token("peer-daemon")).await, Code::Ok);
    assert_eq!(enroll("seed-peer", &token("peer-daemon")).await, Code::PermissionDenied);
    assert_eq!(enroll("peer-daemon", "guess").await, Code::PermissionDenied);
    assert_eq!(enroll("manager", &token("peer-daemon")).await, Code::InvalidArgument);
    for _ in 0..3 {
        enroll("peer-daemon", "guess").await;
    }
    assert_eq!(enroll("peer-daemon", "guess").await, Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_changed_under_a_running_download() {
    let mut own = None;
    let guarded = Guarded::set(1, &[SIZE, SIZE], |dir| {
        let founded = authority::found("darner.local", System.now_ms()).unwrap();
        let ca = dir.join("cluster/keys/ca");
        std::fs::create_dir_all(&ca).unwrap();
        std::fs::write(ca.join("ca.key"), &founded.key).unwrap();
        std::fs::write(ca.join("ca.crt"), &founded.certificate).unwrap();
        let authority = Authority::of(&founded.certificate, &founded.key).unwrap();
        let (cert, key) = pair(&authority, (Role::PeerDaemon, "filed"), dir);
        own = Some(authority);
        format!("dfdaemon: {{config: {{tls: {{cert: {}, key: {}}}}}}}\n", cert.display(), key.display())
    })
    .await;
    let slow = Switch { bytes_per_second: Some(1_500_000), ..Switch::default() };
    guarded.scene.origin.switches.set(None, slow);
    let change = async {
        let begun = || async {
            let counts = guarded.scene.origin.counters.snapshot();
            Ok((counts.of(Kind::Content).bytes > SIZE / 10).then_some(()))
        };
        wait::until("the download has begun", begun).await.unwrap();
        pair(own.as_ref().unwrap(), (Role::PeerDaemon, "filed"), guarded.dir.path());
        // The next greeting is what looks at the files.
        let seed = guarded.somebody(Role::SeedPeer, "looker").await;
        let piece = &guarded.scene.cluster.peer_daemons[0].piece;
        seed.connect(piece, &Expected::named(&[Role::PeerDaemon], "filed"), WITHIN).await.unwrap();
        let log = std::fs::read_to_string(&guarded.scene.cluster.peer_daemons[0].log).unwrap();
        assert!(log.contains("certificate files were read again"), "{log}");
    };
    tokio::join!(guarded.whole(0, 0), change);
    guarded.scene.origin.switches.set(None, Switch::default());
    guarded.whole(0, 1).await;
}
