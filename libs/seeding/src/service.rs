//! The gRPC face of seeding, and the same face in this process for a daemon that acts as a seed.

use std::pin::Pin;

use async_trait::async_trait;
use darner_chassis::identity::Peer;
use darner_origin::MAX_WINDOW_BYTES;
use darner_proto::{convert, v1};
use darner_transfer::download::Opener;
use darner_transfer::node::check_caller;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::credential::Presented;
use crate::proof::refusal;
use crate::seeding::{Decided, Seeding};

/// Objects of one call; git-lfs asks for 100 at a time.
const MAX_OBJECTS: usize = 10_000;
/// Objects of one call decided at once: the reads themselves have their own bound.
const AT_ONCE: usize = 64;
/// Objects of at most so many bytes travel in their replies: less than a second exchange for them would take.
const MAX_CONTENT_BYTES: u32 = 16 << 10;
/// Keys of one survey.
const MAX_SURVEYED: usize = 10_000;

type Replies = BoxStream<'static, Result<v1::OpenReply, Status>>;

impl Seeding {
    fn replies(&self, request: v1::OpenRequest) -> Result<Replies, Status> {
        let taker = request.taker.ok_or_else(|| Status::invalid_argument("`taker` is missing"))?;
        if request.objects.len() > MAX_OBJECTS {
            return Err(Status::invalid_argument("too many objects in one call"));
        }
        let (seeding, span) = (self.clone(), tracing::Span::current());
        let taker = std::sync::Arc::new(taker);
        let content_bytes = request.content_bytes.min(MAX_CONTENT_BYTES).into();
        let decided = futures::stream::iter(request.objects).map(move |object| {
            let (seeding, taker) = (seeding.clone(), std::sync::Arc::clone(&taker));
            let open = async move {
                let outcome = seeding.open(&taker, &object, content_bytes).await;
                Ok(v1::OpenReply { key: object.key, outcome: Some(outcome.into()) })
            };
            // The replies are polled outside of the call's own span.
            open.instrument(span.clone())
        });
        Ok(decided.buffer_unordered(AT_ONCE).boxed())
    }
}

impl From<Decided> for v1::open_reply::Outcome {
    fn from(decided: Decided) -> Self {
        match decided {
            Decided::Opened(opened) => Self::Opened(*opened),
            Decided::Refused(words) => Self::Refusal(words),
            Decided::Elsewhere(node) => Self::Elsewhere(*node),
        }
    }
}

#[async_trait]
impl Opener for Seeding {
    async fn open(&self, request: v1::OpenRequest) -> Result<Replies, Status> {
        self.replies(request)
    }
}

#[async_trait]
impl v1::seed_server::Seed for Seeding {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<v1::OpenReply, Status>> + Send>>;

    async fn open(&self, request: Request<v1::OpenRequest>) -> Result<Response<Self::OpenStream>, Status> {
        check_caller(&Peer::of_call(request.extensions()), request.get_ref().taker.as_ref())?;
        Ok(Response::new(self.replies(request.into_inner())?))
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        use v1::probe_reply::Outcome;
        check_caller(&Peer::of_call(request.extensions()), request.get_ref().taker.as_ref())?;
        let request = request.into_inner();
        let taker = request.taker.unwrap_or_default();
        if taker.tenant != self.inner.parts.identity.tenant {
            return Err(Status::permission_denied("nodes of different tenants never exchange"));
        }
        let now_ms = self.inner.parts.clock.now_ms();
        let any = darner_lfs::Oid::EMPTY.into();
        let presented = Presented::read(&any, request.credential.as_ref(), now_ms)
            .ok_or_else(|| Status::invalid_argument("`credential` is missing"))?;
        let length = request.length.min(MAX_WINDOW_BYTES);
        let origin = &self.inner.parts.origin;
        let outcome = match origin.probe(&presented.url, &presented.headers, request.offset, length).await {
            Ok(shown) => Outcome::Window(v1::Window {
                content: shown.content,
                total: shown.total,
                etag: shown.etag.unwrap_or_default(),
            }),
            Err(error) => Outcome::Refusal(refusal(&error)),
        };
        Ok(Response::new(v1::ProbeReply { outcome: Some(outcome) }))
    }

    async fn survey(&self, request: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyReply>, Status> {
        check_caller(&Peer::of_call(request.extensions()), request.get_ref().asker.as_ref())?;
        let request = request.into_inner();
        if request.keys.len() > MAX_SURVEYED {
            return Err(Status::invalid_argument("too many keys in one call"));
        }
        let asker = request.asker.unwrap_or_default();
        let state = |key: &v1::ObjectKey| {
            let key = convert::key(Some(key)).ok();
            key.map_or(v1::SurveyState::Absent, |key| self.state_of(&key, &asker)).into()
        };
        Ok(Response::new(v1::SurveyReply { states: request.keys.iter().map(state).collect() }))
    }
}
