//! Ending with the process that started us (`exitWithParent`).
//!
//! Owns: one thread that reads standard input to its end. The parent holds the other end of that pipe open for as long
//! as it lives; the kernel closes it however the parent dies, kill -9 included, and no descriptor has to be handed
//! over. Never: looks at what comes in. A drain that hangs is cut off: nobody would be left to see it.

use std::io::Read;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::tasks::Drain;

/// Longer than any drain of ours takes.
const DRAIN: Duration = Duration::from_secs(15);

/// Starts the drain once standard input ends, and ends the process when the drain does not.
pub fn follow(drain: Drain) -> std::io::Result<()> {
    // A thread of its own: a read of standard input cannot be cancelled, and a runtime would wait for it at its end.
    let watch = move || {
        until_closed(std::io::stdin().lock(), &drain);
        let until = Instant::now() + DRAIN;
        while Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        std::process::exit(1);
    };
    let thread: JoinHandle<()> = std::thread::Builder::new().name("parent".to_owned()).spawn(watch)?;
    drop(thread);
    Ok(())
}

/// Reads to the end, then starts the drain.
fn until_closed(mut input: impl Read, drain: &Drain) {
    let mut passed = [0; 256];
    loop {
        match input.read(&mut passed) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    drain.start();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drain_starts_when_the_other_end_is_closed_and_not_before() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let drain = Drain::new();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| until_closed(reader, &drain));
            std::io::Write::write_all(&mut &writer, b"words are passed over\n").expect("room in the pipe");
            assert!(!drain.is_draining());
            drop(writer);
            watching.join().expect("it ends");
        });
        assert!(drain.is_draining());
    }
}
