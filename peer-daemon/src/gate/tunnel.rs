//! CONNECT: a raw connection to a listed https upstream, or to a forge where the seed vocabulary is in use.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use darner_origin::{Body, OriginError};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{InspectReader, InspectWriter};

use super::Gate;
use crate::reply;

/// How often a tunnel is looked at, and after how many looks without a byte it ends: ten minutes, as long as forges keep
/// a silent connection.
const TICK: Duration = Duration::from_mins(1);
const IDLE_TICKS: u32 = 10;

impl Gate {
    pub(super) async fn tunnel(&self, host: &str, port: u16, request: Request<Incoming>) -> Response<Body> {
        let mut upstream = match self.origin.tunnel(host, port).await {
            Ok(upstream) => upstream,
            Err(error @ OriginError::NotAllowed { .. }) => {
                self.metrics.authorization("not listed");
                return reply::closing(
                    StatusCode::FORBIDDEN,
                    &format!("CONNECT {host}:{port} is refused: {error}"),
                );
            }
            Err(error) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY);
                return reply::closing(status, &error.to_string());
            }
        };
        self.tasks.spawn("tunnel", async move {
            let Ok(client) = hyper::upgrade::on(request).await else { return };
            if let Err(error) = carry(TokioIo::new(client), &mut upstream).await {
                tracing::debug!(%error, "tunnel ended");
            }
        });
        Response::new(reply::empty())
    }
}

/// Carries bytes both ways until both ends are done, or neither sends anything for a while.
async fn carry<C, U>(client: C, upstream: &mut U) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let moved = AtomicBool::new(false);
    let note = |bytes: &[u8]| {
        if !bytes.is_empty() {
            moved.store(true, Ordering::Relaxed);
        }
    };
    // What is read from the client, and what it took: both ways pass here.
    let mut client = InspectReader::new(InspectWriter::new(client, note), note);
    tokio::select! {
        carried = tokio::io::copy_bidirectional(&mut client, upstream) => carried.map(|_counts| ()),
        () = quiet(&moved) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moves")),
    }
}

/// Ends when nothing has moved for [`IDLE_TICKS`] in a row.
async fn quiet(moved: &AtomicBool) {
    let mut idle = 0;
    while idle < IDLE_TICKS {
        tokio::time::sleep(TICK).await;
        idle = if moved.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_when_nothing_moves_and_not_while_one_side_speaks() {
        let (mut client, near) = tokio::io::duplex(64);
        let (mut upstream, mut far) = tokio::io::duplex(64);
        let begun = Instant::now();
        let speaking = async {
            let mut byte = [0];
            for _ in 0..4 {
                sleep(TICK * 8).await;
                upstream.write_all(b"x").await.unwrap();
                client.read_exact(&mut byte).await.unwrap();
                sleep(TICK * 8).await;
                client.write_all(b"y").await.unwrap();
                upstream.read_exact(&mut byte).await.unwrap();
            }
            begun.elapsed()
        };
        let (carried, spoke) = tokio::join!(carry(near, &mut far), speaking);
        assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let idle = begun.elapsed().saturating_sub(spoke);
        assert!(idle >= TICK * (IDLE_TICKS - 1) && idle <= TICK * (IDLE_TICKS + 2), "{idle:?}");
    }
}
