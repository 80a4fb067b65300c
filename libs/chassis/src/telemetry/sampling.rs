//! Which traces are recorded.
//!
//! Owns: the decision at a span's start, and the bounded memory of traces that were forced later. Never: drops a span
//! (`keep` does); every span is recorded, so that the decision can still change.

use std::collections::{HashSet, VecDeque};
use std::sync::{LazyLock, Mutex, PoisonError};

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The field that forces a trace from its start.
pub(super) const FORCE: &str = "sample.force";

/// Forced traces that are remembered: those of the downloads under way, with room to spare.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
struct Forced {
    traces: HashSet<TraceId>,
    oldest_first: VecDeque<TraceId>,
}

/// Trace ids are global by nature, so this memory is too: the context functions have no handle to reach it by.
static FORCED: LazyLock<Mutex<Forced>> = LazyLock::new(Mutex::default);

/// Has a trace kept from now on.
pub(super) fn force(trace: TraceId) {
    let mut forced = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    if forced.traces.insert(trace) {
        forced.oldest_first.push_back(trace);
        if forced.oldest_first.len() > REMEMBERED
            && let Some(oldest) = forced.oldest_first.pop_front()
        {
            forced.traces.remove(&oldest);
        }
    }
}

/// Whether a trace was forced.
pub(super) fn is_forced(trace: TraceId) -> bool {
    FORCED.lock().unwrap_or_else(PoisonError::into_inner).traces.contains(&trace)
}

/// Whether a span carries the field.
pub(super) fn carries_force(attributes: &[KeyValue]) -> bool {
    attributes.iter().any(|at| at.key.as_str() == FORCE && at.value == Value::Bool(true))
}

/// The caller's decision, else a share of the traces; forced ones always.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    share: Sampler,
}

impl Sampling {
    pub(super) fn new(share: f64) -> Self {
        Self { share: Sampler::TraceIdRatioBased(share.clamp(0.0, 1.0)) }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone()).filter(SpanContext::is_valid);
        let in_share = || {
            let result = self.share.should_sample(None, trace, name, kind, attributes, links);
            result.decision == SamplingDecision::RecordAndSample
        };
        let sampled = carries_force(attributes)
            || is_forced(trace)
            || parent.as_ref().map_or_else(in_share, SpanContext::is_sampled);
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::RecordOnly },
            attributes: Vec::new(),
            trace_state: parent.map(|at| at.trace_state().clone()).unwrap_or_default(),
        }
    }
}
