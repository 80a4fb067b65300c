//! CONNECT: a raw connection to a listed https upstream, or to a forge where the seed vocabulary is in use.

use darner_origin::{Body, OriginError};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::Gate;
use crate::reply;

impl Gate {
    pub(super) async fn tunnel(&self, host: &str, port: u16, request: Request<Incoming>) -> Response<Body> {
        let mut upstream = match self.origin.tunnel(host, port).await {
            Ok(upstream) => upstream,
            Err(error @ OriginError::NotAllowed { .. }) => {
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
            let mut client = TokioIo::new(client);
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(%error, "tunnel ended");
            }
        });
        Response::new(reply::empty())
    }
}
