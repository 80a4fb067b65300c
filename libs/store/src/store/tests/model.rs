//! The whole store against a plain model: what it holds is right, what it takes stays within the budget as the file
//! system itself counts it, and a kill or a restart changes nothing but what is allowed to change.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::testing::*;
use crate::{Partial, Store, StoreConfig, StoreError, Stored};

const BUDGET: u64 = 8 * (PIECE as u64);
const INODES: u64 = 24;

#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    Write(u64, u32),
    Finish(u64),
    LetGo(u64),
    Hold(u64),
    Release(u64),
    Flip(u64, u64),
    Read(u64),
    Purge(u64),
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0u64..7;
    prop_oneof![
        3 => object.clone().prop_map(Step::Put),
        6 => (object.clone(), 0u32..3).prop_map(|(n, piece)| Step::Write(n, piece)),
        3 => object.clone().prop_map(Step::Finish),
        2 => object.clone().prop_map(Step::LetGo),
        2 => object.clone().prop_map(Step::Hold),
        1 => object.clone().prop_map(Step::Release),
        1 => (object.clone(), 0u64..1000).prop_map(|(n, at)| Step::Flip(n, at)),
        3 => object.clone().prop_map(Step::Read),
        1 => object.prop_map(Step::Purge),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// Objects of one to three pieces.
fn object(n: u64) -> Bytes {
    content(n + 100, PIECE * (1 + n as usize % 3) - 5)
}

struct World {
    dir: TempDir,
    store: Option<Store>,
    partials: BTreeMap<u64, Partial>,
    held: BTreeMap<u64, Stored>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Self::open(&dir).await);
        Self { dir, store, partials: BTreeMap::new(), held: BTreeMap::new() }
    }

    async fn open(dir: &TempDir) -> Store {
        let config = StoreConfig { budget_bytes: Some(BUDGET), budget_inodes: Some(INODES), ..config(dir) };
        Store::open(config).await.unwrap()
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    async fn partial(&mut self, n: u64) -> Option<Partial> {
        if let Some(partial) = self.partials.get(&n)
            && partial.outcome().is_none()
        {
            return Some(partial.clone());
        }
        match self.store().partial(key_of(&object(n)), layout_of(&object(n))).await {
            Ok(partial) => {
                self.partials.insert(n, partial.clone());
                Some(partial)
            }
            Err(StoreError::Full { .. }) => None,
            Err(error) => unreachable!("{error}"),
        }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Put(n) => match self.store().put(oid_of(&object(n)), object(n), None).await {
                Ok(_) | Err(StoreError::Full { .. }) => {}
                Err(error) => unreachable!("{error}"),
            },
            Step::Write(n, piece) => {
                let Some(partial) = self.partial(n).await else { return };
                if let Some(mut writer) = partial.begin(piece, false) {
                    writer.write(&piece_of(&object(n), &partial.layout(), piece)).unwrap();
                    writer.finish(None).unwrap();
                }
            }
            Step::Finish(n) => {
                if let Some(partial) = self.partials.get(&n) {
                    let whole = partial.is_whole();
                    let finished = partial.finish().is_ok();
                    // A flipped byte may make it incomplete; it can never finish without being whole.
                    assert!(whole || !finished);
                }
            }
            Step::LetGo(n) => drop(self.partials.remove(&n)),
            Step::Hold(n) => {
                if let Some(stored) = self.store().get(&key_of(&object(n))).await {
                    self.held.insert(n, stored);
                }
            }
            Step::Release(n) => drop(self.held.remove(&n)),
            Step::Flip(n, at) => {
                let path = path_of(&self.dir, &key_of(&object(n)));
                if path.try_exists().unwrap() {
                    flip(&path, at * object(n).len() as u64 / 1000);
                    self.held.remove(&n);
                }
            }
            Step::Read(n) => self.read(n).await,
            Step::Purge(n) => {
                self.store().purge(&key_of(&object(n))).await;
                self.held.remove(&n);
            }
            Step::Restart => {
                self.let_go();
                self.store = Some(Self::open(&self.dir).await);
            }
            Step::Kill => {
                let copy = as_after_a_kill(&self.dir);
                self.let_go();
                self.dir = copy;
                self.store = Some(Self::open(&self.dir).await);
            }
        }
    }

    fn let_go(&mut self) {
        self.partials.clear();
        self.held.clear();
        self.store = None;
    }

    /// Whatever is given out is right, or is said to be damaged.
    async fn read(&mut self, n: u64) {
        if let Some(stored) = self.store().get(&key_of(&object(n))).await
            && let Ok(bytes) = read_all(&stored).await
        {
            assert_eq!(bytes, object(n));
        }
        if let Some(partial) = self.store().live_partial(&key_of(&object(n)))
            && let Ok(bytes) = read_partial(&partial).await
        {
            assert_eq!(bytes, object(n)[..bytes.len()]);
        }
    }

    fn check(&self) {
        let usage = self.store().usage();
        assert!(usage.bytes <= BUDGET && usage.inodes <= INODES, "{usage:?}");
        let (bytes, inodes) = on_disk(&self.dir);
        assert!(bytes <= BUDGET && inodes <= INODES + 3, "{bytes} bytes, {inodes} inodes");
        for (n, stored) in &self.held {
            let path = path_of(&self.dir, &key_of(&object(*n)));
            assert!(path.try_exists().unwrap() || !self.store().contains(&stored.key()), "{n} was evicted");
        }
    }
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_it_holds_is_right_and_within_the_budget(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
                world.check();
            }
            world.let_go();
        });
    }
}
