//! Log lines on their way out: taken in memory, written together by a thread of their own.
//!
//! Owns: the lines that wait (bounded), and that thread, which ends once its last handle is dropped and everything is
//! written. Never: makes whoever logs wait for a pipe or a disk; a flood that is not taken loses lines, and says how
//! many. A line is written at once when none came lately, else with those of the next few milliseconds. A kill loses
//! these; an orderly end waits for them (see [`drain`]).

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::settings::LogFormat;

/// Lines that may wait: a fifth of a second of the busiest node there can be.
const MOST_BYTES: usize = 8 << 20;

/// So many waiting bytes are written without further ado.
const BATCH_BYTES: usize = 256 << 10;

/// How long lines wait for company after some were written.
const REST: Duration = Duration::from_millis(5);

/// How long the end of the process waits for whoever takes the lines.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// The lines of this process's own subscriber.
static OWN: OnceLock<Lines> = OnceLock::new();

/// Where lines are left. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Handle>);

/// Ends the thread when the last clone goes.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is to be done: a first line, a full batch, somebody waits, the end.
    work: Condvar,
    /// A batch was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Batches taken and written so far.
    taken: u64,
    done: u64,
    /// The thread waits for a first line.
    idle: bool,
    hurried: bool,
    closed: bool,
}

impl Lines {
    /// Starts the thread that writes to `sinks`, in their order.
    pub(super) fn start(mut sinks: Vec<Box<dyn Write + Send>>, format: LogFormat) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut batch = Vec::new();
            while let Some(lost) = own.next(&mut batch) {
                if lost > 0 {
                    batch.extend_from_slice(loss(lost, format).as_bytes());
                }
                for sink in &mut sinks {
                    // There is nowhere to complain to.
                    drop(sink.write_all(&batch).and_then(|()| sink.flush()));
                }
                batch.clear();
                own.wrote();
            }
        })?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// These are the lines [`drain`] waits for; the first ones are.
    pub(super) fn own(&self) {
        drop(OWN.set(self.clone()));
    }

    fn push(&self, line: &[u8]) {
        let shared = &self.0.0;
        let mut state = shared.state();
        if state.waiting.len().saturating_add(line.len()) > MOST_BYTES {
            state.lost = state.lost.saturating_add(1);
            return;
        }
        let before = state.waiting.len();
        state.waiting.extend_from_slice(line);
        let is_full = before < BATCH_BYTES && state.waiting.len() >= BATCH_BYTES;
        let wake = std::mem::take(&mut state.idle) || is_full;
        drop(state);
        if wake {
            shared.work.notify_one();
        }
    }

    /// Returns when what was logged before is written, or after `within`.
    pub(super) fn drain(&self, within: Duration) {
        let (shared, until) = (&self.0.0, Instant::now() + within);
        let mut state = shared.state();
        let last = state.taken + u64::from(!state.waiting.is_empty());
        state.hurried = true;
        shared.work.notify_one();
        while state.done < last {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = shared.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes them; how many were lost beside them. `None` at the end.
    fn next(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut state = self.state();
        let is_rested = |state: &State| state.hurried || state.closed || state.waiting.len() >= BATCH_BYTES;
        if state.taken > 0 && !is_rested(&state) {
            state = self.work.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            (state.idle, state.hurried) = (true, false);
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        std::mem::swap(&mut state.waiting, batch);
        state.taken += 1;
        Some(std::mem::take(&mut state.lost))
    }

    fn wrote(&self) {
        let mut state = self.state();
        state.done = state.taken;
        drop(state);
        self.written.notify_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.work.notify_one();
    }
}

/// Waits until the lines this process has logged are written, for two seconds at most: call before the process ends.
pub fn drain() {
    if let Some(lines) = OWN.get() {
        lines.drain(DRAIN_WITHIN);
    }
}

fn loss(lost: u64, format: LogFormat) -> String {
    match format {
        LogFormat::Text => {
            format!(" WARN {lost} log lines were lost: they came faster than they were taken\n")
        }
        LogFormat::Json => {
            format!("{{\"level\":\"WARN\",\"message\":\"log lines were lost\",\"count\":{lost}}}\n")
        }
    }
}

/// One line being written.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A sink that tells what it got, and takes nothing while nobody listens.
    struct Told(SyncSender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines, Receiver<Vec<u8>>) {
        let (told, heard) = sync_channel(0);
        (Lines::start(vec![Box::new(Told(told))], LogFormat::Text).unwrap(), heard)
    }

    #[test]
    fn every_line_is_written_in_order_before_the_thread_ends() {
        let (lines, heard) = lines();
        let said: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        let all = said.concat();
        let writer = lines.clone();
        let talking = std::thread::spawn(move || said.iter().for_each(|line| writer.push(line.as_bytes())));
        talking.join().unwrap();
        drop(lines);
        let written: Vec<u8> = heard.iter().flatten().collect();
        assert_eq!(String::from_utf8(written).unwrap(), all);
    }

    #[test]
    fn a_sink_that_takes_nothing_makes_nobody_wait_and_the_loss_is_told() {
        let (lines, heard) = lines();
        let line = format!("{}\n", "x".repeat((1 << 20) - 1)).into_bytes();
        for _ in 0..20 {
            lines.push(&line);
        }
        drop(lines);
        let written: Vec<u8> = heard.iter().flatten().collect();
        let text = String::from_utf8_lossy(&written);
        let kept = text.lines().filter(|line| line.starts_with('x')).count();
        assert!((8..20).contains(&kept), "{kept}");
        let told = text.split("WARN ").nth(1).unwrap();
        assert!(told.starts_with(&format!("{} log lines were lost", 20 - kept)), "{told}");
    }

    #[test]
    fn a_drain_waits_for_what_was_said_before_it() {
        let (lines, heard) = lines();
        let listening = std::thread::spawn(move || heard.iter().flatten().collect::<Vec<u8>>());
        lines.push(b"first\n");
        lines.drain(Duration::from_mins(1));
        lines.push(b"last\n");
        lines.drain(Duration::from_mins(1));
        {
            let state = lines.0.0.state();
            assert_eq!((state.done, state.waiting.len()), (2, 0));
        }
        drop(lines);
        assert_eq!(listening.join().unwrap(), b"first\nlast\n");
    }

    #[test]
    fn a_drain_gives_up_on_a_sink_that_takes_nothing() {
        let (lines, heard) = lines();
        lines.push(b"line\n");
        lines.drain(Duration::from_millis(1));
        drop(heard);
    }
}
