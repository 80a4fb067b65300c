//! The word to stop.
//!
//! Owns: listening for it from the first moment on, so that none is lost while a cluster starts. Never: ends anything.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::failure::Failure;

/// The word to stop, in each of its forms.
#[derive(Debug)]
pub struct Stop {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::negative(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Resolves when somebody wants it to end.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_said_before_anybody_waits_is_not_lost() {
        let mut stop = Stop::listen().expect("signals");
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).expect("ourselves");
        stop.asked().await;
    }
}
