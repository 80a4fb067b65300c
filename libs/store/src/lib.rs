//! Finished objects, resumable partials, and the room they take on one node.
//!
//! Owns: the data directory (`objects/`, `urls/`, `partial/`, `index.redb`, `lock`), what is known of each object
//! (provenance, piece digests, attestation, pins), the budget and eviction. Never: talks to a network, checks a
//! signature, or calls bytes complete that did not hash to their name.
//!
//! **Who calls**: one writer side per object (an origin flight or the download engine) through [`Partial::begin`],
//! any number of readers through [`Partial::read`] and [`Stored::read`].
//!
//! **Integrity (I1)**: a piece is whole when its BLAKE3 is the attested one; an object is finished when its SHA-256,
//! computed here in order, is its name. Bytes on disk are believed only after they were checked once by this process
//! and while the file has not changed since (inode, times, size): a flipped byte, a truncation or a power cut is found
//! at the first read of the piece, the object leaves the index at once, and its sound pieces become a partial.
//!
//! **Crash (I7)**: nothing on the data path is fsynced. After kill -9 the page cache still has every byte and every
//! journal line, so only pieces that were not finished are lost; records are committed durably in groups every 200 ms,
//! and an object whose record was not is adopted after hashing. After a power cut data may be behind its record: that
//! is what the digests are for. Large objects are written back right after their record, off everybody's path.
//!
//! **Disk (I6)**: room is reserved before the first byte, counted in blocks, files and directories; it is given only
//! after the files of the evicted are gone. What is open, pinned or authoritative is never evicted. A full disk is
//! [`StoreError::Full`]; [`Store::volatile`] then is the same partial in memory, of bounded size.

#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "tests state their sizes in plain, small numbers"
    )
)]

mod buffer;
mod config;
mod disk;
mod error;
mod guard;
mod index;
mod journal;
mod ledger;
mod partial;
mod record;
mod shelves;
mod store;
mod stored;
#[cfg(test)]
mod testing;

pub use config::{Now, StoreConfig};
pub use error::{FinishError, ReadError, StoreError, WriteError};
pub use partial::{Outcome, Partial, PieceWriter, ReaderMark, Unchecked};
pub use record::{Change, Item, Media, Record, ScrubReport, Usage};
pub use store::Store;
pub use stored::Stored;
