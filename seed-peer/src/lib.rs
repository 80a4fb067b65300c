//! The seed peer: the only door to the origin.
//!
//! Owns: the wiring of `darner_seeding` (the origin read), `darner_store` (what was read) and the piece link (who takes
//! it), the identity and the signing key of the seed. Never: a decision about an object; git. After a crash the store's
//! partials are taken up by the next caller whose credential reads the same bytes.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod config;
mod keys;
mod seed;

pub use config::Config;
pub use darner_transfer::node::{Reached, StartError};
pub use seed::{run, start};
