//! The words the rooms say to one another: protobuf messages, gRPC services, and checked conversion into the
//! vocabulary of `darner_lfs`.
//!
//! Owns: the `.proto` files, the generated code (`v1`), conversion that refuses what is malformed, and the
//! canonical bytes that signatures cover. Never: I/O, decisions. A message that passed `convert` is well-formed.

/// Generated messages and services; the `.proto` files carry their documentation.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    clippy::nursery,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("darner.v1");
}

pub mod attestation;
pub mod convert;
pub mod grant;
pub mod headers;
pub mod wanted;

/// Version of the node protocol; a node refuses to talk to one that differs in the first number it does not know.
pub const PROTOCOL_VERSION: u32 = 1;

/// Feature bits of [`v1::Hello`].
pub mod features {
    /// The node speaks `POST /v1/bundle`.
    pub const BUNDLES: u64 = 1;
    /// The node pushes holdings on `GET /v1/objects/<key>/watch`.
    pub const WATCH: u64 = 1 << 1;
    /// Everything this build can do.
    pub const ALL: u64 = BUNDLES | WATCH;
}
