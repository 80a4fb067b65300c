//! Reading a growing object.
//!
//! Owns: the public methods for it. Never: gives out a byte of a resumed piece before its digest was checked. After a
//! crash: nothing to say.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::{PieceDigest, PieceIndex};

use super::growth::ReadPlan;
use super::{Partial, Unchecked};
use crate::buffer::MAX_BUFFER_BYTES;
use crate::disk::read::blocking;
use crate::error::ReadError;

impl Partial {
    /// The end of the contiguous readable bytes from `from`: whole pieces, and with `unchecked` the growth of the
    /// piece being written behind them.
    pub fn readable(&self, from: u64, unchecked: Unchecked) -> u64 {
        self.growing.look(|growth| growth.readable(from, unchecked))
    }

    /// Between one and `max` bytes from `offset`, which must lie below `readable(offset, Any)`. A piece that an
    /// earlier process wrote is checked first; a damaged one is dropped and named.
    pub async fn read(&self, offset: u64, max: usize) -> Result<Bytes, ReadError> {
        let max = u64::try_from(max.min(MAX_BUFFER_BYTES)).unwrap_or(u64::MAX);
        if max == 0 {
            return Ok(Bytes::new());
        }
        match self.growing.look(|growth| growth.plan(offset, max))? {
            ReadPlan::Plain(range) if self.is_volatile() => self.read_memory(&range),
            ReadPlan::Plain(range) => self.read_file(&range).await,
            ReadPlan::Check(piece, range, digest) => {
                let bytes = self.check(piece, range.clone(), digest).await?;
                let from = usize::try_from(offset - range.start).unwrap_or(usize::MAX).min(bytes.len());
                let end = from.saturating_add(usize::try_from(max).unwrap_or(usize::MAX)).min(bytes.len());
                Ok(bytes.slice(from..end))
            }
        }
    }

    fn read_memory(&self, range: &Range<u64>) -> Result<Bytes, ReadError> {
        let bytes = self.growing.body().in_memory_range(&self.layout(), range);
        if bytes.is_empty() { Err(ReadError::Forgotten { offset: range.start }) } else { Ok(bytes) }
    }

    async fn read_file(&self, range: &Range<u64>) -> Result<Bytes, ReadError> {
        let file = self.growing.body().file()?;
        let max = usize::try_from(range.end - range.start).unwrap_or(MAX_BUFFER_BYTES);
        let bytes = self.room.reader().read(&file, range.start, max).await?;
        if bytes.is_empty() {
            // The file was cut under us: what it does not hold is not held.
            let piece = self.layout().piece_of(range.start);
            self.growing.lose(piece);
            return Err(ReadError::Damaged { piece });
        }
        Ok(bytes)
    }

    async fn check(
        &self,
        piece: PieceIndex,
        range: Range<u64>,
        digest: PieceDigest,
    ) -> Result<Bytes, ReadError> {
        let growing = Arc::clone(&self.growing);
        let bytes = blocking(move || {
            let layout = growing.look(super::growth::Growth::layout);
            let bytes = growing.body().range(&layout, &range)?;
            if PieceDigest::of(&bytes) == digest {
                growing.change(|state| state.growth.prove(piece));
                return Ok(Some(bytes));
            }
            growing.lose(piece);
            Ok(None)
        })
        .await?;
        bytes.map(Bytes::from).ok_or(ReadError::Damaged { piece })
    }
}
