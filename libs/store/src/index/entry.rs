//! One record as it lies in the index.
//!
//! Owns: the form of a record on disk (JSON, unknown fields ignored so that an older process reads a newer record of
//! the same format). Never: I/O. After a crash: nothing to say.

use darner_lfs::Layout;
use darner_lfs::layout::LAYOUT_VERSION;
use serde::{Deserialize, Serialize};

use crate::journal::Keep;
use crate::record::Media;

/// From this size on an object is written back right after its record.
const WRITE_BACK_FROM_BYTES: u64 = 4 << 20;

/// A finished object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Version of the layout rule.
    pub(crate) layout: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of a piece.
    pub(crate) piece_bytes: u32,
    /// Not to be evicted.
    pub(crate) keep: Keep,
    /// Where it was read from.
    pub(crate) upstreams: Vec<String>,
    /// What the origin said of it.
    pub(crate) media: Media,
    /// When it was used last.
    pub(crate) used_ms: u64,
}

impl Entry {
    /// A record of an object cut like this.
    pub(crate) fn new(size: u64, layout: &Layout) -> Self {
        Self {
            layout: LAYOUT_VERSION,
            size,
            piece_bytes: layout.piece_bytes(),
            keep: Keep::default(),
            upstreams: Vec::new(),
            media: Media::default(),
            used_ms: 0,
        }
    }

    /// Whether its bytes are written back right after its record.
    pub(crate) const fn is_written_back(&self) -> bool {
        self.size >= WRITE_BACK_FROM_BYTES || self.keep.authoritative
    }

    /// The cut, where the record makes sense.
    pub(crate) fn cut(&self) -> Option<Layout> {
        Layout::checked(self.layout, Some(self.size), self.piece_bytes).ok()
    }
}
