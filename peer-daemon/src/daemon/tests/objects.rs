//! Objects by ticket and by address: whole, in parts, from the origin and from here.

use super::stand::{content, stand, stand_with};
use darner_chassis::metrics::{Kind, Role, Source};

const SIZE: usize = 700_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_ticketed_object_is_read_once_and_served_whole() {
    let stand = stand().await;
    let whole = content(1, SIZE);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, SIZE).await;
    for _ in 0..3 {
        let answer = stand.get(&path, &[("Authorization", &ticket)]).await;
        assert_eq!(answer.status, 200, "{} {}", answer.head, answer.text());
        assert_eq!(answer.header("content-length"), Some(SIZE.to_string()));
        assert!(answer.body == whole);
    }
    let reads: usize = stand.forge.seen("/store/").iter().map(|seen| seen.sent).sum();
    assert_eq!(reads, SIZE, "{:?}", stand.forge.seen("/store/"));
    assert_eq!(stand.started.metrics.origin_requests_so_far(Kind::Probe, Role::Daemon), 0);
    assert!(stand.started.metrics.served_so_far(Source::Local) >= SIZE as u64);
    let told = stand.told(oid).await;
    assert_eq!(told.iter().filter(|line| line.starts_with("served 700000 bytes")).count(), 3, "{told:?}");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_exact_before_and_after_the_object_is_here() {
    let stand = stand().await;
    let whole = content(2, SIZE);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, SIZE).await;
    for _ in 0..2 {
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=5-9", 5..10),
            ("bytes=699999-", 699_999..SIZE),
            ("bytes=-3", SIZE - 3..SIZE),
        ] {
            let answer = stand.get(&path, &[("Authorization", &ticket), ("Range", range)]).await;
            assert_eq!(answer.status, 206, "{range} {}", answer.head);
            let wanted = format!("bytes {}-{}/{SIZE}", part.start, part.end - 1);
            assert_eq!(answer.header("content-range"), Some(wanted));
            assert_eq!(answer.body, &whole[part]);
        }
        let beyond = stand.get(&path, &[("Authorization", &ticket), ("Range", "bytes=700000-")]).await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(format!("bytes */{SIZE}"))));
        assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_from_the_ticket() {
    let stand = stand().await;
    let oid = stand.forge.put(content(3, SIZE));
    let (path, ticket) = stand.ticket(oid, SIZE).await;
    let answer = stand.ask("HEAD", &path, &[("Authorization", &ticket)], b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), Some(SIZE.to_string()));
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_a_signature_is_served_and_proved_once_per_signature() {
    let stand = stand().await;
    let whole = content(4, SIZE);
    let oid = stand.forge.put(whole.clone());
    let address = |extra: &str| stand.path(&format!("/store/{}?sig=good{extra}", oid.path()));
    for _ in 0..2 {
        let answer = stand.get(&address(""), &[]).await;
        assert_eq!((answer.status, answer.body == whole), (200, true), "{}", answer.head);
    }
    assert_eq!(
        stand.started.metrics.origin_requests_so_far(Kind::Probe, Role::Daemon),
        0,
        "it performed the read"
    );
    for _ in 0..3 {
        let answer = stand.get(&address("&n=2"), &[]).await;
        assert_eq!((answer.status, answer.body == whole), (200, true), "{}", answer.head);
    }
    assert_eq!(stand.started.metrics.origin_requests_so_far(Kind::Probe, Role::Daemon), 1);
    let probes: Vec<_> = stand.forge.seen("&n=2");
    assert!(probes.iter().all(|seen| seen.sent <= 4096 && seen.range.is_some()), "{probes:?}");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_request_is_served_like_an_address() {
    let stand = stand().await;
    let whole = content(5, 10_000);
    let oid = stand.forge.put(whole.clone());
    let target = format!("http://{}/store/{}?sig=good", stand.forge_at, oid.path());
    let answer = stand.get(&target, &[]).await;
    assert_eq!((answer.status, answer.body == whole), (200, true), "{}", answer.head);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origins_refusal_stays_a_status_and_is_never_a_challenge() {
    let stand = stand().await;
    for (status, wanted) in [(404, 404), (410, 410), (403, 403), (401, 403)] {
        let oid = stand.forge.put(content(100 + u64::from(status), 1000));
        *stand.forge.content_status.lock().unwrap() = Some(status);
        let answer = stand.get(&stand.path(&format!("/store/{}?sig=good", oid.path())), &[]).await;
        assert_eq!(answer.status, wanted, "{status}: {}", answer.head);
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_origin_is_a_time_to_wait() {
    let stand = stand().await;
    let oid = stand.forge.put(content(8, 1000));
    *stand.forge.content_status.lock().unwrap() = Some(503);
    let answer = stand.get(&stand.path(&format!("/store/{}?sig=good", oid.path())), &[]).await;
    assert_eq!(answer.status, 429, "{}", answer.head);
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_daemon_sends_clients_to_an_https_origin_and_serves_the_others() {
    let stand = stand_with(|config| config.upstreams.push("https://forge.test".to_owned())).await;
    let whole = content(6, 5000);
    let oid = stand.forge.put(whole.clone());
    let plain = stand.path(&format!("/store/{}?sig=good", oid.path()));
    assert_eq!(stand.get(&plain, &[]).await.status, 200);
    stand.started.drain.start();
    let signed = format!("/https/forge.test/store/{}?sig=good&x=%2F", oid.path());
    let answer = stand.get(&signed, &[]).await;
    assert_eq!(answer.status, 307);
    assert_eq!(
        answer.header("location"),
        Some(format!("https://forge.test/store/{}?sig=good&x=%2F", oid.path()))
    );
    assert!(answer.body.is_empty());
    assert_eq!(stand.get(&plain, &[]).await.body, whole, "an http origin is no place to send anybody");
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_of_one_cold_object_cost_one_read() {
    let stand = stand().await;
    let whole = content(7, 3_000_000);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, whole.len()).await;
    let headers = [("Authorization", ticket.as_str())];
    let answers = futures::future::join_all((0..8).map(|_| stand.get(&path, &headers))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == whole));
    let reads: usize = stand.forge.seen("/store/").iter().map(|seen| seen.sent).sum();
    assert_eq!(reads, whole.len());
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_length_than_its_batch_said_is_never_taken_for_whole() {
    for announced in [SIZE - 100_000, SIZE - 1, SIZE + 1, SIZE] {
        let stand = stand().await;
        stand.forge.chunked.store(true, std::sync::atomic::Ordering::Relaxed);
        let whole = content(11, SIZE);
        let oid = stand.forge.put(whole.clone());
        let (path, ticket) = stand.ticket(oid, announced).await;
        let answer = stand.get(&path, &[("Authorization", &ticket)]).await;
        if announced != SIZE && answer.head.is_empty() {
            // The origin was read to its end, and found wanting, before the head was written: the connection is cut.
            stand.close().await;
            continue;
        }
        let said: usize = answer.header("content-length").unwrap().parse().unwrap();
        // The origin may have been read to its end before the headers left: then the true length was said.
        assert_eq!(answer.body.len() >= said, said == SIZE, "announced {announced}, said {said}");
        assert!(whole.starts_with(&answer.body));
        stand.close().await;
    }
}
