//! Cuts, lies, outages, full disks and restarts.

use std::sync::Arc;

use darner_chassis::metrics::Kind;
use darner_proto::v1;
use prost::Message as _;

use crate::upstream::{Answer, Upstream};
use crate::{Bench, all_of, content, credential, key_of, opened, refusal};

const SIZE: usize = 1_000_000;

#[tokio::test]
async fn a_cut_read_goes_on_where_it_stopped_and_no_byte_is_read_twice() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match asked.nth {
        0 | 1 => Answer::Cut(served.clone(), 333_333),
        _ => Answer::Content(served.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key, credential(&upstream.url("/x"))).await);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
    let ranges: Vec<_> = upstream.asked().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some("bytes=333333-".to_owned()), Some("bytes=666666-".to_owned())]);
    assert_eq!((bench.bytes(Kind::Content), bench.requests(Kind::Probe)), (SIZE as u64, 0));
}

#[tokio::test]
async fn an_origin_without_ranges_is_read_from_the_start_again() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Cut(served.clone(), 600_000),
        _ => Answer::Whole(served.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key, credential(&upstream.url("/x"))).await);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
}

#[tokio::test]
async fn a_credential_that_dies_on_the_way_is_followed_by_another_waiting_one() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match (asked.path.as_str(), asked.nth) {
        ("/x?first", 0) => Answer::Cut(served.clone(), 400_000),
        ("/x?first", _) => Answer::Status(403, 0),
        _ => Answer::Content(served.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    let first = v1::Credential { expires_ms: u64::MAX / 2, ..credential(&upstream.url("/x?first")) };
    let (one, two) =
        tokio::join!(bench.open(key, first), bench.open(key, credential(&upstream.url("/x?second"))));
    opened(one);
    opened(two);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
    assert_eq!(bench.bytes(Kind::Content), SIZE as u64);
    assert!(bench.requests(Kind::Probe) <= 1);
}

#[tokio::test]
async fn a_credential_of_another_place_reads_on_though_its_own_caller_waits_for_bytes_to_compare() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let dying = Upstream::start(move |asked| match asked.nth {
        0 => Answer::HeldCut(served.clone(), 10_000),
        _ => Answer::Status(403, 0),
    })
    .await;
    let other = Upstream::of(&content).await;
    let bench = Bench::new(&[&dying, &other]).await;
    let first = v1::Credential { expires_ms: u64::MAX / 2, ..credential(&dying.url("/x")) };
    opened(bench.open(key, first).await);
    let second = bench.open(key, credential(&other.url("/y")));
    tokio::pin!(second);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), &mut second).await;
    assert!(waited.is_err(), "it waits for more bytes than have come");
    dying.let_go();
    // Far below the patience of a caller, after which it is told to come again.
    opened(tokio::time::timeout(std::time::Duration::from_secs(10), second).await.unwrap());
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
}

#[tokio::test]
async fn an_origin_that_lies_in_one_byte_leaves_nothing_behind_and_an_honest_one_still_reads() {
    let content = content(SIZE);
    let key = key_of(&content);
    let mut wrong = content.as_ref().clone();
    wrong[777_777] ^= 1;
    let liar = Upstream::of(&Arc::new(wrong)).await;
    let honest = Upstream::of(&content).await;
    let bench = Bench::new(&[&liar, &honest]).await;
    let outcome = bench.open(key, credential(&liar.url("/x?sig=1"))).await;
    bench.quiet().await;
    assert!(!bench.store.contains(&key) && bench.store.record(&key).is_none());
    drop(outcome);
    let asked = liar.asked().len();
    assert_eq!(refusal(bench.open(key, credential(&liar.url("/x?sig=2"))).await).status, 502);
    assert_eq!(liar.asked().len(), asked, "a lie is not read again and again");
    opened(bench.open(key, credential(&honest.url("/x"))).await);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
}

#[tokio::test]
async fn an_honest_origin_that_read_on_after_a_liar_is_not_blamed() {
    let content = content(SIZE);
    let key = key_of(&content);
    let mut wrong = content.as_ref().clone();
    wrong[1_000] ^= 1;
    let wrong = Arc::new(wrong);
    let liar = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Cut(wrong.clone(), 600_000),
        _ => Answer::Status(404, 0),
    })
    .await;
    let honest = Upstream::of(&content).await;
    let bench = Bench::new(&[&liar, &honest]).await;
    let first = v1::Credential { expires_ms: u64::MAX / 2, ..credential(&liar.url("/x")) };
    let (_first, second) =
        tokio::join!(bench.open(key, first), bench.open(key, credential(&honest.url("/x"))));
    opened(second);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
}

#[tokio::test]
async fn what_was_shown_equal_to_a_lie_proves_nothing_of_the_object() {
    let content = content(SIZE);
    let key = key_of(&content);
    let zeros = Arc::new([&[1_u8][..], &vec![0; SIZE - 1]].concat());
    let held = zeros.clone();
    let slow = Upstream::start(move |_| Answer::Held(held.clone(), 500_000)).await;
    let other = Upstream::of(&zeros).await;
    let honest = Upstream::of(&content).await;
    let bench = Bench::new(&[&slow, &other, &honest]).await;
    opened(bench.open(key, credential(&slow.url("/x"))).await);
    // The accomplice shows the very bytes of the lie while it is under way.
    let accomplice = bench.open(key, credential(&other.url("/y")));
    let (_outcome, ()) = tokio::join!(accomplice, async { slow.let_go() });
    bench.quiet().await;
    opened(bench.open(key, credential(&honest.url("/x"))).await);
    bench.kept(key).await;
    bench.quiet().await;
    assert!(refusal(bench.open(key, credential(&other.url("/y"))).await).status >= 400);
    assert!(refusal(bench.open(key, credential(&slow.url("/x"))).await).status >= 400);
}

#[tokio::test]
async fn who_watches_a_lie_hears_it_revoked_before_it_is_gone() {
    let content = content(SIZE);
    let key = key_of(&content);
    let mut wrong = content.as_ref().clone();
    wrong[SIZE - 1] ^= 1;
    let wrong = Arc::new(wrong);
    let liar = Upstream::start(move |_| Answer::Held(wrong.clone(), SIZE - 1)).await;
    let bench = Bench::new(&[&liar]).await;
    opened(bench.open(key, credential(&liar.url("/x"))).await);
    let partial = bench.store.live_partial(&key).unwrap();
    let mut changes = partial.subscribe();
    liar.let_go();
    let (mut provisional, mut revoked) = (0, false);
    while !revoked {
        changes.changed().await.unwrap();
        let said: Vec<_> = partial
            .statements(0)
            .iter()
            .map(|bytes| v1::Attestation::decode(bytes.clone()).unwrap())
            .collect();
        let of = |state| said.iter().filter(move |said| said.state() == state);
        let named = of(v1::AttestationState::Provisional).map(|said| said.digests.len() / 32).sum();
        provisional = provisional.max(named);
        revoked = of(v1::AttestationState::Revoked).count() > 0;
        assert!(said.iter().all(|said| bench.trust.attestation(said).is_ok()));
    }
    assert_eq!(provisional, SIZE.div_ceil(256 * 1024), "a statement for each piece");
    bench.quiet().await;
    assert!(!bench.store.contains(&key));
}

#[tokio::test]
async fn an_object_of_unknown_length_is_kept_with_its_length() {
    let content = content(5_000_000);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |_| Answer::Chunked(served.clone())).await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key, credential(&upstream.url("/x"))).await);
    let stored = bench.kept(key).await;
    assert_eq!((stored.size(), all_of(&stored).await), (5_000_000, content.as_ref().clone()));
}

#[tokio::test]
async fn an_empty_object_is_kept_too() {
    let content = content(0);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key, credential(&upstream.url("/x"))).await);
    assert_eq!(bench.kept(key).await.size(), 0);
}

#[tokio::test]
async fn a_busy_host_is_waited_for_and_asked_once_meanwhile() {
    let content = content(SIZE);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Status(429, 1),
        _ => Answer::Content(served.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    let calls = (0..8).map(|n| bench.open(key, credential(&upstream.url(&format!("/x?sig={n}")))));
    for outcome in futures::future::join_all(calls).await {
        opened(outcome);
    }
    assert_eq!(bench.requests(Kind::Content), 2, "the 429 and the read");
}

#[tokio::test]
async fn a_host_that_is_busy_for_long_says_so_to_everybody_with_its_own_word() {
    let key = key_of(b"x");
    let upstream = Upstream::start(|_| Answer::Status(503, 120)).await;
    let bench = Bench::new(&[&upstream]).await;
    let calls = (0..4).map(|n| bench.open(key, credential(&upstream.url(&format!("/x?sig={n}")))));
    for outcome in futures::future::join_all(calls).await {
        let refused = refusal(outcome);
        assert_eq!((refused.status, refused.retry_after_s), (429, 120));
    }
    assert_eq!(upstream.asked().len(), 1, "one circuit per host");
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_told_as_such() {
    let key = key_of(b"x");
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::within(vec!["http://127.0.0.1:9".to_owned()], directory, None).await;
    assert_eq!(refusal(bench.open(key, credential("http://127.0.0.1:9/x")).await).status, 0);
    bench.quiet().await;
}

#[tokio::test]
async fn a_full_disk_streams_through_without_keeping() {
    let content = content(SIZE);
    let key = key_of(&content);
    let upstream = Upstream::of(&content).await;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::within(vec![upstream.entry()], directory, Some(200_000)).await;
    opened(bench.open(key, credential(&upstream.url("/x"))).await);
    let partial = bench.store.live_partial(&key).unwrap();
    assert!(partial.is_volatile());
    let mut changes = partial.subscribe();
    while partial.outcome().is_none() {
        changes.changed().await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < SIZE {
        got.extend_from_slice(&partial.read(got.len() as u64, 1 << 20).await.unwrap());
    }
    assert_eq!(got, *content);
    assert!(!bench.store.contains(&key));
    drop((partial, changes));
    bench.quiet().await;
    opened(bench.open(key, credential(&upstream.url("/x?other"))).await);
    assert_eq!(bench.requests(Kind::Content), 1, "it stays for its takers a while");
}

#[tokio::test]
async fn a_full_disk_does_not_bound_how_many_objects_are_read() {
    let upstream = Upstream::start(|asked| {
        let length: usize = asked.path.trim_start_matches('/').parse().unwrap();
        Answer::Content(content(length))
    })
    .await;
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::within(vec![upstream.entry()], directory, Some(200_000)).await;
    let open = |n: usize| {
        let length = 300_000 + n;
        bench.open(key_of(&content(length)), credential(&upstream.url(&format!("/{length}"))))
    };
    // More than are read at once: each gives its place to the next when it is confirmed, not a minute later.
    for outcome in futures::future::join_all((0..70).map(open)).await {
        opened(outcome);
    }
    bench.quiet().await;
    assert_eq!(bench.requests(Kind::Content), 70);
}

#[tokio::test]
async fn a_restarted_seed_takes_up_what_it_had_once_a_credential_has_shown_that_it_reads_it() {
    let content = content(3_000_000);
    let (key, served) = (key_of(&content), content.clone());
    let upstream = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Held(served.clone(), 2_000_000),
        _ => Answer::Content(served.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key, credential(&upstream.url("/x?1"))).await);
    let partial = bench.store.live_partial(&key).unwrap();
    let mut changes = partial.subscribe();
    while partial.holding().count() < 7 {
        changes.changed().await.unwrap();
    }
    drop((partial, changes));
    let bench = bench.restarted().await;
    opened(bench.open(key, credential(&upstream.url("/x?2"))).await);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
    assert_eq!(bench.requests(Kind::Probe), 1);
    assert!(bench.bytes(Kind::Content) <= 3_000_000 - 7 * 256 * 1024, "{} bytes", bench.bytes(Kind::Content));
}

#[tokio::test]
async fn a_look_alike_never_reads_on_what_a_restarted_seed_still_has() {
    let content = content(3_000_000);
    let (key, served) = (key_of(&content), content.clone());
    let owner = Upstream::start(move |_| Answer::Held(served.clone(), 2_000_000)).await;
    let attacker = Upstream::of(&Arc::new(vec![0; 3_000_000])).await;
    let bench = Bench::new(&[&owner, &attacker]).await;
    opened(bench.open(key, credential(&owner.url("/x"))).await);
    let partial = bench.store.live_partial(&key).unwrap();
    let mut changes = partial.subscribe();
    while partial.holding().count() < 7 {
        changes.changed().await.unwrap();
    }
    drop((partial, changes));
    let bench = bench.restarted().await;
    let outcome = bench.open_as("thief", key, credential(&attacker.url("/x"))).await;
    if let v1::open_reply::Outcome::Opened(_) = outcome {
        // Opened for its own zeros: nothing of the owner's bytes may be readable.
        if let Some(partial) = bench.store.live_partial(&key) {
            let here = partial.readable(0, darner_store::Unchecked::Any);
            if here > 0 {
                let got = partial.read(0, 4096).await.unwrap_or_default();
                assert!(got.iter().all(|byte| *byte == 0), "the owner's bytes were shown");
            }
        }
    }
    bench.quiet().await;
    assert!(!bench.store.contains(&key));
}

#[tokio::test]
async fn a_look_alike_that_comes_first_costs_a_restarted_seed_none_of_its_pieces() {
    let content = content(3_000_000);
    let (key, served) = (key_of(&content), content.clone());
    let owner = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Held(served.clone(), 2_000_000),
        _ => Answer::Content(served.clone()),
    })
    .await;
    let attacker = Upstream::of(&Arc::new(vec![0; 3_000_000])).await;
    let bench = Bench::new(&[&owner, &attacker]).await;
    opened(bench.open(key, credential(&owner.url("/x?1"))).await);
    let partial = bench.store.live_partial(&key).unwrap();
    let mut changes = partial.subscribe();
    while partial.holding().count() < 7 {
        changes.changed().await.unwrap();
    }
    drop((partial, changes));
    let bench = bench.restarted().await;
    let first = v1::Credential { expires_ms: u64::MAX / 2, ..credential(&attacker.url("/x")) };
    let (thief, own) =
        tokio::join!(bench.open_as("thief", key, first), bench.open(key, credential(&owner.url("/x?2"))));
    opened(own);
    assert!(refusal(thief).status >= 400);
    assert_eq!(all_of(&bench.kept(key).await).await, *content);
    assert!(bench.bytes(Kind::Content) <= 3_000_000 - 7 * 256 * 1024, "{} bytes", bench.bytes(Kind::Content));
}
