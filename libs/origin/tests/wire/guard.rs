//! Who is dialled, who is not, and what nobody is told.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use darner_chassis::clock::Manual;
use darner_chassis::metrics::{Kind, Metrics};
use darner_origin::{Origin, OriginConfig, OriginError, Read, Resolve, Resolving};

use crate::server::{Authority, Server, ok, say};
use crate::{Bench, all, credential};

/// Redirects `/` to wherever it is told later, and serves content at `/content`.
async fn redirecting() -> (Server, Arc<Mutex<String>>) {
    let to = Arc::new(Mutex::new(String::new()));
    let location = to.clone();
    let server = Server::start(move |request| match request.path() {
        "/content" => ok(b"content"),
        _ => say(&format!("302 Found\nLocation: {}\nContent-Length: 0", location.lock().unwrap()), b""),
    })
    .await;
    (server, to)
}

fn port_of(server: &Server) -> u16 {
    server.address.port()
}

#[tokio::test]
async fn what_is_not_listed_is_not_dialled_by_any_spelling() {
    let server = Server::start(|_| ok(b"secret")).await;
    let bench = Bench::new(&["https://lfs.example".to_owned()]);
    let port = port_of(&server);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.1",
        "%31%32%37.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "lfs.example@127.0.0.1",
        "user:pw@127.0.0.1",
        "127.0.0.1.",
        "lfs.example%2f@127.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
    ] {
        let url = format!("http://{host}:{port}/lfs.example");
        let error = bench.read(&url, 0).await.unwrap_err();
        assert!(
            matches!(error, OriginError::NotAllowed { .. } | OriginError::Malformed(_)),
            "{url}: {error}"
        );
        assert!(!bench.origin.allows("http", host, port), "{host}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_listed_address_is_reached_by_every_spelling_of_it() {
    let server = Server::start(|_| ok(b"abc")).await;
    let bench = Bench::new(&[server.entry()]);
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1"] {
        let url = format!("http://{host}:{}/", port_of(&server));
        assert!(bench.read(&url, 0).await.is_ok(), "{url}");
        assert!(bench.origin.allows("http", host, port_of(&server)));
    }
}

#[tokio::test]
async fn an_override_sends_a_name_where_the_operator_said() {
    let server = Server::start(|_| ok(b"abc")).await;
    let port = port_of(&server);
    let bench = Bench::with(&OriginConfig {
        upstreams: vec![format!("http://lfs.invalid:{port}")],
        resolve: vec![format!("LFS.invalid:{port}:127.0.0.1")],
        ..OriginConfig::default()
    });
    let mut reading = bench.read(&format!("http://lfs.invalid:{port}/x"), 0).await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"abc");
    assert_eq!(server.seen()[0].header("host"), Some(format!("lfs.invalid:{port}").as_str()));
}

/// Answers with loopback first and with the metadata service ever after.
struct Moving(AtomicUsize);

impl Resolve for Moving {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let answer: IpAddr = if first { [127, 0, 0, 1].into() } else { [169, 254, 169, 254].into() };
        Box::pin(async move { Ok(vec![answer]) })
    }
}

#[tokio::test]
async fn an_answer_that_moves_is_dialled_where_it_was_checked_and_refused_where_it_went() {
    let server = Server::start(|_| say("200 OK\nConnection: close\nContent-Length: 3", b"abc")).await;
    let url = format!("http://moving.example:{}", port_of(&server));
    let resolver = Arc::new(Moving(AtomicUsize::new(0)));
    let config = OriginConfig { upstreams: vec![url.clone()], ..OriginConfig::default() };
    let origin =
        Origin::with_resolver(&config, Metrics::new(), Arc::new(Manual::at(0)), resolver.clone()).unwrap();
    let read = || origin.read(Read { url: &url, headers: &[], from: 0, to: None, etag: None }, Kind::Content);
    let mut reading = read().await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"abc");
    assert_eq!(resolver.0.load(Ordering::SeqCst), 1, "resolved once, dialled as checked");
    let error = read().await.unwrap_err();
    assert!(matches!(error, OriginError::Address { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_on_its_own_site_keeps_the_credential() {
    let (server, to) = redirecting().await;
    *to.lock().unwrap() = "/content".to_owned();
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/"), 0).await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"content");
    assert_eq!(server.seen()[1].header("authorization"), Some("Bearer canary"));
    assert_eq!((bench.requests(Kind::Redirect), bench.requests(Kind::Content)), (1, 1));
}

#[tokio::test]
async fn a_redirect_never_reaches_another_site_in_clear() {
    let inner = Server::start(|_| ok(b"secret")).await;
    let (server, to) = redirecting().await;
    let bench = Bench::new(&[server.entry(), inner.entry()]);
    for location in
        [inner.url("/"), "http://169.254.169.254/latest".to_owned(), "http://example.com/".to_owned()]
    {
        to.lock().unwrap().clone_from(&location);
        let error = bench.read(&server.url("/"), 0).await.unwrap_err();
        assert!(matches!(error, OriginError::Redirect(_)), "{location}: {error}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn a_redirect_never_reaches_another_listed_upstream_that_lies_inside() {
    let authority = Authority::new();
    let inner = Server::start_tls(&authority, "inner.test", |_| ok(b"secret")).await;
    let (server, to) = redirecting().await;
    let port = port_of(&inner);
    let bench = Bench::with(&OriginConfig {
        upstreams: vec![
            server.entry(),
            format!("https://inner.test:{port}"),
            format!("https://127.0.0.1:{port}"),
        ],
        resolve: vec![format!("inner.test:{port}:127.0.0.1")],
        upstream_ca: Some(authority.pem.path().to_owned()),
        ..OriginConfig::default()
    });
    // A connection its own callers have opened must not be lent to the redirect either.
    let mut own = bench.read(&format!("https://inner.test:{port}/"), 0).await.unwrap();
    assert_eq!(all(&mut own).await.0, b"secret");
    for location in [
        format!("https://inner.test:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        "https://[::1]/".to_owned(),
    ] {
        to.lock().unwrap().clone_from(&location);
        let error = bench.read(&server.url("/"), 0).await.unwrap_err();
        assert!(matches!(error, OriginError::Address { .. }), "{location}: {error}");
    }
    assert_eq!(inner.seen().len(), 1, "only its own caller was served");
}

#[tokio::test]
async fn a_redirect_to_content_elsewhere_is_followed_over_tls_without_the_credential() {
    let authority = Authority::new();
    let store = Server::start_tls(&authority, "store.test", |_| ok(b"content")).await;
    let (server, to) = redirecting().await;
    let port = port_of(&store);
    *to.lock().unwrap() = format!("https://user:pw@store.test:{port}/x?sig=1");
    let bench = Bench::with(&OriginConfig {
        upstreams: vec![server.entry()],
        resolve: vec![format!("store.test:{port}:127.0.0.1")],
        upstream_ca: Some(authority.pem.path().to_owned()),
        ..OriginConfig::default()
    });
    let headers = [credential(), vec![("Private-Token".to_owned(), Bytes::from_static(b"canary"))]].concat();
    let mut reading = bench.read_with(&server.url("/"), &headers, 0, None).await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"content");
    let seen = &store.seen()[0];
    assert_eq!((seen.header("authorization"), seen.header("private-token")), (None, None));
    assert_eq!(seen.path(), "/x?sig=1");
}

#[tokio::test]
async fn a_passage_the_operator_listed_lets_a_redirect_in() {
    let inner = Server::start(|_| ok(b"content")).await;
    let (server, to) = redirecting().await;
    *to.lock().unwrap() = inner.url("/");
    let bench = Bench::new(&[format!("{} -> {}", server.entry(), inner.entry())]);
    let mut reading = bench.read(&server.url("/"), 0).await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"content");
    assert_eq!(inner.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_more() {
    let server = Server::start(|request| {
        let left: u32 = request.path().trim_start_matches('/').parse().unwrap();
        if left == 0 {
            ok(b"content")
        } else {
            say(&format!("302 F\nLocation: /{}\nContent-Length: 0", left - 1), b"")
        }
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    assert!(bench.read(&server.url("/5"), 0).await.is_ok());
    assert_eq!(bench.read(&server.url("/6"), 0).await.unwrap_err(), OriginError::TooManyRedirects);
}

#[tokio::test]
async fn tls_is_verified_by_authority_and_by_name() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, "lfs.test", |_| ok(b"abc")).await;
    let port = port_of(&server);
    let config = OriginConfig {
        upstreams: vec![format!("lfs.test:{port}"), format!("other.test:{port}")],
        resolve: vec![format!("lfs.test:{port}:127.0.0.1"), format!("other.test:{port}:127.0.0.1")],
        ..OriginConfig::default()
    };
    let trusting = OriginConfig { upstream_ca: Some(authority.pem.path().to_owned()), ..config.clone() };
    let (strict, trusting) = (Bench::with(&config), Bench::with(&trusting));
    let url = format!("https://lfs.test:{port}/x");
    assert!(trusting.read(&url, 0).await.is_ok());
    let unknown = strict.read(&url, 0).await.unwrap_err();
    assert!(matches!(unknown, OriginError::Unreachable { .. }), "{unknown}");
    let misnamed = trusting.read(&format!("https://other.test:{port}/x"), 0).await.unwrap_err();
    assert!(matches!(misnamed, OriginError::Unreachable { .. }), "{misnamed}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn no_error_shows_a_credential() {
    let refusing = Server::start(|_| say("403 No\nContent-Length: 0", b"")).await;
    let closing = Server::start(|_| vec![crate::server::Step::Close]).await;
    let bench = Bench::new(&[refusing.entry(), closing.entry(), "http://127.0.0.1:9".to_owned()]);
    for base in [
        refusing.url(""),
        closing.url(""),
        "http://127.0.0.1:9".to_owned(),
        "https://unlisted.example".to_owned(),
    ] {
        let url = format!("{base}/x?X-Amz-Signature=canary");
        let error = bench.read(&url, 0).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    let userinfo = bench.read("http://user:canary@unlisted.example/x", 0).await.unwrap_err();
    assert!(!format!("{userinfo} {userinfo:?}").contains("canary"));
}

#[tokio::test]
async fn every_mistake_in_the_configuration_is_told_at_once() {
    let config = OriginConfig {
        upstreams: vec!["ftp://h".to_owned()],
        resolve: vec!["h".to_owned()],
        upstream_ca: Some("/nonexistent/ca.pem".into()),
        proxy: Some("https://p:1".to_owned()),
        ..OriginConfig::default()
    };
    let words = Origin::new(&config, Metrics::new(), Arc::new(Manual::at(0))).unwrap_err().to_string();
    for key in ["`upstreams`", "`resolve`", "`upstreamCa`", "`origin.proxy`"] {
        assert!(words.contains(key), "{key} in {words}");
    }
}
