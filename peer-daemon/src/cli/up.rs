//! `darner up`: a whole local cluster on loopback, each part its own process.
//!
//! Owns: the order of starting and ending, and the children. Never: restarts one: what is gone is told, the others go
//! on (DESIGN section 7). After a crash of this process the children end by themselves; the next `up` with the same
//! `--data` waits for that and starts with what they hold.

pub mod args;
pub mod authority;
pub mod child;
pub mod document;
pub mod home;
pub mod keys;
pub mod plan;
pub mod process;
pub mod ready;
pub mod report;
pub mod stop;
pub mod values;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

pub use args::UpArgs;
pub use home::passing_directory;
pub use report::{Cluster, PeerDaemon};

use super::failure::{Failure, Outcome, io};
use super::progress::Waiting;
use super::{git_config, say};
use child::Child;
use document::{Doors, Reached, Source};
use home::Home;
use plan::{FirstPort, GIT_PORT, Plan};
use process::{KeyRing, Part, Place, Process};
use stop::Stop;

/// A debug build on a busy machine still gets there; beyond it something is stuck.
const READY: Duration = Duration::from_secs(90);
/// What running downloads get to end well.
const END: Duration = Duration::from_secs(10);
/// Where the description of the running cluster lies, for the other commands.
pub const CLUSTER_FILE: &str = "cluster.json";

/// Runs the cluster until it is told to stop.
pub async fn run(args: UpArgs) -> Outcome {
    let values = args.config.as_deref().map(values::read).transpose()?.unwrap_or_default();
    if !values.ignored.is_empty() {
        let words = values.ignored.join("`, `");
        say::note(&format!("note: of no meaning in a local cluster: `{words}`"));
    }
    let plan = plan::make(&args, values)?;
    let plan = absolute(plan)?;
    let mut stop = Stop::listen()?;
    let mut up = Up::prepare(plan, args.data.as_deref())?;
    let started = tokio::select! {
        started = up.start() => started,
        () = stop.asked() => Err(Failure::negative("stopped while starting")),
    };
    let ended = match started {
        Ok(()) => up.tell(args.json),
        Err(failure) => Err(failure),
    };
    let ended = match ended {
        Ok(()) => up.watch(&mut stop).await,
        Err(failure) => Err(failure),
    };
    up.end().await;
    ended
}

/// Paths of the call, independent of where a child looks from.
fn absolute(mut plan: Plan) -> Result<Plan, Failure> {
    if let Some(authority) = &plan.upstream_ca {
        let path = std::path::absolute(authority).map_err(|error| io("find", authority, &error))?;
        std::fs::metadata(&path).map_err(|error| io("read", &path, &error))?;
        plan.upstream_ca = Some(path);
    }
    Ok(plan)
}

/// Writes a file that only its owner reads, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    darner_chassis::files::replace(path, text).map_err(|error| io("write", path, &error))
}

/// A cluster on its way up, running, or on its way down.
#[derive(Debug)]
struct Up {
    plan: Plan,
    home: Home,
    keys: KeyRing,
    binaries: PathBuf,
    children: Vec<Child>,
    reached: Reached,
}

impl Up {
    fn prepare(plan: Plan, data: Option<&Path>) -> Result<Self, Failure> {
        let binaries = std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .ok_or_else(|| Failure::negative("cannot tell where this executable lies"))?;
        let home = Home::take(data)?;
        let keys = KeyRing::of(home.path());
        keys::provide(&keys, plan.seeds)?;
        if plan.mtls {
            authority::provide(&keys, plan.schedulers)?;
        }
        Ok(Self { plan, home, keys, binaries, children: Vec::new(), reached: Reached::default() })
    }

    /// Starts one kind of process after the other: each is told the addresses of those before it.
    async fn start(&mut self) -> Outcome {
        let waiting = Waiting::begin("starting");
        let first_port = first_port(self.plan.port)?;
        self.check().await?;
        for (part, count) in [
            (Part::Scheduler, self.plan.schedulers),
            (Part::Manager, 1),
            (Part::SeedPeer, self.plan.seeds),
            (Part::PeerDaemon, self.plan.peers),
        ] {
            let from = self.children.len();
            for index in 0..count {
                let process = Process { part, index };
                let port = if index == 0 { first_port } else { 0 };
                waiting.say(&format!("starting {}", process.name()));
                self.spawn(process, port).await?;
            }
            for child in self.children.iter_mut().skip(from) {
                child.become_ready(READY).await?;
                waiting.say(&format!("{} is ready", child.process.name()));
            }
            self.reach(part);
        }
        Ok(())
    }

    /// Lets each kind of process judge its own part of the values file, so that all mistakes are told before any starts.
    async fn check(&mut self) -> Outcome {
        let mut told = Vec::new();
        for part in [Part::Scheduler, Part::Manager, Part::SeedPeer, Part::PeerDaemon] {
            if part.own(&self.plan.values).is_empty() {
                continue;
            }
            let process = Process { part, index: 0 };
            let place = self.write_document(process, 0).await?;
            if let Err(failure) = child::check(&self.executable(part)?, process, &place).await {
                told.push(failure);
            }
        }
        match told.len() {
            0 => Ok(()),
            1 => told.pop().map_or(Ok(()), Err),
            _ => {
                let told: Vec<String> =
                    told.iter().map(|one| one.to_string().trim_start_matches("error: ").to_owned()).collect();
                Err(Failure::usage(told.join("\n")))
            }
        }
    }

    async fn spawn(&mut self, process: Process, port: u16) -> Outcome {
        let place = self.write_document(process, port).await?;
        let child = Child::start(&self.executable(process.part)?, process, place)?;
        self.children.push(child);
        Ok(())
    }

    async fn write_document(&mut self, process: Process, port: u16) -> Result<Place, Failure> {
        let place = process.place(self.home.path());
        self.home.clear(&place).await?;
        let doors = match process.part {
            Part::PeerDaemon => {
                let socket = self.home.socket(&place, process)?;
                Some(Doors { git: format!("127.0.0.1:{port}"), socket })
            }
            _ => None,
        };
        let source = Source { plan: &self.plan, place: &place, keys: &self.keys, reached: &self.reached };
        let document = document::document(process, &source, doors.as_ref());
        let yaml = serde_saphyr::to_string(&document)
            .map_err(|error| Failure::negative(format!("cannot write YAML: {error}")))?;
        write(&place.config, &yaml)?;
        Ok(place)
    }

    /// The executable of a part, beside our own.
    fn executable(&self, part: Part) -> Result<PathBuf, Failure> {
        let path = self.binaries.join(part.binary());
        match path.metadata() {
            Ok(there) if there.is_file() => Ok(path),
            _ => Err(Failure::negative(format!(
                "`{}` is not beside `darner`: {}",
                part.binary(),
                path.display()
            ))
            .hint("install or build all executables of Darner into one directory")),
        }
    }

    /// Notes the addresses of a part that is ready now.
    fn reach(&mut self, part: Part) {
        let ready: Vec<String> = self
            .children
            .iter()
            .filter(|child| child.process.part == part)
            .filter_map(|child| child.ready.grpc.clone())
            .collect();
        match part {
            Part::Scheduler => self.reached.schedulers = ready,
            Part::Manager => self.reached.manager = ready.into_iter().next(),
            Part::SeedPeer => self.reached.seeds = ready,
            Part::PeerDaemon => {}
        }
    }

    /// Tells what runs: one JSON line, or words.
    fn tell(&self, json: bool) -> Outcome {
        let cluster = report::cluster(&self.plan, &self.children);
        let line = serde_json::to_string(&cluster)
            .map_err(|error| Failure::negative(format!("cannot write JSON: {error}")))?;
        write(&self.home.path().join(CLUSTER_FILE), &line)?;
        if json {
            say::result(&line);
        } else {
            let lines = cluster.peer_daemons.first().map_or_else(String::new, |daemon| {
                git_config::for_local_cluster(&format!("http://{}", daemon.proxy), &self.plan.upstreams)
            });
            say::result(&report::words(&cluster, self.home.path(), &lines));
        }
        Ok(())
    }

    /// Waits for the word to stop; a child that ends before is told, and the others go on.
    async fn watch(&mut self, stop: &mut Stop) -> Outcome {
        let mut told = vec![false; self.children.len()];
        loop {
            let ended = tokio::select! {
                () = stop.asked() => return Ok(()),
                ended = first_end(&mut self.children, &told) => ended,
            };
            let (Some(child), Some(told_of)) = (self.children.get_mut(ended), told.get_mut(ended)) else {
                return Ok(());
            };
            *told_of = true;
            if let Some(status) = child.ended() {
                say::note(&child.early(status).await.to_string());
            }
            if told.iter().all(|&told| told) {
                return Err(Failure::negative("no process of the cluster is left"));
            }
        }
    }

    /// Ends everything: asks all, waits for all within one bound, kills who is left.
    async fn end(mut self) {
        let waiting = Waiting::begin("stopping");
        for child in &self.children {
            child.ask_to_end();
        }
        let until = Instant::now() + END;
        for child in &mut self.children {
            if !child.gone_by(until).await {
                waiting.say(&format!("{} did not end in time and was killed", child.process.name()));
            }
        }
        // Gone already when the start failed; the directory may be removed next anyway.
        drop(std::fs::remove_file(self.home.path().join(CLUSTER_FILE)));
    }
}

/// Index of the first child that ends among those not told of yet; pending for ever when there is none.
async fn first_end(children: &mut [Child], told: &[bool]) -> usize {
    let waits = children.iter_mut().zip(told).enumerate().filter(|(_, (_, told))| !**told).map(
        |(index, (child, _))| {
            Box::pin(async move {
                child.wait().await;
                index
            })
        },
    );
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() { std::future::pending().await } else { futures::future::select_all(waits).await.0 }
}

/// The port the first daemon is given.
fn first_port(wish: FirstPort) -> Result<u16, Failure> {
    match wish {
        FirstPort::Exactly(0) => Ok(0),
        FirstPort::Exactly(port) => match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => Ok(port),
            Err(error) => Err(Failure::negative(format!("port {port} on 127.0.0.1 cannot be used: {error}"))
                .hint("choose another with --port, or --port 0 for any free one")),
        },
        FirstPort::Usual => {
            let free = TcpListener::bind(("127.0.0.1", GIT_PORT)).is_ok();
            if !free {
                say::note(&format!("note: port {GIT_PORT} is in use; the first daemon takes another"));
            }
            Ok(if free { GIT_PORT } else { 0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_busy_port_is_told_and_nothing_else_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let told = first_port(FirstPort::Exactly(port)).expect_err("busy").to_string();
        assert!(told.contains(&port.to_string()) && told.contains("--port"), "{told}");
        drop(taken);
        assert_eq!(first_port(FirstPort::Exactly(port)).expect("free"), port);
    }

    #[test]
    fn any_port_is_left_to_the_system() {
        assert_eq!(first_port(FirstPort::Exactly(0)).expect("any"), 0);
    }

    #[test]
    fn what_is_written_is_for_the_owner_only_and_replaces_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, "old and longer").expect("write");
        write(&path, "new").expect("write");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn an_authority_that_is_not_there_is_told_before_anything_starts() {
        let args = UpArgs { upstream_ca: Some("/nowhere/ca.pem".into()), ..UpArgs::default() };
        let plan = plan::make(&args, values::Values::default()).expect("a plan");
        let told = absolute(plan).expect_err("no file").to_string();
        assert!(told.contains("/nowhere/ca.pem"), "{told}");
    }
}
