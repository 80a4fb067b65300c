//! The HTTP/1.1 body of the piece link's client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use darner_chassis::identity::{self, Role};
use darner_chassis::tls::{Connector, Expected, Wire};
use darner_lfs::ObjectKey;
use darner_proto::{grant, headers, v1};
use futures::{Stream, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;

use super::{Ask, Chunks, Entries, Events, LinkError, Links, Peer};

/// A peer that does not accept within this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections kept per peer: the lanes of two downloads.
const IDLE_PER_PEER: usize = 8;
/// Who holds objects.
pub(crate) const NODES: &[Role] = &[Role::SeedPeer, Role::PeerDaemon];
/// Largest message on a watch or bundle stream: the full digest list of a 100 GB object is 0.8 MiB.
const MAX_MESSAGE: usize = 8 << 20;
/// Read buffer: fewer, larger frames cost less CPU per byte, but above 512 KiB the allocator takes fresh pages for
/// each.
const READ_BUFFER: usize = 384 << 10;

/// Peers over HTTP/1.1.
#[derive(Debug, Clone)]
pub struct HttpLinks {
    client: Client<Connector, Full<Bytes>>,
    node: HeaderValue,
}

#[derive(Debug)]
struct HttpPeer {
    links: HttpLinks,
    id: String,
    authority: String,
}

impl HttpLinks {
    /// Links in clear text of the node with this id.
    pub fn new(node: &str) -> Self {
        Self::over(&Wire::clear(), node)
    }

    /// Links of the node with this id.
    pub fn over(wire: &Wire, node: &str) -> Self {
        let connector = wire.connector(Expected::roles(NODES), CONNECT_TIMEOUT);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(IDLE_PER_PEER)
            .http1_max_buf_size(READ_BUFFER)
            .build(connector);
        let node = HeaderValue::from_str(node).unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
        Self { client, node }
    }

    /// Sends a request to the node of this id. Another one may have its address by now; it learns what was asked, but a
    /// grant is of no use to it, and nothing it answers counts.
    async fn send(
        &self,
        id: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, LinkError> {
        request.headers_mut().insert(headers::NODE, self.node.clone());
        darner_chassis::telemetry::inject(request.headers_mut());
        let answer = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        let answered = identity::Peer::of(answer.extensions()).check_named(NODES, id);
        answered.map_err(|mismatch| LinkError::Unreachable(mismatch.to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Err(LinkError::Absent),
            StatusCode::FORBIDDEN => Err(LinkError::Refused("the peer answered 403".to_owned())),
            status => Err(LinkError::Unreachable(format!("the peer answered {status}"))),
        }
    }
}

impl Links for HttpLinks {
    fn peer(&self, node: &v1::NodeIdentity) -> Arc<dyn Peer> {
        let (links, id, authority) = (self.clone(), node.id.clone(), node.piece_address.clone());
        Arc::new(HttpPeer { links, id, authority })
    }
}

impl HttpPeer {
    fn get(&self, key: ObjectKey, grant: &v1::Grant, tail: &str) -> Result<Request<Full<Bytes>>, LinkError> {
        Request::builder()
            .method(Method::GET)
            .uri(format!("http://{}/v1/objects/{key}{tail}", self.authority))
            .header(header::AUTHORIZATION, format!("{} {}", headers::GRANT_SCHEME, grant::to_header(grant)))
            .body(Full::default())
            .map_err(|error| LinkError::Unreachable(error.to_string()))
    }
}

#[async_trait]
impl Peer for HttpPeer {
    async fn fetch(&self, ask: Ask) -> Result<Chunks, LinkError> {
        let mut request = self.get(ask.key, &ask.grant, "")?;
        let range = format!("bytes={}-{}", ask.range.start, ask.range.end.saturating_sub(1));
        let range = HeaderValue::from_str(&range).map_err(|_invalid| LinkError::Malformed("range"))?;
        request.headers_mut().insert(header::RANGE, range);
        let answer = self.links.send(&self.id, request).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(LinkError::Malformed("a range was asked and something else came"));
        }
        Ok(Box::pin(chunks(answer.into_body())))
    }

    async fn watch(&self, key: ObjectKey, grant: Arc<v1::Grant>) -> Result<Events, LinkError> {
        let request = self.get(key, &grant, "/watch")?;
        let answer = self.links.send(&self.id, request).await?;
        let events = delimited::<v1::LinkEvent>(chunks(answer.into_body()));
        Ok(Box::pin(events.map(|event| event?.event.ok_or(LinkError::Malformed("empty event")))))
    }

    async fn bundle(&self, request: v1::BundleRequest) -> Result<Entries, LinkError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/v1/bundle", self.authority))
            .body(Full::from(request.encode_to_vec()))
            .map_err(|error| LinkError::Unreachable(error.to_string()))?;
        let answer = self.links.send(&self.id, request).await?;
        Ok(Box::pin(delimited(chunks(answer.into_body()))))
    }
}

fn chunks(body: Incoming) -> impl Stream<Item = Result<Bytes, LinkError>> + Send {
    body.into_data_stream().map(|chunk| chunk.map_err(|error| unreachable(&error)))
}

/// Messages, each preceded by its length as a protobuf varint.
fn delimited<M: Message + Default>(
    chunks: impl Stream<Item = Result<Bytes, LinkError>> + Send + 'static,
) -> impl Stream<Item = Result<M, LinkError>> + Send {
    futures::stream::try_unfold((Box::pin(chunks), BytesMut::new()), |(mut chunks, mut buffer)| async move {
        loop {
            if let Some(message) = take_message(&mut buffer)? {
                return Ok(Some((message, (chunks, buffer))));
            }
            match chunks.next().await {
                Some(chunk) => buffer.extend_from_slice(&chunk?),
                None if buffer.is_empty() => return Ok(None),
                None => return Err(LinkError::Malformed("the stream ended inside a message")),
            }
        }
    })
}

fn take_message<M: Message + Default>(buffer: &mut BytesMut) -> Result<Option<M>, LinkError> {
    let mut peek: &[u8] = buffer;
    let before = peek.remaining();
    let Ok(length) = prost::decode_length_delimiter(&mut peek) else {
        // A varint is at most ten bytes: more that do not decode are junk, fewer are a beginning.
        return if before >= 10 { Err(LinkError::Malformed("length")) } else { Ok(None) };
    };
    if length > MAX_MESSAGE {
        return Err(LinkError::Malformed("a message is too long"));
    }
    if peek.remaining() < length {
        return Ok(None);
    }
    let prefix = before - peek.remaining();
    buffer.advance(prefix);
    let message = buffer.split_to(length).freeze();
    M::decode(message).map(Some).map_err(|_undecodable| LinkError::Malformed("message"))
}

fn unreachable(error: &dyn std::error::Error) -> LinkError {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    LinkError::Unreachable(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> v1::BundleEntry {
        v1::BundleEntry { content: vec![n; usize::from(n)].into(), ..Default::default() }
    }

    async fn read(cut: usize, bytes: Vec<u8>) -> Vec<Result<v1::BundleEntry, String>> {
        let parts: Vec<_> = bytes.chunks(cut).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let stream = delimited::<v1::BundleEntry>(futures::stream::iter(parts));
        stream.map(|entry| entry.map_err(|error| error.to_string())).collect().await
    }

    #[tokio::test]
    async fn messages_are_found_however_the_stream_is_cut() {
        let wanted: Vec<_> = (0..200).map(entry).collect();
        let bytes: Vec<u8> = wanted.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        for cut in [1, 2, 3, 7, 100, 100_000] {
            let got: Vec<_> = read(cut, bytes.clone()).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(got, wanted, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_message_is_an_error() {
        let mut bytes = entry(100).encode_length_delimited_to_vec();
        bytes.pop();
        assert!(read(10, bytes).await.pop().unwrap().is_err());
    }

    #[tokio::test]
    async fn a_length_beyond_the_bound_is_refused_before_it_is_read() {
        let bytes = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3];
        assert!(read(10, bytes).await.pop().unwrap().unwrap_err().contains("too long"));
    }
}
