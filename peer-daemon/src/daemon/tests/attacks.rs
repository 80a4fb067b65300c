//! Those who may not: each shows what a caller without a right tries, and gets no byte of it.

use super::stand::{content, oid_of, stand};

const SIZE: usize = 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ticket_or_with_a_wrong_one_nothing_is_served() {
    let stand = stand().await;
    let whole = content(1, SIZE);
    let oid = stand.forge.put(whole.clone());
    let other = stand.forge.put(content(2, SIZE));
    let (path, ticket) = stand.ticket(oid, SIZE).await;
    assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    let mut damaged = ticket.clone();
    damaged.replace_range(40..41, if &damaged[40..41] == "A" { "B" } else { "A" });
    let (_, foreign) = stand.ticket(other, SIZE).await;
    for headers in [
        vec![],
        vec![("Authorization", damaged.as_str())],
        vec![("Authorization", foreign.as_str())],
        vec![("Authorization", "Basic good")],
    ] {
        let answer = stand.get(&path, &headers).await;
        assert_eq!(answer.status, 403, "{headers:?} {}", answer.head);
        assert!(answer.body.len() < 1000 && answer.header("www-authenticate").is_none());
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_signature_opens_nothing_that_is_cached() {
    let stand = stand().await;
    let whole = content(3, SIZE);
    let oid = stand.forge.put(whole.clone());
    let address = |query: &str| stand.path(&format!("/store/{}{query}", oid.path()));
    assert_eq!(stand.get(&address("?sig=good"), &[]).await.body, whole);
    for query in ["", "?sig=bad", "?sig=goo", "?x=1"] {
        let answer = stand.get(&address(query), &[]).await;
        assert_eq!(answer.status, 403, "{query}: {}", answer.head);
        assert!(answer.body.len() < 1000);
    }
    // A header that authorises is part of who asks: its verdict does not carry over to a caller without it.
    assert_eq!(stand.get(&address("?x=2"), &[("Authorization", "Basic good")]).await.body, whole);
    assert_eq!(stand.get(&address("?x=2"), &[]).await.status, 403);
    assert_eq!(stand.get(&address("?x=2"), &[("Authorization", "Basic bad")]).await.status, 403);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_of_the_same_size_proves_nothing() {
    let stand = stand().await;
    let whole = content(4, SIZE);
    let oid = stand.forge.put(whole.clone());
    assert_eq!(stand.get(&stand.path(&format!("/store/{}?sig=good", oid.path())), &[]).await.body, whole);
    for fake in [vec![0; SIZE], content(5, SIZE).to_vec()] {
        *stand.forge.grants_anything.lock().unwrap() = Some(fake.into());
        let answer = stand.get(&stand.path(&format!("/evil/{}?sig=good", oid.path())), &[]).await;
        assert_eq!(answer.status, 403, "{}", answer.head);
        assert!(answer.body.len() < 1000);
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_grants_anything_opens_nothing_that_is_not_its_own() {
    let stand = stand().await;
    let whole = content(6, SIZE);
    let oid = stand.forge.put(whole.clone());
    let (path, ticket) = stand.ticket(oid, SIZE).await;
    assert_eq!(stand.get(&path, &[("Authorization", &ticket)]).await.body, whole);
    *stand.forge.grants_anything.lock().unwrap() = Some(vec![7; SIZE].into());
    let granted = stand.batch("evil/r.git", "download", &[(oid.to_string(), SIZE as i64)]).await.json();
    let header =
        granted["objects"][0]["actions"]["download"]["header"]["Authorization"].as_str().unwrap().to_owned();
    let answer = stand.get(&path, &[("Authorization", &header)]).await;
    assert_eq!(answer.status, 403, "{}", answer.head);
    assert!(answer.body.len() < 1000);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_serves_other_bytes_never_ends_well() {
    let stand = stand().await;
    let mut lie = content(7, SIZE).to_vec();
    let oid = oid_of(&lie);
    lie[SIZE / 2] ^= 1;
    *stand.forge.grants_anything.lock().unwrap() = Some(lie.into());
    let answer = stand.get(&stand.path(&format!("/evil/{}?sig=good", oid.path())), &[]).await;
    assert!(answer.body.len() < SIZE || answer.status != 200, "{} {}", answer.head, answer.body.len());
    let resumed =
        stand.get(&stand.path(&format!("/evil/{}?sig=good", oid.path())), &[("Range", "bytes=1000-")]).await;
    assert!(resumed.body.len() < SIZE - 1000, "a wrong prefix is never resumed onto: {}", resumed.head);
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_listed_are_refused_in_every_spelling() {
    let stand = stand().await;
    let oid = oid_of(b"x").path();
    for target in [
        format!("/https/unlisted.test/{oid}"),
        format!("/http/169.254.169.254/{oid}"),
        format!("/http/0xa9fea9fe/{oid}"),
        format!("/http/2852039166/{oid}"),
        format!("/http/127.1/{oid}"),
        format!("/http/[::ffff:127.0.0.1]/{oid}"),
        format!("/http/[::ffff:a9fe:a9fe]/{oid}"),
        format!("/http/localhost/{oid}"),
        "/http/metadata.google.internal/computeMetadata/v1/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://{}@169.254.169.254/x", stand.forge_at),
        "/https/unlisted.test/o/r.git/info/refs?service=git-upload-pack".to_owned(),
    ] {
        let answer = stand.get(&target, &[]).await;
        assert_eq!(answer.status, 403, "{target}: {} {}", answer.head, answer.text());
        assert!(answer.text().contains("`upstreams`"), "{target}: {}", answer.text());
    }
    let malformed = [format!("/http/{}%2f@evil/x", stand.forge_at), "/https/u:p@h/x".to_owned()];
    for target in malformed {
        assert_eq!(stand.get(&target, &[]).await.status, 400, "{target}");
    }
    stand.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_target_wins_over_the_host_header() {
    let stand = stand().await;
    let target = stand.path("/hello");
    let answer = stand
        .raw(format!("GET {target} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.text(), format!("GET /hello from {}", stand.forge_at));
    stand.close().await;
}
