//! A git forge with LFS that counts what it is asked and misbehaves on demand: shared by the tests, the demo and
//! the benches.
//!
//! It owns a directory and five listeners: forge and content (apart, as at the big forges), each in clear text and
//! over TLS, and a control port. Every listener but the last serves every path. Dropping an [`Origin`] ends all of it.
//! Lock order: none; each part has its own lock and no part holds one while it calls another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use darner_lfs::Oid;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

pub mod answer;
pub mod asker;
pub mod batch;
pub mod content;
pub mod control;
pub mod counts;
pub mod git;
pub mod gzip;
pub mod listen;
pub mod locks;
pub mod route;
pub mod shape;
pub mod shelf;
pub mod sign;
pub mod switches;
pub mod tls;

use counts::Counters;
use locks::Locks;
use route::Door;
use shelf::Shelf;
use sign::{Signer, Subject};
use switches::Switches;
use tls::Authority;

/// How an origin is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where repositories, objects and the authority's certificate go.
    pub data: PathBuf,
    /// The address listened on; ports are any.
    pub ip: IpAddr,
    /// Also listen with TLS on port 443 of this address (one nobody else uses, like 127.77.0.1).
    pub https_ip: Option<IpAddr>,
    /// Names in the certificate beside the addresses.
    pub names: Vec<String>,
    /// Whether to find out which process asks (costs a walk through `/proc` per connection).
    pub find_askers: bool,
}

impl Config {
    /// Everything under `data`, on loopback, answering to `forge.test` and `content.test`.
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_ip: None,
            names: ["forge.test", "content.test", "other.test", "localhost"].map(str::to_owned).to_vec(),
            find_askers: true,
        }
    }
}

/// Where an origin listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Git, Batch, locks; clear text.
    pub forge: SocketAddr,
    /// Where signed addresses point for callers of `forge`.
    pub content: SocketAddr,
    /// Git, Batch, locks; TLS.
    pub forge_tls: SocketAddr,
    /// Where signed addresses point for callers of `forge_tls`.
    pub content_tls: SocketAddr,
    /// TLS on port 443, when asked for.
    pub https: Option<SocketAddr>,
    /// The control port.
    pub control: SocketAddr,
    /// PEM of the authority.
    pub ca: PathBuf,
}

/// What all requests share.
#[derive(Debug)]
pub struct State {
    /// Repositories and objects.
    pub shelf: Shelf,
    /// What was asked.
    pub counters: Arc<Counters>,
    /// How to misbehave.
    pub switches: Switches,
    pub(crate) signer: Signer,
    pub(crate) locks: Locks,
    pub(crate) authority: Authority,
    addresses: OnceLock<Addresses>,
    clock_ahead_s: AtomicI64,
}

impl State {
    /// Seconds since the Unix epoch, as this origin sees it.
    pub fn now_s(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.clock_ahead_s.load(Ordering::Relaxed)
    }

    /// Sets this origin's clock ahead: what it has signed so far ends that much sooner.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.clock_ahead_s.store(seconds, Ordering::Relaxed);
    }

    /// Puts a plain file where anybody may read it.
    pub fn put_file(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        let place = self.shelf.files_root().join(path);
        std::fs::create_dir_all(place.parent().context("a file has a directory")?)?;
        Ok(std::fs::write(place, content)?)
    }

    pub(crate) fn addresses(&self) -> Option<Addresses> {
        self.addresses.get().cloned()
    }

    /// What a forge that grants anything gives for an object it does not have: a plain file put there for it.
    pub(crate) fn lookalike(&self, repository: &str, oid: Oid) -> PathBuf {
        self.shelf.files_root().join("lookalikes").join(repository).join(oid.to_string())
    }

    /// The host signed addresses point to for a caller of this door.
    pub(crate) fn content_host(&self, door: &Door) -> String {
        let (name, port) = match door.host.rsplit_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok()),
            None => (door.host.as_str(), None),
        };
        let name = if name == "forge.test" { "content.test" } else { name };
        let Some((addresses, port)) = self.addresses.get().zip(port) else { return name.to_owned() };
        let port = match port {
            port if port == addresses.forge.port() => addresses.content.port(),
            port if port == addresses.forge_tls.port() => addresses.content_tls.port(),
            port => port,
        };
        format!("{name}:{port}")
    }

    /// A signed address for a path at the content host of this door.
    pub(crate) fn signed(
        &self,
        method: &str,
        door: &Door,
        path: &str,
        expires_s: u64,
    ) -> anyhow::Result<String> {
        let host = self.content_host(door);
        let query = self.signer.query(Subject { method, host: &host, path }, self.now_s(), expires_s)?;
        Ok(format!("{}://{host}{path}?{query}", door.scheme))
    }
}

/// Where the content host keeps an object of a repository.
pub(crate) fn media_path(repository: &str, oid: Oid) -> String {
    let name = oid.to_string();
    let (a, b) = (name.get(..2).unwrap_or_default(), name.get(2..4).unwrap_or_default());
    format!("/media/{repository}/{a}/{b}/{name}")
}

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    state: Arc<State>,
    addresses: Addresses,
    listeners: JoinSet<()>,
}

impl std::ops::Deref for Origin {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Origin {
    /// Listens, and serves until dropped.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)?;
        let mut names = config.names.clone();
        names.extend([config.ip].into_iter().chain(config.https_ip).map(|ip| ip.to_string()));
        let state = Arc::new(State {
            shelf: Shelf::new(&config.data)?,
            counters: Arc::default(),
            switches: Switches::default(),
            signer: Signer::new()?,
            locks: Locks::default(),
            authority: Authority::new(&config.data, &names)?,
            addresses: OnceLock::new(),
            clock_ahead_s: AtomicI64::new(0),
        });
        let mut listeners = JoinSet::new();
        let addresses = listen::all(&mut listeners, &state, &config).await?;
        state.addresses.set(addresses.clone()).ok().context("addresses are set once")?;
        Ok(Self { state, addresses, listeners })
    }

    /// Where it listens.
    pub fn at(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until a listener fails.
    pub async fn run(mut self) {
        self.listeners.join_next().await;
    }
}
