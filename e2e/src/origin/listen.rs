//! Listeners and connections: HTTP/1.1 with keep-alive, `TCP_NODELAY`, TLS or not.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use http::{Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::answer::Answer;
use super::route::{self, Door};
use super::{Addresses, Config, State, asker, control};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Clear,
    Tls,
    Control,
}

/// Opens every listener of an origin.
pub async fn all(tasks: &mut JoinSet<()>, state: &Arc<State>, config: &Config) -> anyhow::Result<Addresses> {
    let mut open = Opening { tasks, state, find_askers: config.find_askers };
    let any = (config.ip, 0);
    Ok(Addresses {
        forge: open.listen(any, Face::Clear).await?,
        content: open.listen(any, Face::Clear).await?,
        forge_tls: open.listen(any, Face::Tls).await?,
        content_tls: open.listen(any, Face::Tls).await?,
        https: match config.https_ip {
            Some(ip) => Some(open.listen((ip, 443), Face::Tls).await?),
            None => None,
        },
        control: open.listen(any, Face::Control).await?,
        ca: state.authority.ca.clone(),
    })
}

struct Opening<'a> {
    tasks: &'a mut JoinSet<()>,
    state: &'a Arc<State>,
    find_askers: bool,
}

impl Opening<'_> {
    async fn listen(&mut self, at: (IpAddr, u16), face: Face) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at:?}"))?;
        let address = listener.local_addr()?;
        let hall = Hall { state: self.state.clone(), face, find_askers: self.find_askers };
        self.tasks.spawn(hall.accept(listener));
        Ok(address)
    }
}

#[derive(Clone)]
struct Hall {
    state: Arc<State>,
    face: Face,
    find_askers: bool,
}

impl Hall {
    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, peer)) = accepted {
                    connections.spawn(self.clone().greet(stream, peer));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn greet(self, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if stream.set_nodelay(true).is_err() {
            return;
        }
        if self.face == Face::Tls {
            if let Ok(stream) = self.state.authority.acceptor.accept(stream).await {
                self.serve(stream, (peer, local)).await;
            }
        } else {
            self.serve(stream, (peer, local)).await;
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, ends: (SocketAddr, SocketAddr)) {
        if self.face != Face::Control {
            self.state.counters.connection();
        }
        let known = OnceCell::new();
        let service = service_fn(|request| {
            let (hall, known) = (&self, &known);
            async move { Ok::<Answer, Infallible>(hall.answer(request, ends, known).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A broken connection is the client's affair; what it cost is counted.
        connection.await.ok();
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        (peer, local): (SocketAddr, SocketAddr),
        known: &OnceCell<String>,
    ) -> Answer {
        if self.face == Face::Control {
            return control::serve(&self.state, request).await;
        }
        let asker = known.get_or_init(|| self.asker(peer, local)).await.clone();
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default().to_owned();
        let scheme = if self.face == Face::Tls { "https" } else { "http" };
        route::serve(&self.state, request, Door { scheme, host, asker }).await
    }

    async fn asker(&self, peer: SocketAddr, local: SocketAddr) -> String {
        if !self.find_askers {
            return "unknown".to_owned();
        }
        let found = tokio::task::spawn_blocking(move || asker::of(peer, local)).await;
        found.unwrap_or_else(|_| "unknown".to_owned())
    }
}
