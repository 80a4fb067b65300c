//! One growing object: its state, its bytes and its journal, kept in step.
//!
//! Owns: the state lock, the gate that keeps bytes of a voided writer out of the file, the watch. Never: knows the
//! store around it. After a crash: state is what the journal says, every piece to be proved again.
//!
//! Lock order: trail, then gate, then state (which covers the journal). Nothing below takes the store's lock.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, PieceDigest, PieceIndex};
use tokio::sync::watch;

use super::Outcome;
use super::body::Body;
use super::growth::Growth;
use super::mark::Marks;
use super::trail::Trail;
use crate::disk::places::Places;
use crate::guard::lock;
use crate::index::Entry;
use crate::journal::{Journal, Keep, Line, digest_of};

/// One growing object.
#[derive(Debug)]
pub(crate) struct Growing {
    key: ObjectKey,
    body: Body,
    gate: RwLock<()>,
    state: Mutex<State>,
    pub(super) trail: Mutex<Trail>,
    marks: Mutex<Marks>,
    tick: watch::Sender<u64>,
}

/// The state and its journal.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) growth: Growth,
    journal: Option<Journal>,
}

impl State {
    /// Writes a line, where there is a journal.
    pub(crate) fn note(&mut self, line: &Line) {
        if let Some(journal) = &mut self.journal {
            journal.append(line);
        }
    }
}

/// What a finished object is made of.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) entry: Entry,
    pub(crate) layout: Layout,
    pub(crate) digests: Vec<PieceDigest>,
    pub(crate) attestation: Option<Bytes>,
}

impl Growing {
    fn with(key: ObjectKey, body: Body, growth: Growth, journal: Option<Journal>) -> Self {
        Self {
            key,
            body,
            gate: RwLock::default(),
            state: Mutex::new(State { growth, journal }),
            trail: Mutex::default(),
            marks: Mutex::default(),
            tick: watch::Sender::new(0),
        }
    }

    /// A new one on disk.
    pub(crate) fn create(places: &Places, key: ObjectKey, layout: Layout) -> io::Result<Self> {
        let path = places.partial(&key);
        let body = Body::at(&path);
        body.file()?.set_len(0)?;
        let journal = Journal::create(&places.journal(&key), &[Line::opened(&layout, Keep::default())]);
        let journal = journal.inspect_err(|_| crate::disk::places::remove_quietly(&path))?;
        Ok(Self::with(key, body, Growth::new(layout), Some(journal)))
    }

    /// One in memory.
    pub(crate) fn volatile(key: ObjectKey, layout: Layout, window_bytes: u64) -> Self {
        Self::with(key, Body::in_memory(), Growth::in_memory(layout, window_bytes), None)
    }

    /// One that is finished already.
    pub(crate) fn finished(key: ObjectKey, body: Body, growth: Growth) -> Self {
        Self::with(key, body, growth, None)
    }

    /// One made of the pieces of a damaged object, all to be proved.
    pub(crate) fn salvage(
        places: &Places,
        key: ObjectKey,
        snapshot: &Snapshot,
        claimed: &[PieceIndex],
    ) -> io::Result<Self> {
        let Snapshot { entry, layout, digests, .. } = snapshot;
        let all: String = digests.iter().map(|digest| hex::encode(digest.as_bytes())).collect();
        let mut lines = vec![Line::opened(layout, entry.keep), Line::Known { first: 0, digests: all }];
        let digest = |piece: &PieceIndex| usize::try_from(*piece).ok().and_then(|at| digests.get(at));
        lines.extend(
            claimed.iter().filter_map(|piece| digest(piece).map(|digest| Line::piece(*piece, digest))),
        );
        lines.extend(entry.upstreams.iter().cloned().map(Line::Upstream));
        lines.push(Line::Media(entry.media.clone()));
        let journal = Journal::create(&places.journal(&key), &lines)?;
        let mut growth = Growth::new(*layout);
        for line in lines {
            replay(&mut growth, line);
        }
        Ok(Self::with(key, Body::at(&places.partial(&key)), growth, Some(journal)))
    }

    /// What a process before this one left, and whether it may be evicted; `None` when its journal makes no sense.
    pub(crate) fn resume(places: &Places, key: ObjectKey) -> io::Result<Option<(Self, Keep)>> {
        let (journal, lines) = Journal::resume(&places.journal(&key))?;
        let Some((growth, keep)) = replay_all(lines) else { return Ok(None) };
        Ok(Some((Self::with(key, Body::at(&places.partial(&key)), growth, Some(journal)), keep)))
    }

    pub(crate) const fn key(&self) -> ObjectKey {
        self.key
    }

    pub(super) const fn marks(&self) -> &Mutex<Marks> {
        &self.marks
    }

    pub(crate) const fn body(&self) -> &Body {
        &self.body
    }

    /// Reads the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Growth) -> T) -> T {
        look(&lock(&self.state).growth)
    }

    /// Changes the state and tells the watchers.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut lock(&self.state));
        self.tick.send_modify(|tick| *tick += 1);
        answer
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// Held while bytes of a valid writer go to the file.
    pub(crate) fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state when no writer is between its check and its bytes.
    pub(crate) fn change_alone<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.change(change)
    }

    /// A piece turned out damaged.
    pub(crate) fn lose(&self, piece: PieceIndex) {
        self.change(|state| {
            if state.growth.lose(piece) {
                state.note(&Line::Lost(piece));
                tracing::warn!(key = %self.key, piece, "a piece on disk is damaged and is fetched again");
            }
        });
    }

    /// Adds to its provenance.
    pub(crate) fn add_upstream(&self, upstream: &str) {
        self.change(|state| {
            if state.growth.add_upstream(upstream) {
                state.note(&Line::Upstream(upstream.to_owned()));
            }
        });
    }

    /// Whether it may be evicted changed.
    pub(crate) fn mark(&self, keep: Keep) {
        self.change(|state| state.note(&Line::Keep(keep)));
    }

    /// Drops all pieces.
    pub(crate) fn reset(&self) {
        self.change_alone(|state| {
            state.growth.reset();
            self.rewrite(state);
        });
        self.body.drop_before(PieceIndex::MAX);
    }

    /// Another cut; only while nothing is here.
    pub(crate) fn recut(&self, layout: Layout) {
        self.change_alone(|state| {
            state.growth.recut(layout);
            self.rewrite(state);
        });
    }

    fn rewrite(&self, state: &mut State) {
        let mut lines = vec![Line::opened(&state.growth.layout(), Keep::default())];
        lines.extend(state.growth.upstreams().iter().cloned().map(Line::Upstream));
        lines.push(Line::Media(state.growth.media().clone()));
        if let Some(journal) = &mut state.journal {
            journal.restart(&lines);
        }
        tracing::debug!(key = %self.key, "a partial starts over");
    }

    /// Ends as failed; whoever comes next goes on with what is whole.
    pub(crate) fn fail(&self, why: &str) -> Option<Self> {
        self.change_alone(|state| {
            if state.growth.outcome().is_some() {
                return None;
            }
            let next = state.growth.successor(why);
            let journal = state.journal.take();
            (!self.body.is_memory()).then(|| Self::with(self.key, self.body.share(), next, journal))
        })
    }

    /// Ends as finished or confirmed.
    pub(crate) fn conclude(&self, outcome: Outcome) {
        self.change_alone(|state| {
            state.growth.conclude(outcome);
            state.journal = None;
        });
    }

    /// What the finished object is made of, once all pieces are here.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.look(|growth| {
            let layout = growth.layout();
            let (size, digests) = (layout.size()?, growth.all_digests()?);
            let mut entry = Entry::new(size, &layout);
            entry.upstreams = growth.upstreams().iter().cloned().collect();
            entry.media = growth.media().clone();
            (growth.missing() == 0).then_some(Snapshot { entry, layout, digests, attestation: None })
        })
    }
}

/// The state a journal tells of.
pub(crate) fn replay_all(lines: Vec<Line>) -> Option<(Growth, Keep)> {
    let mut lines = lines.into_iter();
    let Some(Line::Opened { layout, size, piece_bytes, mut keep }) = lines.next() else { return None };
    let mut growth = Growth::new(Layout::checked(layout, size, piece_bytes).ok()?);
    for line in lines {
        match line {
            Line::Keep(now) => keep = now,
            line => replay(&mut growth, line),
        }
    }
    Some((growth, keep))
}

fn replay(growth: &mut Growth, line: Line) {
    match line {
        Line::Opened { .. } | Line::Keep(_) => {}
        Line::Size(size) => drop(growth.fix_size(size)),
        Line::Piece(piece, digest) => {
            if let Some(digest) = digest_of(&digest) {
                growth.claim(piece, digest);
            }
        }
        Line::Lost(piece) => drop(growth.lose(piece)),
        Line::Known { first, digests } => {
            if let Some(digests) = hex::decode(digests).ok().and_then(|bytes| PieceDigest::list(&bytes)) {
                growth.recall(first, &digests);
            }
        }
        Line::Attested { first, digests, statement, reading, attester } => {
            let digests = hex::decode(digests).ok().and_then(|bytes| PieceDigest::list(&bytes));
            if let (Some(digests), Ok(statement)) = (digests, hex::decode(statement)) {
                growth.attest(first, &digests, statement.into(), (reading, &attester));
            }
        }
        Line::Upstream(upstream) => drop(growth.add_upstream(&upstream)),
        Line::Media(media) => growth.set_media(media),
    }
}

/// The pieces of a file that lie wholly within its length.
pub(crate) fn pieces_within(layout: &Layout, length: u64) -> Vec<PieceIndex> {
    let count = layout.piece_count().unwrap_or_default();
    (0..count).filter(|piece| layout.piece_range(*piece).is_some_and(|range| range.end <= length)).collect()
}

/// A shared one.
pub(crate) type Shared = Arc<Growing>;
