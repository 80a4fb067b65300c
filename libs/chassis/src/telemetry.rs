//! Logs and traces of the process.
//!
//! Owns: the process-wide subscriber (standard error, and a rotated file when one is configured), the log filter that
//! can be replaced at run time, the span pipeline to an OTLP collector (off by default), the trace context on the
//! wire. Never: blocks or fails a request: a full disk loses log lines, a dead collector loses spans. Never exports a
//! URL, query, header or token: attributes pass an allow-list. A kill loses the log lines of the last milliseconds and
//! the spans of the last second. Spans are for export: without a collector they are not even made.
//!
//! Sampling: a share of traces from their start (`telemetry.sample`, the caller's decision wins); a span with the field
//! `sample.force = true` takes its whole trace with it; [`force`] and every span that ends in an error keep what this
//! process saw of the trace, also when it was not sampled (the last spans are remembered for that).

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanProcessor};
use tracing::Subscriber;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, reload};

use crate::settings::{Log, LogFormat, Otlp, Shared};

mod context;
mod keep;
mod lines;
mod rotated;
mod sampling;

pub use context::{
    current_trace, current_traceparent, force, inject, link, sampled_traceparent_of, set_parent,
    set_parent_text, trace_of, traceparent_of,
};

pub use lines::drain;

use lines::Lines;
use rotated::Rotated;

/// Spans wait at most this long for their batch, so that a finished download can be looked up at once.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Spans that may wait; more are dropped.
const BATCH_QUEUE: usize = 4096;

/// One export; a collector slower than this loses the batch.
const EXPORT_WITHIN: Duration = Duration::from_secs(3);

/// The last export at the end of the process: a restart takes less than a second, whatever the collector does.
const SHUTDOWN_WITHIN: Duration = Duration::from_millis(500);

/// The process's logs and traces. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    filter: Option<reload::Handle<EnvFilter, Registry>>,
    spans: Option<SdkTracerProvider>,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error("`log.level`: {0}")]
    Level(String),
    /// `log.file` cannot be written.
    #[error("`log.file`: {0}")]
    File(std::io::Error),
    /// The thread that writes the log cannot be started.
    #[error("no thread for the log: {0}")]
    Thread(std::io::Error),
    /// `telemetry.otlp` is no endpoint.
    #[error("`telemetry.otlp`: {0}")]
    Otlp(String),
}

/// Starts logs and, when an endpoint is configured, traces. Needs a tokio runtime. When the process has a subscriber
/// already (tests), that one stays.
pub fn init(service: &'static str, shared: &Shared) -> Result<Telemetry, TelemetryError> {
    let lines = lines(&shared.log)?;
    let (subscriber, telemetry) = build(service, shared, &lines)?;
    match tracing::subscriber::set_global_default(subscriber) {
        Ok(()) => {
            lines.own();
            Ok(telemetry)
        }
        Err(_taken) => Ok(Telemetry { filter: None, ..telemetry }),
    }
}

fn build(
    service: &'static str,
    shared: &Shared,
    lines: &Lines,
) -> Result<(impl Subscriber + Send + Sync + use<>, Telemetry), TelemetryError> {
    let filter = parse(&level(shared))?;
    let spans = match &shared.telemetry.otlp {
        Some(endpoint) => Some(provider(service, exporter(endpoint)?, &shared.telemetry)),
        None => None,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = shared.log.file.is_none() && std::io::stderr().is_terminal();
    let events = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(ansi);
    let events: Box<dyn Layer<Registry> + Send + Sync> = match shared.log.format {
        LogFormat::Text => events.boxed(),
        LogFormat::Json => events.json().flatten_event(true).boxed(),
    };
    // A span that no layer wants costs a comparison. Hence one list of filtered layers: an absent layer beside them
    // would count as one that wants everything.
    let no_spans = filter::filter_fn(|of| !of.is_span()).with_max_level_hint(filter::LevelFilter::TRACE);
    let mut layers = vec![events.with_filter(filter.and(no_spans)).boxed()];
    layers.extend(spans.as_ref().map(|spans| span_layer(spans).boxed()));
    Ok((Registry::default().with(layers), Telemetry { filter: Some(handle), spans }))
}

/// The filter the configuration asks for.
fn level(shared: &Shared) -> String {
    let default = if shared.verbose { "info,darner=debug" } else { "info" };
    shared.log.level.clone().unwrap_or_else(|| default.to_owned())
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter).map_err(|error| TelemetryError::Level(format!("{error} in `{filter}`")))
}

/// What writes the lines: to the file first, which nobody else can hold up.
fn lines(log: &Log) -> Result<Lines, TelemetryError> {
    let mut sinks: Vec<Box<dyn std::io::Write + Send>> = Vec::new();
    if let Some(path) = &log.file {
        sinks.push(Box::new(Rotated::open(path).map_err(TelemetryError::File)?));
    }
    sinks.push(Box::new(std::io::stderr()));
    Lines::start(sinks, log.format).map_err(TelemetryError::Thread)
}

/// A batching exporter that never makes anybody wait: its channel connects in the background.
fn exporter(endpoint: &str) -> Result<BatchSpanProcessor, TelemetryError> {
    let target = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    if !target.starts_with("http://") {
        return Err(TelemetryError::Otlp(format!("`{endpoint}` must be http://HOST:PORT (OTLP over gRPC)")));
    }
    let channel = crate::grpc::endpoint(&target)
        .map_err(|error| TelemetryError::Otlp(error.to_string()))?
        .timeout(EXPORT_WITHIN)
        .connect_lazy();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(EXPORT_WITHIN)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| TelemetryError::Otlp(error.to_string()))?;
    let batches = BatchConfigBuilder::default()
        .with_scheduled_delay(BATCH_DELAY)
        .with_max_queue_size(BATCH_QUEUE)
        .build();
    Ok(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
}

fn provider<P: SpanProcessor + 'static>(
    service: &'static str,
    next: P,
    settings: &Otlp,
) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name(service).build())
        .with_sampler(sampling::Sampling::new(settings.sample))
        .with_span_processor(keep::Keep::new(next))
        .build()
}

/// The layer that turns Darner's own spans into OpenTelemetry ones; other crates' events may carry URLs.
fn span_layer<S>(spans: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let ours = filter::filter_fn(|of| {
        // An event costs an allocation in every recorded span, sampled or not: decisions logged at debug stay out.
        let wanted = if of.is_span() { tracing::Level::DEBUG } else { tracing::Level::INFO };
        of.target().starts_with("darner") && *of.level() <= wanted
    })
    .with_max_level_hint(filter::LevelFilter::DEBUG);
    tracing_opentelemetry::layer()
        .with_tracer(spans.tracer("darner"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_error_fields_to_exceptions(false)
        .with_error_records_to_exceptions(false)
        .with_filter(ours)
}

impl Telemetry {
    /// No logs, no traces.
    pub fn none() -> Self {
        Self::default()
    }

    /// The log filter in force; empty when this process does not own its subscriber.
    pub fn level(&self) -> String {
        let shown = self.filter.as_ref().map(|filter| filter.with_current(ToString::to_string));
        shown.and_then(Result::ok).unwrap_or_default()
    }

    /// Replaces the log filter.
    pub fn set_level(&self, filter: &str) -> Result<(), TelemetryError> {
        let parsed = parse(filter.trim())?;
        match &self.filter {
            Some(handle) => handle.reload(parsed).map_err(|error| TelemetryError::Level(error.to_string())),
            None => Err(TelemetryError::Level("the log of this process is not its own".to_owned())),
        }
    }

    /// Sends what is recorded, within half a second, and stops recording.
    pub async fn shutdown(&self) {
        let Some(spans) = self.spans.clone() else { return };
        let ended = tokio::task::spawn_blocking(move || spans.shutdown_with_timeout(SHUTDOWN_WITHIN)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "last spans were not delivered"),
            Err(error) => tracing::warn!(%error, "span pipeline ended badly"),
        }
    }
}

#[cfg(test)]
mod tests;
