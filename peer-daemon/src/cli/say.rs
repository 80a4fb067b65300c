//! Words on the terminal that survive a closed pipe.
//!
//! Owns: writing whole lines to stdout and stderr. Never: decides what is said. A reader that went away is not an
//! error of ours: `darner status | head -1` ends quietly.

use std::io::{self, IsTerminal, Write};

/// One line (or several) of result, on stdout.
pub fn result(words: &str) {
    let mut out = io::stdout().lock();
    ignore_closed(writeln!(out, "{words}").and_then(|()| out.flush()));
}

/// One line for the person who waits, on stderr.
pub fn note(words: &str) {
    let mut out = io::stderr().lock();
    ignore_closed(writeln!(out, "{words}").and_then(|()| out.flush()));
}

/// True when a person is likely to watch stderr, so that bars and colours make sense.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whoever closed its end of the pipe does not want the rest.
fn ignore_closed(written: io::Result<()>) {
    drop(written);
}
