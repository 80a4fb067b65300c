//! Relays and tunnels.

use bytes::Bytes;
use darner_chassis::metrics::Kind;
use darner_origin::{Body, BoxError, OriginConfig, OriginError};
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Bench;
use crate::server::{ConnectProxy, Server, Step, ok, say};

fn body(content: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(content)).map_err(|never| match never {}).boxed_unsync()
}

fn post(url: &str) -> http::request::Builder {
    Request::post(url).header("authorization", "Basic canary").header("host", "evil.example")
}

#[tokio::test]
async fn a_batch_is_relayed_whole_with_its_credential_and_without_hop_by_hop_headers() {
    let server = Server::start(|_| {
        say("200 OK\nConnection: X-Inner\nX-Inner: 1\nX-Kept: 2\nContent-Length: 5", b"reply")
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let request = post(&server.url("/r/info/lfs/objects/batch?a=%2F"))
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("proxy-authorization", "Basic other")
        .header("accept-encoding", "gzip")
        .body(body(b"{\"objects\":[]}"))
        .unwrap();
    let response = bench.origin.exchange(request, Kind::Batch).await.unwrap();
    assert_eq!(response.headers().get("x-kept").unwrap(), "2");
    assert!(response.headers().get("x-inner").is_none() && response.headers().get("connection").is_none());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "reply");
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /r/info/lfs/objects/batch?a=%2F HTTP/1.1");
    assert_eq!(seen.body, b"{\"objects\":[]}");
    assert_eq!(seen.header("content-length"), Some("14"));
    assert_eq!(seen.header("authorization"), Some("Basic canary"));
    assert_eq!(seen.header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    for gone in ["x-hop", "proxy-authorization", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!((bench.requests(Kind::Batch), bench.bytes(Kind::Batch)), (1, 5));
}

#[tokio::test]
async fn an_upload_streams_through_and_keeps_its_framing() {
    let server = Server::start(|_| ok(b"")).await;
    let bench = Bench::new(&[server.entry()]);
    let known =
        Request::put(server.url("/known")).header("content-length", "6").body(body(b"abcdef")).unwrap();
    bench.origin.exchange(known, Kind::Upload).await.unwrap();
    let frames = [b"abc".as_slice(), b"def"]
        .map(|part| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(part))));
    let chunked = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let unknown =
        Request::put(server.url("/unknown")).header("transfer-encoding", "chunked").body(chunked).unwrap();
    bench.origin.exchange(unknown, Kind::Upload).await.unwrap();
    let seen = server.seen();
    assert_eq!((seen[0].header("content-length"), seen[0].header("transfer-encoding")), (Some("6"), None));
    assert_eq!(
        (seen[1].header("content-length"), seen[1].header("transfer-encoding")),
        (None, Some("chunked"))
    );
    assert_eq!(
        (seen[0].body.as_slice(), seen[1].body.as_slice()),
        (b"abcdef".as_slice(), b"abcdef".as_slice())
    );
    assert_eq!(bench.bytes(Kind::Upload), 12);
}

#[tokio::test]
async fn an_answer_is_relayed_as_it_arrives() {
    let server = Server::start(|_| {
        let mut steps = say("200 OK\nContent-Length: 10", b"01234");
        steps.push(Step::Freeze);
        steps
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let request = Request::get(server.url("/git-upload-pack")).body(body(b"")).unwrap();
    let mut response = bench.origin.exchange(request, Kind::Batch).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "01234");
}

#[tokio::test]
async fn a_redirect_and_a_refusal_are_relayed_and_not_followed() {
    let server = Server::start(|request| match request.path() {
        "/moved" => say("302 Found\nLocation: /elsewhere\nContent-Length: 0", b""),
        _ => say("401 Who\nLFS-Authenticate: Basic realm=\"x\"\nContent-Length: 0", b""),
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let moved = bench
        .origin
        .exchange(post(&server.url("/moved")).body(body(b"")).unwrap(), Kind::Lock)
        .await
        .unwrap();
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (302, &"/elsewhere".parse().unwrap())
    );
    let who = bench
        .origin
        .exchange(post(&server.url("/locks")).body(body(b"")).unwrap(), Kind::Lock)
        .await
        .unwrap();
    assert_eq!(
        (who.status().as_u16(), &who.headers()["lfs-authenticate"]),
        (401, &"Basic realm=\"x\"".parse().unwrap())
    );
    assert_eq!((server.seen().len(), bench.requests(Kind::Lock), bench.requests(Kind::Redirect)), (2, 1, 1));
}

#[tokio::test]
async fn a_relayed_503_says_when_to_come_back_and_closes_the_host() {
    let server = Server::start(|_| say("503 Down\nContent-Length: 0", b"")).await;
    let bench = Bench::new(&[server.entry()]);
    let batch = || post(&server.url("/batch")).body(body(b"{}")).unwrap();
    let response = bench.origin.exchange(batch(), Kind::Batch).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let error = bench.origin.exchange(batch(), Kind::Batch).await.unwrap_err();
    assert_eq!(error.retry_after_s(), Some(1));
    assert!(bench.read(&server.url("/x"), 0).await.is_err());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn two_framings_never_reach_an_upstream() {
    let server = Server::start(|_| ok(b"")).await;
    let bench = Bench::new(&[server.entry()]);
    let request =
        post(&server.url("/x")).header("content-length", "3").header("transfer-encoding", "chunked");
    let answered = bench.origin.exchange(request.body(body(b"abc")).unwrap(), Kind::Batch).await;
    assert!(matches!(answered, Err(OriginError::Malformed(_))));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_tunnel_reaches_a_listed_upstream_without_delay_and_nothing_else() {
    let server = Server::start(|_| ok(b"abc")).await;
    let listed = format!("https://{}", server.address);
    let bench = Bench::new(&[listed]);
    let mut stream = bench.origin.tunnel("127.0.0.1", server.address.port()).await.unwrap();
    assert!(stream.nodelay().unwrap());
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    for (host, port) in [("127.0.0.1", 1), ("localhost", server.address.port()), ("github.com", 443)] {
        let error = bench.origin.tunnel(host, port).await.unwrap_err();
        assert!(matches!(error, OriginError::NotAllowed { .. }), "{host}");
    }
    let plain = Bench::new(&[server.entry()]);
    assert!(
        plain.origin.tunnel("127.0.0.1", server.address.port()).await.is_err(),
        "listed for plain http only"
    );
}

#[tokio::test]
async fn everything_goes_through_the_proxy_where_there_is_one() {
    let server = Server::start(|_| ok(b"abc")).await;
    let proxy = ConnectProxy::start("HTTP/1.1 200 Connected\r\n\r\n").await;
    let port = server.address.port();
    let bench = Bench::with(&OriginConfig {
        upstreams: vec![format!("http://lfs.invalid:{port}")],
        proxy: Some(format!("http://user:pass@{}", proxy.address)),
        ..OriginConfig::default()
    });
    let mut reading = bench.read(&format!("http://lfs.invalid:{port}/x"), 0).await.unwrap();
    assert_eq!(crate::all(&mut reading).await.0, b"abc");
    let seen = proxy.seen();
    assert_eq!(seen[0].line, format!("CONNECT lfs.invalid:{port} HTTP/1.1"));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
    assert_eq!(server.seen()[0].header("proxy-authorization"), None);
    assert!(bench.read("http://169.254.169.254/x", 0).await.is_err());
    assert_eq!(proxy.seen().len(), 1, "what is not listed is not asked of the proxy either");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let proxy = ConnectProxy::start("HTTP/1.1 407 No\r\n\r\n").await;
    let bench = Bench::with(&OriginConfig {
        upstreams: vec!["http://lfs.invalid:81".to_owned()],
        proxy: Some(format!("user:s3cret@{}", proxy.address)),
        ..OriginConfig::default()
    });
    let error = bench.read("http://lfs.invalid:81/x", 0).await.unwrap_err();
    let words = format!("{error} {error:?}");
    assert!(words.contains("origin.proxy") && words.contains("407"), "{words}");
    assert!(!words.contains("s3cret"));
}
