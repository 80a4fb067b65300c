//! I6: a file system without a free byte under a node's data directory, before a download and in the middle of one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not what it set up"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use darner_e2e::cluster::Process;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::shelf::Access;
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{self, Mode, Plan, REPOSITORY, Scene, Wire};
use darner_e2e::{apart, http, lfs, wait};
use darner_lfs::Oid;
use sha2::{Digest as _, Sha256};

const SIZE: u64 = 12_000_000;

/// A cluster of which one node keeps its data on a small file system.
struct Narrow {
    scene: Scene,
    node: Process,
    /// The node's data directory, as it is found from here.
    data: PathBuf,
    _home: tempfile::TempDir,
}

impl Narrow {
    async fn set(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let values = home.path().join("values.yaml");
        // Nothing is held back, and the budget is not what ends first.
        let part = "  config:\n    storage:\n      budget: 1GiB\n      reserve: 0\n";
        std::fs::write(&values, format!("dfdaemon:\n{part}seedPeer:\n{part}")).unwrap();
        let mut plan = Plan::new(1, &[SIZE, 3_000, 40_000]);
        plan.options.more = vec!["--config".to_owned(), values.to_str().unwrap().to_owned()];
        plan.options.data = Some(home.path().join("cluster"));
        plan.options.apart = Some(format!(
            "mkdir -p -m 700 \"$HOME_OF/{name}/data\"\nmount -t tmpfs -o size=40m,mode=700 none \"$HOME_OF/{name}/data\""
        ));
        let scene = Scene::set(plan).await.unwrap();
        let mut nodes = scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons);
        let node = nodes.find(|node| node.data.ends_with(format!("{name}/data"))).unwrap().clone();
        let data = apart::seen(node.pid, &node.data);
        Self { scene, node, data, _home: home }
    }

    /// Takes every free byte.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.data.join("ballast")).unwrap();
        for chunk in [1 << 16, 1 << 12, 1] {
            let zeros = vec![0; chunk];
            let ended = loop {
                if let Err(error) = ballast.write(&zeros) {
                    break error;
                }
            };
            assert_eq!(ended.kind(), std::io::ErrorKind::StorageFull, "{ended}");
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.data.join("ballast")).unwrap();
    }

    async fn whole(&self) {
        self.scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
        self.assert_lives().await;
    }

    /// The very process that was started answers, and nothing it keeps is wrong.
    async fn assert_lives(&self) {
        assert_eq!(http::get(&self.node.admin, "/livez").await.unwrap().status, 200);
        assert!(self.scene.cluster.running().unwrap().contains_key(&self.node.pid));
        for file in files(&self.data.join("objects")) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let Ok(content) = std::fs::read(&file) else { continue };
            assert_eq!(Oid::from_bytes(Sha256::digest(&content).into()).to_string(), name, "a wrong file");
        }
    }

    fn holds(&self, oid: Oid) -> bool {
        Scene::holds(&Process { data: self.data.clone(), ..self.node.clone() }, oid)
    }

    fn holds_nothing(&self) -> bool {
        self.scene.planted.iter().all(|(_, oid, _)| !self.holds(*oid))
    }

    /// There is room again: what nobody has asked for yet is read and kept.
    async fn recovers(&self) {
        self.empty();
        let later = scene::plant(&self.scene.origin, "org/later", Access::default(), &[5_000_000]).unwrap();
        let (_, oid, size) = later[0].clone();
        let gateway = self.scene.gateway(0).unwrap().replace(REPOSITORY, "org/later");
        let action = lfs::actions(&gateway, &[(oid, size)], None).await.unwrap().remove(0);
        let reply = action.get(None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{} bytes", reply.body.len());
        assert_eq!(Oid::from_bytes(Sha256::digest(&reply.body).into()), oid);
        let kept = || async { Ok(self.holds(oid).then_some(())) };
        wait::until("what is read is kept once there is room", kept).await.unwrap();
        self.whole().await;
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

async fn a_full_disk(name: &str) {
    if !apart::possible().unwrap() {
        return;
    }
    let narrow = Narrow::set(name).await;
    narrow.fill();
    narrow.whole().await;
    assert!(narrow.holds_nothing(), "kept where no byte is free: the test shows nothing");
    narrow.recovers().await;
}

async fn a_disk_that_fills_up(name: &str) {
    if !apart::possible().unwrap() {
        return;
    }
    let narrow = Narrow::set(name).await;
    let slow = Switch { bytes_per_second: Some(4_000_000), ..Switch::default() };
    narrow.scene.origin.switches.set(None, slow);
    let filling = async {
        let begun = || async {
            let counts = narrow.scene.origin.counters.snapshot();
            Ok((counts.of(Kind::Content).bytes > SIZE / 3).then_some(()))
        };
        wait::until("the download is under way", begun).await.unwrap();
        narrow.fill();
    };
    tokio::join!(narrow.whole(), filling);
    narrow.scene.origin.switches.clear();
    narrow.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_a_full_disk_of_a_daemon_streams_and_recovers() {
    a_full_disk("peer-daemon-0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_a_full_disk_of_a_seed_streams_and_recovers() {
    a_full_disk("seed-peer-0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_a_daemons_disk_that_fills_up_in_the_middle_costs_nobody_a_byte() {
    a_disk_that_fills_up("peer-daemon-0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_a_seeds_disk_that_fills_up_in_the_middle_costs_nobody_a_byte() {
    a_disk_that_fills_up("seed-peer-0").await;
}
