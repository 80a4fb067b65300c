//! An upstream with one object at every path, its faults on order, and a memory of what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use darner_lfs::range::{Ranged, parse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How a request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With this content, ranges included.
    Content(Arc<Vec<u8>>),
    /// The same, without knowing ranges.
    Whole(Arc<Vec<u8>>),
    /// The same, without saying how long it is.
    Chunked(Arc<Vec<u8>>),
    /// Content that breaks off after so many bytes of the answer.
    Cut(Arc<Vec<u8>>, usize),
    /// Content whose bytes after these wait for `Upstream::let_go`.
    Held(Arc<Vec<u8>>, usize),
    /// Content that waits there for `Upstream::let_go`, and breaks off.
    HeldCut(Arc<Vec<u8>>, usize),
    /// A status and a `Retry-After`.
    Status(u16, u32),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    /// How many came before it.
    pub(crate) nth: usize,
}

type Script = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    gate: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Serving {
    script: Script,
    asked: Arc<Mutex<Vec<Asked>>>,
    count: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Upstream {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let serving = Serving {
            script: Arc::new(script),
            asked: asked.clone(),
            count: Arc::default(),
            gate: gate.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, serving.clone()));
            }
        });
        Self { address, asked, gate, _tasks: tasks }
    }

    /// One with this content at every path.
    pub(crate) async fn of(content: &Arc<Vec<u8>>) -> Self {
        let content = content.clone();
        Self::start(move |_| Answer::Content(content.clone())).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn entry(&self) -> String {
        self.url("")
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Lets all held answers go on.
    pub(crate) fn let_go(&self) {
        self.gate.add_permits(1_000);
    }
}

async fn serve(mut stream: TcpStream, serving: Serving) {
    stream.set_nodelay(true).unwrap();
    while let Some(asked) = read_request(&mut stream, &serving).await {
        serving.asked.lock().unwrap().push(asked.clone());
        let answer = (serving.script)(&asked);
        if !say(&mut stream, &asked, answer, &serving.gate).await {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, serving: &Serving) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let range =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: ").map(str::to_owned));
    Some(Asked { path, range, nth: serving.count.fetch_add(1, Ordering::SeqCst) })
}

/// False when the connection is to be closed.
async fn say(stream: &mut TcpStream, asked: &Asked, answer: Answer, gate: &Semaphore) -> bool {
    match answer {
        Answer::Status(status, retry_after) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.is_ok()
        }
        Answer::Chunked(content) => {
            let mut sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in content.chunks(50_000) {
                sent.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                sent.extend_from_slice(chunk);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            stream.write_all(&sent).await.is_ok()
        }
        Answer::Content(content) => {
            let (head, part) = ranged(asked, &content);
            stream.write_all(&[head.as_bytes(), part].concat()).await.is_ok()
        }
        Answer::Whole(content) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
            stream.write_all(&[head.as_bytes(), &content].concat()).await.is_ok()
        }
        Answer::Cut(content, after) => {
            let (head, part) = ranged(asked, &content);
            let part = &part[..after.min(part.len())];
            let sent = stream.write_all(&[head.as_bytes(), part].concat()).await;
            let flushed = stream.flush().await;
            drop((sent, flushed));
            false
        }
        Answer::HeldCut(content, after) => {
            let (head, part) = ranged(asked, &content);
            let part = &part[..after.min(part.len())];
            if stream.write_all(&[head.as_bytes(), part].concat()).await.is_ok() {
                gate.acquire().await.unwrap().forget();
            }
            false
        }
        Answer::Held(content, after) => {
            let (head, part) = ranged(asked, &content);
            let (first, rest) = part.split_at(after.min(part.len()));
            if stream.write_all(&[head.as_bytes(), first].concat()).await.is_err() {
                return false;
            }
            gate.acquire().await.unwrap().forget();
            stream.write_all(rest).await.is_ok()
        }
    }
}

fn ranged<'a>(asked: &Asked, content: &'a [u8]) -> (String, &'a [u8]) {
    let size = content.len();
    match asked.range.as_deref().map(|range| parse(range, size as u64)) {
        Some(Ranged::Part(range)) => {
            let part = &content[range.start as usize..range.end as usize];
            let (first, last, length) = (range.start, range.end - 1, part.len());
            let head = format!(
                "HTTP/1.1 206 P\r\nContent-Length: {length}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
            );
            (head, part)
        }
        Some(Ranged::Unsatisfiable) => {
            (format!("HTTP/1.1 416 R\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n"), &[])
        }
        _ => (format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"), content),
    }
}
