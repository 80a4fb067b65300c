//! The `manager` process. Keeps the system's allocator: idle it holds a third of what a faster one does, and nothing
//! here is hot.

use std::process::ExitCode;

fn main() -> ExitCode {
    darner_chassis::command::run("darner-manager", env!("CARGO_PKG_VERSION"), darner_manager::service::run)
}
