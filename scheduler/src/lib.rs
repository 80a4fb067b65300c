//! Who should fetch what from whom: decides, never carries bytes.
//!
//! Owns: the swarm model (`swarm`, pure) and the service around it. Never: dials a peer, reads or writes an object,
//! says who may read what. After a crash everything comes back from the nodes' streams; only the last epoch is kept on
//! disk, so that epochs grow over restarts whatever the clock does.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod config;
mod page;
pub mod service;
pub mod swarm;

pub use config::Config;
pub use service::{run, start};
