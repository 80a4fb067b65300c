//! What somebody tries who wants bytes that are not theirs, or an address that is nobody's business.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::time::Duration;

use darner_e2e::http::{self, Ask, Reply};
use darner_e2e::lfs;
use darner_e2e::origin::shelf::Access;
use darner_e2e::origin::switches::{BatchSwitch, Switch};
use darner_e2e::scene::{self, Mode, Plan, REPOSITORY, Scene, Wire};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

const SIZES: [u64; 3] = [500, 50_000, 2_000_000];
const QUIET: Duration = Duration::from_secs(3);

async fn warm() -> Scene {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    scene
}

/// The true bytes of a planted file.
fn truth(scene: &Scene, file: usize) -> Vec<u8> {
    std::fs::read(scene.origin.shelf.object(scene.oid(file).unwrap())).unwrap()
}

fn assert_not_the_object(reply: &Reply, truth: &[u8], what: &str) {
    let head = &truth[..64];
    let found = reply.body.windows(head.len()).any(|window| window == head);
    assert!(!found, "{what}: {} gave {} bytes of the object", reply.status, reply.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_file_on_an_allowed_host_opens_nothing() {
    let scene = warm().await;
    for file in 0..SIZES.len() {
        let (_, oid, size) = scene.planted[file].clone();
        let name = oid.to_string();
        let path = format!("eve/{}/{}/{name}", &name[..2], &name[2..4]);
        scene.origin.put_file(&path, &vec![0; usize::try_from(size).unwrap()]).unwrap();
        let (proxy, content) = (scene.cluster.proxy(0).unwrap(), scene.origin.at().content);
        for range in [None, Some("bytes=0-99"), Some("bytes=200-")] {
            let headers = range.map(|range| ("range", range)).into_iter().collect();
            let target = format!("/http/{content}/files/{path}");
            let reply = http::ask(proxy, Ask { target: &target, headers, ..Ask::default() }).await.unwrap();
            assert_not_the_object(&reply, &truth(&scene, file), &format!("{size} bytes, {range:?}"));
        }
    }
    // The true object is still served to those who may.
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_grants_anything_opens_nothing_of_another() {
    let data = tempfile::tempdir().unwrap();
    let eve = scene::origin(data.path()).await.unwrap();
    eve.shelf.create("eve/repo", Access::default()).unwrap();
    eve.switches.set_batch(BatchSwitch { grant_anything: true, ..BatchSwitch::default() });
    let mut plan = Plan::new(1, &SIZES);
    plan.options.upstreams.extend([eve.at().forge, eve.at().content].map(|at| format!("http://{at}")));
    let scene = Scene::set(plan).await.unwrap();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();

    let gateway = format!("http://{}/http/{}/eve/repo.git", scene.cluster.proxy(0).unwrap(), eve.at().forge);
    for lookalike in [false, true] {
        for file in 0..SIZES.len() {
            let (_, oid, size) = scene.planted[file].clone();
            if lookalike {
                let zeros = vec![0; usize::try_from(size).unwrap()];
                eve.put_file(&format!("lookalikes/eve/repo/{oid}"), &zeros).unwrap();
            }
            let Ok(actions) = lfs::actions(&gateway, &[(oid, size)], None).await else { continue };
            let reply = actions[0].get(None).await.unwrap();
            assert_not_the_object(&reply, &truth(&scene, file), &format!("{size} bytes, {lookalike}"));
        }
    }
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

/// A listener that nobody should ever reach: tells whether somebody did.
struct Trap(TcpListener);

impl Trap {
    async fn set() -> Self {
        Self(TcpListener::bind("0.0.0.0:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Connections that wait in the queue are found at once: no time has to pass.
    async fn sprung(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.0.accept()).await.is_ok()
    }
}

fn spellings(port: u16) -> Vec<String> {
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "[::127.0.0.1]",
        "127.0.0.1.",
        "LOCALHOST",
        "localhost.",
        "user@127.0.0.1",
        "forge.test@127.0.0.1",
        "%31%32%37.0.0.1",
        "127.0.0.1%2f",
    ];
    let local = hosts.iter().map(|host| format!("{host}:{port}"));
    let far = [
        "169.254.169.254",
        "2852039166",
        "0xA9FEA9FE",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "[fe80::1]",
        "100.100.100.200",
        "10.96.0.1",
        "kubernetes.default.svc",
    ];
    local.chain(far.iter().map(ToString::to_string)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_unlisted_address_is_dialled() {
    let scene = warm().await;
    let trap = Trap::set().await;
    let proxy = scene.cluster.proxy(0).unwrap();
    for host in spellings(trap.port()) {
        for scheme in ["http", "https"] {
            for path in [format!("/{scheme}/{host}/x"), format!("{scheme}://{host}/x")] {
                let request = format!("GET {path} HTTP/1.1\r\nHost: forge.test\r\nConnection: close\r\n\r\n");
                let answer = http::raw(proxy, request.as_bytes(), QUIET).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 4"), "GET {path}: {answer}");
            }
        }
        let port = if host.ends_with(&format!(":{}", trap.port())) { "" } else { ":80" };
        let request = format!("CONNECT {host}{port} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = http::raw(proxy, request.as_bytes(), QUIET).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "CONNECT {host}: {answer}");
        assert!(!trap.sprung().await, "{host} was dialled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_upstream_is_refused_with_the_name_of_the_key() {
    let scene = warm().await;
    let proxy = scene.cluster.proxy(0).unwrap();
    let reply = http::get(proxy, "/https/example.org/x").await.unwrap();
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("upstreams"), "{}", reply.text());
    let connect =
        http::raw(proxy, b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", QUIET).await;
    let connect = connect.unwrap();
    assert!(connect.starts_with("HTTP/1.1 403") && connect.contains("upstreams"), "{connect}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_off_the_list_is_not_followed() {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    let trap = Trap::set().await;
    let port = trap.port();
    for base in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("http://2130706433:{port}"),
        "http://169.254.169.254".to_owned(),
    ] {
        scene.origin.switches.set(None, Switch { redirect: Some(base.clone()), ..Switch::default() });
        for action in [scene.presigned(0, 2).await, scene.ticketed(0, 2).await] {
            let reply = action.unwrap().get(None).await.unwrap();
            assert!(!reply.status.is_success(), "{base}: {}", reply.status);
            let onward = reply.header("location").unwrap_or_default();
            assert!(!onward.contains(&port.to_string()), "{base} was passed on to the client: {onward}");
        }
        assert!(!trap.sprung().await, "{base} was followed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_lengths_is_refused() {
    let scene = warm().await;
    let proxy = scene.cluster.proxy(0).unwrap();
    let forge = scene.origin.at().forge;
    let target = format!("/http/{forge}/{REPOSITORY}.git/info/lfs/objects/batch");
    for headers in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        );
        let answer = http::raw(proxy, request.as_bytes(), QUIET).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{headers}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "two answers, one was smuggled: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_target_wins_over_the_host_header() {
    let scene = warm().await;
    let trap = Trap::set().await;
    let host = format!("127.0.0.1:{}", trap.port());
    let forge = scene.origin.at().forge;
    for target in [
        format!("http://{forge}/{REPOSITORY}.git/info/refs?service=git-upload-pack"),
        format!("/http/{forge}/{REPOSITORY}.git/info/refs?service=git-upload-pack"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = http::raw(scene.cluster.proxy(0).unwrap(), request.as_bytes(), QUIET).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        assert!(!trap.sprung().await, "the Host header was dialled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_huge_and_deep_batches_are_refused_and_hurt_nobody() {
    let scene = warm().await;
    let gateway = scene.gateway(0).unwrap();
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let nested =
        format!("{{\"operation\":\"download\",\"objects\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let huge = format!("{{\"operation\":\"download\",\"objects\":[{}]}}", "{},".repeat(20_000_000));
    for (what, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"{".to_vec()),
        ("another type", b"[1,2]".to_vec()),
        ("no text", vec![0xFF; 1000]),
        ("deep", deep),
        ("deep within", nested.into_bytes()),
        ("huge", huge.into_bytes()),
    ] {
        // A server may close on a body it will not read: that is a refusal, too.
        let Ok(reply) = lfs::post_batch(&gateway, body, None).await else { continue };
        assert!(reply.status.is_client_error(), "{what}: {}", reply.status);
    }
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_hundred_half_open_connections_starve_nobody() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let scene = warm().await;
    let proxy = scene.cluster.proxy(0).unwrap().to_owned();
    let mut open = Vec::new();
    for number in 0..1500 {
        let mut stream = TcpStream::connect(&proxy).await.unwrap();
        if number % 3 != 0 {
            stream.write_all(b"GET /http/forge.test/x HTTP/1.1\r\nHost: fo").await.unwrap();
        }
        open.push(stream);
    }
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    drop(open);
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}
