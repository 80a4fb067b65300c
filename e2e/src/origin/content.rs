//! The bytes of objects and plain files, with every fault the switches know. Ranges are read here by a few lines of
//! its own and not by the product's parser, so that a fault of one is not the fault of both.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::State;
use super::answer::{self, Answer, Body};
use super::counts::{Counters, Kind, Label};
use super::gzip::{self, Gzip};
use super::shape::Bucket;
use super::switches::{Met, Switch};

/// A ranged read of at most this many bytes is a probe.
pub const PROBE_BYTES: u64 = 4096;
const CHUNK: usize = 256 * 1024;

/// What is to be read.
#[derive(Debug)]
pub struct Source {
    /// What it is counted under: the oid, or the path of a plain file.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Who asks.
    pub asker: String,
    /// A redirect brought the caller here: it is not given again.
    pub hopped: bool,
}

/// Marks an answer that is to become a redirect to this base; only the caller can sign the new address.
#[derive(Debug, Clone)]
pub struct Onward(pub String);

/// What a `Range` header asks of `size` bytes: `None` for everything, `Err` when it cannot be had.
fn asked_range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, ()> {
    let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((from, to)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let (start, end) = match (from.parse::<u64>().ok(), to.parse::<u64>().ok()) {
        (Some(from), Some(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Some(from), None) if to.is_empty() => (from, size),
        (None, Some(last)) if from.is_empty() => (size.saturating_sub(last), size),
        _ => return Ok(None),
    };
    if start < end { Ok(Some((start, end))) } else { Err(()) }
}

/// Answers a GET or HEAD for one source.
pub async fn give(state: &State, method: &Method, headers: &HeaderMap, source: Source) -> Answer {
    let file = File::open(&source.path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let Ok((size, file)) = file else {
        state.counters.request(&label(Kind::Content, &source));
        return answer::refusal(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    let range = asked_range(headers, size);
    let probe = matches!(range, Ok(Some((start, end))) if end - start <= PROBE_BYTES);
    let mut met = state.switches.meet(&source.name, probe);
    met.switch.redirect.take_if(|_| source.hopped);
    let redirected = met.switch.redirect.is_some();
    let kind = match (redirected, probe) {
        (true, _) => Kind::Redirect,
        (false, true) => Kind::Probe,
        (false, false) => Kind::Content,
    };
    let label = label(kind, &source);
    state.counters.request(&label);
    if let Some(delay) = met.switch.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if let Some(base) = met.switch.redirect {
        let mut answer = answer::plain(StatusCode::FOUND, "");
        answer.extensions_mut().insert(Onward(base));
        return answer;
    }
    if let Some(refused) = refused(&met.switch) {
        return refused;
    }
    let etag = etag(&met.switch, &source.name);
    let changed = headers.get(header::IF_RANGE).is_some_and(|wanted| Some(wanted) != etag.as_ref());
    let range = if met.switch.no_range || changed { Ok(None) } else { range };
    let Ok(range) = range else {
        let mut answer = answer::refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        put(&mut answer, header::CONTENT_RANGE, &format!("bytes */{size}"));
        return answer;
    };
    let mut answer = framed(&met.switch, range, size);
    if let Some(etag) = etag {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    if method != Method::HEAD {
        let (start, end) = range.unwrap_or((0, size));
        *answer.body_mut() = pour(file, (start, end), met, (state.counters.clone(), label));
    }
    answer
}

fn label(kind: Kind, source: &Source) -> Label {
    Label { kind, object: Some(source.name.clone()), asker: source.asker.clone() }
}

fn refused(switch: &Switch) -> Option<Answer> {
    let status = StatusCode::from_u16(switch.status?).ok()?;
    let mut answer = answer::refusal(status, "as switched");
    if let Some(seconds) = switch.retry_after {
        put(&mut answer, header::RETRY_AFTER, &seconds.to_string());
    }
    Some(answer)
}

fn etag(switch: &Switch, name: &str) -> Option<HeaderValue> {
    let weak = if switch.weak_etag { "W/" } else { "" };
    HeaderValue::from_str(&format!("{weak}\"{name}\"")).ok().filter(|_| !switch.no_etag)
}

/// Status and headers, without a body yet.
fn framed(switch: &Switch, range: Option<(u64, u64)>, size: u64) -> Answer {
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut answer = answer::plain(status, "");
    let (start, end) = range.unwrap_or((0, size));
    put(&mut answer, header::CONTENT_TYPE, "application/octet-stream");
    if range.is_some() {
        put(&mut answer, header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
    }
    if !switch.no_range {
        put(&mut answer, header::ACCEPT_RANGES, "bytes");
    }
    if switch.gzip {
        put(&mut answer, header::CONTENT_ENCODING, "gzip");
    } else if !switch.chunked {
        put(&mut answer, header::CONTENT_LENGTH, &(end - start).to_string());
    }
    if switch.close {
        put(&mut answer, header::CONNECTION, "close");
    }
    answer
}

fn put(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// A body on its way out.
struct Pour {
    file: Arc<File>,
    at: u64,
    end: u64,
    switch: Switch,
    bucket: Option<Arc<Bucket>>,
    gzip: Option<Gzip>,
    counted: (Arc<Counters>, Label),
    done: bool,
}

fn pour(file: File, (at, end): (u64, u64), met: Met, counted: (Arc<Counters>, Label)) -> Body {
    let gzip = met.switch.gzip.then(Gzip::default);
    let pour = Pour {
        file: Arc::new(file),
        at,
        end,
        switch: met.switch,
        bucket: met.bucket,
        gzip,
        counted,
        done: false,
    };
    let frames = futures::stream::unfold(pour, |mut pour| async move {
        let part = pour.next().await?;
        Some((part.map(Frame::data), pour))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Pour {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.done {
            return None;
        }
        if self.switch.cut_at.is_some_and(|cut| self.at >= cut && self.at < self.end) {
            self.done = true;
            // What was written before must have left before the connection breaks.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some(Err(io::Error::other("cut as switched")));
        }
        if self.at >= self.end {
            self.done = true;
            return self.gzip.as_ref().map(|gzip| Ok(gzip.tail().into()));
        }
        let part = self.read().await;
        if part.is_err() {
            self.done = true;
        }
        Some(part)
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let most = self.bucket.as_ref().map_or(CHUNK, |bucket| bucket.sip());
        let end = self.switch.cut_at.map_or(self.end, |cut| cut.clamp(self.at, self.end));
        let length = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(most);
        if let Some(bucket) = &self.bucket {
            bucket.take(length).await;
        }
        let first = self.at == 0;
        let mut content = read_at(self.file.clone(), self.at, length).await?;
        if let Some(place) = self.switch.corrupt_at.and_then(|place| place.checked_sub(self.at))
            && let Some(byte) = usize::try_from(place).ok().and_then(|place| content.get_mut(place))
        {
            *byte ^= 0xFF;
        }
        let bytes = u64::try_from(length).unwrap_or_default();
        self.at += bytes;
        let (counters, label) = &self.counted;
        counters.bytes(label, bytes);
        let Some(gzip) = &mut self.gzip else { return Ok(content.into()) };
        let mut out = if first { gzip::HEAD.to_vec() } else { Vec::new() };
        out.extend(gzip.block(&content));
        Ok(out.into())
    }
}

async fn read_at(file: Arc<File>, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let read = move || {
        let mut content = vec![0; length];
        file.read_exact_at(&mut content, at).map(|()| content)
    };
    if length <= 16 * 1024 {
        return read();
    }
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranged(text: &str) -> Result<Option<(u64, u64)>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
        asked_range(&headers, 100)
    }

    #[test]
    fn single_ranges_are_read_as_the_standard_says() {
        assert_eq!(ranged("bytes=0-0"), Ok(Some((0, 1))));
        assert_eq!(ranged("bytes=10-"), Ok(Some((10, 100))));
        assert_eq!(ranged("bytes=-10"), Ok(Some((90, 100))));
        assert_eq!(ranged("bytes=90-500"), Ok(Some((90, 100))));
        assert_eq!(ranged("bytes=100-"), Err(()));
        assert_eq!(ranged("pieces=1-2"), Ok(None));
        assert_eq!(ranged("bytes=5-2"), Ok(None));
    }
}
