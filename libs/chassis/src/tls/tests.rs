//! Both ends against one another on loopback: who is let in, who is not, and what happens when files change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::*;
use crate::authority::{Authority, found};
use crate::grpc::{Port, TracedChannel};
use crate::tasks::Drain;

const WITHIN: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_hours(1);
const DAEMONS: &[Role] = &[Role::PeerDaemon];

/// An authority and the files of those it knows.
struct Stage {
    dir: tempfile::TempDir,
    authority: Authority,
    tasks: Tasks,
}

impl Stage {
    fn new(trust_domain: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let founded = found(trust_domain, System.now_ms()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), &founded.certificate).unwrap();
        let authority = Authority::of(&founded.certificate, &founded.key).unwrap();
        Self { dir, authority, tasks: Tasks::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, role: Role, name: &str, (now_ms, lasts): (u64, Duration)) {
        let pair = self.authority.issue((role, name), now_ms, lasts).unwrap();
        std::fs::write(self.path(&format!("{name}.crt")), pair.issued.chain).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), pair.key).unwrap();
    }

    fn settings(&self, name: &str) -> settings::Tls {
        settings::Tls {
            ca_cert: Some(self.path("ca.crt")),
            cert: Some(self.path(&format!("{name}.crt"))),
            key: Some(self.path(&format!("{name}.key"))),
            join_token: None,
        }
    }

    async fn open(&self, role: Role, name: &str) -> Result<Wire, TlsError> {
        Wire::open(&self.settings(name), (role, name), None, &self.tasks).await
    }

    async fn wire(&self, role: Role, name: &str) -> Wire {
        self.write(role, name, (System.now_ms(), HOUR));
        self.open(role, name).await.unwrap()
    }
}

/// Both ends of one connection: what the server sees arrive, and what the client gets.
async fn meet(server: &Wire, client: &Wire, expected: Expected) -> (io::Result<Arrived>, io::Result<Stream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arriving = async { server.arrive(listener.accept().await.unwrap().0).await };
    let connecting = async {
        let mut made = client.connect(&address, &expected, WITHIN).await?;
        // Only the first answer tells whether the server took the certificate.
        made.write_all(b"hello").await?;
        Ok(made)
    };
    tokio::join!(arriving, connecting)
}

fn served(arrived: io::Result<Arrived>) -> Stream {
    match arrived.unwrap() {
        Arrived::Peer(stream) => stream,
        Arrived::ClearText(_) => unreachable!("clear text"),
    }
}

fn name_of(peer: &Peer) -> String {
    match peer {
        Peer::Proved(identity) => identity.name().to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn both_ends_know_one_another_and_bytes_pass() {
    let stage = Stage::new("t");
    let (seed, daemon) = (stage.wire(Role::SeedPeer, "s").await, stage.wire(Role::PeerDaemon, "d").await);
    let (arrived, made) = meet(&seed, &daemon, Expected::named(&[Role::SeedPeer], "s")).await;
    let (mut arrived, made) = (served(arrived), made.unwrap());
    assert_eq!((name_of(arrived.peer()).as_str(), name_of(made.peer()).as_str()), ("d", "s"));
    let mut said = [0; 5];
    arrived.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
    assert_eq!(daemon.identity().unwrap().to_string(), "spiffe://t/darner/peer-daemon/d");
}

#[tokio::test]
async fn a_server_of_another_role_or_name_is_left_at_once() {
    let stage = Stage::new("t");
    let (one, daemon) = (stage.wire(Role::PeerDaemon, "a").await, stage.wire(Role::PeerDaemon, "d").await);
    for expected in [Expected::roles(&[Role::SeedPeer]), Expected::named(DAEMONS, "b")] {
        let words = meet(&one, &daemon, expected).await.1.unwrap_err().to_string();
        assert!(words.contains("that of peer-daemon `a`"), "{words}");
    }
}

#[tokio::test]
async fn who_was_certified_by_another_authority_is_refused_at_either_end() {
    let (stage, other) = (Stage::new("t"), Stage::new("t"));
    let (seed, stranger) = (stage.wire(Role::SeedPeer, "s").await, other.wire(Role::PeerDaemon, "d").await);
    let (arrived, made) = meet(&seed, &stranger, Expected::roles(&[Role::SeedPeer])).await;
    assert!(arrived.is_err());
    let words = made.unwrap_err().to_string();
    assert!(words.contains("no authority of `tls.caCert` issued it"), "{words}");
}

#[tokio::test]
async fn a_certificate_of_another_trust_domain_is_refused_although_its_issuer_counts() {
    let (stage, other) = (Stage::new("t"), Stage::new("u"));
    let both =
        ["ca.crt"].map(|name| [stage.path(name), other.path(name)].map(|path| std::fs::read(path).unwrap()));
    for place in [&stage, &other] {
        std::fs::write(place.path("ca.crt"), both[0].concat()).unwrap();
    }
    let (seed, stranger) = (stage.wire(Role::SeedPeer, "s").await, other.wire(Role::PeerDaemon, "d").await);
    let (arrived, made) = meet(&seed, &stranger, Expected::roles(&[Role::SeedPeer])).await;
    assert!(arrived.is_err());
    assert!(made.unwrap_err().to_string().contains("another trust domain"));
}

#[tokio::test]
async fn clear_text_is_told_from_tls_and_a_client_of_clear_text_in_words() {
    let stage = Stage::new("t");
    let seed = stage.wire(Role::SeedPeer, "s").await;
    let (arrived, _made) = meet(&seed, &Wire::clear(), Expected::roles(DAEMONS)).await;
    assert!(matches!(arrived, Ok(Arrived::ClearText(_))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let expected = Expected::roles(&[Role::SeedPeer]);
    let (made, _open) = tokio::join!(seed.connect(&address, &expected, WITHIN), answering);
    let words = made.unwrap_err().to_string();
    assert!(words.contains("does not speak TLS"), "{words}");
}

#[tokio::test]
async fn what_is_wrong_at_start_is_told_with_its_key_and_file() {
    let stage = Stage::new("t");
    let now_ms = System.now_ms();
    stage.write(Role::PeerDaemon, "late", (now_ms - 7_200_000, HOUR));
    stage.write(Role::PeerDaemon, "early", (now_ms + 7_200_000, HOUR));
    stage.write(Role::PeerDaemon, "mixed", (now_ms, HOUR));
    let pair = stage.authority.issue((Role::PeerDaemon, "mixed"), now_ms, HOUR).unwrap();
    std::fs::write(stage.path("mixed.key"), pair.key).unwrap();
    let other = Stage::new("t");
    other.write(Role::PeerDaemon, "foreign", (now_ms, HOUR));
    for end in ["crt", "key"] {
        let name = format!("foreign.{end}");
        std::fs::copy(other.path(&name), stage.path(&name)).unwrap();
    }
    std::fs::write(stage.path("junk.crt"), "junk").unwrap();
    for (name, told) in [
        ("late", ["`tls.cert`", "late.crt", "has expired"]),
        ("early", ["`tls.cert`", "early.crt", "not valid yet"]),
        ("mixed", ["`tls.key`", "mixed.key", "does not belong to the certificate"]),
        ("foreign", ["`tls.cert`", "foreign.crt", "no authority of `tls.caCert` issued it"]),
        ("junk", ["`tls.cert`", "junk.crt", "no certificate in PEM"]),
        ("missing", ["`tls.cert`", "missing.crt", "No such file"]),
    ] {
        let words = stage.open(Role::PeerDaemon, name).await.unwrap_err().to_string();
        for part in told {
            assert!(words.contains(part), "{part} not in: {words}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_part_is_refused_at_start() {
    let stage = Stage::new("t");
    stage.write(Role::PeerDaemon, "d", (System.now_ms(), HOUR));
    let words = stage.open(Role::SeedPeer, "d").await.unwrap_err().to_string();
    assert!(words.contains("peer-daemon/d") && words.contains("this is seed-peer `d`"), "{words}");
}

#[tokio::test]
async fn half_a_configuration_is_refused_by_key() {
    let stage = Stage::new("t");
    let whole = stage.settings("d");
    let open = async |tls: settings::Tls| {
        Wire::open(&tls, (Role::PeerDaemon, "d"), None, &stage.tasks).await.unwrap_err().to_string()
    };
    let (ca, cert) = (whole.ca_cert.clone(), whole.cert.clone());
    assert!(open(settings::Tls { ca_cert: None, ..whole }).await.contains("`tls.caCert` is missing"));
    assert!(
        open(settings::Tls { ca_cert: ca.clone(), cert, ..Default::default() }).await.contains("`tls.key`")
    );
    assert!(
        open(settings::Tls { ca_cert: ca.clone(), ..Default::default() }).await.contains("`tls.joinToken`")
    );
    let token = settings::Tls { ca_cert: ca, join_token: Some("/t".into()), ..Default::default() };
    assert!(open(token).await.contains("needs `manager`"));
    let clear = Wire::open(&settings::Tls::default(), (Role::PeerDaemon, "d"), None, &stage.tasks).await;
    assert!(!clear.unwrap().is_mutual());
}

#[tokio::test]
async fn a_new_pair_is_taken_up_while_the_old_connection_goes_on() {
    let stage = Stage::new("t");
    let (seed, daemon) = (stage.wire(Role::SeedPeer, "s").await, stage.wire(Role::PeerDaemon, "d").await);
    let expected = || Expected::roles(&[Role::SeedPeer]);
    let (arrived, made) = meet(&seed, &daemon, expected()).await;
    let (mut arrived, mut made) = (served(arrived), made.unwrap());
    let before = daemon.ends_ms().unwrap();
    stage.write(Role::PeerDaemon, "d", (System.now_ms(), 2 * HOUR));
    assert!(daemon.ends_ms().unwrap() > before);
    meet(&seed, &daemon, expected()).await.1.unwrap();
    made.write_all(b" again").await.unwrap();
    let mut said = [0; 11];
    arrived.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello again");
}

#[tokio::test]
async fn a_bad_rotation_leaves_the_old_pair_in_force() {
    let stage = Stage::new("t");
    let (seed, daemon) = (stage.wire(Role::SeedPeer, "s").await, stage.wire(Role::PeerDaemon, "d").await);
    let before = daemon.ends_ms();
    let other = stage.authority.issue((Role::PeerDaemon, "d"), System.now_ms(), 2 * HOUR).unwrap();
    std::fs::write(stage.path("d.crt"), other.issued.chain).unwrap();
    assert_eq!(daemon.ends_ms(), before);
    meet(&seed, &daemon, Expected::roles(&[Role::SeedPeer])).await.1.unwrap();
    std::fs::write(stage.path("d.key"), other.key).unwrap();
    assert!(daemon.ends_ms() > before);
    std::fs::remove_file(stage.path("ca.crt")).unwrap();
    meet(&seed, &daemon, Expected::roles(&[Role::SeedPeer])).await.1.unwrap();
}

/// A server that answers every call with who calls.
fn mirror() -> Routes {
    Routes::from(Router::new().fallback(async |request: Request| {
        let peer = name_of(&Peer::of(request.extensions()));
        ([("grpc-status", "0".to_owned()), ("x-peer", peer)], "")
    }))
}

fn call() -> http::Request<tonic::body::Body> {
    let request = http::Request::post("/darner.v1.Seed/Open").header("content-type", "application/grpc");
    request.body(tonic::body::Body::empty()).unwrap()
}

async fn answer(channel: TracedChannel) -> http::HeaderMap {
    channel.oneshot(call()).await.unwrap().headers().clone()
}

async fn grpc_port(wire: &Wire, pages: Option<Router>, tasks: &Tasks) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Port { wire: wire.clone(), pages }.serve(listener, mirror(), tasks, &Drain::new());
    address
}

#[tokio::test]
async fn a_call_tells_the_service_who_calls() {
    let stage = Stage::new("t");
    let (seed, daemon) = (stage.wire(Role::SeedPeer, "s").await, stage.wire(Role::PeerDaemon, "d").await);
    let address = grpc_port(&seed, None, &stage.tasks).await;
    let channel = daemon.channel(&address, Expected::roles(&[Role::SeedPeer])).unwrap();
    assert_eq!(answer(channel).await["x-peer"], "d");
}

#[tokio::test]
async fn a_call_in_clear_text_is_refused_in_words_and_reaches_no_service() {
    let stage = Stage::new("t");
    let seed = stage.wire(Role::SeedPeer, "s").await;
    let address = grpc_port(&seed, None, &stage.tasks).await;
    let told = answer(crate::grpc::channel(&address).unwrap()).await;
    assert_eq!(told["grpc-status"], "16");
    assert!(told["grpc-message"].to_str().unwrap().contains("TLS"), "{told:?}");
    assert!(!told.contains_key("x-peer"));
}

#[tokio::test]
async fn a_browser_in_clear_text_gets_the_page_and_nothing_else() {
    let stage = Stage::new("t");
    let scheduler = stage.wire(Role::Scheduler, "s").await;
    let pages = Router::new().route("/", axum::routing::get(async || "page\n"));
    let address = grpc_port(&scheduler, Some(pages), &stage.tasks).await;
    let mut browser = TcpStream::connect(&address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("page\n"), "{page}");
    assert_eq!(answer(crate::grpc::channel(&address).unwrap()).await["grpc-status"], "16");
}

/// A manager in memory: signs whoever shows the token, and counts.
#[derive(Debug)]
struct Memory {
    authority: Authority,
    lasts: Duration,
    asked: Mutex<Vec<(Role, String)>>,
}

#[tonic::async_trait]
impl Enrol for Memory {
    async fn enrol(&self, manager: TracedChannel, ask: Ask) -> Result<String, String> {
        // The way there is real: nobody but a manager answers on it.
        let seen = manager.oneshot(call()).await.map_err(|error| words_of(&error))?;
        assert_eq!(seen.headers()["x-peer"], "Nameless");
        self.asked.lock().unwrap().push((ask.role, ask.name.clone()));
        if ask.token != "right" {
            return Err("the token is not right".to_owned());
        }
        let issued = self.authority.sign(&ask.request, (ask.role, &ask.name), System.now_ms(), self.lasts);
        issued.map(|issued| issued.chain).map_err(|error| error.to_string())
    }
}

fn words_of(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    words
}

/// A stage with an issuing manager that listens.
async fn managed(lasts: Duration) -> (Stage, String, Arc<Memory>) {
    let stage = Stage::new("t");
    let copy = found("t", System.now_ms()).unwrap();
    std::fs::write(stage.path("ca.crt"), &copy.certificate).unwrap();
    let of = || Authority::of(&copy.certificate, &copy.key).unwrap();
    let (own, memory) = (of(), Memory { authority: of(), lasts, asked: Mutex::default() });
    let renew =
        move || own.issue((Role::Manager, "m"), System.now_ms(), HOUR).map_err(|error| error.to_string());
    let wire = Wire::issuing(&stage.path("ca.crt"), (Role::Manager, "m"), renew, &stage.tasks).unwrap();
    let address = grpc_port(&wire, None, &stage.tasks).await;
    std::fs::write(stage.path("token"), "right\n").unwrap();
    (stage, address, Arc::new(memory))
}

async fn join(stage: &Stage, address: &str, memory: &Arc<Memory>) -> Wire {
    let enrol: Arc<dyn Enrol> = Arc::<Memory>::clone(memory);
    let joining = Joining { manager: address.to_owned(), kept: Some(stage.path("identity.pem")), enrol };
    let tls = settings::Tls {
        ca_cert: Some(stage.path("ca.crt")),
        join_token: Some(stage.path("token")),
        ..Default::default()
    };
    Wire::open(&tls, (Role::PeerDaemon, "d"), Some(joining), &stage.tasks).await.unwrap()
}

#[tokio::test]
async fn a_part_joins_with_its_token_and_keeps_its_certificate_over_a_restart() {
    let (stage, address, memory) = managed(HOUR).await;
    let wire = join(&stage, &address, &memory).await;
    assert_eq!(wire.identity().unwrap().to_string(), "spiffe://t/darner/peer-daemon/d");
    let mode = std::fs::metadata(stage.path("identity.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = join(&stage, "127.0.0.1:1", &memory).await;
    assert_eq!(again.identity(), wire.identity());
    assert_eq!(memory.asked.lock().unwrap().len(), 1);
    stage.tasks.close().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends() {
    let (stage, address, memory) = managed(Duration::from_secs(4)).await;
    let wire = join(&stage, &address, &memory).await;
    let first = wire.ends_ms().unwrap();
    while wire.ends_ms() == Some(first) {
        assert!(System.now_ms() < first, "it ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.tasks.close().await;
}

#[tokio::test]
async fn a_wrong_token_gives_no_certificate_and_a_right_one_later_does() {
    let (stage, address, memory) = managed(HOUR).await;
    std::fs::write(stage.path("token"), "wrong").unwrap();
    let wire = join(&stage, &address, &memory).await;
    assert_eq!((wire.identity(), wire.words().as_str()), (None, "on, waiting for a certificate"));
    let refused = wire.connect(&address, &Expected::roles(&[Role::Manager]), WITHIN).await;
    assert!(refused.unwrap_err().to_string().contains("no certificate yet"));
    std::fs::write(stage.path("token"), "right").unwrap();
    while wire.identity().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.tasks.close().await;
}

#[tokio::test]
async fn a_token_is_shown_to_a_manager_only() {
    let (stage, _address, memory) = managed(HOUR).await;
    let founded = found("t", System.now_ms()).unwrap();
    std::fs::write(stage.path("ca.crt"), &founded.certificate).unwrap();
    let authority = Authority::of(&founded.certificate, &founded.key).unwrap();
    let stage = Stage { authority, ..stage };
    let daemon = stage.wire(Role::PeerDaemon, "thief").await;
    let address = grpc_port(&daemon, None, &stage.tasks).await;
    let wire = join(&stage, &address, &memory).await;
    assert_eq!(wire.identity(), None);
    assert!(memory.asked.lock().unwrap().is_empty());
    stage.tasks.close().await;
}

#[test]
fn the_name_of_a_file_is_that_of_its_certificate() {
    let stage = Stage::new("t");
    stage.write(Role::Scheduler, "scheduler-0", (System.now_ms(), HOUR));
    assert_eq!(name_in(&stage.path("scheduler-0.crt")).as_deref(), Some("scheduler-0"));
    assert_eq!(name_in(Path::new("/nonexistent")), None);
}
