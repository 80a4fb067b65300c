//! One HTTP exchange with something on this machine or network, over plain HTTP/1.1.
//!
//! Owns: the connection of one call, and the bound on what is kept of an answer. Never: speaks to an origin (the daemon
//! does), follows a redirect, or prints a header.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use url::Url;

use super::failure::Failure;

/// More than any answer of the manager or a Batch of ours has.
const ANSWER_BYTES: usize = 8 << 20;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Headers besides `Host`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Incoming>,
    /// Moves the connection on for as long as the answer lives.
    _connection: JoinSet<()>,
}

impl Call {
    /// A call without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(mut self, kind: &str, value: &serde_json::Value) -> Self {
        self.body = Bytes::from(value.to_string());
        self.header("content-type", kind)
    }

    /// Carries the call out.
    pub async fn send(&self) -> Result<Answer, Failure> {
        let origin = self.url.origin().ascii_serialization();
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::negative(format!("{origin} does not answer: {why}"))
                .hint("is it running, and is the address right?")
        };
        if self.url.scheme() != "http" {
            return Err(Failure::usage(format!("{origin}: only http:// addresses can be asked from here")));
        }
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let address = (host.trim_matches(['[', ']']), port);
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        let mut tasks = JoinSet::new();
        // Its error reaches us through the answer.
        tasks.spawn(async move { drop(connection.await) });
        let response = sender.send_request(self.request()?).await.map_err(|error| unreachable(&error))?;
        Ok(Answer { response, _connection: tasks })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        let mut builder = Request::builder().method(self.method.clone()).uri(target).header("host", host);
        for (name, value) in &self.headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        builder
            .body(Full::new(self.body.clone()))
            .map_err(|error| Failure::usage(format!("not a request: {error}")))
    }
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its whole body, when it is of a sane size.
    pub async fn bytes(self) -> Result<Bytes, Failure> {
        let body = Limited::new(self.response.into_body(), ANSWER_BYTES);
        match body.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(Failure::negative(format!("the answer broke off: {error}"))),
        }
    }
}

/// The words of an answer that is no success: its `message`, or a short body.
pub fn message(body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().and_then(|value| {
        ["message", "detail", "error", "title"]
            .iter()
            .find_map(|key| value.get(key).and_then(|word| word.as_str()))
    });
    match said {
        Some(said) => said.to_owned(),
        None => String::from_utf8_lossy(body).lines().next().unwrap_or_default().chars().take(300).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found_in_the_usual_places() {
        assert_eq!(message(br#"{"message":"no such thing"}"#), "no such thing");
        assert_eq!(message(br#"{"detail":"later"}"#), "later");
        assert_eq!(message(b"plain words\nmore"), "plain words");
        assert_eq!(message(b""), "");
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_a_usage_error() {
        let url = Url::parse("https://127.0.0.1:1/").expect("a URL");
        let failure = Call::new(Method::GET, url).send().await.expect_err("https");
        assert_eq!(failure.kind(), super::super::failure::Kind::Usage);
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let port = darner_chassis::net::free_port().expect("a port");
        let url = Url::parse(&format!("http://127.0.0.1:{port}/secret?token=1")).expect("a URL");
        let told = Call::new(Method::GET, url).send().await.expect_err("nobody").to_string();
        assert!(told.contains(&port.to_string()) && !told.contains("token"), "{told}");
    }
}
