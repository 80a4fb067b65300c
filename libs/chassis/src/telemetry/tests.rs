//! Logs and traces as the rest of the house meets them.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::*;

/// Collects what would be exported.
#[derive(Clone, Debug, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Exported {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.lock().unwrap().push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Exported {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }

    fn span(&self, name: &str) -> SpanData {
        self.0.lock().unwrap().iter().find(|span| span.name == name).unwrap().clone()
    }
}

/// Runs a piece of code as a process that samples this share of its traces.
fn traced(sample: f64, run: impl FnOnce()) -> Exported {
    let exported = Exported::default();
    let spans = provider("darner-test", exported.clone(), &Otlp { otlp: None, sample });
    let subscriber = Registry::default().with(span_layer(&spans));
    tracing::subscriber::with_default(subscriber, run);
    exported
}

fn keys(span: &SpanData) -> Vec<&str> {
    span.attributes.iter().map(|attribute| attribute.key.as_str()).collect()
}

#[test]
fn a_sampled_span_leaves_with_allowed_attributes_only() {
    let exported = traced(1.0, || {
        let span = tracing::info_span!("download", oid = "ab", size = 5, url = "https://h/p", token = "t");
        span.in_scope(|| {
            tracing::info!(piece = 3, header = "Basic x", "piece came");
            tracing::debug!(piece = 4, "piece chosen");
            assert_eq!(current_trace().len(), 32);
        });
        span.record("size", 6);
    });
    let span = exported.span("download");
    let mut left = keys(&span);
    left.sort_unstable();
    left.dedup();
    assert_eq!(
        left,
        ["level", "oid", "size"].into_iter().filter(|key| left.contains(key)).collect::<Vec<_>>()
    );
    assert!(left.contains(&"oid") && left.contains(&"size"));
    let whole = format!("{span:?}");
    assert!(!whole.contains("https://") && !whole.contains("Basic"), "{whole}");
    assert_eq!(span.events.len(), 1, "a debug event is not worth its place in a span");
    assert!(span.events.iter().all(|event| event.attributes.iter().any(|at| at.key.as_str() == "piece")));
}

#[test]
fn spans_of_other_crates_are_not_ours_to_export() {
    let exported = traced(1.0, || {
        tracing::info_span!(target: "hyper::client", "request").in_scope(|| ());
        tracing::info_span!("ours").in_scope(|| ());
    });
    assert_eq!(exported.names(), ["ours"]);
}

#[test]
fn an_unsampled_trace_does_not_leave_and_says_so() {
    let exported = traced(0.0, || {
        tracing::info_span!("quiet").in_scope(|| {
            assert_eq!(current_trace(), "sampled=false");
            assert!(current_traceparent().unwrap().ends_with("-00"));
        });
    });
    assert!(exported.names().is_empty());
}

#[test]
fn forcing_keeps_what_this_process_saw_of_the_trace() {
    let exported = traced(0.0, || {
        tracing::info_span!("another").in_scope(|| ());
        let outer = tracing::info_span!("request");
        let _entered = outer.enter();
        tracing::info_span!("earlier child").in_scope(|| ());
        let slow = tracing::info_span!("download");
        slow.in_scope(|| {
            let trace = force(&tracing::Span::current());
            assert_eq!((trace.len(), &trace), (32, &current_trace()));
            let mut headers = HeaderMap::new();
            inject(&mut headers);
            assert!(headers["traceparent"].to_str().unwrap().ends_with("-01"));
        });
        tracing::info_span!("later child").in_scope(|| ());
    });
    let mut names = exported.names();
    names.sort();
    assert_eq!(names, ["download", "earlier child", "later child", "request"]);
}

#[test]
fn an_error_keeps_its_trace_but_not_its_words() {
    let exported = traced(0.0, || {
        let span = tracing::info_span!("download", otel.status_code = tracing::field::Empty);
        span.in_scope(|| tracing::error!(error = "https://host/secret", "peer task failed"));
    });
    let span = exported.span("download");
    assert!(
        matches!(&span.status, opentelemetry::trace::Status::Error { description } if description.is_empty())
    );
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn a_span_forced_from_its_start_takes_its_children_with_it() {
    let exported = traced(0.0, || {
        let big = tracing::info_span!("download", sample.force = true);
        big.in_scope(|| {
            assert!(current_traceparent().unwrap().ends_with("-01"));
            tracing::info_span!("child").in_scope(|| ());
        });
    });
    assert_eq!(exported.names(), ["child", "download"]);
}

#[test]
fn the_callers_decision_and_trace_are_taken_over() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for (flag, share, kept) in [("01", 0.0, 1), ("00", 1.0, 0)] {
        let exported = traced(share, || {
            let span = tracing::info_span!("served");
            let mut headers = HeaderMap::new();
            let text = format!("00-{trace}-b7ad6b7169203331-{flag}");
            headers.insert("traceparent", text.parse().unwrap());
            set_parent(&span, &headers);
            span.in_scope(|| {
                let mut onward = HeaderMap::new();
                onward.insert("traceparent", "stale".parse().unwrap());
                inject(&mut onward);
                let onward = onward["traceparent"].to_str().unwrap();
                assert!(onward.contains(trace) && onward.ends_with(flag), "{onward}");
            });
        });
        assert_eq!(exported.names().len(), kept, "{flag}");
    }
}

#[test]
fn a_parent_that_came_in_a_message_is_taken_over() {
    let mut sent = String::new();
    let exported = traced(1.0, || {
        let asking = tracing::info_span!("asking");
        sent = traceparent_of(&asking).unwrap();
        let served = tracing::info_span!("served");
        set_parent_text(&served, &sent);
        assert_eq!(trace_of(&served), trace_of(&asking));
        set_parent_text(&served, "junk");
    });
    assert_eq!(exported.span("served").parent_span_id, exported.span("asking").span_context.span_id());
}

#[test]
fn a_ticket_links_a_download_to_its_batch() {
    let exported = traced(1.0, || {
        let span = tracing::info_span!("download");
        link(&span, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        link(&span, "nonsense");
        span.in_scope(|| {
            link(&tracing::Span::current(), "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        });
    });
    let links: Vec<_> =
        exported.span("download").links.iter().map(|at| at.span_context.trace_id().to_string()).collect();
    assert_eq!(links, ["0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"]);
}

#[test]
fn without_an_exporter_nothing_is_written_anywhere() {
    tracing::subscriber::with_default(Registry::default(), || {
        let span = tracing::info_span!("any");
        let _entered = span.enter();
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty() && current_traceparent().is_none());
        assert_eq!((current_trace(), force(&span)), ("sampled=false".to_owned(), "sampled=false".to_owned()));
    });
}

#[tokio::test]
async fn a_call_between_two_processes_is_one_trace() {
    use tower::ServiceExt as _;
    let exported = Exported::default();
    let spans = provider("darner-test", exported.clone(), &Otlp { otlp: None, sample: 1.0 });
    let _subscribed = tracing::subscriber::set_default(Registry::default().with(span_layer(&spans)));
    let listener = crate::net::bind("127.0.0.1:0", "grpc.listen").unwrap();
    let channel = crate::grpc::channel(&listener.local_addr().unwrap().to_string()).unwrap();
    let tasks = crate::tasks::Tasks::new();
    let answer = axum::Router::new().fallback(async || {
        tracing::info_span!("decision").in_scope(|| ());
        [("grpc-status", "0")]
    });
    crate::grpc::serve(
        listener,
        tonic::service::Routes::from(answer),
        None,
        &tasks,
        &crate::tasks::Drain::new(),
    );
    let call =
        http::Request::post("/darner.v1.Scheduler/Announce").header("content-type", "application/grpc");
    let call = call.body(tonic::body::Body::empty()).unwrap();
    let asking = tracing::info_span!("want");
    channel.oneshot(call).instrument(asking.clone()).await.unwrap();
    drop(asking);
    tasks.close().await;
    let (want, served) = (exported.span("want"), exported.span("darner.v1.Scheduler/Announce"));
    assert_eq!(served.parent_span_id, want.span_context.span_id());
    assert_eq!(served.span_kind, opentelemetry::trace::SpanKind::Server);
    assert_eq!(exported.span("decision").parent_span_id, served.span_context.span_id());
    assert_eq!(exported.span("decision").span_context.trace_id(), want.span_context.trace_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_costs_spans_and_nothing_else() {
    let endpoint = format!("http://127.0.0.1:{}", crate::net::free_port().unwrap());
    let spans = provider("darner-test", exporter(&endpoint).unwrap(), &Otlp { otlp: None, sample: 1.0 });
    let subscriber = Registry::default().with(span_layer(&spans));
    // Far more spans than the queue holds: a blocking pipeline would never end here.
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..10 * BATCH_QUEUE {
            tracing::info_span!("download").in_scope(|| ());
        }
    });
    let telemetry = Telemetry { filter: None, spans: Some(spans) };
    tokio::time::timeout(100 * SHUTDOWN_WITHIN, telemetry.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_spans_over_grpc() {
    let (sent, mut received) = mpsc::channel(8);
    let collect = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let sent = sent.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            sent.send((path, body)).await.unwrap();
            [("content-type", "application/grpc"), ("grpc-status", "0")]
        }
    });
    let listener = crate::net::bind("127.0.0.1:0", "test").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let tasks = crate::tasks::Tasks::new();
    crate::grpc::serve(
        listener,
        tonic::service::Routes::from(collect),
        None,
        &tasks,
        &crate::tasks::Drain::new(),
    );
    let spans = provider("darner-test", exporter(&endpoint).unwrap(), &Otlp { otlp: None, sample: 1.0 });
    tracing::subscriber::with_default(Registry::default().with(span_layer(&spans)), || {
        tracing::info_span!("peer task", oid = "abcdef", url = "hidden").in_scope(|| ());
    });
    let (path, body) = received.recv().await.unwrap();
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("darner-test") && has("peer task") && has("abcdef") && !has("hidden"));
    Telemetry { filter: None, spans: Some(spans) }.shutdown().await;
    tasks.close().await;
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_by_its_key() {
    for wrong in ["https://host:4317", "no endpoint", "http://host", "ftp://host:1"] {
        let words = exporter(wrong).unwrap_err().to_string();
        assert!(words.contains("`telemetry.otlp`"), "{wrong}: {words}");
    }
    exporter("jaeger:4317").unwrap();
}

#[test]
fn lines_go_to_the_file_as_json_and_the_filter_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon/core.log");
    let log = Log { level: Some("warn".to_owned()), format: LogFormat::Json, file: Some(path.clone()) };
    let lines = lines(&log).unwrap();
    let shared = Shared { log, ..Shared::default() };
    let (subscriber, telemetry) = build("darner-test", &shared, &lines).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        assert_eq!(telemetry.level(), "warn");
        tracing::info!(oid = "quiet", "peer task done");
        telemetry.set_level("warn,darner_chassis=info\n").unwrap();
        tracing::info!(oid = "loud", size = 5, "peer task done");
        assert!(telemetry.set_level("no=such=filter").is_err());
    });
    lines.drain(Duration::from_mins(1));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["oid"] == "loud").unwrap();
    assert_eq!(
        (&line["message"], &line["size"], &line["level"]),
        (&"peer task done".into(), &5.into(), &"INFO".into())
    );
    assert!(!text.contains("quiet"));
}

#[test]
fn a_filter_that_is_none_is_refused_by_its_key() {
    assert_eq!(level(&Shared::default()), "info");
    let mut shared = Shared { verbose: true, ..Shared::default() };
    assert_eq!(level(&shared), "info,darner=debug");
    shared.log.level = Some("a=b=c".to_owned());
    let words = parse(&level(&shared)).unwrap_err().to_string();
    assert!(words.contains("`log.level`") && words.contains("a=b=c"), "{words}");
}
