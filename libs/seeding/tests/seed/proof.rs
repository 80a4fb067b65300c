//! Who is granted what, and what the upstream is asked for it (I2, I3, I5, I10).

use std::sync::Arc;

use darner_chassis::metrics::Kind;
use darner_proto::v1;
use prost::Message as _;

use crate::upstream::{Answer, Upstream};
use crate::{Bench, all_of, content, credential, granted, key_of, opened, refusal};

const SIZE: usize = 1_000_000;

#[tokio::test]
async fn a_cold_object_is_one_content_request_of_its_size_and_no_probe_for_who_performs_it() {
    let content = content(SIZE);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    let reply = opened(bench.open(key, credential(&upstream.url("/x?sig=1"))).await);
    assert!(bench.trust.grant(&reply.grant.unwrap(), &key, "daemon-1", 0).is_ok());
    assert_eq!(reply.upstream, upstream.url(""));
    assert_eq!(reply.seed.unwrap().id, "seed-0");
    let stored = bench.kept(key).await;
    assert_eq!(all_of(&stored).await, *content);
    bench.quiet().await;
    assert_eq!((bench.requests(Kind::Content), bench.bytes(Kind::Content)), (1, SIZE as u64));
    assert_eq!(bench.requests(Kind::Probe), 0);
    assert!(stored.upstreams().contains(&upstream.url("")));
    let kept = stored.attestation().unwrap();
    let said = v1::Attestation::decode_length_delimited(kept.as_ref()).unwrap();
    assert_eq!(said.state(), v1::AttestationState::Confirmed);
    assert_eq!(bench.trust.attestation(&said).unwrap().digests, stored.digests());
    let again = opened(bench.open(key, credential(&upstream.url("/x?sig=1"))).await);
    assert!(again.complete);
    assert_eq!(again.grant.unwrap().reading, 0);
    assert_eq!(bench.requests(Kind::Probe), 0, "its credential performed the read");
}

#[tokio::test]
async fn after_a_purge_a_credential_that_was_believed_is_proved_anew() {
    let content = content(SIZE);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    let open = || bench.open(key, credential(&upstream.url("/x?sig=1")));
    opened(open().await);
    bench.kept(key).await;
    bench.quiet().await;
    opened(open().await);
    assert_eq!(bench.requests(Kind::Probe), 0, "believed: it performed the read");
    bench.seeding.forget_verdicts();
    opened(open().await);
    assert_eq!(bench.requests(Kind::Probe), 1);
}

#[tokio::test]
async fn it_is_opened_when_the_head_has_come_and_its_bytes_are_readable_before_the_end() {
    let content = content(SIZE);
    let (key, held) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |_| Answer::Held(held.clone(), 100_000)).await;
    let bench = Bench::new(&[&upstream]).await;
    let reply = opened(bench.open(key, credential(&upstream.url("/x"))).await);
    assert!(!reply.complete);
    let reading = bench.store.live_partial(&key).unwrap().reading().unwrap().0;
    assert_eq!(reply.grant.unwrap().reading, reading, "what nobody has confirmed opens only itself");
    let partial = bench.store.live_partial(&key).unwrap();
    let mut changes = partial.subscribe();
    while partial.readable(0, darner_store::Unchecked::Edge) < 100_000 {
        changes.changed().await.unwrap();
    }
    assert!(!bench.store.contains(&key));
    upstream.let_go();
    bench.kept(key).await;
}

#[tokio::test]
async fn sixteen_callers_with_a_signature_each_are_one_read_and_a_small_probe_for_each_other() {
    let content = content(SIZE);
    let (key, held) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |_| Answer::Held(held.clone(), 500_000)).await;
    let bench = Bench::new(&[&upstream]).await;
    upstream.let_go();
    let calls = (0..16).map(|n| bench.open(key, credential(&upstream.url(&format!("/x?sig={n}")))));
    for outcome in futures::future::join_all(calls).await {
        opened(outcome);
    }
    bench.kept(key).await;
    bench.quiet().await;
    assert_eq!((bench.requests(Kind::Content), bench.bytes(Kind::Content)), (1, SIZE as u64));
    assert!(bench.requests(Kind::Probe) <= 15, "{} probes", bench.requests(Kind::Probe));
    assert!(bench.bytes(Kind::Probe) <= 15 * 4096, "{} bytes", bench.bytes(Kind::Probe));
}

#[tokio::test]
async fn callers_their_common_upstream_granted_cost_no_probe() {
    let content = content(SIZE);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    let repository = upstream.url("/org/repo");
    let call = |n: usize| bench.open(key, granted(&upstream.url(&format!("/x?sig={n}")), &repository));
    for outcome in futures::future::join_all((0..16).map(call)).await {
        assert_eq!(opened(outcome).upstream, repository);
    }
    bench.kept(key).await;
    bench.quiet().await;
    opened(call(17).await);
    assert_eq!((bench.requests(Kind::Content), bench.requests(Kind::Probe)), (1, 0));
}

#[tokio::test]
async fn equal_credentials_share_one_probe_and_its_verdict() {
    let content = content(SIZE);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    bench.store.put(key.oid().unwrap(), content.as_ref().clone().into(), None).await.unwrap();
    let calls = (0..16).map(|_| bench.open(key, credential(&upstream.url("/x?sig=1"))));
    for outcome in futures::future::join_all(calls).await {
        assert!(opened(outcome).complete);
    }
    assert_eq!((bench.requests(Kind::Content), bench.requests(Kind::Probe)), (0, 1));
    assert_eq!(bench.bytes(Kind::Probe), 4096);
}

#[tokio::test]
async fn a_look_alike_file_of_the_same_size_opens_nothing() {
    let content = content(SIZE);
    let key = key_of(&content);
    let zeros = Arc::new(vec![0; SIZE]);
    let attacker = Upstream::of(&zeros).await;
    let bench = Bench::new(&[&attacker]).await;
    bench.store.put(key.oid().unwrap(), content.as_ref().clone().into(), None).await.unwrap();
    let path = format!("/aa/bb/{}", key.oid().unwrap());
    let refused = refusal(bench.open(key, credential(&attacker.url(&path))).await);
    assert_eq!(refused.status, 403);
    // A forge that grants anything, in its own name: its word counts for what it has shown to serve.
    let forged = refusal(bench.open(key, granted(&attacker.url(&path), &attacker.url("/evil/repo"))).await);
    assert_eq!(forged.status, 403);
    let stored = bench.store.get(&key).await.unwrap();
    assert!(stored.upstreams().iter().all(|upstream| !upstream.contains(&attacker.address.to_string())));
}

#[tokio::test]
async fn an_object_of_mostly_zeros_is_not_proved_by_zeros() {
    let mut bytes = vec![0; SIZE];
    bytes[700_000..700_010].copy_from_slice(b"the secret");
    let content = Arc::new(bytes);
    let key = key_of(&content);
    let attacker = Upstream::of(&Arc::new(vec![0; SIZE])).await;
    let owner = Upstream::of(&content).await;
    let bench = Bench::new(&[&attacker, &owner]).await;
    bench.store.put(key.oid().unwrap(), content.as_ref().clone().into(), None).await.unwrap();
    for n in 0..20 {
        assert_eq!(refusal(bench.open(key, credential(&attacker.url(&format!("/{n}")))).await).status, 403);
    }
    opened(bench.open(key, credential(&owner.url("/x"))).await);
}

#[tokio::test]
async fn a_shorter_or_longer_file_with_the_same_beginning_opens_nothing() {
    let content = content(SIZE);
    let key = key_of(&content);
    let longer = Arc::new([content.as_slice(), b"x"].concat());
    let shorter = Arc::new(content[..SIZE - 1].to_vec());
    let (longer, shorter) = (Upstream::of(&longer).await, Upstream::of(&shorter).await);
    let bench = Bench::new(&[&longer, &shorter]).await;
    bench.store.put(key.oid().unwrap(), content.as_ref().clone().into(), None).await.unwrap();
    for upstream in [&longer, &shorter] {
        assert_eq!(refusal(bench.open(key, credential(&upstream.url("/x"))).await).status, 403);
    }
}

#[tokio::test]
async fn a_look_alike_beside_a_running_read_gets_nothing_of_it() {
    let content = content(SIZE);
    let (key, held) = (key_of(&content), content.clone());
    let owner = Upstream::start(move |_| Answer::Held(held.clone(), 600_000)).await;
    let attacker = Upstream::of(&Arc::new(vec![0; SIZE])).await;
    let bench = Bench::new(&[&owner, &attacker]).await;
    opened(bench.open(key, credential(&owner.url("/x"))).await);
    let attack = bench.open_as("thief", key, credential(&attacker.url("/x")));
    tokio::pin!(attack);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), &mut attack).await;
    assert!(waited.is_err(), "nothing is decided while the origins contradict one another");
    owner.let_go();
    assert_eq!(refusal(attack.await).status, 403);
    bench.kept(key).await;
}

#[tokio::test]
async fn a_refusal_reaches_its_own_caller_only_and_the_next_credential_reads() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match asked.path.as_str() {
        "/x?good" => Answer::Content(served.clone()),
        "/x?gone" => Answer::Status(410, 0),
        "/x?unknown" => Answer::Status(404, 0),
        _ => Answer::Status(403, 0),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    // The bad ones last longest, so that they are tried first.
    let call = |path: &str, expires_ms| {
        bench.open(key, v1::Credential { expires_ms, ..credential(&upstream.url(path)) })
    };
    let far = u64::MAX / 2;
    let (gone, unknown, bad, good) = tokio::join!(
        call("/x?gone", far + 2),
        call("/x?unknown", far + 1),
        call("/x?bad", far),
        call("/x?good", 0)
    );
    assert_eq!([gone, unknown, bad].map(|outcome| refusal(outcome).status), [410, 404, 403]);
    opened(good);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
}

#[tokio::test]
async fn an_upstream_that_is_not_listed_is_refused_and_named() {
    let bench = Bench::new(&[]).await;
    let key = key_of(b"x");
    let refused = refusal(bench.open(key, credential("http://127.0.0.1:9/x?sig=canary")).await);
    assert_eq!(refused.status, 403);
    assert!(
        refused.message.contains("`upstreams`") && !refused.message.contains("canary"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn another_tenant_is_opened_nothing() {
    use darner_transfer::download::Opener as _;
    use futures::StreamExt as _;
    let bench = Bench::new(&[]).await;
    let taker = v1::NodeIdentity { id: "d".to_owned(), tenant: "other".to_owned(), ..Default::default() };
    let object = v1::OpenObject { key: Some(key_of(b"x").into()), ..Default::default() };
    let request = v1::OpenRequest { taker: Some(taker), objects: vec![object], content_bytes: 0 };
    let reply = bench.seeding.open(request).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(refusal(reply.outcome.unwrap()).status, 403);
}

#[tokio::test]
async fn takers_are_told_to_those_who_come_later() {
    let content = content(1_000);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    let url = upstream.url("/x");
    assert!(opened(bench.open_as("daemon-1", key, credential(&url)).await).takers.is_empty());
    let told = opened(bench.open_as("daemon-2", key, credential(&url)).await).takers;
    assert_eq!(told.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["daemon-1"]);
    assert_eq!(bench.seeding.referrals().takers(&key).len(), 2);
}
