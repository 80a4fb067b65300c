//! The trace context: on the wire (W3C `traceparent`), in tickets, in log lines.
//!
//! Owns: reading and writing it for `tracing` spans. Never: baggage, nor anything but ids and flags. All of it does
//! nothing when no traces are exported.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, TraceFlags};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::sampling::{self, FORCE};

/// What a log line says instead of a trace id that would open nothing.
const NOT_SAMPLED: &str = "sampled=false";

struct Writer<'a>(&'a mut HeaderMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            if value.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name, value);
            }
        }
    }
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Where this span stands, when traces are exported. A trace that was forced counts as sampled from then on.
fn standing(span: &Span) -> Option<SpanContext> {
    let context = span.context();
    let span = context.span();
    let at = span.span_context();
    if !at.is_valid() {
        return None;
    }
    if at.is_sampled() || !sampling::is_forced(at.trace_id()) {
        return Some(at.clone());
    }
    Some(SpanContext::new(at.trace_id(), at.span_id(), TraceFlags::SAMPLED, false, at.trace_state().clone()))
}

/// Writes the current span's context (`traceparent`) into headers, over one that is there.
pub fn inject(headers: &mut HeaderMap) {
    if let Some(at) = standing(&Span::current()) {
        let context = Context::new().with_remote_span_context(at);
        TraceContextPropagator::new().inject_context(&context, &mut Writer(headers));
    }
}

/// Makes the sender's span the parent of this one. Call before the span is entered; a later call is ignored.
pub fn set_parent(span: &Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(headers));
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        tracing::trace!("span has no place for a parent");
    }
}

/// The same for a `traceparent` that came in a message instead of headers.
pub fn set_parent_text(span: &Span, traceparent: &str) {
    if let Some(headers) = headers_of(traceparent) {
        set_parent(span, &headers);
    }
}

/// The trace id of the current span (32 hex digits) when it opens in the trace viewer, else `sampled=false`.
pub fn current_trace() -> String {
    trace_of(&Span::current())
}

/// The same for any span.
pub fn trace_of(span: &Span) -> String {
    match standing(span) {
        Some(at) if at.is_sampled() => at.trace_id().to_string(),
        _ => NOT_SAMPLED.to_owned(),
    }
}

/// The current span's context as a `traceparent`, to keep in a ticket or a message.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// The same for any span.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let at = standing(span)?;
    Some(format!("00-{}-{}-{:02x}", at.trace_id(), at.span_id(), at.trace_flags()))
}

/// The same where the span will be exported as things stand: for messages that are sent for each of many objects.
pub fn sampled_traceparent_of(span: &Span) -> Option<String> {
    traceparent_of(span).filter(|_| trace_of(span) != NOT_SAMPLED)
}

/// Links a span to another one, known by its `traceparent`.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(headers) = headers_of(traceparent) {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(&headers));
        let at = context.span().span_context().clone();
        if at.is_valid() {
            span.add_link(at);
        }
    }
}

fn headers_of(traceparent: &str) -> Option<HeaderMap> {
    let value = HeaderValue::try_from(traceparent).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static("traceparent"), value)]))
}

/// Has this span's trace recorded whatever the sampling said, as far as this process saw it: call when a span turns
/// out to be an error, slow or big. Returns the trace id for the log line (`sampled=false` when traces are off). A
/// span known to be big from the start carries the field `sample.force = true` instead, and takes the other processes
/// with it.
pub fn force(span: &Span) -> String {
    if let Some(at) = standing(span) {
        sampling::force(at.trace_id());
        span.set_attribute(FORCE, true);
    }
    trace_of(span)
}
