//! The metrics of a process: one registry, and the contract names every bench and test relies on.
//!
//! Owns: the registry, the contract metrics as typed methods (pre-resolved counters, so the data path pays one atomic
//! addition) and their text form. Never: pushes anything anywhere. Counters start at zero with the process.
//! Exposed names end in `_total` because the `OpenMetrics` encoder adds it.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The metric types, for the rooms that register their own.
pub use prometheus_client::metrics as types;

/// What a request to an upstream was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The bytes of an object.
    Content,
    /// A proof window.
    Probe,
    /// A Batch relayed for a client.
    Batch,
    /// A lock call relayed for a client.
    Lock,
    /// An upload relayed for a client.
    Upload,
    /// A redirect followed.
    Redirect,
}

/// Who asked the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A seed peer.
    Seed,
    /// A peer daemon.
    Daemon,
}

/// Where served bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This node's own store.
    Local,
    /// Another peer daemon.
    Peer,
    /// A seed peer.
    Seed,
    /// The upstream itself.
    Origin,
}

impl Kind {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Content, Self::Probe, Self::Batch, Self::Lock, Self::Upload, Self::Redirect];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Probe => "probe",
            Self::Batch => "batch",
            Self::Lock => "lock",
            Self::Upload => "upload",
            Self::Redirect => "redirect",
        }
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Seed, Self::Daemon];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Daemon => "daemon",
        }
    }
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Local, Self::Peer, Self::Seed, Self::Origin];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Seed => "seed",
            Self::Origin => "origin",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabels {
    kind: &'static str,
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

/// The metrics of this process. Cheap to clone; all clones share one registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Contract>);

#[derive(Debug)]
struct Contract {
    registry: RwLock<Registry>,
    origin_requests: Family<OriginLabels, Counter>,
    origin_bytes: Family<OriginLabels, Counter>,
    served: Vec<(Source, Counter)>,
    rejected: Family<ReasonLabels, Counter>,
    verdicts: Family<VerdictLabels, Counter>,
    cross_zone: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the contract metrics in it, closed label sets at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let origin_requests = Family::<OriginLabels, Counter>::default();
        let origin_bytes = Family::<OriginLabels, Counter>::default();
        for kind in Kind::ALL {
            for role in Role::ALL {
                let labels = OriginLabels { kind: kind.label(), role: role.label() };
                drop(origin_requests.get_or_create(&labels));
                drop(origin_bytes.get_or_create(&labels));
            }
        }
        let served = Family::<SourceLabels, Counter>::default();
        let by_source = |source: Source| served.get_or_create_owned(&SourceLabels { source: source.label() });
        let contract = Contract {
            origin_requests,
            origin_bytes,
            served: Source::ALL.into_iter().map(|source| (source, by_source(source))).collect(),
            rejected: Family::default(),
            verdicts: Family::default(),
            cross_zone: Counter::default(),
            registry: RwLock::default(),
        };
        // An empty family is not shown at all; these are the labels every process can count.
        for reason in ["digest", "object"] {
            drop(contract.rejected.get_or_create(&ReasonLabels { reason }));
        }
        for verdict in ["granted", "proved", "refused", "not listed"] {
            drop(contract.verdicts.get_or_create(&VerdictLabels { verdict }));
        }
        registry.register(
            "darner_origin_requests",
            "Requests sent to upstreams",
            contract.origin_requests.clone(),
        );
        registry.register(
            "darner_origin_bytes",
            "Body bytes received from upstreams",
            contract.origin_bytes.clone(),
        );
        registry.register("darner_served_bytes", "Bytes served, by where they came from", served);
        registry.register(
            "darner_piece_rejected",
            "Pieces that failed their digest or were refused",
            contract.rejected.clone(),
        );
        registry.register(
            "darner_authorization",
            "Decisions about who may read an object",
            contract.verdicts.clone(),
        );
        registry.register(
            "darner_cross_zone_bytes",
            "Bytes received from another zone",
            contract.cross_zone.clone(),
        );
        *contract.registry.write().unwrap_or_else(PoisonError::into_inner) = registry;
        Self(Arc::new(contract))
    }

    /// Counts one request to an upstream.
    pub fn origin_request(&self, kind: Kind, role: Role) {
        self.0.origin_requests.get_or_create(&OriginLabels { kind: kind.label(), role: role.label() }).inc();
    }

    /// Counts body bytes received from an upstream.
    pub fn origin_bytes(&self, kind: Kind, role: Role, bytes: u64) {
        self.0
            .origin_bytes
            .get_or_create(&OriginLabels { kind: kind.label(), role: role.label() })
            .inc_by(bytes);
    }

    /// Counts bytes served, by where they came from.
    pub fn served(&self, source: Source, bytes: u64) {
        if let Some((_, counter)) = self.0.served.iter().find(|(of, _)| *of == source) {
            counter.inc_by(bytes);
        }
    }

    /// Counts one piece refused.
    pub fn piece_rejected(&self, reason: &'static str) {
        self.0.rejected.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts one decision about who may read an object.
    pub fn authorization(&self, verdict: &'static str) {
        self.0.verdicts.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// Counts bytes received from another zone.
    pub fn cross_zone(&self, bytes: u64) {
        self.0.cross_zone.inc_by(bytes);
    }

    /// Requests to upstreams so far.
    pub fn origin_requests_so_far(&self, kind: Kind, role: Role) -> u64 {
        let labels = OriginLabels { kind: kind.label(), role: role.label() };
        self.0.origin_requests.get(&labels).map_or(0, |counter| counter.get())
    }

    /// Body bytes received from upstreams so far.
    pub fn origin_bytes_so_far(&self, kind: Kind, role: Role) -> u64 {
        let labels = OriginLabels { kind: kind.label(), role: role.label() };
        self.0.origin_bytes.get(&labels).map_or(0, |counter| counter.get())
    }

    /// Bytes served so far.
    pub fn served_so_far(&self, source: Source) -> u64 {
        self.0.served.iter().find(|(of, _)| *of == source).map_or(0, |(_, counter)| counter.get())
    }

    /// Pieces refused so far for this reason.
    pub fn rejected_so_far(&self, reason: &'static str) -> u64 {
        self.0.rejected.get(&ReasonLabels { reason }).map_or(0, |counter| counter.get())
    }

    /// Decisions so far with this verdict.
    pub fn authorizations_so_far(&self, verdict: &'static str) -> u64 {
        self.0.verdicts.get(&VerdictLabels { verdict }).map_or(0, |counter| counter.get())
    }

    /// Bytes received from another zone so far.
    pub fn cross_zone_so_far(&self) -> u64 {
        self.0.cross_zone.get()
    }

    /// Registers a metric (or a [`types::family::Family`] of them) and hands it back. A counter's name is
    /// given without `_total`. Register each name once per process.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.0.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// Registers a counter; its name is given without `_total`.
    pub fn register_counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// Registers a gauge.
    pub fn register_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// Registers a histogram with these upper bounds.
    pub fn register_histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(name, help, Histogram::new(buckets.iter().copied()))
    }

    /// Everything in the registry, in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.0.registry.read().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(%error, "metrics could not be written out");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_names_and_labels_are_exact_and_start_at_zero() {
        let text = Metrics::new().text();
        for kind in ["content", "probe", "batch", "lock", "upload", "redirect"] {
            for role in ["seed", "daemon"] {
                for name in ["darner_origin_requests_total", "darner_origin_bytes_total"] {
                    let line = format!("{name}{{kind=\"{kind}\",role=\"{role}\"}} 0\n");
                    assert!(text.contains(&line), "{line} not in:\n{text}");
                }
            }
        }
        for source in ["local", "peer", "seed", "origin"] {
            assert!(
                text.contains(&format!("darner_served_bytes_total{{source=\"{source}\"}} 0\n")),
                "{text}"
            );
        }
        assert!(text.contains("darner_cross_zone_bytes_total 0\n") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn counting_shows_in_the_text_and_in_the_snapshots() {
        let metrics = Metrics::new();
        metrics.origin_request(Kind::Probe, Role::Seed);
        metrics.origin_bytes(Kind::Content, Role::Daemon, 70);
        metrics.served(Source::Peer, 11);
        metrics.piece_rejected("digest");
        metrics.authorization("granted");
        Metrics(Arc::clone(&metrics.0)).authorization("granted");
        metrics.cross_zone(3);
        assert_eq!(metrics.origin_requests_so_far(Kind::Probe, Role::Seed), 1);
        assert_eq!(metrics.origin_requests_so_far(Kind::Probe, Role::Daemon), 0);
        assert_eq!(metrics.origin_bytes_so_far(Kind::Content, Role::Daemon), 70);
        assert_eq!(metrics.served_so_far(Source::Peer), 11);
        assert_eq!((metrics.rejected_so_far("digest"), metrics.rejected_so_far("other")), (1, 0));
        assert_eq!((metrics.authorizations_so_far("granted"), metrics.cross_zone_so_far()), (2, 3));
        let text = metrics.text();
        assert!(text.contains("darner_piece_rejected_total{reason=\"digest\"} 1\n"), "{text}");
        assert!(text.contains("darner_authorization_total{verdict=\"granted\"} 2\n"), "{text}");
    }

    #[test]
    fn a_room_can_register_its_own() {
        let metrics = Metrics::new();
        metrics.register_counter("darner_pulls", "Pulls").inc();
        metrics.register_gauge("darner_peers", "Peers").set(4);
        metrics.register_histogram("darner_wait_seconds", "Wait", &[0.5, 1.0]).observe(0.7);
        let text = metrics.text();
        for line in
            ["darner_pulls_total 1\n", "darner_peers 4\n", "darner_wait_seconds_bucket{le=\"1.0\"} 1\n"]
        {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }
}
