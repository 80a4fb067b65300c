//! `darner get`: downloads objects through the daemon, with the caller's own credential.
//!
//! Owns: finding out what a person means (an OID, a path of the clone), and the two ways to show that he may have it:
//! the endpoint's own Batch, relayed by the daemon, or an address with headers that the caller already has. Never:
//! leaves a file under its name whose content has not been hashed.

mod batch;
mod meant;

use std::io::Write;
use std::path::{Path, PathBuf};

use darner_lfs::Oid;
use darner_lfs::verify::RunningSha256;
use darner_proto::v1;
use http_body_util::BodyExt;
use url::Url;

use super::failure::{Failure, Outcome, io};
use super::http::{Answer, message};
use super::progress::Arriving;
use super::socket::{SocketArgs, refused};
use super::{git, prefetch, say, show};

/// Download objects through the daemon.
#[derive(Debug, Clone, clap::Args)]
pub struct GetArgs {
    /// OIDs, or paths of the clone
    #[arg(value_name = "OID|PATH", required = true)]
    objects: Vec<String>,
    /// The Git LFS endpoint [default: that of the clone]
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    endpoint: Option<String>,
    /// Address of the daemon's git-facing port [default: `http://127.0.0.1:65001`]
    #[arg(long, value_name = "URL", env = "DARNER_GATEWAY")]
    gateway: Option<String>,
    /// An address that the object can be read from, instead of asking the endpoint
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A header that goes with --url
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    header: Vec<String>,
    /// Size of the object, when the clone does not tell
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// Where to put it (one object) [default: where git-lfs looks for it]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// An object that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meant {
    oid: Oid,
    size: Option<u64>,
}

/// Downloads every object, one after the other.
pub async fn run(args: GetArgs) -> Outcome {
    if args.objects.len() > 1 && (args.output.is_some() || args.url.is_some()) {
        return Err(Failure::usage("--output and --url are for one object"));
    }
    for word in &args.objects {
        let meant = meant::of(word, args.size)?;
        let path = match &args.url {
            Some(url) => from_address(&args, meant, url).await?,
            None => from_endpoint(&args, meant).await?,
        };
        say::result(&path.display().to_string());
    }
    Ok(())
}

/// Through the endpoint's Batch, as git-lfs does it.
async fn from_endpoint(args: &GetArgs, meant: Meant) -> Result<PathBuf, Failure> {
    let endpoint = match &args.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => meant::endpoint().ok_or_else(|| {
            Failure::usage("which endpoint?")
                .hint("run it in a clone, or give --endpoint https://HOST/REPO.git/info/lfs")
        })?,
    };
    let gateway = gateway(args)?;
    let action = batch::ask(&gateway, &endpoint, meant).await?;
    let answer = action.call()?.send().await?;
    if !answer.status().is_success() {
        let status = answer.status();
        let words = message(&answer.bytes().await?);
        return Err(Failure::negative(format!("the daemon answers {status}: {words}")));
    }
    let to = args.output.clone().unwrap_or_else(|| meant::usual_place(&meant.oid));
    receive(answer, meant, &to).await?;
    Ok(to)
}

/// Through an address the caller already has, over the daemon's own service.
async fn from_address(args: &GetArgs, meant: Meant, url: &str) -> Result<PathBuf, Failure> {
    let parsed = Url::parse(url).map_err(|error| Failure::usage(format!("--url is no address: {error}")))?;
    let credential = v1::Credential {
        url: parsed.to_string(),
        headers: args.header.iter().map(|line| header(line)).collect::<Result<_, _>>()?,
        upstream: String::new(),
        expires_ms: 0,
        granted_by_batch: false,
    };
    let key = darner_lfs::ObjectKey::Sha256(meant.oid);
    let request = v1::GetRequest { key: Some(key.into()), size: meant.size, credential: Some(credential) };
    let mut daemon = args.socket.connect().await?;
    let mut progress = daemon.get(request).await.map_err(|status| refused(&status))?.into_inner();
    let bar = Arriving::begin(&short(&meant.oid), meant.size);
    let mut held = None;
    while let Some(step) = progress.message().await.map_err(|status| refused(&status))? {
        if !step.error.is_empty() {
            return Err(Failure::negative(format!("the daemon could not get {}: {}", meant.oid, step.error)));
        }
        bar.now(step.received, step.size);
        if step.done {
            held = Some(PathBuf::from(step.path));
        }
    }
    drop(bar);
    let held = held.ok_or_else(|| Failure::negative("the daemon ended without a word"))?;
    match &args.output {
        None => Ok(held),
        Some(to) => copy(&held, meant, to).map(|()| to.clone()),
    }
}

fn header(line: &str) -> Result<v1::Header, Failure> {
    let (name, value) = line.split_once(':').ok_or_else(|| Failure::usage("--header: write NAME: VALUE"))?;
    let value = value.trim().as_bytes().to_vec();
    Ok(v1::Header { name: name.trim().to_ascii_lowercase(), value: value.into() })
}

/// Writes the body beside its place, hashes it on the way, and puts it there when it is what was asked for.
async fn receive(answer: Answer, meant: Meant, to: &Path) -> Outcome {
    let mut answer = answer;
    let bar = Arriving::begin(&short(&meant.oid), meant.size);
    let mut file = Beside::create(to)?;
    let mut received = 0_u64;
    while let Some(frame) = answer.response.body_mut().frame().await {
        let frame = frame.map_err(|error| Failure::negative(format!("the download broke off: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            received = received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            file.write(&bytes)?;
            bar.now(received, meant.size);
        }
    }
    file.put(&meant.oid)
}

/// Copies an object out of the daemon's store: a link would let a later writer change what the daemon serves.
fn copy(from: &Path, meant: Meant, to: &Path) -> Outcome {
    let mut source = std::fs::File::open(from).map_err(|error| io("read", from, &error))?;
    let mut file = Beside::create(to)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut source, &mut buffer).map_err(|error| io("read", from, &error))?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => file.write(bytes)?,
            _ => return file.put(&meant.oid),
        }
    }
}

/// A file on its way to its name.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    to: PathBuf,
    file: std::fs::File,
    hash: RunningSha256,
    kept: bool,
}

impl Beside {
    fn create(to: &Path) -> Result<Self, Failure> {
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(|error| io("make", parent, &error))?;
        }
        let mut name = to.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        name.push(format!(".{}.part", std::process::id()));
        let path = to.with_file_name(name);
        let file = std::fs::File::create(&path).map_err(|error| io("write", &path, &error))?;
        Ok(Self { path, to: to.to_owned(), file, hash: RunningSha256::default(), kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| io("write", &self.path, &error))
    }

    fn put(mut self, wanted: &Oid) -> Outcome {
        let got = std::mem::take(&mut self.hash).finish();
        if got != *wanted {
            return Err(Failure::negative(format!(
                "what came is not {wanted} but {got}; it was thrown away"
            )));
        }
        std::fs::rename(&self.path, &self.to).map_err(|error| io("write", &self.to, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.kept {
            // A file nobody asked for; whoever cleans the directory finds it otherwise.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// The daemon's git-facing address.
fn gateway(args: &GetArgs) -> Result<Url, Failure> {
    let text = match (&args.gateway, &args.socket.data) {
        (Some(gateway), _) => gateway.clone(),
        (None, Some(data)) => {
            let cluster = prefetch::local(data)?;
            let daemon = cluster.peer_daemons.get(usize::from(args.socket.peer));
            format!("http://{}", daemon.map(|daemon| daemon.proxy.as_str()).unwrap_or_default())
        }
        (None, None) => "http://127.0.0.1:65001".to_owned(),
    };
    Url::parse(&text).map_err(|error| Failure::usage(format!("`{text}` is no address of a daemon: {error}")))
}

fn short(oid: &Oid) -> String {
    oid.to_string().chars().take(12).collect()
}

#[cfg(test)]
mod tests;
