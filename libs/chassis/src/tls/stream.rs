//! One connection between parts of the house, encrypted or not.
//!
//! Owns: that both look alike, and who is at the other end. A client reads through a buffer: rustls asks the socket for
//! 4 KiB at a time, which costs four system calls for each record of a piece. Never: a handshake.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use crate::identity::Peer;

/// What a client reads at once: eight full records.
pub(super) const READ_AHEAD: usize = 128 << 10;

/// A connection.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    peer: Peer,
}

#[derive(Debug)]
enum Io {
    Clear(TcpStream),
    Served(Box<server::TlsStream<TcpStream>>),
    Made(Box<client::TlsStream<BufReader<TcpStream>>>),
}

impl Stream {
    pub(super) const fn clear(stream: TcpStream) -> Self {
        Self { io: Io::Clear(stream), peer: Peer::Unproved }
    }

    pub(super) fn served(stream: server::TlsStream<TcpStream>, peer: Peer) -> Self {
        Self { io: Io::Served(Box::new(stream)), peer }
    }

    pub(super) fn made(stream: client::TlsStream<BufReader<TcpStream>>, peer: Peer) -> Self {
        Self { io: Io::Made(Box::new(stream)), peer }
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What lies below.
    fn below(&mut self) -> Below<'_> {
        match &mut self.io {
            Io::Clear(stream) => Below::Clear(Pin::new(stream)),
            Io::Served(stream) => Below::Served(Pin::new(stream.as_mut())),
            Io::Made(stream) => Below::Made(Pin::new(stream.as_mut())),
        }
    }
}

enum Below<'a> {
    Clear(Pin<&'a mut TcpStream>),
    Served(Pin<&'a mut server::TlsStream<TcpStream>>),
    Made(Pin<&'a mut client::TlsStream<BufReader<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.peer.clone())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.below() {
            Below::Clear(io) => io.poll_read(context, into),
            Below::Served(io) => io.poll_read(context, into),
            Below::Made(io) => io.poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.below() {
            Below::Clear(io) => io.poll_write(context, from),
            Below::Served(io) => io.poll_write(context, from),
            Below::Made(io) => io.poll_write(context, from),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.below() {
            Below::Clear(io) => io.poll_write_vectored(context, from),
            Below::Served(io) => io.poll_write_vectored(context, from),
            Below::Made(io) => io.poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Clear(io) => io.is_write_vectored(),
            Io::Served(io) => io.is_write_vectored(),
            Io::Made(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.below() {
            Below::Clear(io) => io.poll_flush(context),
            Below::Served(io) => io.poll_flush(context),
            Below::Made(io) => io.poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.below() {
            Below::Clear(io) => io.poll_shutdown(context),
            Below::Served(io) => io.poll_shutdown(context),
            Below::Made(io) => io.poll_shutdown(context),
        }
    }
}
