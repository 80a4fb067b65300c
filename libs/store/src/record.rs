//! What the store tells others about what it holds.
//!
//! Owns: the plain values of the public API. Never: I/O. After a crash: nothing to say.

use darner_lfs::{Holding, Layout, ObjectKey};

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The object.
    pub key: ObjectKey,
    /// Its cut; the size is known when `complete`.
    pub layout: Layout,
    /// All of it is here and was hashed.
    pub complete: bool,
    /// Not to be evicted.
    pub pinned: bool,
    /// The only copy (self-hosted server): never evicted.
    pub authoritative: bool,
    /// Where it was read from, or shown equal through.
    pub upstreams: Vec<String>,
    /// When it was used last, by the clock of the configuration.
    pub used_ms: u64,
    /// What the origin said of it, for URL keys.
    pub media: Media,
}

/// What an origin says of a URL's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Media {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The strong `ETag`.
    pub etag: Option<String>,
}

/// One line of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The object.
    pub key: ObjectKey,
    /// Its cut.
    pub layout: Layout,
    /// All of it is here.
    pub complete: bool,
    /// The pieces that can be read here.
    pub holding: Holding,
}

/// A change of the inventory. A receiver that lagged reads the whole inventory again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The object is here now: its first piece, or all of it.
    Added(ObjectKey),
    /// Nothing of the object is here any more.
    Removed(ObjectKey),
}

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on disk taken or reserved.
    pub bytes: u64,
    /// Files and directories taken or reserved.
    pub inodes: u64,
    /// Finished objects.
    pub objects: u64,
    /// The budget in bytes.
    pub budget_bytes: u64,
    /// The budget in files and directories.
    pub budget_inodes: u64,
    /// Bytes free on the file system.
    pub free_bytes: u64,
}

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Objects read.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects that were damaged, now partials or gone.
    pub damaged: Vec<ObjectKey>,
}
