//! An in-order reader over an object that is finished or still growing: what git clients and peers are answered from.
//!
//! A `Tail` never fetches: somebody else (an origin flight, a download) makes the object grow. It ends with an error
//! when that work is given up, when nothing came for its patience, or when bytes that already left have turned out
//! wrong (`Tainted`): the caller then breaks the connection, and must not let the client resume onto what it kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_store::{Outcome, Partial, ReaderMark, Stored, Unchecked};
use futures::Stream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::release::{Progress, releasable};

/// Bytes handed on at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A piece that nobody brings is waited for this long: its writer may only be changing.
const ABANDONED: Duration = Duration::from_millis(500);

/// Who the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A git client: the last byte is held until the whole is confirmed; unchecked bytes leave only where they come
    /// straight from a seed.
    Git,
    /// Another node, which checks for itself: bytes move on as they arrive.
    Peer,
}

/// Why a reader cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TailError {
    /// The object will not come.
    #[error("the object cannot be completed: {0}")]
    Failed(String),
    /// Bytes that were already answered are wrong, or may be.
    #[error("bytes already answered do not belong to the object")]
    Tainted,
    /// Nothing came for as long as the reader waits.
    #[error("no byte came for {0:?}")]
    Stalled(Duration),
    /// The disk of this node failed.
    #[error("reading the store: {0}")]
    Store(Arc<darner_store::ReadError>),
}

#[derive(Debug)]
enum Body {
    Stored(Stored),
    Growing { partial: Partial, changes: watch::Receiver<u64>, era: u64, mark: Option<ReaderMark> },
}

/// The reader.
#[derive(Debug)]
pub struct Tail {
    body: Body,
    reader: Reader,
    at: u64,
    end: Option<u64>,
    patience: Duration,
    sent: bool,
}

impl Tail {
    /// Reads a finished object from `at` to `end` (exclusive).
    pub fn stored(stored: Stored, at: u64, end: u64) -> Self {
        let body = Body::Stored(stored);
        Self { body, reader: Reader::Git, at, end: Some(end), patience: Duration::MAX, sent: false }
    }

    /// Reads a growing object from `at` to `end`; `None` reads to its end, which may not be known yet.
    pub fn growing(partial: Partial, reader: Reader, at: u64, end: Option<u64>, patience: Duration) -> Self {
        let (changes, era) = (partial.subscribe(), partial.era());
        // A peer comes for one piece and may come again for an earlier one: it moves no window.
        let mark = (reader == Reader::Git).then(|| partial.reader());
        if let Some(mark) = &mark {
            mark.at(at);
        }
        Self { body: Body::Growing { partial, changes, era, mark }, reader, at, end, patience, sent: false }
    }

    /// Where the next byte is read.
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// The next bytes; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TailError> {
        let Some(limit) = self.ready().await? else { return Ok(None) };
        let most = usize::try_from(limit.saturating_sub(self.at)).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let read = match &self.body {
            Body::Stored(stored) => stored.read(self.at, most).await,
            Body::Growing { partial, .. } => partial.read(self.at, most).await,
        };
        let bytes = read.map_err(|error| TailError::Store(Arc::new(error)))?;
        if bytes.is_empty() {
            return Err(TailError::Failed("the object ended before its length".to_owned()));
        }
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.sent = true;
        if let Body::Growing { mark: Some(mark), .. } = &self.body {
            mark.at(self.at);
        }
        Ok(Some(bytes))
    }

    /// Waits until there are bytes beyond the position; `None` at the end of the range.
    pub async fn ready(&mut self) -> Result<Option<u64>, TailError> {
        let mut abandoned: Option<Instant> = None;
        loop {
            match self.look()? {
                Look::End => return Ok(None),
                Look::Bytes(limit) => return Ok(Some(limit)),
                Look::Wait => {}
            }
            abandoned = self.is_abandoned().then(|| abandoned.unwrap_or_else(Instant::now));
            if abandoned.is_some_and(|since| since.elapsed() >= ABANDONED) {
                return Err(TailError::Failed("nobody brings this piece here any more".to_owned()));
            }
            let patience = if abandoned.is_some() { ABANDONED } else { self.patience };
            let Body::Growing { changes, .. } = &mut self.body else { return Ok(None) };
            match tokio::time::timeout(patience, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Err(TailError::Failed("its writer is gone".to_owned())),
                Err(_elapsed) if abandoned.is_some() => {}
                Err(_elapsed) => return Err(TailError::Stalled(self.patience)),
            }
        }
    }

    /// A peer waits for a piece that nobody brings here from a seed (any more): it is better told so, and takes it
    /// elsewhere. Waiting for what comes from another peer could go in a circle. The only piece of an object may not
    /// have begun yet.
    fn is_abandoned(&self) -> bool {
        let Body::Growing { partial, .. } = &self.body else { return false };
        let layout = partial.layout();
        let piece = layout.piece_of(self.at);
        self.reader == Reader::Peer && layout.piece_count() != Some(1) && !partial.at_edge().contains(&piece)
    }

    fn look(&mut self) -> Result<Look, TailError> {
        let (reader, at) = (self.reader, self.at);
        let Body::Growing { partial, changes, era, .. } = &mut self.body else {
            let end = self.end.unwrap_or(at);
            return Ok(if at >= end { Look::End } else { Look::Bytes(end) });
        };
        changes.borrow_and_update();
        if partial.era() != *era {
            *era = partial.era();
            if self.sent {
                return Err(TailError::Tainted);
            }
        }
        let confirmed = match partial.outcome() {
            Some(Outcome::Failed(why)) => return Err(TailError::Failed(why)),
            Some(Outcome::Finished(_) | Outcome::Confirmed) => true,
            None => false,
        };
        let size = partial.layout().size();
        let end = self.end.or(size).map(|end| size.map_or(end, |size| end.min(size)));
        if end.is_some_and(|end| at >= end) {
            return Ok(Look::End);
        }
        let readable =
            partial.readable(at, if reader == Reader::Git { Unchecked::Edge } else { Unchecked::Any });
        let confirmed = confirmed || reader == Reader::Peer;
        let limit = releasable(Progress { readable, size, confirmed }).min(end.unwrap_or(u64::MAX));
        Ok(if limit > at { Look::Bytes(limit) } else { Look::Wait })
    }

    /// The rest of the range as a stream, for the body of an answer.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, TailError>> + Send {
        futures::stream::try_unfold(self, |mut tail| async move {
            let next = tail.next().await?;
            Ok(next.map(|bytes| (bytes, tail)))
        })
    }
}

enum Look {
    Wait,
    Bytes(u64),
    End,
}

#[cfg(test)]
mod tests;
