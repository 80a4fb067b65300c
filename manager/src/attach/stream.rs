//! One node's stream, from its hello to its end.
//!
//! Owns: what is told to the node, in which order: the configuration in force, then each newer one; what the cluster
//! around it adds (upstreams, its zone), where there is one; the tombstones it
//! has not honoured, a bounded number at a time and the next ones once it has honoured those. Never: holds a report
//! in memory beyond its own transaction; the node waits when the database is slow. A failing database ends the
//! stream, and the node tells everything again on its next one.

use std::sync::Arc;

use darner_chassis::telemetry;
use darner_proto::v1::{self, report};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use tracing::Span;

use super::Place;
use super::numbers::Numbers;
use crate::catalog::{CatalogError, Configuration, JsonText, Node, stored, wire};
use crate::cluster::Places;
use crate::control::Control;
use crate::events::Topic;

/// Tombstones a node is told before it has honoured them (it has room for 1024).
const TOMBSTONES_AT_ONCE: i64 = 500;

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the node went")]
    Gone,
    #[error("another stream of the same node came")]
    Replaced,
    #[error("the manager leaves")]
    Leaving,
    #[error(transparent)]
    Broken(#[from] Status),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What a stream knows of its node.
pub(super) struct Carried {
    control: Control,
    id: String,
    component: String,
    /// host:port of its piece link: where it stands is known by that.
    reached: String,
    /// The zone it was told last.
    zone: String,
    out: mpsc::Sender<Result<v1::Feed, Status>>,
    /// The last tombstone told on this stream, and the last one honoured.
    told: i64,
    honoured: i64,
}

impl Carried {
    /// Write the node down as attached.
    pub(super) async fn begin(
        control: Control,
        node: Node,
        out: mpsc::Sender<Result<v1::Feed, Status>>,
    ) -> Result<Self, Status> {
        control.catalog().attach_node(&node).await.map_err(|error| {
            tracing::warn!(node = node.id, %error, "a node could not be attached");
            Status::unavailable("the manager cannot take the node now")
        })?;
        tracing::info!(node = node.id, component = node.component, "node attached");
        control.events().tell(Topic::Nodes, &node);
        let (told, honoured) = (node.tombstone_sequence, node.tombstone_sequence);
        control.cluster().stir();
        let (reached, zone) = (node.piece_address, String::new());
        Ok(Self { control, id: node.id, component: node.component, reached, zone, out, told, honoured })
    }

    /// Carry the stream to its end.
    pub(super) async fn carry(mut self, mut reports: Streaming<v1::Report>, mut place: Place) {
        let (control, out) = (self.control.clone(), self.out.clone());
        let ended = tokio::select! {
            ended = self.talk(&mut reports) => ended.err().unwrap_or(Ended::Gone),
            () = place.until_taken() => Ended::Replaced,
            () = out.closed() => Ended::Gone,
            () = control.drain().wait() => Ended::Leaving,
        };
        tracing::info!(node = self.id, component = self.component, why = %ended, "node stream ended");
        if place.is_taken() {
            return;
        }
        let now_ms = control.now_ms();
        if let Err(error) = control.catalog().node_away(&self.id, now_ms).await {
            tracing::warn!(node = self.id, %error, "a node that went could not be written down");
        }
        control.cluster().stir();
        control.events().tell(Topic::Nodes, &Left { id: &self.id, state: "away", seen_ms: now_ms });
    }

    async fn talk(&mut self, reports: &mut Streaming<v1::Report>) -> Result<(), Ended> {
        let (mut configuration, mut tombstones) =
            (self.control.configuration(), self.control.last_tombstone());
        let current = configuration.borrow_and_update().clone();
        self.tell_configuration(&current).await?;
        let cluster = self.control.cluster();
        let (mut upstreams, mut places) = (cluster.upstreams(), cluster.watch_places());
        let (list, around) = (upstreams.borrow_and_update().clone(), places.borrow_and_update().clone());
        self.tell_upstreams(list).await?;
        self.tell_place(&around).await?;
        tombstones.mark_unchanged();
        self.tell_tombstones().await?;
        loop {
            tokio::select! {
                report = reports.message() => match report? {
                    Some(report) => self.hear(report).await?,
                    None => return Ok(()),
                },
                changed = configuration.changed() => {
                    let current = current_of(changed, &mut configuration)?;
                    self.tell_configuration(&current).await?;
                }
                changed = upstreams.changed() => {
                    let list = current_of(changed, &mut upstreams)?;
                    self.tell_upstreams(list).await?;
                }
                changed = places.changed() => {
                    let around = current_of(changed, &mut places)?;
                    self.tell_place(&around).await?;
                }
                changed = tombstones.changed() => {
                    current_of(changed, &mut tombstones)?;
                    self.tell_tombstones().await?;
                }
            }
        }
    }

    async fn tell(&self, feed: v1::feed::Feed) -> Result<(), Ended> {
        self.out.send(Ok(v1::Feed { feed: Some(feed) })).await.map_err(|_closed| Ended::Gone)
    }

    async fn tell_configuration(&self, current: &Arc<Configuration>) -> Result<(), Ended> {
        let json = current.config.as_str().as_bytes().to_vec().into();
        self.tell(v1::feed::Feed::Config(v1::ConfigVersion { version: wire(current.version), json })).await
    }

    /// Tell which upstreams the cluster adds, once that is known. A scheduler dials none.
    async fn tell_upstreams(&self, list: Option<Arc<v1::ClusterUpstreams>>) -> Result<(), Ended> {
        match list {
            Some(list) if self.component != "scheduler" => {
                self.tell(v1::feed::Feed::Upstreams(list.as_ref().clone())).await
            }
            _ => Ok(()),
        }
    }

    /// Tell the node its zone, when it is known and not the one it was told. A zone that is no more known stays.
    async fn tell_place(&mut self, around: &Places) -> Result<(), Ended> {
        match around.zone(&self.component, &self.reached) {
            Some(zone) if zone != self.zone => {
                zone.clone_into(&mut self.zone);
                self.control.catalog().node_zone(&self.id, zone).await?;
                self.tell(v1::feed::Feed::Placement(v1::Placement { zone: zone.to_owned() })).await
            }
            _ => Ok(()),
        }
    }

    /// Tell what the node has not heard of, once it has honoured what it was told before.
    async fn tell_tombstones(&mut self) -> Result<(), Ended> {
        if self.honoured < self.told {
            return Ok(());
        }
        let purges = self.control.catalog().tombstones_after(self.told, TOMBSTONES_AT_ONCE).await?;
        let Some(last) = purges.last() else { return Ok(()) };
        self.told = last.sequence;
        let tombstones = purges.iter().filter_map(crate::catalog::Purge::tombstone).collect();
        self.tell(v1::feed::Feed::Tombstones(v1::Tombstones { tombstones })).await
    }

    async fn hear(&mut self, report: v1::Report) -> Result<(), Ended> {
        let (catalog, events) = (self.control.catalog(), self.control.events());
        match report.report {
            Some(report::Report::Stats(told)) => {
                let (stats, seen_ms) = (JsonText::of(&Numbers::of(told)), self.control.now_ms());
                catalog.node_stats(&self.id, &stats, seen_ms).await?;
                events.tell(Topic::Nodes, &Counted { id: &self.id, stats: &stats, seen_ms });
            }
            Some(report::Report::Downloads(told)) => {
                // They last until it is written down.
                let _reported = reported(&told.downloads);
                for download in catalog.report_downloads(&self.id, &told.downloads).await? {
                    events.tell(Topic::Downloads, &download);
                }
            }
            Some(report::Report::Holdings(told)) => catalog.report_holdings(&self.id, &told).await?,
            Some(report::Report::Config(told)) => {
                if !told.error.is_empty() {
                    tracing::warn!(
                        node = self.id,
                        version = told.version,
                        "a node refused the configuration"
                    );
                }
                catalog.node_config(&self.id, stored(told.version), &told.error).await?;
            }
            Some(report::Report::Tombstones(told)) => {
                self.honoured = stored(told.sequence);
                catalog.node_tombstones(&self.id, self.honoured).await?;
                self.tell_tombstones().await?;
            }
            Some(report::Report::Upstreams(told)) => {
                if !told.refused.is_empty() {
                    tracing::warn!(node = self.id, refused = told.refused.len(), "a node refuses upstreams");
                }
                catalog.node_upstreams(&self.id, &told).await?;
                self.control.cluster().stir();
            }
            // A second hello or a word of a newer node changes nothing.
            Some(report::Report::Hello(_)) | None => {}
        }
        Ok(())
    }
}

/// A span in the trace of each download that has one; most have none.
fn reported(downloads: &[v1::Download]) -> Vec<Span> {
    let traced = downloads.iter().filter(|download| !download.traceparent.is_empty());
    let span = |download: &v1::Download| {
        let span = tracing::info_span!("download reported", task = %download.task);
        telemetry::set_parent_text(&span, &download.traceparent);
        span
    };
    traced.map(span).collect()
}

fn current_of<T: Clone>(
    changed: Result<(), watch::error::RecvError>,
    watched: &mut watch::Receiver<T>,
) -> Result<T, Ended> {
    changed.map_err(|_closed| Ended::Leaving)?;
    Ok(watched.borrow_and_update().clone())
}

/// A node that left, as an event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Left<'a> {
    id: &'a str,
    state: &'static str,
    seen_ms: i64,
}

/// A node's new numbers, as an event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted<'a> {
    id: &'a str,
    stats: &'a JsonText,
    seen_ms: i64,
}
