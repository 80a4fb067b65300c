//! Who is proved, by what, and at which price.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use darner_chassis::clock::{Manual, Seeded};
use darner_lfs::Oid;
use darner_store::StoreConfig;

use super::*;

const NOW_MS: u64 = 1_000_000;
const GOOD: &str = "https://h/o/r/objects/x?sig=good";

/// Serves one content to whoever asks with `sig=good`, and counts.
#[derive(Debug, Default)]
struct Upstream {
    content: Bytes,
    total: Option<u64>,
    asked: AtomicUsize,
}

#[tonic::async_trait]
impl Prober for Upstream {
    async fn probe(
        &self,
        _key: &ObjectKey,
        credential: &v1::Credential,
        offset: u64,
        length: u32,
    ) -> Result<v1::Window, v1::Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if !credential.url.contains("sig=good") {
            return Err(v1::Refusal { status: 403, message: "no".to_owned(), retry_after_s: 0 });
        }
        let end = (offset as usize + length as usize).min(self.content.len());
        let content = self.content.slice((offset as usize).min(end)..end);
        Ok(v1::Window { content, total: self.total, etag: String::new() })
    }
}

struct Desk {
    proof: Proof,
    upstream: Arc<Upstream>,
    held: Held,
    clock: Arc<Manual>,
    _directory: tempfile::TempDir,
}

/// An object read through `https://first/o`, and an upstream that serves `shown` for it.
async fn desk(held: Bytes, shown: Bytes, public: &[&str]) -> Desk {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::at(directory.path())).await.unwrap();
    let mut hash = darner_lfs::RunningSha256::default();
    hash.update(&held);
    let stored = store.put(hash.finish(), held, Some("https://first/o")).await.unwrap();
    let total = Some(shown.len() as u64);
    let upstream = Arc::new(Upstream { content: shown, total, asked: AtomicUsize::new(0) });
    let clock = Arc::new(Manual::at(NOW_MS));
    let seams = Seams { clock: clock.clone(), random: Arc::new(Seeded::new(7)) };
    let public: Vec<String> = public.iter().map(|prefix| (*prefix).to_owned()).collect();
    let proof = Proof::new(store, upstream.clone(), &public, seams, Metrics::new());
    Desk { proof, upstream, held: Held::Stored(stored), clock, _directory: directory }
}

impl Desk {
    fn asked(&self) -> usize {
        self.upstream.asked.load(Ordering::SeqCst)
    }

    fn say_no_length(&mut self) {
        let content = self.upstream.content.clone();
        let upstream = Arc::new(Upstream { content, total: None, asked: AtomicUsize::new(0) });
        self.proof.prober = upstream.clone();
        self.upstream = upstream;
    }

    async fn prove(&self, credential: &v1::Credential) -> Verdict {
        self.proof.prove(&self.held, credential).await
    }
}

fn credential(url: &str) -> v1::Credential {
    v1::Credential { url: url.to_owned(), upstream: provenance(url), ..Default::default() }
}

fn granted(upstream: &str) -> v1::Credential {
    v1::Credential { upstream: upstream.to_owned(), granted_by_batch: true, ..credential(GOOD) }
}

fn text(n: usize) -> Bytes {
    (0..n).map(|at| (at * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn a_batch_of_the_upstream_it_was_read_through_costs_nothing() {
    let desk = desk(text(9000), text(9000), &[]).await;
    assert_eq!(desk.prove(&granted("https://first/o")).await, Verdict::Proved("batch"));
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn a_batch_of_another_upstream_costs_one_window_and_then_nothing() {
    let desk = desk(text(9000), text(9000), &[]).await;
    assert_eq!(desk.prove(&granted("https://second/o")).await, Verdict::Proved("probe"));
    assert_eq!(desk.held.upstreams().len(), 2);
    let other = v1::Credential { url: format!("{GOOD}&n=2"), ..granted("https://second/o") };
    assert_eq!(desk.prove(&other).await, Verdict::Proved("batch"));
    assert_eq!(desk.asked(), 1);
}

#[tokio::test]
async fn the_same_credential_is_probed_once_however_many_show_it() {
    let desk = desk(text(9000), text(9000), &[]).await;
    let shown = credential(GOOD);
    let verdicts = futures::future::join_all((0..16).map(|_| desk.prove(&shown))).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Proved(_))));
    assert_eq!(desk.asked(), 1);
    desk.clock.advance(60_000);
    assert_eq!(desk.prove(&shown).await, Verdict::Proved("probe"));
    assert_eq!(desk.asked(), 2, "a credential that does not say when it ends lasts a minute");
}

#[tokio::test]
async fn a_look_alike_is_refused_and_the_refusal_is_nobody_elses() {
    let fake: Vec<u8> = text(9000).iter().map(|byte| byte ^ 1).collect();
    for shown in [vec![0; 9000].into(), fake.into(), text(8999), text(9001)] {
        let desk = desk(text(9000), shown, &[]).await;
        for _ in 0..2 {
            assert!(
                matches!(desk.prove(&credential(GOOD)).await, Verdict::Refused(refusal) if refusal.status == 403)
            );
        }
        assert_eq!(desk.asked(), 2, "a refusal is not remembered");
        assert_eq!(desk.held.upstreams(), ["https://first/o"]);
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_beside_a_good_one() {
    let desk = desk(text(9000), text(9000), &[]).await;
    assert_eq!(desk.prove(&credential(GOOD)).await, Verdict::Proved("probe"));
    let bad = credential("https://h/o/r/objects/x?sig=bad");
    assert!(matches!(desk.prove(&bad).await, Verdict::Refused(_)));
}

#[tokio::test]
async fn a_run_of_one_byte_is_told_by_its_length_or_not_at_all() {
    let zeros = |n: usize| Bytes::from(vec![0; n]);
    let desk_of = |shown| desk(zeros(100_000), shown, &[]);
    let same = desk_of(zeros(100_000)).await;
    assert_eq!(same.prove(&credential(GOOD)).await, Verdict::Proved("probe"));
    for shown in [zeros(100_001), vec![1; 100_000].into(), zeros(99_999)] {
        assert!(matches!(desk_of(shown).await.prove(&credential(GOOD)).await, Verdict::Refused(_)));
    }
    let mut unsaid = desk_of(zeros(100_000)).await;
    unsaid.say_no_length();
    assert_eq!(unsaid.prove(&credential(GOOD)).await, Verdict::Unprovable);
}

#[tokio::test]
async fn the_one_place_that_tells_is_found_in_a_file_of_zeros() {
    for place in [5, 1 << 20, (1 << 20) - 1, 3_123_456, 3_999_999] {
        let mut held = vec![0; 4_000_000];
        held[place] = 1;
        let desk = desk(held.into(), vec![0; 4_000_000].into(), &[]).await;
        let verdict = desk.prove(&credential(GOOD)).await;
        assert!(matches!(verdict, Verdict::Refused(_)), "zeros are no {place}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_small_object_is_compared_whole() {
    let desk = desk(text(100), text(100), &[]).await;
    assert_eq!(desk.prove(&credential(GOOD)).await, Verdict::Proved("probe"));
    let lying = super::tests::desk(text(100), [&text(99)[..], b"!"].concat().into(), &[]).await;
    assert!(matches!(lying.prove(&credential(GOOD)).await, Verdict::Refused(_)));
}

#[tokio::test]
async fn a_public_prefix_opens_only_what_was_read_through_it() {
    let public = ["https://first/o"];
    let desk = desk(text(9000), Bytes::new(), &public).await;
    let inside = credential("https://first/o/objects/x");
    assert_eq!(
        desk.prove(&v1::Credential { url: format!("https://first/o/objects/{}", Oid::EMPTY), ..inside })
            .await,
        Verdict::Proved("public")
    );
    for url in
        ["https://second/o/objects/x", "https://first/other/objects/x", "https://first/o/../p/objects/x"]
    {
        assert!(matches!(desk.prove(&credential(url)).await, Verdict::Refused(_)), "{url}");
    }
    desk.proof.set_public(&["https://second".to_owned()]);
    let elsewhere = credential(&format!("https://second/o/objects/{}", Oid::EMPTY));
    assert!(
        matches!(desk.prove(&elsewhere).await, Verdict::Refused(_)),
        "it was never read through that prefix"
    );
}

/// Says nothing.
struct Mute(AtomicUsize);

#[tonic::async_trait]
impl Prober for Mute {
    async fn probe(
        &self,
        _key: &ObjectKey,
        _credential: &v1::Credential,
        _offset: u64,
        _length: u32,
    ) -> Result<v1::Window, v1::Refusal> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_silent_origin_costs_all_who_wait_one_probe_and_ten_seconds() {
    let mut desk = desk(text(9000), text(9000), &[]).await;
    let mute = Arc::new(Mute(AtomicUsize::new(0)));
    desk.proof.prober = mute.clone();
    let shown = credential(GOOD);
    tokio::time::pause();
    let begun = Instant::now();
    let verdicts = futures::future::join_all((0..16).map(|_| desk.prove(&shown))).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(said) if said.status == 0)));
    assert_eq!(mute.0.load(Ordering::SeqCst), 1, "and no nearer window either");
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    desk.prove(&shown).await;
    assert_eq!(mute.0.load(Ordering::SeqCst), 2, "an outage is not remembered");
}
