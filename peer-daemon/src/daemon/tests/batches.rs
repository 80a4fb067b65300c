//! The Batch relay: what clients send, what origins answer, what comes of it.

use super::stand::{content, stand};
use darner_chassis::metrics::{Kind, Role};

#[tokio::test(flavor = "multi_thread")]
async fn a_download_leads_here_and_an_upload_stays_as_it_came() {
    let stand = stand().await;
    let oid = stand.forge.put(content(1, 500));
    let objects = [(oid.to_string(), 500)];
    let download = stand.batch("o/r.git", "download", &objects).await.json();
    let object = &download["objects"][0];
    assert_eq!(object["authenticated"], true);
    let action = &object["actions"]["download"];
    assert_eq!(action["href"], format!("http://{}/-/objects/{}", stand.at.proxy, oid.path()));
    assert_eq!(action["expires_in"], 600);
    assert!(action["header"]["Authorization"].as_str().unwrap().starts_with("Darner "));
    assert!(!download.to_string().contains("sig=good"), "the origin's address stays sealed");
    let upload = stand.batch("o/r.git", "upload", &objects).await.json();
    let href = upload["objects"][0]["actions"]["upload"]["href"].as_str().unwrap();
    assert!(href.starts_with(&format!("http://{}/store/", stand.forge_at)), "{href}");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_objects_get_their_own_422_beside_the_good_ones() {
    let stand = stand().await;
    let oid = stand.forge.put(content(1, 500));
    let objects = [
        ("short".to_owned(), 1),
        (oid.to_string(), 500),
        ("Z".repeat(64), 1),
        (oid.to_string(), -5),
        ("e".repeat(64), 3),
    ];
    for operation in ["download", "upload"] {
        let answer = stand.batch("o/r.git", operation, &objects).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let reply = answer.json();
        let codes: Vec<_> = reply["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| object["error"]["code"].as_i64())
            .collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(422)).count(), 3, "{reply}");
        assert_eq!(
            codes.iter().filter(|code| code.is_none()).count(),
            if operation == "upload" { 2 } else { 1 }
        );
    }
    let only_bad = stand.batch("o/r.git", "download", &objects[..1]).await;
    assert_eq!((only_bad.status, only_bad.json()["objects"][0]["error"]["code"].as_i64()), (200, Some(422)));
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_of_the_origin_reaches_the_client() {
    let stand = stand().await;
    let target = stand.path("/o/r.git/info/lfs/objects/batch");
    let answer = stand.ask("POST", &target, &[], br#"{"operation":"download","objects":[]}"#).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("lfs-authenticate").as_deref(), Some("Basic realm=\"forge\""));
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_becomes_a_time_to_wait_after_our_own_tries() {
    let stand = stand().await;
    let oid = stand.forge.put(content(1, 500));
    let objects = [(oid.to_string(), 500)];
    for (status, again, wanted) in [(502, None, 3), (520, None, 1), (598, None, 1), (503, Some("7"), 1)] {
        *stand.forge.batch_status.lock().unwrap() = Some((status, again));
        let before = stand.forge.seen("/objects/batch").len();
        let answer = stand.batch("o/r.git", "download", &objects).await;
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        assert_eq!(stand.forge.seen("/objects/batch").len() - before, wanted, "{status}");
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_failure_is_passed_on_as_it_is() {
    let stand = stand().await;
    let oid = stand.forge.put(content(1, 500));
    for status in [403, 404, 422, 501, 505, 507, 509, 511] {
        *stand.forge.batch_status.lock().unwrap() = Some((status, None));
        let answer = stand.batch("o/r.git", "download", &[(oid.to_string(), 500)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "the forge is not well"));
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_none_is_refused_in_words_and_asks_nobody() {
    let stand = stand().await;
    let target = stand.path("/o/r.git/info/lfs/objects/batch");
    let deep = format!(r#"{{"operation":"download","objects":{}"#, "[".repeat(100_000));
    let many = format!(r#"{{"operation":"download","objects":[{}{{}}]}}"#, "{},".repeat(20_001));
    for (body, status) in [
        ("{".to_owned(), 422),
        (deep, 422),
        (many, 413),
        (r#"{"operation":"steal","objects":[]}"#.to_owned(), 422),
        (r#"{"operation":"download","hash_algo":"md5","objects":[]}"#.to_owned(), 409),
    ] {
        let answer = stand.ask("POST", &target, &[("Authorization", "Basic good")], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["message"].is_string());
    }
    assert!(stand.forge.seen("batch").is_empty());
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_batch_is_refused_before_it_is_kept() {
    let stand = stand().await;
    let target = stand.path("/o/r.git/info/lfs/objects/batch");
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n");
    let answer = stand.raw(&[head.as_bytes(), &vec![b' '; 9_000_000]].concat()).await;
    assert!(answer.status == 413 || answer.head.is_empty(), "{}", answer.head);
    assert!(stand.forge.seen("batch").is_empty());
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_starts_the_read_before_the_get_comes() {
    let stand = stand().await;
    let whole = content(9, 400_000);
    let oid = stand.forge.put(whole.clone());
    let target = stand.path("/o/r.git/info/lfs/objects/batch");
    let body = format!(r#"{{"operation":"download","objects":[{{"oid":"{oid}","size":400000}}]}}"#);
    // The connection stays open: what a Batch started ends with it.
    let mut stream = tokio::net::TcpStream::connect(stand.at.proxy).await.unwrap();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic good\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let read =
        |metrics: darner_chassis::metrics::Metrics| metrics.origin_bytes_so_far(Kind::Content, Role::Daemon);
    let fetched = async {
        while read(stand.started.metrics.clone()) < 400_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), fetched).await.expect("the prefetch reads");
    drop(stream);
    stand.close().await;
}
