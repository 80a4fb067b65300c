//! A node's numbers as the API shows them.
//!
//! Owns: their names in JSON and how many labels one node may bring. Never: adds them up.

use std::collections::{BTreeMap, HashMap};

use darner_proto::v1;
use serde::Serialize;

use crate::catalog::short;

/// Labels of one map; our own nodes have under ten.
const MOST_LABELS: usize = 32;
/// Parents of one report.
const MOST_EDGES: usize = 256;

/// Totals since the node's process started.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Numbers {
    at_ms: u64,
    served_bytes: BTreeMap<String, u64>,
    origin_bytes: BTreeMap<String, u64>,
    origin_requests: BTreeMap<String, u64>,
    stored_bytes: u64,
    stored_objects: u64,
    budget_bytes: u64,
    downloads: u32,
    draining: bool,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize)]
struct Edge {
    parent: String,
    bytes: u64,
}

impl Numbers {
    /// What the node told, cut to its bounds.
    pub(super) fn of(told: v1::NodeStats) -> Self {
        let edges = told.edges.into_iter().take(MOST_EDGES);
        Self {
            at_ms: told.at_ms,
            served_bytes: labels(told.served_bytes),
            origin_bytes: labels(told.origin_bytes),
            origin_requests: labels(told.origin_requests),
            stored_bytes: told.stored_bytes,
            stored_objects: told.stored_objects,
            budget_bytes: told.budget_bytes,
            downloads: told.downloads,
            draining: told.draining,
            edges: edges.map(|edge| Edge { parent: short(&edge.parent), bytes: edge.bytes }).collect(),
        }
    }
}

fn labels(told: HashMap<String, u64>) -> BTreeMap<String, u64> {
    told.into_iter().take(MOST_LABELS).map(|(label, count)| (short(&label), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_cannot_fill_the_table_with_labels() {
        let served_bytes = (0..1000).map(|label| (format!("<b>{label}"), 1)).collect();
        let edges = (0..1000).map(|parent| v1::Edge { parent: parent.to_string(), bytes: 1 }).collect();
        let numbers = Numbers::of(v1::NodeStats { served_bytes, edges, ..Default::default() });
        assert_eq!((numbers.served_bytes.len(), numbers.edges.len()), (MOST_LABELS, MOST_EDGES));
    }

    #[test]
    fn numbers_have_camel_case_names() {
        let told = v1::NodeStats { stored_bytes: 5, ..Default::default() };
        let json = serde_json::to_value(Numbers::of(told)).unwrap();
        assert_eq!(json["storedBytes"], 5);
    }
}
