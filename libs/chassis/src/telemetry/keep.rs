//! What leaves the process in a span.
//!
//! Owns: the allow-list of attributes, and the last spans of traces nobody sampled, handed on when their trace is
//! forced or ends in an error. Never: blocks (the next processor batches), hands on a value that looks like a URL.
//! Lock order: the remembered spans, then the forced traces.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, Status, TraceId};
use opentelemetry::{Context, KeyValue, TraceFlags, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::sampling;

/// Unsampled spans that are remembered (about a kilobyte each).
const REMEMBERED: usize = 1024;

/// Longest text of an attribute; an oid has 64 digits, a provenance is not exported.
const MAX_TEXT: usize = 256;

/// Everything an exported span or event may carry. Counts, ids, enum words and host names; never a URL, a path, a
/// query, a header, a token or an error's text.
const ALLOWED: [&str; 49] = [
    "attempt",
    "bytes",
    "cold",
    "cost_ms",
    "count",
    "epoch",
    "error.type",
    "first_piece",
    "from",
    "http.request.method",
    "http.response.status_code",
    "key",
    "kind",
    "length",
    "level",
    "method",
    "mode",
    "node",
    "objects",
    "offset",
    "oid",
    "orders",
    "outcome",
    "parent",
    "parents",
    "peer",
    "piece",
    "pieces",
    "reading",
    "reason",
    "role",
    "rpc.grpc.status_code",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "sample.force",
    "seed",
    "server.address",
    "server.port",
    "size",
    "source",
    "status",
    "target",
    "task",
    "tenant",
    "urgent",
    "verdict",
    "waiting",
    "zone",
];

/// Hands on what may leave, drops the rest.
#[derive(Debug)]
pub(super) struct Keep<P> {
    next: P,
    unsampled: Mutex<VecDeque<SpanData>>,
}

impl<P> Keep<P> {
    pub(super) fn new(next: P) -> Self {
        Self { next, unsampled: Mutex::default() }
    }

    /// Takes the remembered spans of a trace out.
    fn remembered(&self, trace: TraceId) -> Vec<SpanData> {
        let mut unsampled = self.unsampled.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, rest) = unsampled.drain(..).partition(|span| span.span_context.trace_id() == trace);
        *unsampled = rest;
        found.into()
    }

    fn remember(&self, span: SpanData) {
        let mut unsampled = self.unsampled.lock().unwrap_or_else(PoisonError::into_inner);
        if unsampled.len() >= REMEMBERED {
            unsampled.pop_front();
        }
        unsampled.push_back(span);
    }
}

impl<P: SpanProcessor> SpanProcessor for Keep<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            return self.next.on_end(clean(span));
        }
        let trace = span.span_context.trace_id();
        if sampling::carries_force(&span.attributes) || matches!(span.status, Status::Error { .. }) {
            sampling::force(trace);
        }
        if sampling::is_forced(trace) {
            for earlier in self.remembered(trace) {
                self.next.on_end(clean(sampled(earlier)));
            }
            self.next.on_end(clean(sampled(span)));
        } else {
            self.remember(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// The same span with the sampled flag, without which the exporter drops it.
fn sampled(mut span: SpanData) -> SpanData {
    let at = &span.span_context;
    span.span_context = SpanContext::new(
        at.trace_id(),
        at.span_id(),
        TraceFlags::SAMPLED,
        at.is_remote(),
        at.trace_state().clone(),
    );
    span
}

/// The span with nothing in it but what may leave.
fn clean(mut span: SpanData) -> SpanData {
    span.attributes.retain(may_leave);
    for event in &mut span.events.events {
        event.attributes.retain(may_leave);
    }
    for link in &mut span.links.links {
        link.attributes.retain(may_leave);
    }
    if let Status::Error { .. } = span.status {
        // The words of an error may hold a URL; its kind is in `error.type` or `reason`.
        span.status = Status::error("");
    }
    span
}

fn may_leave(attribute: &KeyValue) -> bool {
    let harmless = match &attribute.value {
        Value::Bool(_) | Value::I64(_) | Value::F64(_) => true,
        Value::String(text) => {
            let text = text.as_str();
            text.len() <= MAX_TEXT && !text.contains("://") && !text.contains('?')
        }
        // An array of texts could hold anything.
        _ => false,
    };
    harmless && ALLOWED.binary_search(&attribute.key.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_is_sorted_because_it_is_searched() {
        assert!(ALLOWED.is_sorted());
    }

    #[test]
    fn only_known_attributes_with_harmless_values_may_leave() {
        let may = |key: &'static str, value: &'static str| may_leave(&KeyValue::new(key, value));
        assert!(may("oid", "ab12") && may("server.address", "github.com"));
        assert!(may_leave(&KeyValue::new("size", 5)));
        assert!(!may("url", "x") && !may("authorization", "x") && !may("error", "x"));
        assert!(!may("reason", "GET https://host/x") && !may("reason", "/x?token=1"));
        assert!(!may_leave(&KeyValue::new("reason", "x".repeat(300))));
    }
}
