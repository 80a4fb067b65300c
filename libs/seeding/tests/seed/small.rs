//! Small objects: kept in one step, and taken along with the decision by who wants them so.

use darner_chassis::metrics::Kind;
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;

use crate::upstream::{Answer, Upstream};
use crate::{Bench, all_of, content, credential, granted, key_of, opened, refusal};

#[tokio::test]
async fn a_small_object_comes_with_the_reply_to_who_wants_it_so() {
    let small = content(2_048);
    let upstream = Upstream::of(&small).await;
    let bench = Bench::new(&[&upstream]).await;
    let wanted = granted(&upstream.url("/x"), "http://forge/repo");
    let taken = opened(bench.open_with(key_of(&small), wanted, 4_096).await);
    assert_eq!(taken.content.as_ref(), small.as_slice());
    assert!(taken.complete && taken.grant.is_none() && taken.upstream == "http://forge/repo");
    assert_eq!((bench.requests(Kind::Content), bench.bytes(Kind::Content)), (1, 2_048));
    assert_eq!(bench.requests(Kind::Probe), 0, "who performs the read is proved by it");
}

#[tokio::test]
async fn who_did_not_ask_for_it_or_for_less_is_granted_instead() {
    let small = content(2_048);
    let upstream = Upstream::of(&small).await;
    let bench = Bench::new(&[&upstream]).await;
    for most in [0, 2_047] {
        let told = opened(bench.open_with(key_of(&small), credential(&upstream.url("/x")), most).await);
        assert!(told.content.is_empty() && told.grant.is_some() && told.complete, "at {most}");
    }
    assert_eq!(bench.requests(Kind::Content) + bench.requests(Kind::Probe), 1);
}

#[tokio::test]
async fn a_large_object_never_comes_with_the_reply() {
    let large = content(40_000);
    let upstream = Upstream::of(&large).await;
    let bench = Bench::new(&[&upstream]).await;
    let told = opened(bench.open_with(key_of(&large), credential(&upstream.url("/x")), u32::MAX).await);
    assert!(told.content.is_empty() && told.grant.is_some());
}

#[tokio::test]
async fn a_small_object_of_somebody_else_comes_with_no_reply() {
    let small = content(2_048);
    let upstream = Upstream::of(&small).await;
    let mut other = small.as_ref().clone();
    other[7] ^= 1;
    let look_alike = Upstream::of(&std::sync::Arc::new(other)).await;
    let bench = Bench::new(&[&upstream, &look_alike]).await;
    opened(bench.open_with(key_of(&small), credential(&upstream.url("/x")), 4_096).await);
    let refused = bench.open_with(key_of(&small), credential(&look_alike.url("/x")), 4_096).await;
    assert_eq!(refusal(refused).status, 403);
}

#[tokio::test]
async fn a_small_object_that_is_something_else_is_not_kept_and_comes_with_no_reply() {
    let small = content(2_048);
    let mut lie = small.as_ref().clone();
    lie[2_047] ^= 1;
    let liar = Upstream::of(&std::sync::Arc::new(lie)).await;
    let bench = Bench::new(&[&liar]).await;
    let outcome = bench.open_with(key_of(&small), credential(&liar.url("/x")), 4_096).await;
    assert!(!matches!(&outcome, Outcome::Opened(opened) if !opened.content.is_empty()), "{outcome:?}");
    bench.quiet().await;
    assert!(!bench.store.contains(&key_of(&small)));
}

#[tokio::test]
async fn a_small_object_that_is_cut_goes_on_where_it_stopped() {
    let small = content(2_048);
    let whole = small.clone();
    let upstream = Upstream::start(move |asked| match asked.nth {
        0 => Answer::Cut(whole.clone(), 1_000),
        _ => Answer::Content(whole.clone()),
    })
    .await;
    let bench = Bench::new(&[&upstream]).await;
    opened(bench.open(key_of(&small), credential(&upstream.url("/x"))).await);
    assert_eq!(all_of(&bench.kept(key_of(&small)).await).await, *small);
    assert_eq!(bench.bytes(Kind::Content), 2_048, "no byte is read twice, nor counted twice");
}

#[tokio::test]
async fn a_small_object_that_comes_slowly_is_opened_before_its_end() {
    let small = content(2_048);
    let whole = small.clone();
    let upstream = Upstream::start(move |_| Answer::Held(whole.clone(), 1_000)).await;
    let bench = Bench::new(&[&upstream]).await;
    let told: v1::Opened = opened(bench.open(key_of(&small), credential(&upstream.url("/x"))).await);
    assert!(!told.complete, "half of it is still at its origin");
    upstream.let_go();
    assert_eq!(all_of(&bench.kept(key_of(&small)).await).await, *small);
    assert_eq!(bench.bytes(Kind::Content), 2_048);
}
