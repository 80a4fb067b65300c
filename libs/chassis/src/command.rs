//! What every `main` of the house does: arguments, configuration, telemetry, limits, signals, the ready file, the end.
//!
//! Owns: the order of starting and stopping, and the exit codes (0 ended well, 1 the service failed, 2 the
//! configuration or the command line is wrong). Never: what the service does in between. Order of the end: the drain
//! starts, the service ends, the requests under way end, the tasks close, the last spans leave; each step has a bound,
//! all of them together stay below the 30 s Kubernetes grants. A kill leaves only a stale ready file, which the next
//! start removes first.

use std::error::Error;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{Admin, Shown};
use crate::config::{ConfigError, Loaded, Sources};
use crate::metrics::Metrics;
use crate::net::BindError;
use crate::settings::Shared;
use crate::tasks::{Drain, Tasks};
use crate::telemetry::{self, Telemetry};

mod arguments;
mod signals;

use arguments::Wanted;

/// The service has this long to end after the drain started, and with it the requests under way.
const LEAVE_WITHIN: Duration = Duration::from_secs(20);

/// The tasks have this long to be dropped: only one that blocks its thread needs any of it.
const TASKS_WITHIN: Duration = Duration::from_secs(3);

/// Blocking work (a file being written) has this long after everything else ended.
const RUNTIME_WITHIN: Duration = Duration::from_secs(2);

/// The exit code for a wrong configuration or command line.
const WRONG: u8 = 2;

/// What may go wrong in a service's life.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How a service ends.
pub type Ended = Result<(), Failure>;

/// What a service is given when it starts.
#[derive(Clone, Debug)]
pub struct Started<C> {
    /// Its configuration, and where each value comes from.
    pub config: Loaded<C>,
    /// The word "we are leaving": the service ends soon after it.
    pub drain: Drain,
    /// The scope of its tasks; closed after the service has ended.
    pub tasks: Tasks,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The admin port, serving already; not ready until [`ReadyFile::write`].
    pub admin: Admin,
    /// Says that the service is ready.
    pub ready: ReadyFile,
}

/// Says that the service is ready, in the ready file (when one is configured) and on the admin port.
#[derive(Clone, Debug)]
pub struct ReadyFile {
    path: Option<PathBuf>,
    admin: Admin,
}

impl ReadyFile {
    fn new(path: Option<PathBuf>, admin: Admin) -> Self {
        admin.readiness().set("service", false, "starting");
        Self { path, admin }
    }

    /// Writes `{"pid", "admin", ..addresses}` in one step with mode 0600, and turns `/readyz` green.
    pub fn write(&self, addresses: &[(&str, String)]) -> std::io::Result<()> {
        if let Some(path) = &self.path {
            let mut words = serde_json::Map::new();
            words.insert("pid".to_owned(), std::process::id().into());
            words.insert("admin".to_owned(), self.admin.address().to_string().into());
            words
                .extend(addresses.iter().map(|(name, address)| ((*name).to_owned(), address.clone().into())));
            crate::files::replace(path, &format!("{}\n", serde_json::Value::Object(words)))?;
        }
        self.admin.readiness().set("service", true, "running");
        tracing::info!(admin = %self.admin.address(), ?addresses, "ready");
        Ok(())
    }

    /// Removes the file: nobody may take an ended process for a ready one.
    fn remove(&self) {
        if let Some(path) = &self.path
            && let Err(error) = crate::files::remove(path)
        {
            tracing::warn!(%error, "ready file could not be removed");
        }
    }
}

impl<C: AsRef<Shared>> Started<C> {
    /// The same without a command line, for a service started inside a test: the admin port as configured, no
    /// telemetry of its own. Needs a tokio runtime.
    pub fn in_process(config: C) -> Result<Self, BindError> {
        Self::new(Loaded { value: config, sources: Sources::default() }, Telemetry::none())
    }

    fn new(config: Loaded<C>, telemetry: Telemetry) -> Result<Self, BindError> {
        let (metrics, tasks, drain) = (Metrics::new(), Tasks::new(), Drain::new());
        let shown = Shown {
            metrics: metrics.clone(),
            telemetry: telemetry.clone(),
            tasks: tasks.clone(),
            drain: drain.clone(),
        };
        let shared = config.value.as_ref();
        let admin = Admin::bind(&shared.admin.listen, shown)?;
        let ready = ReadyFile::new(shared.ready_file.clone(), admin.clone());
        ready.remove();
        Ok(Self { config, drain, tasks, telemetry, metrics, admin, ready })
    }
}

/// Runs a service: `--config FILE`, `--set KEY=VALUE`, `--print-config`, `--version`, `--help`; then the
/// configuration, the telemetry, the admin port, the service itself until SIGTERM or SIGINT, and an orderly end. A
/// second signal ends the process at once.
pub fn run<C, F, Fut>(name: &'static str, version: &'static str, service: F) -> ExitCode
where
    C: DeserializeOwned + Serialize + Default + AsRef<Shared> + Clone + Send + Sync + 'static,
    F: FnOnce(Started<C>) -> Fut,
    Fut: Future<Output = Ended>,
{
    let config = match arguments::read(std::env::args_os().skip(1)) {
        Ok(Wanted::Version) => return say(&format!("{name} {version}")),
        Ok(Wanted::Help) => return say(&arguments::help(name)),
        Ok(Wanted::Print(said)) => match said.load::<C>() {
            Ok(config) => return say(config.to_yaml().trim_end()),
            Err(error) => return complain(name, &error, WRONG),
        },
        Ok(Wanted::Run(said)) => match said.load::<C>() {
            Ok(config) => config,
            Err(error) => return complain(name, &error, WRONG),
        },
        Err(words) => {
            return complain(name, &format!("{words}\n{}", arguments::help(name)), WRONG);
        }
    };
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a provider of cryptography was installed before");
    }
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as the system has them");
    }
    let limit = raise_descriptors();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(name).build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(name, &error, 1),
    };
    let lived = runtime.block_on(Box::pin(live(name, version, limit, config, service)));
    runtime.shutdown_timeout(RUNTIME_WITHIN);
    telemetry::drain();
    match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code =
                if error.is::<ConfigError>() || error.is::<telemetry::TelemetryError>() { WRONG } else { 1 };
            complain(name, &error, code)
        }
    }
}

/// The answer to `--version`, `--help` and `--print-config`. A reader who has seen enough (`| head`) is no failure.
fn say(words: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{words}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// The last word of a process that cannot go on; the log may not exist (yet, or any more).
#[expect(clippy::print_stderr, reason = "an operator reads it")]
fn complain(name: &str, words: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("{name}: {words}");
    ExitCode::from(code)
}

/// Raises the soft limit of open files to the hard one; every connection, object and spool is a descriptor.
fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.filter(|now| *now < u64::from(u32::MAX))
}

async fn live<C, F, Fut>(
    name: &'static str,
    version: &'static str,
    limit: Option<u64>,
    config: Loaded<C>,
    service: F,
) -> Ended
where
    C: Serialize + AsRef<Shared> + Clone + Send + Sync + 'static,
    F: FnOnce(Started<C>) -> Fut,
    Fut: Future<Output = Ended>,
{
    let telemetry = telemetry::init(name, config.value.as_ref())?;
    let shared = config.value.as_ref().clone();
    let started = Started::new(config.clone(), telemetry.clone())?;
    started.admin.show_config(std::sync::Arc::new(move || config.render_redacted()));
    say_start(name, version, limit, &shared);
    // Outside the service's scope: a second signal must still be heard while that one closes.
    let own = Tasks::new();
    signals::watch(&own, &started.drain, shared.exit_with_parent)?;
    let (drain, tasks, ready) = (started.drain.clone(), started.tasks.clone(), started.ready.clone());
    let ended = leave_in_time(&drain, service(started)).await;
    ready.remove();
    let in_time = tokio::time::timeout(TASKS_WITHIN, tasks.close()).await.is_ok();
    say_end(name, &ended, &if in_time { Vec::new() } else { tasks.names() });
    telemetry.shutdown().await;
    own.close().await;
    ended
}

fn say_start(name: &str, version: &str, limit: Option<u64>, shared: &Shared) {
    tracing::info!(name, version, pid = std::process::id(), descriptors = limit, "starting");
    if let Some(port) = shared.pprof_port {
        tracing::info!(port, "`pprofPort` is accepted; tasks and metrics are on the admin port");
    }
}

fn say_end(name: &str, ended: &Ended, left: &[(&'static str, usize)]) {
    if !left.is_empty() {
        tracing::warn!(?left, "tasks did not end in time");
    }
    match ended {
        Ok(()) => tracing::info!(name, "ended"),
        Err(error) => tracing::error!(name, %error, "failed"),
    }
}

/// Runs the service to its end, and the requests under way to theirs, but not for longer than the drain may last.
async fn leave_in_time<Fut: Future<Output = Ended>>(drain: &Drain, service: Fut) -> Ended {
    let whole = async {
        let ended = service.await;
        drain.start();
        if ended.is_ok() {
            drain.finished().await;
        }
        ended
    };
    let overtime = async {
        drain.wait().await;
        tokio::time::sleep(LEAVE_WITHIN).await;
    };
    tokio::select! {
        ended = whole => ended,
        () = overtime => {
            tracing::warn!(requests = drain.under_way(), "service did not end in time");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
