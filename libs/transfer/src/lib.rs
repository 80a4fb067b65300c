//! Moving bytes between nodes: who is in the cluster, the piece link, the download of one object from many parents,
//! the in-order reader a git client is answered from, and the one rule of release.
//!
//! Never: dialling an origin, deciding who may read what (it carries and checks grants, others give them).

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod cluster;
pub mod download;
pub mod feed;
pub mod link;
pub mod node;
pub mod pieces;
pub mod plan;
pub mod release;
pub mod statements;
pub mod tail;
pub mod trust;

#[cfg(test)]
mod swarm_tests;
