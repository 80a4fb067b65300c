//! Logs and traces.
//!
//! Owns: the process-wide subscriber, the span exporter, trace context on the wire. Never: a URL, query, header or
//! token in an attribute.

use http::HeaderMap;
use tracing::Span;

use crate::settings::Shared;

/// The process's logs and traces. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error("`log.level`: {0}")]
    Level(String),
    /// `log.file` cannot be written.
    #[error("`log.file`: {0}")]
    File(std::io::Error),
    /// `telemetry.otlp` is no endpoint.
    #[error("`telemetry.otlp`: {0}")]
    Otlp(String),
}

/// Starts logs and, when an endpoint is configured, traces. Needs a tokio runtime. When the process has a subscriber
/// already (tests), that one stays.
pub fn init(_service: &'static str, _shared: &Shared) -> Result<Telemetry, TelemetryError> {
    Ok(Telemetry::default())
}

impl Telemetry {
    /// No logs, no traces.
    pub fn none() -> Self {
        Self::default()
    }

    /// The log filter in force.
    pub fn level(&self) -> String {
        String::new()
    }

    /// Replaces the log filter.
    pub fn set_level(&self, _filter: &str) -> Result<(), TelemetryError> {
        Ok(())
    }

    /// Sends what is recorded, within a bounded time, and stops recording.
    pub async fn shutdown(&self) {}
}

/// Writes the current span's context (`traceparent`) into headers.
pub fn inject(_headers: &mut HeaderMap) {}

/// Makes the sender's span the parent of this one. Call before the span is entered.
pub fn set_parent(_span: &Span, _headers: &HeaderMap) {}

/// The trace id of the current span (32 hex digits) when it is recorded, else `sampled=false`.
pub fn current_trace() -> String {
    "sampled=false".to_owned()
}

/// The current span's context as a `traceparent`, to keep in a ticket.
pub fn current_traceparent() -> Option<String> {
    None
}

/// Links a span to another one, known by its `traceparent`.
pub fn link(_span: &Span, _traceparent: &str) {}

/// Has this span recorded whatever the sampling said: call when it turns out to be an error, slow or big. A span known
/// to be big from the start carries the field `sample.force = true` instead, and so takes its whole trace with it.
pub fn force(_span: &Span) {}
