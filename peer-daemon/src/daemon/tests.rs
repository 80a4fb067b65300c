//! A daemon with nobody beside it (no scheduler, no manager, no seed), over real sockets.

mod attacks;
mod batches;
mod objects;
mod relays;
mod stand;
mod starts;
