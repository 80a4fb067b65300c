//! Everything that is said to an upstream, and nothing else dials one.
//!
//! Owns: the allow-list on the parsed (scheme, host, port), the address rules on the very address dialled (on every hop),
//! redirects, verified TLS, the way out through a proxy, ranges and their absence, one circuit per host, the counting of
//! requests and bytes, and two readings of an address: its provenance and its expiry. Never: the store, peers, decisions
//! about who may read what; never a credential, a query or a header value in an error or a log line.
//!
//! Called by `seeding` (content, probes) and by the daemon (relays, tunnels). Nothing here outlives the process: circuits
//! and capabilities are learned anew. Dropping a future or a `Reading` closes its connection and stops reading. Locks are
//! held for map lookups only, one at a time.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

mod address;
mod allow;
mod capability;
mod circuit;
mod connection;
mod dial;
mod error;
mod exchange;
mod expiry;
mod follow;
mod headers;
mod origin;
mod provenance;
mod proxy;
mod read;
mod resolve;
mod rules;
mod send;
mod target;
mod tls;

pub use address::{Place, place};
pub use allow::FORGES;
pub use error::{Blame, ConfigWords, OriginError};
pub use expiry::expiry_ms;
pub use origin::{MAX_WINDOW_BYTES, Origin, OriginConfig, Window};
pub use provenance::provenance;
pub use read::{Read, Reading};
pub use resolve::{Resolve, Resolving, SystemResolver};
pub use rules::Added;
pub use send::{Body, BoxError};
