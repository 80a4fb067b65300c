//! The ways a process is told to leave.
//!
//! Owns: SIGTERM, SIGINT, and the end of standard input for a process that must not outlive the one that started it.
//! Never: ends anything itself but on a second signal, which is an operator who has waited long enough.

use std::io::{self, Read};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::tasks::{Drain, Tasks};

/// The exit code of a process that was told twice.
const IMPATIENT: i32 = 130;

/// Starts the drain at the first word to leave.
pub(super) fn watch(tasks: &Tasks, drain: &Drain, exit_with_parent: bool) -> io::Result<()> {
    let (term, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tasks.spawn("signals", leave(term, interrupt, drain.clone()));
    if exit_with_parent {
        let drain = drain.clone();
        let gone = end_of(io::stdin())?;
        tasks.spawn("parent", async move {
            // An error means that the sender was dropped, which is the word itself.
            drop(gone.await);
            tracing::info!("the process that started this one is gone, leaving");
            drain.start();
        });
    }
    Ok(())
}

async fn leave(mut term: Signal, mut interrupt: Signal, drain: Drain) {
    let mut next = async || {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let first = next().await;
    tracing::info!(signal = first, "leaving");
    drain.start();
    let second = next().await;
    tracing::warn!(signal = second, "leaving at once");
    crate::telemetry::drain();
    std::process::exit(IMPATIENT);
}

/// Resolves at the end of the input (or its failure, which is an end too). A thread of its own reads: the runtime
/// would wait at its shutdown for a read that nothing ends.
fn end_of(mut input: impl Read + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let (open, gone) = oneshot::channel();
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let mut thrown_away = [0; 256];
        while input.read(&mut thrown_away).is_ok_and(|length| length > 0) {}
        drop(open);
    })?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn input_ends_when_the_other_side_is_dropped() {
        let (child, mut parent) = io::pipe().unwrap();
        parent.write_all(b"ignored").unwrap();
        let mut gone = end_of(child).unwrap();
        assert!(futures::poll!(&mut gone).is_pending());
        drop(parent);
        assert!(gone.await.is_err());
    }
}
