//! The manager against a real API server: its resources, its lease, its events, its webhook, and how little it may do.
//!
//! Needs `DARNER_KUBECONFIG` (an administrator's kubeconfig of a cluster that is there for tests, nodes not needed) and
//! `kubectl`. It is no part of the usual check: `e2e/cluster` runs it. Every test
//! works in a namespace of its own, under a service account that may do what the chart's Role lets the manager do.

mod kubernetes {
    mod leader;
    mod places;
    mod stage;
    mod upstreams;
    mod webhook;
}
