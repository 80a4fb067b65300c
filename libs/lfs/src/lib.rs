//! Git LFS and Darner's own object vocabulary, as pure values.
//!
//! Owns: object ids and keys, pointer files, Batch and lock JSON, the piece layout, the holding (which pieces
//! a node has) and the arithmetic of verification. Never: I/O, async, clocks, randomness. Everything here is a
//! function of its arguments, so that every other room can be tested against it.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod batch;
pub mod gateway;
pub mod holding;
pub mod key;
pub mod layout;
pub mod locks;
pub mod oid;
pub mod pointer;
pub mod range;
pub mod rendezvous;
pub mod verify;

pub use holding::Holding;
pub use key::{ObjectKey, UrlKey};
pub use layout::{Layout, PieceIndex};
pub use oid::Oid;
pub use verify::{PieceDigest, RunningPiece, RunningSha256};
