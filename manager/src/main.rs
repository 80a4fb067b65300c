//! The `manager` process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    darner_chassis::command::run("manager", env!("CARGO_PKG_VERSION"), darner_manager::service::run)
}
