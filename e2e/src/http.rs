//! Requests as a hostile or merely odd client would send them: one connection each, nothing added that was not said.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A request to be sent.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// `GET` when empty.
    pub method: &'a str,
    /// Request target, sent as it is.
    pub target: &'a str,
    /// Header lines, `Host` included.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Body.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: http::HeaderMap,
    /// As much of the body as came.
    pub body: Bytes,
    /// The body came to its announced end.
    pub whole: bool,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{self:?}"))
    }

    /// The body as text, whatever it is.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Open {
    /// Status and headers.
    pub head: http::response::Parts,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Open {
    /// The next bytes; `None` at the announced end, an error when the connection broke.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// All that is left, and whether it came to its end.
    pub async fn rest(mut self) -> Reply {
        let mut body = BytesMut::new();
        let whole = loop {
            match self.next().await {
                Ok(Some(data)) => body.extend_from_slice(&data),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Reply { status: self.head.status, headers: self.head.headers, body: body.freeze(), whole }
    }
}

/// Sends one request and reads the answer's head.
pub async fn open(address: &str, ask: Ask<'_>) -> anyhow::Result<Open> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // A connection that breaks shows as a body that does not end.
        connection.await.ok();
    });
    let method = if ask.method.is_empty() { "GET" } else { ask.method };
    let mut request = Request::builder().method(method).uri(ask.target);
    for (name, value) in &ask.headers {
        request = request.header(*name, *value);
    }
    if !ask.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", address);
    }
    let request = request.body(Full::new(Bytes::from(ask.body)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Open { head, body, _connection: tasks })
}

/// Sends one request and reads the whole answer, however it ends, within a minute.
pub async fn ask(address: &str, ask: Ask<'_>) -> anyhow::Result<Reply> {
    let target = ask.target.to_owned();
    let answered = async { anyhow::Ok(open(address, ask).await?.rest().await) };
    tokio::time::timeout(Duration::from_mins(1), answered).await.with_context(|| format!("{target} hangs"))?
}

/// A plain GET.
pub async fn get(address: &str, target: &str) -> anyhow::Result<Reply> {
    ask(address, Ask { target, ..Ask::default() }).await
}

/// Sends bytes as they are and reads until the other end closes or says nothing for `quiet`.
pub async fn raw(address: &str, bytes: &[u8], quiet: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    while let Ok(Ok(read)) = tokio::time::timeout(quiet, stream.read_buf(&mut answer)).await {
        if read == 0 || answer.len() > 1 << 20 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
