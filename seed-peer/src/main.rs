//! The `seed-peer` process. Everything is in the library; this only names it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    darner_chassis::command::run("darner-seed-peer", env!("CARGO_PKG_VERSION"), darner_seed_peer::run)
}
