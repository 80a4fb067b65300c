//! The reference pipeline: the fastest plain way known on this hardware to bring a file from another process over
//! TCP, verified. Four connections take 4 MiB pieces in turn, each is written at its place, and one thread hashes
//! SHA-256 behind in order. No framing, no scheduling, no HTTP, no piece digests.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

const STREAMS: u64 = 4;
const PIECE: u64 = 4 << 20;
const BUFFER: usize = 256 * 1024;

/// Moves `source` to `target`; how long until every byte was written and the hash known.
pub(crate) fn run(source: &Path, target: &Path) -> anyhow::Result<Duration> {
    let size = std::fs::metadata(source)?.len();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let written = Written::new(size.div_ceil(PIECE));
    let began = Instant::now();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let sender = scope.spawn(move || serve(&listener, source));
        let mut takers = Vec::new();
        for stream in 0..STREAMS {
            let written = &written;
            takers
                .push(scope.spawn(move || take(TcpStream::connect(address)?, target, stream, size, written)));
        }
        let hash = scope.spawn(|| hash(target, size, &written));
        for taker in takers {
            taker.join().map_err(|_panic| anyhow::anyhow!("a taker panicked"))??;
        }
        hash.join().map_err(|_panic| anyhow::anyhow!("the hash panicked"))??;
        sender.join().map_err(|_panic| anyhow::anyhow!("the sender panicked"))?
    })?;
    Ok(began.elapsed())
}

struct Written {
    pieces: Mutex<Vec<bool>>,
    changed: Condvar,
}

impl Written {
    fn new(count: u64) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        Self { pieces: Mutex::new(vec![false; count]), changed: Condvar::new() }
    }

    fn set(&self, piece: u64) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = usize::try_from(piece).ok().and_then(|at| pieces.get_mut(at)) {
            *slot = true;
        }
        self.changed.notify_all();
    }

    fn wait(&self, piece: u64) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        while usize::try_from(piece).ok().and_then(|at| pieces.get(at)) == Some(&false) {
            pieces = self.changed.wait(pieces).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn serve(listener: &TcpListener, source: &Path) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        for _ in 0..STREAMS {
            let (stream, _) = listener.accept()?;
            scope.spawn(move || send(stream, source));
        }
        Ok(())
    })
}

fn send(mut stream: TcpStream, source: &Path) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let file = File::open(source)?;
    let size = file.metadata()?.len();
    let mut asked = [0u8; 8];
    while stream.read_exact(&mut asked).is_ok() {
        let mut offset = u64::from_be_bytes(asked);
        let end = (offset + PIECE).min(size);
        while offset < end {
            let left = usize::try_from(end - offset)?;
            let sent = rustix::fs::sendfile(&stream, &file, Some(&mut offset), left)?;
            anyhow::ensure!(sent > 0, "the file ended");
        }
    }
    Ok(())
}

fn take(
    mut stream: TcpStream,
    target: &Path,
    first: u64,
    size: u64,
    written: &Written,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let file = File::options().write(true).open(target)?;
    let mut buffer = vec![0u8; BUFFER];
    let mut piece = first;
    while piece * PIECE < size {
        let (mut at, end) = (piece * PIECE, ((piece + 1) * PIECE).min(size));
        stream.write_all(&at.to_be_bytes())?;
        while at < end {
            let most = usize::try_from(end - at)?.min(BUFFER);
            let read = stream.read(buffer.get_mut(..most).context("within the buffer")?)?;
            anyhow::ensure!(read > 0, "the sender ended");
            file.write_all_at(buffer.get(..read).context("within the buffer")?, at)?;
            at += u64::try_from(read)?;
        }
        written.set(piece);
        piece += STREAMS;
    }
    Ok(())
}

fn hash(target: &Path, size: u64, written: &Written) -> anyhow::Result<()> {
    let file = File::open(target)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; BUFFER];
    let mut at = 0;
    while at < size {
        written.wait(at / PIECE);
        let most = usize::try_from((size - at).min(PIECE - at % PIECE))?.min(BUFFER);
        let read = file.read_at(buffer.get_mut(..most).context("within the buffer")?, at)?;
        anyhow::ensure!(read > 0, "the target ended");
        hash.update(buffer.get(..read).context("within the buffer")?);
        at += u64::try_from(read)?;
    }
    std::hint::black_box(hash.finalize());
    Ok(())
}
