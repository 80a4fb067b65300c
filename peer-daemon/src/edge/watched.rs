//! A connection whose incoming bytes pass by [`Framing`] on their way to hyper, and whose stalls end it.
//!
//! Owns: the flag of a request that must be refused, the patience with a client that stops in the middle of a request's
//! body or does not take its answer, and the connection's place. The place goes with the stream: a tunnel, which
//! takes the stream out of hyper's hands, keeps it.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::framing::Framing;
use super::silent::Place;

/// A request's body goes on within this time. Heads have their own bound.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Some byte of an answer is taken within this time: a client may work on what it has, but not for ever.
const TAKEN_WITHIN: Duration = Duration::from_mins(5);

/// Sets its flag before hyper sees the request that must be refused.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    framing: Framing,
    refused: Arc<AtomicBool>,
    reading: Stall,
    writing: Stall,
    _place: Arc<Place>,
}

/// How long a side has been waiting.
#[derive(Debug)]
struct Stall {
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    const fn new(patience: Duration) -> Self {
        Self { patience, waiting: None }
    }

    /// The same answer, or an error where it has been "not yet" for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        counts: bool,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() || !counts {
            self.waiting = None;
            return polled;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stalls")))
    }
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, refused: Arc<AtomicBool>, place: Arc<Place>) -> Self {
        let (reading, writing) = (Stall::new(BODY_WITHIN), Stall::new(TAKEN_WITHIN));
        Self { inner, framing: Framing::new(), refused, reading, writing, _place: place }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        let counts = this.framing.is_in_body();
        std::task::ready!(this.reading.watch(cx, polled, counts))?;
        if this.framing.feed(buf.filled().get(before..).unwrap_or_default()) {
            this.refused.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.writing.watch(cx, polled, true)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.writing.watch(cx, polled, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.writing.watch(cx, polled, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.writing.watch(cx, polled, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::silent::Silent;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    fn watched() -> (Watched<DuplexStream>, DuplexStream, Arc<Silent>) {
        let (client, server) = tokio::io::duplex(1024);
        let places = Arc::new(Silent::new(1));
        let place = Arc::new(places.enter().unwrap());
        place.spoke();
        (Watched::new(server, Arc::default(), place), client, places)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_ends_the_connection_and_a_pause_between_requests_does_not() {
        for (sent, ends) in [
            ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", true),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("CONNECT h:443 HTTP/1.1\r\n\r\nhello", false),
        ] {
            let (mut stream, mut client, _places) = watched();
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut read = vec![0; sent.len()];
            stream.read_exact(&mut read).await.unwrap();
            let more = tokio::time::timeout(Duration::from_mins(1), stream.read(&mut read)).await;
            assert_eq!(more.is_ok_and(|read| read.is_err()), ends, "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_nobody_takes_ends_the_connection() {
        let (mut stream, _client, _places) = watched();
        let begun = tokio::time::Instant::now();
        assert!(stream.write_all(&[0; 4096]).await.is_err());
        assert!(begun.elapsed() >= TAKEN_WITHIN);
    }

    #[tokio::test]
    async fn the_place_is_given_back_with_the_stream() {
        let (stream, _client, places) = watched();
        assert!(places.enter().is_none());
        drop(stream);
        assert!(places.enter().is_some());
    }
}
