//! The origin read on behalf of a cluster: by every seed always, by a daemon while it acts as one.
//!
//! Owns: single flight per object (here, and among seeds by a survey), the alternates of waiting credentials, the proof of
//! each credential, grants, attestations (provisional per piece, confirmed by the hash of the whole, revoked when that
//! differs), who took what lately. Never: who gets what by any rule but proof; bytes towards a taker, but of objects so tiny
//! that they come with the decision.
//!
//! A refusal of an origin belongs to the credential it was given to; a 429 or 503 to the host (see `darner_origin`). A cut
//! read goes on where it stopped, with the same credential or another one that was shown to read the same bytes. A full
//! disk makes the object memory-backed. After a crash the store's partial is taken up once a credential was shown to read
//! what is in it; verdicts and waiters are gone with the process. Locks: the table of flights before the state of one
//! flight, neither over an await; the slot of a verdict is held over its one probe.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests state their sizes in plain numbers"))]

mod added;
mod credential;
mod flight;
mod lies;
mod memory;
mod narrowed;
mod places;
mod pour;
mod proof;
mod run;
mod seeding;
mod service;
mod statements;
mod survey;
mod takers;
mod verdict;
mod window;

pub use added::take_upstreams;
pub use narrowed::{Reach, narrow_upstreams};
pub use seeding::{Parts, Seeding};
