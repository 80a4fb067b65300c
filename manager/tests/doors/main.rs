//! The manager seen from its two doors: a real process's service on port 0, a real SQLite file, real connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod access;
mod bad_input;
mod events;
mod lists;
mod nodes;
mod restart;
mod stage;
