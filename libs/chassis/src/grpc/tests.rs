//! Channels and servers against one another on loopback.

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt as _;

use super::*;

/// A server that answers every call with what it saw of it.
fn mirror() -> Routes {
    let saw = async |request: Request| {
        let text = |name: &str| {
            request.headers().get(name).map_or("none", |value| value.to_str().unwrap()).to_owned()
        };
        let local = request.extensions().get::<TcpConnectInfo>().and_then(|at| at.remote_addr).is_some();
        let seen = [
            ("x-parent", text("traceparent")),
            ("x-local", local.to_string()),
            ("grpc-status", "0".to_owned()),
        ];
        (seen.map(|(name, value)| (http::HeaderName::from_static(name), value)), "")
    };
    Routes::from(Router::new().fallback(saw))
}

fn call() -> http::Request<tonic::body::Body> {
    let request =
        http::Request::post("/darner.v1.Scheduler/Announce").header("content-type", "application/grpc");
    request.body(tonic::body::Body::empty()).unwrap()
}

fn bound() -> (TcpListener, String) {
    let listener = crate::net::bind("127.0.0.1:0", "grpc.listen").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_call_arrives_and_knows_who_calls() {
    let (listener, address) = bound();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    serve(listener, mirror(), None, &tasks, &drain);
    let answer = channel(&address).unwrap().oneshot(call()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    assert_eq!(answer.headers()["x-local"], "true");
    assert_eq!(answer.headers()["x-parent"], "none");
    tasks.close().await;
}

#[tokio::test]
async fn both_ends_of_a_call_carry_nodelay() {
    // The client's end: its default, asserted on the very endpoint a channel is made from.
    assert!(endpoint("http://127.0.0.1:1").unwrap().get_tcp_nodelay());
    // The server's end: the accept that every listener uses.
    let (listener, address) = bound();
    let client = tokio::net::TcpStream::connect(&address).await.unwrap();
    let (served, _) = crate::net::accept(&listener).await.unwrap();
    assert!(served.nodelay().unwrap());
    drop(client);
}

#[tokio::test]
async fn the_connect_timeout_is_two_seconds() {
    assert_eq!(endpoint("http://127.0.0.1:1").unwrap().get_connect_timeout(), Some(Duration::from_secs(2)));
}

#[tokio::test]
async fn a_channel_finds_its_peer_again_after_a_loss() {
    let (listener, address) = bound();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    serve(listener, mirror(), None, &tasks, &drain);
    let channel = channel(&address).unwrap();
    channel.clone().oneshot(call()).await.unwrap();
    tasks.close().await;
    assert!(channel.clone().oneshot(call()).await.is_err());
    let tasks = Tasks::new();
    serve(crate::net::bind(&address, "grpc.listen").unwrap(), mirror(), None, &tasks, &drain);
    channel.oneshot(call()).await.unwrap();
    tasks.close().await;
}

#[tokio::test]
async fn a_browser_gets_the_page_on_the_same_port() {
    let (listener, address) = bound();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    let pages = Router::new().route("/", get(async || "scheduler of darner\n"));
    serve(listener, mirror(), Some(pages), &tasks, &drain);
    let answer = channel(&address).unwrap().oneshot(call()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    let mut browser = tokio::net::TcpStream::connect(&address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("scheduler of darner\n"), "{page}");
    tasks.close().await;
}

#[tokio::test]
async fn an_unknown_method_is_answered_the_grpc_way() {
    let (listener, address) = bound();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    serve(listener, Routes::default(), Some(Router::new()), &tasks, &drain);
    let answer = channel(&address).unwrap().oneshot(call()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    tasks.close().await;
}

#[tokio::test]
async fn the_drain_lets_a_call_under_way_end_and_takes_no_new_one() {
    let (entered, mut inside) = mpsc::channel::<()>(1);
    let (let_go, gate) = tokio::sync::watch::channel(false);
    let slow = Router::new().fallback(move || {
        let (entered, mut gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).await.unwrap();
            gate.wait_for(|open| *open).await.unwrap();
            [("grpc-status", "0")]
        }
    });
    let (listener, address) = bound();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    serve(listener, Routes::from(slow), None, &tasks, &drain);
    let caller = channel(&address).unwrap();
    let asking = Tasks::new();
    let (answered, mut answer) = mpsc::channel(1);
    asking.spawn("caller", async move { answered.send(caller.oneshot(call()).await).await.unwrap() });
    inside.recv().await.unwrap();
    drain.start();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let_go.send(true).unwrap();
    assert_eq!(answer.recv().await.unwrap().unwrap().headers()["grpc-status"], "0");
    tasks.close().await;
}

#[tokio::test]
async fn a_unix_socket_serves_its_owner_and_replaces_a_stale_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (tasks, drain) = (Tasks::new(), Drain::new());
    serve_unix(&path, mirror(), &tasks, &drain).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let answer = unix_channel(&path).unwrap().oneshot(call()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    let words = serve_unix(&path, mirror(), &tasks, &drain).unwrap_err().to_string();
    assert!(words.contains("daemon.sock"), "{words}");
    tasks.close().await;
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    for wrong in ["", "host", "http://host", ":1", "a b:1", "host:99999"] {
        let words = channel(wrong).unwrap_err().to_string();
        assert!(words.contains("HOST:PORT"), "{wrong}: {words}");
    }
    channel("localhost:1").unwrap();
    channel("http://[::1]:1").unwrap();
}
