//! Fetching one piece from one parent into the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use darner_lfs::layout::PieceIndex;
use darner_lfs::{ObjectKey, PieceDigest};
use darner_proto::v1;
use darner_store::{Partial, PieceWriter, WriteError};
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::follow::Ear;
use crate::link::{Ask, LinkError, Peer};

/// Bytes gathered before they are handed to the writing thread, while it is busy with the ones before.
const GATHER_BYTES: usize = 256 * 1024;
/// Up to this many bytes a write is cheaper done at once than handed over.
const INLINE_BYTES: usize = 64 * 1024;
/// A parent that is alive but starved itself is waited for this long.
const STARVED: Duration = Duration::from_secs(15);

/// Why a piece did not come.
#[derive(Debug)]
pub(super) enum Miss {
    /// Silence, or a broken connection.
    Stalled(String),
    /// The bytes are not what was attested.
    Corrupt,
    /// The parent does not have it.
    Absent,
    /// Somebody else writes it, or it is here.
    Taken,
    /// This node cannot write it.
    Store(WriteError),
}

/// One piece to fetch.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: ObjectKey,
    pub(super) partial: Partial,
    pub(super) piece: PieceIndex,
    pub(super) peer: Arc<dyn Peer>,
    pub(super) grant: Arc<v1::Grant>,
    /// Its bytes come straight from a seed.
    pub(super) edge: bool,
    /// The whole object is this piece and its key is its digest: no attestation is needed.
    pub(super) alone: bool,
    pub(super) stall: Duration,
    /// Present while the parent is followed.
    pub(super) ear: Option<Ear>,
}

impl Job {
    /// Fetches, writes and checks the piece; how many bytes.
    pub(super) async fn run(self) -> Result<u64, Miss> {
        let layout = self.partial.layout();
        let range = layout.piece_range(self.piece).ok_or(Miss::Absent)?;
        let writer = self.partial.begin(self.piece, self.edge).ok_or(Miss::Taken)?;
        let ask = Ask { key: self.key, range: range.clone(), grant: Arc::clone(&self.grant) };
        let asked = tokio::time::timeout(self.patience(), self.peer.fetch(ask)).await;
        let mut chunks = match asked {
            Ok(answer) => answer.map_err(missed)?,
            Err(_elapsed) => return Err(Miss::Stalled("no answer".to_owned())),
        };
        let mut press = Press { writer: Some(writer), writing: None, gathered: Vec::new(), bytes: 0 };
        let mut written: u64 = 0;
        loop {
            let is_waiting = press.is_waiting();
            let chunk = tokio::select! {
                settled = press.settle(), if is_waiting => {
                    settled.and_then(|()| press.start()).map_err(Miss::Store)?;
                    continue;
                }
                chunk = self.wait(chunks.next()) => chunk?,
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(missed)?;
            written = written.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if written > range.end - range.start {
                return Err(Miss::Corrupt);
            }
            press.take(chunk).await.map_err(Miss::Store)?;
        }
        let writer = press.close().await.map_err(Miss::Store)?;
        self.finish(writer, written, range.start).await
    }

    async fn finish(&self, writer: PieceWriter, written: u64, start: u64) -> Result<u64, Miss> {
        let whole = self.whole_length(written, start).await;
        if whole != Some(written) {
            return Err(Miss::Stalled("the answer ended early".to_owned()));
        }
        let expected = if self.alone { None } else { Some(self.digest().await?) };
        let (partial, piece) = (self.partial.clone(), self.piece);
        let finished = tokio::task::spawn_blocking(move || writer.finish(expected)).await;
        match finished {
            Ok(Ok(_)) => Ok(written),
            Ok(Err(WriteError::Mismatch { .. })) => Err(Miss::Corrupt),
            Ok(Err(error)) => Err(Miss::Store(error)),
            Err(_panicked) => {
                tracing::error!(key = %partial.key(), piece, "checking a piece did not end");
                Err(Miss::Taken)
            }
        }
    }

    /// How long the piece must be; waits for the length of the object where a short piece says that it ended.
    async fn whole_length(&self, written: u64, start: u64) -> Option<u64> {
        let mut changes = self.partial.subscribe();
        let until = Instant::now() + self.stall;
        loop {
            changes.borrow_and_update();
            let layout = self.partial.layout();
            if layout.size().is_some() || written == u64::from(layout.piece_bytes()) {
                return layout.piece_range(self.piece).map(|range| range.end - start);
            }
            if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return None;
            }
        }
    }

    /// The attested digest; a seed names it just after the piece went out, so it is waited for.
    async fn digest(&self) -> Result<PieceDigest, Miss> {
        let mut changes = self.partial.subscribe();
        let until = Instant::now() + self.stall;
        loop {
            changes.borrow_and_update();
            if let Some(digest) = self.partial.digest(self.piece) {
                return Ok(digest);
            }
            match tokio::time::timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(Miss::Stalled("nobody attested the piece".to_owned())),
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.ear.is_some() { self.stall * 2 } else { STARVED }
    }

    /// Waits for bytes: a parent that still beats is given longer than a silent one.
    async fn wait<T>(&self, next: impl Future<Output = T>) -> Result<T, Miss> {
        tokio::pin!(next);
        let until = Instant::now() + STARVED;
        loop {
            if let Ok(item) = tokio::time::timeout(self.stall, &mut next).await {
                return Ok(item);
            }
            let stall_ms = u64::try_from(self.stall.as_millis()).unwrap_or(u64::MAX);
            let silent = self.ear.as_ref().is_some_and(|ear| {
                let heard = ear.heard.load(std::sync::atomic::Ordering::Relaxed);
                ear.now_ms().saturating_sub(heard) >= stall_ms
            });
            if silent || Instant::now() >= until {
                return Err(Miss::Stalled("no byte came".to_owned()));
            }
        }
    }
}

fn missed(error: LinkError) -> Miss {
    match error {
        LinkError::Absent | LinkError::Refused(_) => Miss::Absent,
        LinkError::Unreachable(words) => Miss::Stalled(words),
        LinkError::Malformed(words) => Miss::Stalled(words.to_owned()),
    }
}

/// Writes on another thread while the next bytes arrive.
struct Press {
    writer: Option<PieceWriter>,
    writing: Option<JoinHandle<Result<PieceWriter, WriteError>>>,
    gathered: Vec<Bytes>,
    bytes: usize,
}

impl Press {
    async fn take(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        self.bytes += chunk.len();
        self.gathered.push(chunk);
        if self.bytes >= GATHER_BYTES {
            self.settle().await?;
        }
        if self.writing.is_none() { self.start() } else { Ok(()) }
    }

    async fn close(mut self) -> Result<PieceWriter, WriteError> {
        self.settle().await?;
        self.start()?;
        self.settle().await?;
        self.writer.ok_or(WriteError::Stale)
    }

    /// Whether bytes that came wait for the thread that writes the ones before: they go on when it is free, also when
    /// no more come.
    fn is_waiting(&self) -> bool {
        self.writing.is_some() && !self.gathered.is_empty()
    }

    /// Waits for the writing thread. May be dropped while it waits.
    async fn settle(&mut self) -> Result<(), WriteError> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.writer = Some(written.map_err(|_panicked| WriteError::Stale)??);
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), WriteError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let chunks = std::mem::take(&mut self.gathered);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes <= INLINE_BYTES {
            chunks.iter().try_for_each(|chunk| writer.write(chunk))?;
            self.writer = Some(writer);
            return Ok(());
        }
        self.writing = Some(tokio::task::spawn_blocking(move || {
            chunks.iter().try_for_each(|chunk| writer.write(chunk))?;
            Ok(writer)
        }));
        Ok(())
    }
}
