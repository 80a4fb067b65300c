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
async fn a_run_of_one_byte_proves_nothing() {
    let desk = desk(vec![0; 100_000].into(), vec![0; 100_000].into(), &[]).await;
    assert_eq!(desk.prove(&credential(GOOD)).await, Verdict::Unprovable);
    assert_eq!(desk.asked(), 0);
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
