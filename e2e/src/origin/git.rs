//! Git's own smart HTTP, by git's own CGI program, streamed both ways.

use std::io;
use std::process::Stdio;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Incoming;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::io::ReaderStream;

use super::State;
use super::answer::{self, Answer, Body};
use super::counts::Label;

/// What the program is told about the request.
#[derive(Debug)]
pub struct Asked<'a> {
    /// `/org/name.git/info/refs` and the like.
    pub path: &'a str,
    /// The authenticated user, for the reflog.
    pub user: Option<&'a str>,
    /// What the request is counted under.
    pub label: Label,
}

/// Hands one request to `git http-backend`.
pub async fn serve(state: &State, request: Request<Incoming>, asked: Asked<'_>) -> Answer {
    match exchange(state, request, asked).await {
        Ok(answer) => answer,
        Err(error) => answer::plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

async fn exchange(state: &State, request: Request<Incoming>, asked: Asked<'_>) -> anyhow::Result<Answer> {
    let mut child = program(state, &request, &asked).spawn().context("git http-backend")?;
    let stdin = child.stdin.take().context("stdin")?;
    let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
    let body = request.into_body();
    let (fed, head) = tokio::join!(feed(body, stdin), head(&mut stdout));
    fed?;
    let mut answer = head?;
    let counters = state.counters.clone();
    let stream = Running { output: ReaderStream::with_capacity(stdout, 64 * 1024), _child: child };
    let counted = futures::stream::unfold(stream, |mut running| async move {
        running.output.next().await.map(|part| (part, running))
    });
    let counted = counted.map(move |part: io::Result<Bytes>| {
        let part = part?;
        counters.bytes(&asked.label, u64::try_from(part.len()).unwrap_or_default());
        Ok(Frame::data(part))
    });
    *answer.body_mut() = StreamBody::new(counted).boxed_unsync();
    Ok(answer)
}

struct Running<R> {
    output: ReaderStream<R>,
    /// Killed when the client goes.
    _child: Child,
}

fn program(state: &State, request: &Request<Incoming>, asked: &Asked<'_>) -> Command {
    let mut command = Command::new("git");
    command.arg("http-backend").kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.env("GIT_PROJECT_ROOT", state.shelf.git_root()).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("PATH_INFO", asked.path).env("REQUEST_METHOD", request.method().as_str());
    command.env("QUERY_STRING", request.uri().query().unwrap_or_default());
    if let Some(user) = asked.user {
        command.env("REMOTE_USER", user);
    }
    let passed = [
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (header, variable) in passed {
        if let Some(value) = request.headers().get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    command
}

async fn feed(body: Incoming, mut stdin: ChildStdin) -> anyhow::Result<()> {
    let mut frames = BodyStream::new(body);
    while let Some(frame) = frames.next().await {
        let Ok(data) = frame?.into_data() else { continue };
        if stdin.write_all(&data).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The CGI head: lines up to an empty one, `Status` among them when it is not 200.
async fn head(output: &mut BufReader<impl AsyncRead + Unpin>) -> anyhow::Result<Response<Body>> {
    let mut answer = Response::new(answer::full(""));
    loop {
        let mut line = String::new();
        anyhow::ensure!(output.read_line(&mut line).await? > 0, "git http-backend ended within its head");
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(answer);
        }
        let (name, value) = line.split_once(": ").context("a CGI header")?;
        if name == "Status" {
            *answer.status_mut() = value.split(' ').next().unwrap_or_default().parse()?;
        } else {
            answer.headers_mut().insert(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
        }
    }
}
