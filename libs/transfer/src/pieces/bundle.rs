//! Many small objects in one exchange.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use darner_chassis::identity::Peer;
use darner_lfs::ObjectKey;
use darner_lfs::layout::MIN_PIECE_BYTES;
use darner_proto::{convert, v1};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message as _;

use super::answer::words;
use super::reading::opens_growing;
use super::{AnswerBody, PieceServer};
use crate::link::NODES;
use crate::tail::{Reader, Tail, TailError};

/// Entries one bundle may ask for.
const MAX_ITEMS: usize = 1024;
/// Largest request body: a grant is about 200 bytes.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// How long an entry that is still arriving is waited for before it counts as absent.
const ENTRY_PATIENCE: Duration = Duration::from_secs(5);

impl PieceServer {
    pub(super) async fn bundle(&self, peer: &Peer, request: Request<Incoming>) -> Response<AnswerBody> {
        let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await else {
            return words(StatusCode::PAYLOAD_TOO_LARGE, "the bundle request is too long");
        };
        let asked = match v1::BundleRequest::decode(body.to_bytes()) {
            Ok(asked) if asked.items.len() <= MAX_ITEMS => asked,
            Ok(_) => return words(StatusCode::PAYLOAD_TOO_LARGE, "too many entries"),
            Err(_) => return words(StatusCode::BAD_REQUEST, "no bundle request"),
        };
        if let Err(mismatch) = peer.check_named(NODES, &asked.node) {
            return words(StatusCode::FORBIDDEN, &mismatch.to_string());
        }
        let queue: VecDeque<_> = asked.items.into();
        let state = (self.clone(), queue, asked.node);
        let entries = futures::stream::try_unfold(state, |(server, mut queue, node)| async move {
            let Some(item) = queue.pop_front() else { return Ok::<_, TailError>(None) };
            let entry = server.entry(item, &node).await.encode_length_delimited_to_vec();
            Ok(Some((Frame::data(Bytes::from(entry)), (server, queue, node))))
        });
        Response::new(StreamBody::new(entries).boxed_unsync())
    }

    async fn entry(&self, item: v1::BundleItem, node: &str) -> v1::BundleEntry {
        let mut entry = v1::BundleEntry { key: item.key.clone(), ..Default::default() };
        entry.set_status(v1::BundleStatus::Refused);
        let (Ok(key), Some(grant)) = (convert::key(item.key.as_ref()), item.grant) else { return entry };
        if self.trust.grant(&grant, &key, node, self.clock.now_ms()).is_err() {
            return entry;
        }
        match self.small(&key, &grant).await {
            Some(content) => {
                entry.content = content;
                entry.set_status(v1::BundleStatus::Here);
            }
            None => entry.set_status(v1::BundleStatus::Absent),
        }
        entry
    }

    async fn small(&self, key: &ObjectKey, grant: &v1::Grant) -> Option<Bytes> {
        let most = u64::from(MIN_PIECE_BYTES);
        let mut tail = if let Some(stored) = self.store.get(key).await {
            let size = stored.size();
            self.readings.opens(grant, &stored).then_some(())?;
            (size <= most).then(|| Tail::stored(stored, 0, size))?
        } else {
            let partial = self.store.live_partial(key)?;
            opens_growing(grant, &partial).then_some(())?;
            let size = partial.layout().size().filter(|size| *size <= most)?;
            Tail::growing(partial, Reader::Peer, 0, Some(size), ENTRY_PATIENCE)
        };
        let mut content = Vec::new();
        while let Ok(Some(bytes)) = tail.next().await {
            content.extend_from_slice(&bytes);
        }
        (tail.ready().await.ok()?.is_none()).then(|| content.into())
    }
}
