//! An OTLP collector: keeps every span it is sent, with the service that sent it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span, and who sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// `service.name`.
    pub service: String,
    /// The span as it was sent.
    pub span: Span,
}

impl Sent {
    /// The trace id, 32 hex digits.
    pub fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    /// Everything that is said in it beside ids and times.
    pub fn words(&self) -> String {
        let Span { name, attributes, events, links, trace_state, status, .. } = &self.span;
        format!("{name} {attributes:?} {events:?} {links:?} {trace_state} {status:?}")
    }
}

/// A running collector; it ends when dropped.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub at: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Keep(Arc<Mutex<Vec<Sent>>>);

impl Collector {
    /// Listens on a port of its own.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (at, sent) = (listener.local_addr()?, Arc::<Mutex<Vec<Sent>>>::default());
        let service = TraceServiceServer::new(Keep(sent.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            // It ends with the test; who exports then finds nobody.
            drop(server.serve_with_incoming(TcpListenerStream::new(listener)).await);
        });
        Ok(Self { at, sent, _tasks: tasks })
    }

    /// Everything that came.
    pub fn all(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came of one trace.
    pub fn of(&self, trace: &str) -> Vec<Sent> {
        self.all().into_iter().filter(|sent| sent.trace() == trace).collect()
    }
}

/// The services that have a span in a trace.
pub fn services(spans: &[Sent]) -> BTreeSet<&str> {
    spans.iter().map(|sent| sent.service.as_str()).collect()
}

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_one in request.into_inner().resource_spans {
            let attributes = of_one.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.iter().find(|pair| pair.key == "service.name").map(text);
            let service = service.unwrap_or_default();
            let spans = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            sent.extend(spans.map(|span| Sent { service: service.clone(), span }));
        }
        drop(sent);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(pair: &KeyValue) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
