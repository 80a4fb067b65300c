//! The body of an object's answer, and the account of it: one log line, one metric, one line in the object's story.

use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use darner_chassis::clock::Random as _;
use darner_chassis::metrics::Source;
use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_origin::{Body, BoxError};
use darner_store::Outcome;
use darner_transfer::download::Download;
use darner_transfer::tail::{Reader, Tail, TailError};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::Gate;
use super::object::{Ask, Found, Opening};

/// How long a body waits for its next byte. The client's own patience is 30 s.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a body waits for its object to be opened, after its head has waited already.
const OPENED_WITHIN: Duration = Duration::from_secs(20);
/// Transfers above this length or time are always in the traces.
const BIG_BYTES: u64 = 64 << 20;
const SLOW: Duration = Duration::from_secs(10);

/// The bytes of an object that an answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// All of them; how many, where that is known.
    Whole(Option<u64>),
    /// Some of so many.
    Part(Range<u64>, u64),
    /// None: the range lies outside of so many.
    Unsatisfiable(u64),
}

/// Accounts for one answer; settled when it is dropped.
#[derive(Debug)]
pub(super) struct Delivery {
    gate: Gate,
    client: IpAddr,
    key: ObjectKey,
    size: Option<u64>,
    upstream: String,
    started: Instant,
    started_ms: u64,
    span: tracing::Span,
    download: Option<Download>,
    sent: u64,
    /// Where the answer ends, when that is known. Who writes it stops asking there, so no end is ever polled.
    until: Option<u64>,
    ended: Ended,
}

#[derive(Debug)]
enum Ended {
    /// The client went first.
    Left,
    Well,
    Broken(String),
}

enum Bytewise {
    Opening(Opening, u64, Option<u64>),
    Tail(Box<Tail>),
}

impl Delivery {
    pub(super) fn new(gate: Gate, client: IpAddr, ask: &Ask, size: Option<u64>) -> Self {
        let started_ms = gate.clock.now_ms();
        Self {
            client,
            key: ask.key,
            size,
            upstream: ask.credential.upstream.clone(),
            started: Instant::now(),
            started_ms,
            span: tracing::Span::current(),
            download: None,
            sent: 0,
            until: None,
            ended: Ended::Left,
            gate,
        }
    }

    /// The bytes of `span`, as they come.
    pub(super) fn body(mut self, found: Found, span: &Span) -> Body {
        let (from, end) = match span {
            Span::Part(part, _) => (part.start, Some(part.end)),
            Span::Whole(size) => (0, *size),
            Span::Unsatisfiable(_) => (0, Some(0)),
        };
        self.until = end;
        let bytewise = match found {
            Found::Stored(stored) => {
                let end = end.unwrap_or_else(|| stored.size());
                Bytewise::Tail(Box::new(Tail::stored(stored, from, end)))
            }
            Found::Growing(download) => self.tail(download, from, end),
            Found::Opening(opening) => Bytewise::Opening(opening, from, end),
        };
        let frames = stream::try_unfold((bytewise, self), |(bytewise, mut delivery)| async move {
            let (bytes, bytewise) = delivery.next(bytewise).await?;
            Ok::<_, BoxError>(bytes.map(|bytes| (Frame::data(bytes), (bytewise, delivery))))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// An answer that reaches the announced end is read to the object's own: the tail then knows which byte is the
    /// last one, and holds it until the whole is confirmed.
    fn tail(&mut self, download: Download, from: u64, end: Option<u64>) -> Bytewise {
        download.read_from(from);
        let end = end.filter(|_| end != self.size);
        let tail = Tail::growing(download.partial().clone(), Reader::Git, from, end, PATIENCE);
        self.download = Some(download);
        Bytewise::Tail(Box::new(tail))
    }

    /// Whether the object is known not to have the length that was announced, now that it is read to `position`.
    fn is_other_length(&self, position: u64) -> bool {
        let (Some(download), Some(announced)) = (&self.download, self.size) else { return false };
        let partial = download.partial();
        let is_confirmed = || matches!(partial.outcome(), Some(Outcome::Finished(_) | Outcome::Confirmed));
        match partial.layout().size() {
            Some(size) => size != announced || position >= size && !is_confirmed(),
            // A tail holds the last byte of what it cannot measure: this one lies before the end.
            None => position >= announced,
        }
    }

    /// What left is part of something else than was announced: nothing is resumed onto it.
    fn other_length(&mut self) -> BoxError {
        self.gate.inner.tainted.mark(self.client, self.key, self.gate.clock.now_ms());
        self.broken("the object has another length than was announced".to_owned())
    }

    async fn next(&mut self, mut bytewise: Bytewise) -> Result<(Option<Bytes>, Bytewise), BoxError> {
        if let Bytewise::Opening(opening, from, end) = bytewise {
            match tokio::time::timeout(OPENED_WITHIN, opening).await {
                Ok(Ok(download)) => bytewise = self.tail(download, from, end),
                Ok(Err(error)) => return Err(self.broken(error.to_string())),
                Err(_elapsed) => return Err(self.broken("the origin has not answered".to_owned())),
            }
        }
        let Bytewise::Tail(tail) = &mut bytewise else { return Ok((None, bytewise)) };
        match tail.next().await {
            Ok(Some(_)) if self.is_other_length(tail.position()) => Err(self.other_length()),
            Ok(None) if self.until.is_some_and(|until| tail.position() < until) => Err(self.other_length()),
            Ok(Some(bytes)) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.sent = self.sent.saturating_add(length);
                if self.until == Some(tail.position()) {
                    self.ended = Ended::Well;
                }
                if let Some(download) = &self.download {
                    download.read_from(tail.position());
                }
                Ok((Some(bytes), bytewise))
            }
            Ok(None) => {
                self.ended = Ended::Well;
                Ok((None, bytewise))
            }
            Err(error) => {
                if matches!(error, TailError::Tainted) {
                    self.gate.inner.tainted.mark(self.client, self.key, self.gate.clock.now_ms());
                }
                Err(self.broken(error.to_string()))
            }
        }
    }

    fn broken(&mut self, words: String) -> BoxError {
        self.ended = Ended::Broken(words.clone());
        words.into()
    }

    /// How many of the sent bytes came from where.
    fn sources(&self) -> Vec<(Source, u64)> {
        let Some(download) = &self.download else { return vec![(Source::Local, self.sent)] };
        let (seeds, peers) = download.taken().seed_and_peer();
        let taken = seeds.saturating_add(peers);
        let moved = self.sent.min(taken);
        let from_peers = if taken == 0 { 0 } else { scaled(moved, peers, taken) };
        let own = download.opened().seed.is_some_and(|seed| seed.id == self.gate.node);
        let seed = if own { Source::Origin } else { Source::Seed };
        // While this node reads the origin itself nothing is taken from anybody.
        let rest = if own { Source::Origin } else { Source::Local };
        vec![(Source::Peer, from_peers), (seed, moved - from_peers), (rest, self.sent - moved)]
    }

    fn settle(&self) {
        let sources = self.sources();
        for (source, bytes) in &sources {
            self.gate.metrics.served(*source, *bytes);
        }
        let source =
            sources.iter().max_by_key(|(_, bytes)| *bytes).map_or(Source::Local, |(source, _)| *source);
        let took = self.started.elapsed();
        let is_broken = matches!(self.ended, Ended::Broken(_));
        if is_broken || took > SLOW || self.sent > BIG_BYTES {
            telemetry::force(&self.span);
        }
        let trace = telemetry::current_trace();
        let (oid, cost) = (self.oid(), format!("{}ms", took.as_millis()));
        let size = self.size.unwrap_or(self.sent);
        let task = format!("{:016x}", darner_chassis::clock::System.next_u64());
        let (label, peer) = (source.label(), self.gate.node.as_str());
        let line = match &self.ended {
            Ended::Well => {
                tracing::info!(oid, size, cost, source = label, peer, task, trace, "peer task done");
                format!("served {} bytes from {label} in {cost}", self.sent)
            }
            Ended::Left => {
                tracing::debug!(oid, size, cost, sent = self.sent, task, trace, "client left before the end");
                format!("the client left after {} bytes", self.sent)
            }
            Ended::Broken(error) => {
                tracing::warn!(oid, size, cost, sent = self.sent, error, task, trace, "peer task broken off");
                format!("broken off after {} bytes: {error}", self.sent)
            }
        };
        self.gate.stories.tell(self.key, self.gate.clock.now_ms(), &trace, line);
        self.gate.report(self.account(task, label, trace));
    }

    fn account(&self, task: String, source: &str, trace: String) -> darner_proto::v1::Download {
        let (state, error) = match &self.ended {
            Ended::Well => ("done", String::new()),
            Ended::Left => ("failed", "the client left".to_owned()),
            Ended::Broken(error) => ("failed", error.clone()),
        };
        let by_parent = self.download.iter().flat_map(|download| download.taken().by_parent()).collect();
        darner_proto::v1::Download {
            task,
            key: Some(self.key.into()),
            size: self.size,
            started_ms: self.started_ms,
            ended_ms: self.gate.clock.now_ms(),
            state: state.to_owned(),
            source: source.to_owned(),
            traceparent: telemetry::current_traceparent().filter(|_| trace.len() == 32).unwrap_or_default(),
            trace,
            upstream: self.upstream.clone(),
            error,
            bytes_by_parent: by_parent,
            received: self.sent,
            requests: 1,
        }
    }

    fn oid(&self) -> String {
        self.key.oid().map_or_else(|| self.key.to_string(), |oid| oid.to_string())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.span.clone().in_scope(|| self.settle());
    }
}

/// `of * part / whole` without overflow; `whole` is not 0.
fn scaled(of: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(of) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(scaled(10, 1, 4), 2);
        assert_eq!(scaled(u64::MAX, u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(scaled(5, 5, 0), 25);
    }
}
