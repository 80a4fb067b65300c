//! How a part comes by its certificate where no file holds one: it asks the manager, and asks again in good time.
//!
//! Owns: the key, made here for each certificate and never sent; the one file it is kept in with its certificate (0600),
//! so that a restart needs no manager; the pauses. Never: gives up. While there is no certificate the process runs, and
//! nobody speaks to it. After a crash between two certificates the former one is in the file, or the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::live::Source;
use super::{TlsError, Wire, connect};
use crate::authority;
use crate::clock::{Clock as _, System};
use crate::grpc::TracedChannel;
use crate::identity::Role;
use crate::tasks::Tasks;

/// How long a start waits for its first certificate.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// The first pause of a start; each is twice the one before, so that a wrong token is shown four times and not more.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long one attempt may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Between two certificates at least, however short they live.
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A token is a line; a projected one has about 1.2 KiB.
const LONGEST_TOKEN: usize = 16 << 10;

/// What is asked of the manager.
#[derive(Clone)]
pub struct Ask {
    /// The certificate request, DER.
    pub request: Vec<u8>,
    /// For whom.
    pub role: Role,
    /// For which one.
    pub name: String,
    /// What lets it join.
    pub token: String,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("role", &self.role).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Says an [`Ask`] to the manager in the words the rooms share.
#[tonic::async_trait]
pub trait Enrol: Send + Sync + std::fmt::Debug {
    /// The chain in PEM, or why there is none, in words without the token.
    async fn enrol(&self, manager: TracedChannel, ask: Ask) -> Result<String, String>;
}

/// Where and how to join.
#[derive(Clone, Debug)]
pub struct Joining {
    /// `HOST:PORT` of the manager.
    pub manager: String,
    /// The file that keeps the certificate with its key. Absent: every start asks anew.
    pub kept: Option<PathBuf>,
    /// How it is said.
    pub enrol: Arc<dyn Enrol>,
}

/// Takes up what is kept or asks for a certificate, and keeps it renewed on `tasks`.
pub(super) async fn start(
    wire: &Wire,
    joining: Joining,
    token: PathBuf,
    tasks: &Tasks,
) -> Result<(), TlsError> {
    let manager = connect::enrolling(wire, &joining.manager).map_err(|_refused| TlsError::NoManager)?;
    let joiner = Joiner { wire: wire.clone(), joining, token, manager };
    joiner.take_up();
    if wire.identity().is_none() {
        joiner.begin().await;
    }
    tasks.spawn("identity", joiner.stay());
    Ok(())
}

/// Issues the authority's own certificate, and keeps it renewed on `tasks`.
pub(super) fn start_issuing(
    wire: &Wire,
    renew: impl Fn() -> Result<authority::Pair, String> + Send + Sync + 'static,
    tasks: &Tasks,
) -> Result<(), TlsError> {
    let wire = wire.clone();
    let issue = move |wire: &Wire| {
        let pair = renew().map_err(TlsError::Issued)?;
        wire.source().map_or(Ok(()), |source| source.put(&pair.issued.chain, &pair.key))
    };
    issue(&wire)?;
    tasks.spawn("identity", async move {
        loop {
            tokio::time::sleep(rest(&wire)).await;
            if let Err(error) = issue(&wire) {
                tracing::error!(%error, "the own certificate cannot be renewed");
                tokio::time::sleep(PAUSES.1).await;
            }
        }
    });
    Ok(())
}

struct Joiner {
    wire: Wire,
    joining: Joining,
    token: PathBuf,
    manager: TracedChannel,
}

impl Joiner {
    /// The certificate of the last start, if it is still good.
    fn take_up(&self) {
        let (Some(kept), Some(source)) = (&self.joining.kept, self.wire.source()) else { return };
        let Ok(text) = std::fs::read_to_string(kept) else { return };
        match source.put(&text, &text) {
            Ok(()) => tracing::info!(identity = self.wire.words(), "kept certificate taken up"),
            Err(error) => tracing::info!(%error, "kept certificate is of no use any more"),
        }
    }

    /// The first certificate, if it can be had soon: the parts of a new cluster start together, the manager among them.
    async fn begin(&self) {
        let mut words = "the manager does not answer".to_owned();
        let mut again = FIRST_PAUSE;
        let joined = async {
            while let Err(why) = self.join().await {
                words = why;
                tokio::time::sleep(again).await;
                again = again.saturating_mul(2);
            }
        };
        if tokio::time::timeout(FIRST_WITHIN, joined).await.is_err() {
            tracing::warn!(error = words, "no certificate yet, trying on");
        }
    }

    async fn stay(self) {
        let mut failures = 0_u32;
        loop {
            let has_one = self.wire.identity().is_some();
            if has_one && failures == 0 {
                tokio::time::sleep(rest(&self.wire)).await;
            }
            let joined = tokio::time::timeout(ATTEMPT_WITHIN, self.join()).await;
            let words = match joined {
                Ok(Ok(())) => {
                    failures = 0;
                    continue;
                }
                Ok(Err(words)) => words,
                Err(_elapsed) => "the manager does not answer".to_owned(),
            };
            // Said at the first failure, and then now and then: it is the reason why nobody speaks to this node.
            if failures.is_multiple_of(10) {
                tracing::warn!(error = words, identity = self.wire.words(), "no new certificate, trying on");
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(pause(failures, &self.own().1)).await;
        }
    }

    fn own(&self) -> (Role, String) {
        let own = self.wire.source().map(Source::own);
        own.map_or((Role::PeerDaemon, String::new()), |own| (own.role, own.name.clone()))
    }

    async fn join(&self) -> Result<(), String> {
        let token = read_token(&self.token)?;
        let (request, key) = authority::request().map_err(|error| error.to_string())?;
        let (role, name) = self.own();
        let ask = Ask { request, role, name, token };
        let chain = self.joining.enrol.enrol(self.manager.clone(), ask).await?;
        let Some(source) = self.wire.source() else { return Ok(()) };
        source.put(&chain, &key).map_err(|error| error.to_string())?;
        if let Some(kept) = &self.joining.kept
            && let Err(error) = crate::files::replace(kept, &format!("{chain}{key}"))
        {
            tracing::warn!(file = %kept.display(), %error, "the certificate cannot be kept for the next start");
        }
        tracing::info!(identity = self.wire.words(), "certificate issued");
        Ok(())
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let told = |words: &str| format!("`tls.joinToken`: {}: {words}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(told("it holds no token"));
    }
    Ok(token.to_owned())
}

/// How long the certificate in force is let be: two thirds of what is left of it.
fn rest(wire: &Wire) -> Duration {
    let left_ms = wire.ends_ms().unwrap_or(0).saturating_sub(System.now_ms());
    Duration::from_millis(left_ms / 3 * 2).max(RENEW_AT_MOST_EVERY)
}

/// The pause after so many failures: short at first, for a manager that is only starting; nodes differ, so that one that
/// comes back is not asked by all at once.
fn pause(failures: u32, name: &str) -> Duration {
    let whole = PAUSES.0.saturating_mul(1 << (failures / 3).min(10)).min(PAUSES.1);
    let share =
        name.bytes().fold(failures, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 50;
    whole * (50 + share) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_differ_between_nodes() {
        assert!(pause(1, "a") < pause(6, "a"));
        assert!((0..40).all(|failures| pause(failures, "a") <= PAUSES.1));
        assert_ne!(pause(3, "node-a"), pause(3, "node-b"));
    }

    #[test]
    fn a_token_is_one_line_and_its_absence_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_token(file.path()).unwrap_err().contains("`tls.joinToken`"));
        std::fs::write(file.path(), " secret \n").unwrap();
        assert_eq!(read_token(file.path()).unwrap(), "secret");
        assert!(read_token(Path::new("/nonexistent/token")).unwrap_err().contains("/nonexistent/token"));
    }

    #[test]
    fn no_token_is_shown_in_debug_output() {
        let (request, name) = (Vec::new(), "n".to_owned());
        let ask = Ask { request, role: Role::Scheduler, name, token: "canary".to_owned() };
        assert!(!format!("{ask:?}").contains("canary"));
    }
}
