//! The smallest HTTP client that does not get in the way: blocking sockets, 256 KiB reads, bytes thrown away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What a GET took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// Until the first byte of the body.
    pub(crate) first_byte: Duration,
    /// Until the last.
    pub(crate) whole: Duration,
    /// Bytes of the body.
    pub(crate) bytes: u64,
}

impl Took {
    /// GiB per second.
    pub(crate) fn rate(&self) -> f64 {
        gib(self.bytes) / self.whole.as_secs_f64()
    }
}

/// Bytes in GiB.
#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// A URL taken apart, with the headers to send.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Target {
    pub(crate) fn parse(url: &str, headers: Vec<(String, String)>) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("plain http only")?;
        let (authority, path) = rest.split_once('/').context("a path")?;
        Ok(Self { address: authority.parse()?, path: format!("/{path}"), headers })
    }

    fn head(&self, method: &str, length: usize) -> String {
        let lines: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = lines.concat();
        let (path, host) = (&self.path, self.address);
        let length = if length > 0 { format!("content-length: {length}\r\n") } else { String::new() };
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{length}{headers}\r\n")
    }

    /// GET, body thrown away; fails unless every announced byte came with a 2xx.
    pub(crate) fn get(&self) -> anyhow::Result<Took> {
        let began = Instant::now();
        let mut stream = self.send("GET", b"")?;
        let (head, mut bytes) = read_head(&mut stream)?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 2"), "the answer was {:?}", head.lines().next());
        let mut first_byte = (bytes > 0).then(|| began.elapsed());
        let mut buffer = vec![0u8; 256 * 1024];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            first_byte.get_or_insert_with(|| began.elapsed());
            bytes += u64::try_from(read)?;
        }
        let announced = header(&head, "content-length").and_then(|text| text.parse::<u64>().ok());
        anyhow::ensure!(
            announced.is_none_or(|length| length == bytes),
            "{bytes} bytes of {announced:?} came"
        );
        Ok(Took { first_byte: first_byte.unwrap_or_default(), whole: began.elapsed(), bytes })
    }

    /// POST, body kept.
    pub(crate) fn post(&self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = self.send("POST", body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = find_end(&answer).context("a head")?;
        let (head, body) = answer.split_at_checked(end).context("a body")?;
        let head = String::from_utf8_lossy(head).into_owned();
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "the answer was {:?}", head.lines().next());
        if header(&head, "transfer-encoding").is_some() { unchunk(body) } else { Ok(body.to_vec()) }
    }

    fn send(&self, method: &str, body: &[u8]) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(2)))?;
        stream.write_all(self.head(method, body.len()).as_bytes())?;
        stream.write_all(body)?;
        Ok(stream)
    }
}

/// Reads to the end of the head: the head, and how many bytes of the body came with it.
fn read_head(stream: &mut TcpStream) -> anyhow::Result<(String, u64)> {
    let mut got = Vec::new();
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "the connection ended inside the head");
        got.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if let Some(end) = find_end(&got) {
            let head = String::from_utf8_lossy(got.get(..end).unwrap_or_default()).into_owned();
            return Ok((head, u64::try_from(got.len() - end)?));
        }
    }
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn header(head: &str, name: &str) -> Option<String> {
    let line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().find_map(line)
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").context("a chunk size")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(body.get(..end).unwrap_or_default())?.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size).context("a chunk")?);
        body = body.get(end + 2 + size + 2..).context("the next chunk")?;
    }
}
