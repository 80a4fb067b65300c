//! What the operator wants and sees: the catalog of the cluster, the pushed configuration, purges, accounts and the
//! API over all of it.
//!
//! Owns: the records of the cluster, in SQL. Never: an object's bytes, a decision a download waits for, a call to a
//! node (nodes attach by themselves). When it is gone, nodes go on under the last configuration they heard (I8).
//!
//! Rooms: `catalog` (SQL), `control` (what both doors share), `api` (the door for people), `attach` (the door for
//! nodes), `enrolment` (their certificates), `access` (who may), `kubernetes` (custom resources, places, webhook; only
//! there), `service` (wiring).

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod access;
pub mod api;
pub mod attach;
pub mod catalog;
pub mod certs;
pub mod cluster;
pub mod config;
pub mod control;
pub mod enrolment;
pub mod events;
pub mod kubernetes;
pub mod listen;
pub mod page;
pub mod problem;
pub mod service;
