//! The `manager` process. Keeps the system's allocator: idle it holds a third of what a faster one does, and nothing
//! here is hot.

use std::process::ExitCode;

use darner_manager::certs;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--print-crds"]) {
        return print_definitions();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("certs", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return certs::answer(rest);
    }
    darner_chassis::command::run("darner-manager", env!("CARGO_PKG_VERSION"), darner_manager::service::run)
}

/// The custom resource definitions, to `kubectl apply -f -`.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an operator asked")]
fn print_definitions() -> ExitCode {
    match darner_manager::kubernetes::definitions() {
        Ok(definitions) => {
            for (_, text) in definitions {
                print!("---\n{text}");
            }
            ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("darner-manager: {words}");
            ExitCode::FAILURE
        }
    }
}
