//! One stream to the manager after another.
//!
//! Owns: the order of what is said on a stream: hello, then numbers, holdings, downloads and acknowledgements as they
//! come; and what happens with what the manager says. Never: blocks the node; a manager that stops reading ends the
//! stream after [`PATIENCE`]. Called by: the `feed` task, which is cancelled as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use darner_chassis::grpc;
use darner_chassis::identity::Role;
use darner_chassis::tls::Expected;
use darner_proto::v1::{self, manager_client::ManagerClient, report};
use darner_proto::wanted::Wanted;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use super::holdings::Holdings;
use super::pause::pause;
use super::{ConfigVersion, Feed};

/// Between two reports of the node's numbers.
const STATS_EVERY: Duration = Duration::from_secs(5);
/// Between two reports of changed holdings and of small local hits.
const HOLDINGS_EVERY: Duration = Duration::from_secs(1);
/// A report that cannot be sent for so long ends the stream.
const PATIENCE: Duration = Duration::from_secs(20);
/// Downloads per message.
const PER_REPORT: usize = 256;
/// Reports under way.
const QUEUE: usize = 16;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the manager closed the stream")]
    Closed,
    #[error("the manager does not read")]
    Deaf,
    #[error("too many tombstones wait to be honoured")]
    Behind,
    #[error("{}", grpc::words(.0))]
    Refused(#[from] tonic::Status),
}

/// Attach, and attach again, until cancelled.
pub(super) async fn keep_attached(feed: Feed, mut downloads: mpsc::Receiver<v1::Download>) {
    let Some(manager) = feed.0.manager.clone() else { return };
    let mut failures = 0;
    let node = feed.0.hello.node.as_ref().map(|node| node.id.clone()).unwrap_or_default();
    loop {
        let ended = Attachment::run(&feed, &manager, &mut downloads).await;
        failures = if feed.0.connected.swap(false, Ordering::Relaxed) { 0 } else { failures + 1 };
        // One warning per outage; a manager that stays away is not worth a line every half minute.
        if failures <= 1 {
            tracing::warn!(
                manager,
                error = ended.to_string(),
                "manager lost, its last configuration stays in force"
            );
        }
        tokio::time::sleep(pause(failures, &node)).await;
    }
}

struct Attachment<'a> {
    feed: &'a Feed,
    out: mpsc::Sender<v1::Report>,
    holdings: Option<Holdings>,
}

impl<'a> Attachment<'a> {
    async fn run(feed: &'a Feed, manager: &str, downloads: &mut mpsc::Receiver<v1::Download>) -> Ended {
        let (out, reports) = mpsc::channel(QUEUE);
        let holdings = feed.0.store.clone().map(Holdings::new);
        let mut attachment = Self { feed, out, holdings };
        match attachment.carry(manager, reports, downloads).await {
            Ok(()) => Ended::Closed,
            Err(ended) => ended,
        }
    }

    async fn carry(
        &mut self,
        manager: &str,
        reports: mpsc::Receiver<v1::Report>,
        downloads: &mut mpsc::Receiver<v1::Download>,
    ) -> Result<(), Ended> {
        let mut applied = self.feed.0.applied.subscribe();
        let sequence = *applied.borrow_and_update();
        self.send(report::Report::Hello(self.hello(sequence))).await?;
        let channel = self.feed.0.wire.channel(manager, Expected::roles(&[Role::Manager]));
        let channel = channel.map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        let mut wanted = ManagerClient::new(channel).attach(ReceiverStream::new(reports)).await?.into_inner();
        self.feed.0.connected.store(true, Ordering::Relaxed);
        tracing::info!(manager, "attached to the manager");
        let mut taken = self.feed.0.around.taken.subscribe();
        taken.mark_changed();
        let mut stats = every(STATS_EVERY);
        let mut changes = every(HOLDINGS_EVERY);
        let mut ended = Vec::with_capacity(PER_REPORT);
        loop {
            tokio::select! {
                message = wanted.message() => match message? {
                    Some(message) => self.take(message).await?,
                    None => return Ok(()),
                },
                _ = stats.tick() => self.send(report::Report::Stats((self.feed.0.stats)())).await?,
                _ = changes.tick() => {
                    self.send_hits().await?;
                    self.send_holdings().await?;
                }
                _ = downloads.recv_many(&mut ended, PER_REPORT) => {
                    let downloads = std::mem::take(&mut ended);
                    self.send(report::Report::Downloads(v1::DownloadsReport { downloads })).await?;
                }
                _ = taken.changed() => {
                    let state = taken.borrow_and_update().clone();
                    if let Some(state) = state {
                        self.send(report::Report::Upstreams(state)).await?;
                    }
                }
                _ = applied.changed() => {
                    let sequence = *applied.borrow_and_update();
                    self.send(report::Report::Tombstones(v1::TombstonesApplied { sequence })).await?;
                }
            }
        }
    }

    fn hello(&self, tombstone_sequence: u64) -> v1::ManagerHello {
        let feed = &self.feed.0;
        let mut hello = feed.hello.clone();
        hello.clock_ms = now_ms();
        v1::ManagerHello {
            hello: Some(hello),
            component: feed.component.clone(),
            admin_address: feed.admin_address.clone(),
            config_version: feed.config.borrow().version,
            tombstone_sequence,
        }
    }

    async fn send(&self, report: report::Report) -> Result<(), Ended> {
        let report = v1::Report { report: Some(report) };
        match tokio::time::timeout(PATIENCE, self.out.send(report)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Closed),
            Err(_) => Err(Ended::Deaf),
        }
    }

    async fn send_hits(&self) -> Result<(), Ended> {
        let downloads = self.feed.hits().take();
        if downloads.is_empty() {
            return Ok(());
        }
        self.send(report::Report::Downloads(v1::DownloadsReport { downloads })).await
    }

    async fn send_holdings(&mut self) -> Result<(), Ended> {
        let reports = self.holdings.as_mut().map(Holdings::reports).unwrap_or_default();
        for report in reports {
            self.send(report::Report::Holdings(report)).await?;
        }
        Ok(())
    }

    async fn take(&self, message: v1::Feed) -> Result<(), Ended> {
        match message.feed {
            Some(v1::feed::Feed::Config(config)) => self.take_config(config).await,
            Some(v1::feed::Feed::Tombstones(told)) => self.take_tombstones(told.tombstones),
            Some(v1::feed::Feed::Upstreams(list)) => {
                self.feed.0.around.hear_upstreams(list);
                Ok(())
            }
            Some(v1::feed::Feed::Placement(place)) => {
                self.feed.0.around.hear_place(place);
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn take_config(&self, config: v1::ConfigVersion) -> Result<(), Ended> {
        let version = config.version;
        let error = match Wanted::parse(&config.json) {
            Ok(wanted) => {
                let json = config.json.to_vec();
                self.feed.put_in_force(ConfigVersion { version, wanted, json });
                String::new()
            }
            Err(mistakes) => {
                tracing::warn!(version, %mistakes, "the pushed configuration is refused, the former one stays");
                mistakes.to_string()
            }
        };
        self.send(report::Report::Config(v1::ConfigState { version, error })).await
    }

    fn take_tombstones(&self, tombstones: Vec<v1::Tombstone>) -> Result<(), Ended> {
        for tombstone in tombstones {
            // Never drop one and take the next: the stream is opened anew from the last one applied instead.
            self.feed.0.tombstones.try_send(tombstone).map_err(|_full| Ended::Behind)?;
        }
        Ok(())
    }
}

impl Feed {
    fn put_in_force(&self, config: ConfigVersion) {
        let version = config.version;
        let changed = self.0.config.send_if_modified(|current| {
            let changed = **current != config;
            *current = Arc::new(config);
            changed
        });
        if changed {
            tracing::info!(version, "a pushed configuration is in force");
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
