//! What most tests begin with: an origin with a repository in it, a cluster that may read it, and people who reach it
//! in one of the three ways git can be told to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use darner_lfs::Oid;

use crate::client::Client;
use crate::cluster::{Cluster, Options, Process};
use crate::lfs::{self, Action};
use crate::origin::shelf::{Access, Planted};
use crate::origin::{Config, Origin};

/// The repository every scene has.
pub const REPOSITORY: &str = "org/repo";

const NO_443: &str = "port 443 of a loopback address is needed: run as root, or `sysctl \
    net.ipv4.ip_unprivileged_port_start=443`";

/// How git reaches Darner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only the addresses of objects are rewritten.
    A,
    /// The forge is rewritten: Batch comes to Darner.
    B,
    /// Darner is git's HTTP proxy.
    C,
}

/// How the origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Clear text.
    Clear,
    /// TLS under the origin's own authority.
    Tls,
}

/// What a scene is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Sizes of the objects of the repository.
    pub sizes: Vec<u64>,
    /// Who may do what with it.
    pub access: Access,
    /// How the cluster is started; upstreams, names and trust are added.
    pub options: Options,
    /// Further names the origin is listed under, in clear text; who has them answered is the test's business.
    pub names: Vec<String>,
}

impl Plan {
    /// A public repository with these objects and so many daemons.
    pub fn new(peers: usize, sizes: &[u64]) -> Self {
        let options = Options { peers, ..Options::default() };
        Self { sizes: sizes.to_vec(), access: Access::default(), options, names: Vec::new() }
    }
}

/// An origin and a cluster.
#[derive(Debug)]
pub struct Scene {
    /// The forge.
    pub origin: Origin,
    /// The cluster.
    pub cluster: Cluster,
    /// The files of the repository.
    pub planted: Vec<(String, Oid, u64)>,
    /// How the cluster was started, for starting it again.
    pub options: Options,
    /// The `Authorization` a user of the repository presents; none when anybody may read.
    pub authorization: Option<String>,
    _data: tempfile::TempDir,
}

impl Scene {
    /// Sets a scene.
    pub async fn set(plan: Plan) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("darner-origin-").tempdir()?;
        let origin = origin(data.path()).await?;
        let user = plan.access.users.iter().next().map(|(user, password)| format!("{user}:{password}"));
        let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        let planted = plant(&origin, REPOSITORY, plan.access, &plan.sizes)?;
        let mut options = plan.options;
        allow(&mut options, &origin)?;
        let ports = [origin.at().forge.port(), origin.at().content.port()];
        let named = |name: &String| ports.map(|port| format!("http://{name}:{port}"));
        options.upstreams.extend(plan.names.iter().flat_map(named));
        let cluster = Cluster::start(&options).await?;
        Ok(Self { origin, cluster, planted, options, authorization, _data: data })
    }

    /// The oid of one planted file.
    pub fn oid(&self, file: usize) -> anyhow::Result<Oid> {
        Ok(self.planted.get(file).context("so many files")?.1)
    }

    /// The address of the repository for a person who reaches it this way.
    pub fn url(&self, mode: Mode, wire: Wire) -> String {
        let at = self.origin.at();
        let base = match (mode, wire) {
            (Mode::C, Wire::Clear) => format!("http://forge.test:{}", at.forge.port()),
            (Mode::C, Wire::Tls) => "https://forge.test".to_owned(),
            (_, Wire::Clear) => format!("http://{}", at.forge),
            (_, Wire::Tls) => format!("https://{}", at.forge_tls),
        };
        format!("{base}/{REPOSITORY}.git")
    }

    /// A person who reaches the origin through one daemon.
    pub async fn client(&self, mode: Mode, wire: Wire, daemon: usize) -> anyhow::Result<Client> {
        let client = Client::new()?;
        let (at, proxy) = (self.origin.at(), self.cluster.proxy(daemon)?);
        client.config("http.sslCAInfo", at.ca.to_str().context("a path in UTF-8")?).await?;
        client.config("lfs.sshtransfer", "never").await?;
        let (scheme, forge, content) = match wire {
            Wire::Clear => ("http", at.forge, at.content),
            Wire::Tls => ("https", at.forge_tls, at.content_tls),
        };
        match mode {
            Mode::A => {
                let direct = format!("{scheme}://{content}/");
                client.config("lfs.transfer.enablehrefrewrite", "true").await?;
                let through = format!("url.http://{proxy}/{scheme}/{content}/.insteadOf");
                client.config(&through, &direct).await?;
                client.config(&format!("url.{direct}.pushInsteadOf"), &direct).await?;
            }
            Mode::B => {
                let through = format!("url.http://{proxy}/{scheme}/{forge}/.insteadOf");
                client.config(&through, &format!("{scheme}://{forge}/")).await?;
            }
            Mode::C => {
                anyhow::ensure!(wire == Wire::Clear || at.https.is_some(), NO_443);
                client.config("http.proxy", &format!("http://{proxy}")).await?;
                client.config("lfs.transfer.enablehrefrewrite", "true").await?;
                client.config("url.http://content.test/.insteadOf", "https://content.test/").await?;
            }
        }
        Ok(client)
    }

    /// The repository at the origin itself.
    pub fn direct(&self) -> String {
        format!("http://{}/{REPOSITORY}.git", self.origin.at().forge)
    }

    /// The repository behind one daemon, as mode B rewrites it.
    pub fn gateway(&self, daemon: usize) -> anyhow::Result<String> {
        let proxy = self.cluster.proxy(daemon)?;
        Ok(format!("http://{proxy}/http/{}/{REPOSITORY}.git", self.origin.at().forge))
    }

    /// The action a caller of one daemon gets in mode B for one planted file.
    pub async fn ticketed(&self, daemon: usize, file: usize) -> anyhow::Result<Action> {
        let (_, oid, size) = self.planted.get(file).context("so many files")?;
        let actions =
            lfs::actions(&self.gateway(daemon)?, &[(*oid, *size)], self.authorization.as_deref()).await?;
        actions.into_iter().next().context("an action")
    }

    /// The action the origin itself gives for one planted file, sent through one daemon as mode A does.
    pub async fn presigned(&self, daemon: usize, file: usize) -> anyhow::Result<Action> {
        let (_, oid, size) = self.planted.get(file).context("so many files")?;
        let actions = lfs::actions(&self.direct(), &[(*oid, *size)], self.authorization.as_deref()).await?;
        Ok(actions.first().context("an action")?.through(self.cluster.proxy(daemon)?))
    }

    /// Kills every process of the cluster and starts it again over what it held; its data directory must be given.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.options.data.is_some(),
            "only a cluster whose data directory is given starts again"
        );
        self.cluster.kill().await?;
        self.cluster = Cluster::start(&self.options).await?;
        Ok(())
    }

    /// Whether a peer has the object among its finished ones.
    pub fn holds(process: &Process, oid: Oid) -> bool {
        let name = oid.to_string();
        let (a, b) = (name.get(..2).unwrap_or_default(), name.get(2..4).unwrap_or_default());
        process.data.join("objects").join(a).join(b).join(&name).is_file()
    }

    /// Clones through one daemon and checks every byte.
    pub async fn clone(&self, mode: Mode, wire: Wire, daemon: usize) -> anyhow::Result<Client> {
        let client = self.client(mode, wire, daemon).await?;
        client.clone(&self.url(mode, wire), "clone").await?.well()?;
        client.check("clone", &self.planted)?;
        Ok(client)
    }
}

/// An origin on ports of its own, with port 443 of a loopback address of its own where that is allowed.
pub async fn origin(data: &std::path::Path) -> anyhow::Result<Origin> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 250)?;
    for _ in 0..20 {
        let host = NEXT.fetch_add(1, Ordering::Relaxed);
        let https_ip = Some(IpAddr::V4(Ipv4Addr::new(127, 77, process, host)));
        if let Ok(origin) = Origin::start(Config { https_ip, ..Config::new(data) }).await {
            return Ok(origin);
        }
    }
    Origin::start(Config::new(data)).await
}

/// Fills a new repository with objects of these sizes.
pub fn plant(
    origin: &Origin,
    repository: &str,
    access: Access,
    sizes: &[u64],
) -> anyhow::Result<Vec<(String, Oid, u64)>> {
    origin.shelf.create(repository, access)?;
    let file = |(size, seed): (&u64, u64)| Planted { path: format!("{seed}.bin"), size: *size, seed };
    let files: Vec<Planted> = sizes.iter().zip(1..).map(file).collect();
    origin.shelf.plant(repository, &files)
}

/// Lists an origin's doors as upstreams of a cluster, by address and by name.
pub fn allow(options: &mut Options, origin: &Origin) -> anyhow::Result<()> {
    let at = origin.at();
    let (forge, content) = (at.forge.port(), at.content.port());
    options.upstreams.extend([
        format!("http://{}", at.forge),
        format!("http://{}", at.content),
        format!("https://{}", at.forge_tls),
        format!("https://{}", at.content_tls),
        format!("http://forge.test:{forge}"),
        format!("http://content.test:{content}"),
        "forge.test".to_owned(),
        "content.test".to_owned(),
    ]);
    let https = at.https.unwrap_or(at.forge_tls).ip();
    for place in [
        format!("forge.test:{forge}:{}", at.forge.ip()),
        format!("content.test:{content}:{}", at.content.ip()),
        format!("forge.test:443:{https}"),
        format!("content.test:443:{https}"),
    ] {
        options.more.extend(["--resolve".to_owned(), place]);
    }
    let ca = at.ca.to_str().context("a path in UTF-8")?.to_owned();
    options.more.extend(["--upstream-ca".to_owned(), ca]);
    Ok(())
}
