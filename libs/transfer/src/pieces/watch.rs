//! What this node has of one object, pushed as it changes.
//!
//! The first event is the full state; then what arrived, what is under way, the signed statements about digests, the
//! size once it is known; a heartbeat when nothing changed, so that a watcher can tell a frozen parent from a
//! starved one. It ends when the object is finished here (the last event then says `complete`) or withdrawn.

use std::time::Duration;

use bytes::Bytes;
use darner_lfs::{Holding, ObjectKey};
use darner_proto::v1::{self, link_event::Event};
use darner_store::{Outcome, Partial, Stored};
use futures::TryStreamExt as _;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost::Message as _;
use tokio::sync::watch;
use tracing::Span;

use super::answer::{OTHER_READ, words};
use super::reading::opens_watching;
use super::{AnswerBody, PieceServer};
use crate::statements;
use crate::tail::TailError;

/// Quiet this long, a heartbeat goes out; a watcher that hears nothing for a stall interval gives the parent up.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Changes are gathered this long before they are told.
const COALESCE: Duration = Duration::from_millis(2);

struct Telling {
    key: ObjectKey,
    partial: Partial,
    changes: watch::Receiver<u64>,
    told: Holding,
    told_under_way: Vec<u32>,
    statements: usize,
    era: u64,
    size_told: bool,
    began: bool,
    ended: bool,
    referral: Vec<v1::NodeIdentity>,
    // In a trace: from the first word to the last one that said something new.
    span: Span,
}

impl PieceServer {
    pub(super) async fn watch(&self, key: ObjectKey, grant: &v1::Grant, span: Span) -> Response<AnswerBody> {
        if let Some(stored) = self.store.get(&key).await {
            if !self.readings.opens(grant, &stored) {
                return words(StatusCode::NOT_FOUND, OTHER_READ);
            }
            let told = Bytes::from(encode(&stored_events(key, &stored)));
            return stream(futures::stream::iter([Ok(told)]));
        }
        let Some(partial) = self.store.live_partial(&key) else {
            return words(StatusCode::NOT_FOUND, "not here");
        };
        if !opens_watching(grant, &partial) {
            return words(StatusCode::NOT_FOUND, OTHER_READ);
        }
        let referral = self.referrals.as_ref().map(|takers| takers.takers(&key)).unwrap_or_default();
        let telling = Telling {
            key,
            changes: partial.subscribe(),
            era: partial.era(),
            size_told: partial.layout().size().is_some(),
            partial,
            told: Holding::empty(),
            told_under_way: Vec::new(),
            statements: 0,
            began: false,
            ended: false,
            referral,
            span,
        };
        stream(futures::stream::try_unfold(telling, |mut telling| async move {
            let events = telling.next().await;
            Ok(events.map(|events| (Bytes::from(encode(&events)), telling)))
        }))
    }
}

impl Telling {
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.ended {
            return None;
        }
        if !self.began {
            return Some(self.begin());
        }
        if let Ok(changed) = tokio::time::timeout(HEARTBEAT, self.changes.changed()).await {
            if changed.is_err() {
                return None;
            }
            tokio::time::sleep(COALESCE).await;
        }
        Some(self.changed())
    }

    fn begin(&mut self) -> Vec<Event> {
        self.began = true;
        self.span.in_scope(|| ());
        self.changes.borrow_and_update();
        self.told = self.partial.servable();
        let held = v1::Held {
            key: Some(self.key.into()),
            layout: Some(self.partial.layout().into()),
            complete: false,
            pieces: self.told.as_bytes().to_vec().into(),
        };
        let mut events = vec![Event::Held(held)];
        if !self.referral.is_empty() {
            events.push(Event::Referral(v1::Referral { nodes: std::mem::take(&mut self.referral) }));
        }
        events.extend(self.changed());
        events
    }

    fn changed(&mut self) -> Vec<Event> {
        self.changes.borrow_and_update();
        if self.partial.era() != self.era {
            self.ended = true;
            return vec![Event::Withdrawn(v1::Withdrawn { reason: "the object was begun anew".to_owned() })];
        }
        let mut events = Vec::new();
        let layout = self.partial.layout();
        if !self.size_told && layout.size().is_some() {
            self.size_told = true;
            events.push(Event::Layout(layout.into()));
        }
        // Looked at first: whatever was said before the end is then among the statements.
        let outcome = self.partial.outcome();
        events.extend(self.new_statements());
        let holding = self.partial.servable();
        let arrived = holding.minus(&self.told);
        // Only what comes from a seed: two nodes never wait for each other.
        let under_way = self.partial.at_edge();
        if arrived.count() > 0 || under_way != self.told_under_way || events.is_empty() {
            let pieces = arrived.iter().collect();
            events.push(Event::Arrived(v1::Arrived { pieces, under_way: under_way.clone() }));
        }
        if arrived.count() > 0 || outcome.is_some() {
            self.span.in_scope(|| ());
        }
        self.told = holding;
        self.told_under_way = under_way;
        match outcome {
            Some(Outcome::Finished(_) | Outcome::Confirmed) => {
                self.ended = true;
                let layout = Some(layout.into());
                let complete = matches!(outcome, Some(Outcome::Finished(_)));
                if complete {
                    let key = Some(self.key.into());
                    events.push(Event::Held(v1::Held { key, layout, complete, pieces: Bytes::new() }));
                }
            }
            Some(Outcome::Failed(reason)) => {
                self.ended = true;
                events.push(Event::Withdrawn(v1::Withdrawn { reason }));
            }
            None => {}
        }
        events
    }

    fn new_statements(&mut self) -> Vec<Event> {
        let fresh = self.partial.statements(self.statements);
        self.statements += fresh.len();
        fresh
            .into_iter()
            .filter_map(|bytes| v1::Attestation::decode(bytes).ok())
            .map(Event::Attestation)
            .collect()
    }
}

fn stored_events(key: ObjectKey, stored: &Stored) -> Vec<Event> {
    let held = v1::Held {
        key: Some(key.into()),
        layout: Some(stored.layout().into()),
        complete: true,
        pieces: Bytes::new(),
    };
    statements::of(stored).into_iter().map(Event::Attestation).chain([Event::Held(held)]).collect()
}

fn encode(events: &[Event]) -> Vec<u8> {
    let message =
        |event: &Event| v1::LinkEvent { event: Some(event.clone()) }.encode_length_delimited_to_vec();
    events.iter().flat_map(message).collect()
}

fn stream(
    parts: impl futures::Stream<Item = Result<Bytes, TailError>> + Send + 'static,
) -> Response<AnswerBody> {
    Response::new(StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync())
}
