//! The benches by name.

mod cold;
mod hit;
mod memory;
mod peer;
mod small;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use darner_e2e::origin::shelf::{Access, Planted};
use darner_e2e::origin::{Config, Origin};

use crate::client::Target;
use crate::cluster::{Cluster, batch};
use crate::table::Row;

/// What every bench is given.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Where the binaries are.
    pub(crate) bin: PathBuf,
    /// Interleaved rounds.
    pub(crate) rounds: usize,
}

type Bench = fn(&Setting) -> anyhow::Result<Vec<Row>>;

/// All of them, in the order they run.
pub(crate) const ALL: [(&str, Bench); 7] = [
    ("hit", hit::large),
    ("hit-small", hit::small),
    ("cold", cold::one),
    ("swarm", cold::swarm),
    ("peer", peer::run),
    ("small", small::run),
    ("memory", memory::run),
];

const REPOSITORY: &str = "bench/repo";

/// An origin with some objects, and the runtime it lives on.
pub(crate) struct Stage {
    pub(crate) origin: Origin,
    pub(crate) objects: Vec<(String, u64)>,
    pub(crate) scratch: tempfile::TempDir,
}

impl Stage {
    /// Plants one object per size; each is new.
    pub(crate) fn new(sizes: &[u64]) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new().prefix("darner-bench-origin-").tempdir()?;
        let runtime = tokio::runtime::Handle::current();
        let mut config = Config::new(scratch.path());
        config.find_askers = false;
        let origin = runtime.block_on(Origin::start(config))?;
        origin.shelf.create(REPOSITORY, Access::default())?;
        let files: Vec<Planted> = (1u64..)
            .zip(sizes)
            .map(|(seed, size)| Planted { path: format!("f{seed}.bin"), size: *size, seed })
            .collect();
        let planted = origin.shelf.plant(REPOSITORY, &files)?;
        let objects = planted.into_iter().map(|(_, oid, size)| (oid.to_string(), size)).collect();
        Ok(Self { origin, objects, scratch })
    }

    /// A cluster allowed to read this origin.
    pub(crate) fn cluster(&self, setting: &Setting, peers: usize) -> anyhow::Result<Cluster> {
        let at = self.origin.at();
        let arguments = ["--peers".to_owned(), peers.to_string()].into_iter();
        let allowed =
            [at.forge, at.content].map(|host| ["--allow-upstream".to_owned(), format!("http://{host}")]);
        Cluster::up(&setting.bin, &arguments.chain(allowed.into_iter().flatten()).collect::<Vec<_>>())
    }

    /// Where and how to GET an object through a daemon. The Batch names no other: what it names is fetched ahead.
    pub(crate) fn through(&self, cluster: &Cluster, daemon: usize, index: usize) -> anyhow::Result<Target> {
        let object = self.objects.get(index..=index).context("an object")?;
        first(cluster.batch(daemon, &self.forge(), REPOSITORY, object)?)
    }

    /// Where and how to GET the objects from the origin itself.
    pub(crate) fn direct(&self) -> anyhow::Result<Vec<Target>> {
        batch(&format!("http://{}/{REPOSITORY}.git/info/lfs", self.forge()), &self.objects)
    }

    pub(crate) fn forge(&self) -> String {
        self.origin.at().forge.to_string()
    }

    /// The file of an object at the origin.
    pub(crate) fn file(&self, index: usize) -> anyhow::Result<PathBuf> {
        let (oid, _) = self.objects.get(index).context("an object")?;
        Ok(self.origin.shelf.object(oid.parse()?))
    }
}

fn first(targets: Vec<Target>) -> anyhow::Result<Target> {
    targets.into_iter().next().context("a target")
}

/// The name of a file without its directory.
pub(crate) fn name(path: &Path) -> anyhow::Result<String> {
    Ok(path.file_name().context("a file name")?.to_string_lossy().into_owned())
}
