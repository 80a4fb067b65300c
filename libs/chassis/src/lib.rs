//! What every process of the house stands on, and nothing of what it does: knows nothing of LFS.
//!
//! Owns: configuration, telemetry, metrics, named tasks and the drain, the admin port, gRPC defaults, sockets, the
//! seams of time and chance, sealing and signing, and who the processes are to one another (TLS at both ends). Never: an object, a piece, an upstream. Nothing here keeps state
//! across a crash but the files it is told to write (ready file, key files, log file).

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

pub mod admin;
pub mod authority;
pub mod clock;
pub mod command;
pub mod config;
pub mod files;
pub mod grpc;
pub mod identity;
mod keyfile;
pub mod metrics;
pub mod net;
pub mod seal;
mod serving;
pub mod settings;
pub mod shown;
pub mod sign;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use keyfile::KeyFileError;
