//! What is passed on: git's own exchange, locks, uploads, tunnels, and what is not here.

use super::stand::{content, stand, stand_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn gits_greeting_goes_direct_unless_it_carries_a_credential() {
    let stand = stand().await;
    let target = stand.path("/o/r.git/info/refs?service=git-upload-pack");
    let answer = stand.get(&target, &[]).await;
    assert_eq!(answer.status, 307);
    let wanted = format!("http://{}/o/r.git/info/refs?service=git-upload-pack", stand.forge_at);
    assert_eq!(answer.header("location"), Some(wanted));
    assert!(stand.forge.seen("info/refs").is_empty());
    let answer = stand.get(&target, &[("Authorization", "Basic good")]).await;
    assert_eq!(answer.status, 200);
    let seen = stand.forge.seen("info/refs");
    assert_eq!(seen[0].authorization.as_deref(), Some("Basic good"));
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_is_shown_the_forges_challenge_and_sent_to_an_open_repository() {
    let stand = stand().await;
    let git = [("User-Agent", "git/2.47.3")];
    let private = stand.get(&stand.path("/private/r.git/info/refs?service=git-upload-pack"), &git).await;
    assert_eq!(
        (private.status, private.header("www-authenticate").as_deref()),
        (401, Some("Basic realm=\"forge\""))
    );
    for _ in 0..3 {
        let open = stand.get(&stand.path("/o/r.git/info/refs?service=git-upload-pack"), &git).await;
        assert_eq!(open.status, 307);
    }
    assert_eq!(
        stand.forge.seen("/o/r.git/info/refs").len(),
        1,
        "an open repository is asked once in a while"
    );
    let other = stand.get(&stand.path("/private/r.git/info/refs?service=git-upload-pack"), &[]).await;
    assert_eq!(other.status, 307);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_uploads_and_verify_pass_untouched() {
    let stand = stand().await;
    let oid = stand.forge.put(content(1, 10));
    let upload = format!("/store/{}?sig=good", oid.path());
    for (method, rest, body) in [
        ("POST", "/o/r.git/info/lfs/locks", r#"{"path":"a","ref":{}}"#),
        ("POST", "/o/r.git/info/lfs/locks/verify", "{}"),
        ("POST", "/o/r.git/info/lfs/verify", r#"{"oid":"x","size":1}"#),
        ("PUT", upload.as_str(), "the bytes of an object"),
        ("POST", "/o/r.git/git-receive-pack", "0000"),
    ] {
        let answer =
            stand.ask(method, &stand.path(rest), &[("Authorization", "Basic good")], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text());
        let path = rest.split('?').next().unwrap();
        let seen = stand.forge.seen(path).pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, rest));
        assert_eq!(seen.body, body.as_bytes());
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_reaches_what_is_listed_and_names_the_key_otherwise() {
    let forge = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = forge.local_addr().unwrap();
    let stand = stand_with(|config| config.upstreams.push(format!("https://{at}"))).await;
    let echo = async {
        let (mut stream, _) = forge.accept().await.unwrap();
        let mut four = [0; 4];
        stream.read_exact(&mut four).await.unwrap();
        stream.write_all(&four).await.unwrap();
    };
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(stand.at.proxy).await.unwrap();
        stream.write_all(format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = vec![0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head, b"HTTP/1.1 200");
        stream.write_all(b"ping").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"ping"));
    };
    tokio::join!(echo, client);
    for refused in ["github.com:443", "127.0.0.1:22", "169.254.169.254:80"] {
        let answer = stand.raw(format!("CONNECT {refused} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 403, "{refused}");
        assert!(answer.text().contains("`upstreams`"), "{}", answer.text());
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_says_so() {
    let stand = stand().await;
    for target in ["/v2/", "/hf/api/models", "/favicon.ico"] {
        let answer = stand.get(target, &[]).await;
        assert_eq!(answer.status, 404);
        assert!(answer.json()["message"].as_str().unwrap().len() > 20);
    }
    assert_eq!(stand.get("/", &[]).await.status, 200);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_through_rule_keeps_the_swarm_out() {
    use crate::config::Proxy;
    use crate::config::seed_words::Rule;
    let rule = Rule { regx: "blobs/sha256.*".to_owned(), ..Rule::default() };
    let stand =
        stand_with(|config| config.proxy = Some(Proxy { proxies: vec![rule], ..Proxy::default() })).await;
    let whole = content(1, 5000);
    let oid = stand.forge.put(whole.clone());
    for _ in 0..2 {
        let answer = stand.get(&stand.path(&format!("/store/{}?sig=good", oid.path())), &[]).await;
        assert_eq!((answer.status, answer.body == whole), (200, true));
    }
    assert_eq!(stand.forge.seen("/store/").len(), 2);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_from_elsewhere_is_refused_unless_allowed() {
    let Ok(own) = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    }) else {
        return;
    };
    for (allowed, status) in [(false, 403), (true, 200)] {
        let mut stand = stand_with(|config| {
            "0.0.0.0:0".clone_into(&mut config.git.listen);
            config.git.allow_plaintext = allowed;
        })
        .await;
        stand.at.proxy.set_ip(own.ip());
        let answer = stand.get("/", &[]).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.text().contains("`git.allowPlaintext`"), !allowed);
        stand.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_a_ticket_is_the_origins_to_answer() {
    let stand = stand().await;
    let oid = stand.forge.put(content(2, 4000));
    let answer = stand.ask("HEAD", &stand.path(&format!("/store/{}?sig=good", oid.path())), &[], b"").await;
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("4000")));
    *stand.forge.content_status.lock().unwrap() = Some(401);
    let answer = stand.ask("HEAD", &stand.path(&format!("/store/{}?sig=good", oid.path())), &[], b"").await;
    assert_eq!(answer.status, 403);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_hundred_half_open_connections_leave_room_for_a_request() {
    let stand = stand_with(|config| config.git.connections = 256).await;
    let mut silent = Vec::new();
    for _ in 0..1500 {
        // Old ones are closed by the daemon as new ones come; keeping a few hundred here is enough to hold places.
        if silent.len() >= 400 {
            silent.drain(..200);
        }
        silent.push(tokio::net::TcpStream::connect(stand.at.proxy).await.unwrap());
    }
    assert_eq!(stand.get("/", &[]).await.status, 200);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_the_feed_took_away_is_not_asked_for_anything() {
    let mut stand = stand().await;
    let oid = stand.forge.put(content(1, 5000));
    let (ticketed, ticket) = stand.ticket(oid, 5000).await;
    let pushed = b"darner-feed 1 3 0\n{\"upstreams\":[]}";
    let feed = stand.data().join("feed.json");
    stand.started.drain.start();
    stand.started.tasks.close().await;
    std::fs::write(feed, pushed).unwrap();
    stand.again().await;
    let content = stand.path(&format!("/store/{}?sig=good", oid.path()));
    // The feed is followed beside the first requests.
    while stand.ask("HEAD", &content, &[], b"").await.status == 200 {}
    let before = stand.forge.seen("").len();
    for (method, target) in [
        ("HEAD", content.as_str()),
        ("GET", &content),
        ("GET", &ticketed),
        ("HEAD", &ticketed),
        ("POST", &stand.path("/o/r.git/info/lfs/locks")),
        ("PUT", &content),
        ("POST", &stand.path("/o/r.git/git-upload-pack")),
        ("GET", &stand.path("/o/r.git/info/refs?service=git-upload-pack")),
        ("POST", &stand.path("/o/r.git/info/lfs/objects/batch")),
    ] {
        let answer = stand.ask(method, target, &[("Authorization", &ticket)], b"").await;
        assert_eq!(answer.status, 403, "{method} {target}: {}", answer.text());
    }
    assert_eq!(stand.forge.seen("").len(), before);
    stand.close().await;
}
