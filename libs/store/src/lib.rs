//! Finished objects, resumable partials, and the room they take. (Skeleton: signatures are final, bodies follow.)

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

mod config;
mod error;
mod partial;
mod record;
mod store;
mod stored;

pub use config::{Now, StoreConfig};
pub use error::{FinishError, ReadError, StoreError, WriteError};
pub use partial::{Outcome, Partial, PieceWriter, Unchecked};
pub use record::{Change, Item, Media, Record, ScrubReport, Usage};
pub use store::Store;
pub use stored::Stored;
