//! The peer daemon: the door for git clients on every node.
//!
//! Owns: the git-facing port, tickets, the one decision who may read what (`proof`), the Batch relay, and the wiring
//! of the rooms it stands on. Never: bytes of an object from an origin, unless it acts as a seed (DESIGN section 7).
//! After a crash: what was finished is kept, partial objects go on where they were, tickets stay valid.

#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::string_slice,
        reason = "tests state their sizes and texts in plain numbers"
    )
)]

pub mod acting;
pub mod cli;
pub mod config;
pub mod credential;
pub mod daemon;
pub mod edge;
pub mod gate;
mod keys;
pub mod prober;
pub mod proof;
pub mod reply;
pub mod route;
pub mod service;
pub mod stories;
pub mod tainted;
pub mod ticket;

pub use config::Config;
pub use daemon::run;
