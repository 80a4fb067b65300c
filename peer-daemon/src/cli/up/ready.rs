//! What a process says once its addresses are known.
//!
//! Owns: reading the ready file, and asking the admin port whether the process may be used. Never: guesses; a file
//! that is not whole yet counts as not there (it is written under another name and renamed).

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest the admin port of a process on this machine may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// More than a status line is not needed.
const STATUS_LINE_BYTES: usize = 64;

/// The content of a ready file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ready {
    /// Its number.
    pub pid: u32,
    /// `host:port` of the admin port.
    pub admin: Option<String>,
    /// `host:port` of its gRPC service.
    pub grpc: Option<String>,
    /// `host:port` of the piece link.
    pub piece: Option<String>,
    /// `host:port` for git.
    pub proxy: Option<String>,
    /// Address of the console.
    pub url: Option<String>,
}

impl Ready {
    /// Reads the file; `None` while it is not there or not whole.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Whether the admin port at `address` answers `/readyz` with 200.
pub async fn serves(address: &str) -> bool {
    matches!(tokio::time::timeout(ANSWER, ask(address)).await, Ok(Ok(true)))
}

async fn ask(address: &str) -> std::io::Result<bool> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; STATUS_LINE_BYTES];
    let mut held = 0;
    while let Some(free) = line.get_mut(held..).filter(|free| !free.is_empty()) {
        let read = stream.read(free).await?;
        if read == 0 {
            break;
        }
        held += read;
    }
    Ok(line.get(..held).unwrap_or_default().starts_with(b"HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_is_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ready.json");
        assert_eq!(Ready::read(&path), None);
        std::fs::write(&path, "{\"pid\": 1, \"adm").expect("write");
        assert_eq!(Ready::read(&path), None);
    }

    #[test]
    fn words_of_other_processes_are_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ready.json");
        std::fs::write(&path, r#"{"pid": 7, "proxy": "127.0.0.1:1", "more": [1]}"#).expect("write");
        let ready = Ready::read(&path).expect("whole");
        assert_eq!((ready.pid, ready.proxy.as_deref()), (7, Some("127.0.0.1:1")));
    }

    async fn answering(answer: &'static str) -> (String, tokio::task::JoinSet<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut asked = [0; 256];
            let _read = stream.read(&mut asked).await.expect("a question");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        });
        (address, tasks)
    }

    #[tokio::test]
    async fn only_a_200_means_ready() {
        let (yes, _server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(serves(&yes).await);
        let (no, _server) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(!serves(&no).await);
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        let port = darner_chassis::net::free_port().expect("a port");
        assert!(!serves(&format!("127.0.0.1:{port}")).await);
    }
}
