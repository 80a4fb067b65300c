//! The `darner` command line; see `darner_peer_daemon::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    darner_peer_daemon::cli::main()
}
