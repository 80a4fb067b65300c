//! Watches the bytes a client sends for requests that frame their body twice (`Content-Length` beside
//! `Transfer-Encoding`): the way requests are smuggled past a proxy.
//!
//! hyper settles such a request silently in favour of one header, so its service cannot see it any more. This reader
//! follows the framing beside it: heads are read, bodies are only counted. Pure: bytes in, verdict out.

/// A head longer than this is refused; hyper's own buffer is set to the same.
pub(super) const HEAD_LIMIT: usize = 128 * 1024;

/// Where in the stream of requests the next byte belongs.
#[derive(Debug)]
enum Place {
    Head(Vec<u8>),
    Body(u64),
    ChunkSize(Vec<u8>),
    ChunkBytes(u64),
    Trailer(Vec<u8>),
    /// After CONNECT, after a refusal, or after what hyper will refuse by itself.
    Blind,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    refused: bool,
}

impl Framing {
    pub(super) const fn new() -> Self {
        Self { place: Place::Head(Vec::new()), refused: false }
    }

    /// Takes the next bytes; true once a request was seen that must be refused.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !matches!(self.place, Place::Blind) {
            bytes = self.step(bytes);
        }
        self.refused
    }

    /// Whether more of a request's body must come.
    pub(super) const fn is_in_body(&self) -> bool {
        !matches!(self.place, Place::Head(_) | Place::Blind)
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match &mut self.place {
            Place::Head(head) => {
                let rest = until(head, bytes, |head| head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n"));
                match rest {
                    Some(rest) => {
                        let head = std::mem::take(head);
                        self.head(&head);
                        rest
                    }
                    None if head.len() > HEAD_LIMIT => self.refuse(),
                    None => &[],
                }
            }
            Place::Body(left) | Place::ChunkBytes(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= u64::try_from(taken).unwrap_or(u64::MAX);
                if *left == 0 {
                    let chunk = matches!(self.place, Place::ChunkBytes(_));
                    self.place = if chunk { Place::ChunkSize(Vec::new()) } else { Place::Head(Vec::new()) };
                }
                bytes.get(taken..).unwrap_or_default()
            }
            Place::ChunkSize(line) => {
                let Some(rest) = until(line, bytes, |line| line.ends_with(b"\n")) else {
                    if line.len() > 1024 {
                        self.place = Place::Blind;
                    }
                    return &[];
                };
                let line = std::mem::take(line);
                self.place = match chunk_size(&line) {
                    Some(0) => Place::Trailer(Vec::new()),
                    // The line end after the chunk belongs to it.
                    Some(size) => Place::ChunkBytes(size.saturating_add(2)),
                    None => Place::Blind,
                };
                rest
            }
            Place::Trailer(line) => {
                let Some(rest) = until(line, bytes, |line| line.ends_with(b"\n")) else {
                    if line.len() > HEAD_LIMIT {
                        self.place = Place::Blind;
                    }
                    return &[];
                };
                let empty = line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                self.place = if empty { Place::Head(Vec::new()) } else { Place::Trailer(Vec::new()) };
                rest
            }
            Place::Blind => &[],
        }
    }

    fn refuse<'a>(&mut self) -> &'a [u8] {
        self.refused = true;
        self.place = Place::Blind;
        &[]
    }

    fn head(&mut self, head: &[u8]) {
        let mut lines = head.split(|byte| *byte == b'\n');
        let is_connect = lines.next().is_some_and(|first| first.starts_with(b"CONNECT "));
        let (mut lengths, mut encoded) = (Vec::new(), false);
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                lengths.push(value.trim_ascii_start().strip_prefix(b":").unwrap_or(value).trim_ascii());
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                encoded = true;
            }
        }
        let differ = lengths.windows(2).any(|pair| pair.first() != pair.last());
        if (encoded && !lengths.is_empty()) || differ {
            self.refuse();
            return;
        }
        let length = lengths.first().map_or(Some(0), |text| decimal(text));
        self.place = match length {
            _ if is_connect => Place::Blind,
            _ if encoded => Place::ChunkSize(Vec::new()),
            Some(0) => Place::Head(Vec::new()),
            Some(length) => Place::Body(length),
            None => Place::Blind,
        };
    }
}

/// Moves bytes into `line` until `done`; what is left of `bytes` after it, `None` when all were taken before.
fn until<'a>(line: &mut Vec<u8>, bytes: &'a [u8], done: impl Fn(&[u8]) -> bool) -> Option<&'a [u8]> {
    for (at, byte) in bytes.iter().enumerate() {
        // A client may send empty lines before a request.
        if line.is_empty() && matches!(byte, b'\r' | b'\n') && !done(&[*byte]) {
            continue;
        }
        line.push(*byte);
        if *byte == b'\n' && done(line) {
            return bytes.get(at + 1..);
        }
        if line.len() > HEAD_LIMIT {
            return None;
        }
    }
    None
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    u64::from_str_radix(text.split(';').next()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a text whole, then byte by byte: both must agree.
    fn refused(text: &str) -> bool {
        let whole = Framing::new().feed(text.as_bytes());
        let mut slow = Framing::new();
        let dripped = text.as_bytes().iter().fold(false, |_, byte| slow.feed(&[*byte]));
        assert_eq!(whole, dripped, "{text:?}");
        whole
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const SMUGGLED: &str =
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    #[test]
    fn two_framings_are_refused_in_either_order() {
        assert!(refused(SMUGGLED));
        assert!(refused("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH:5\r\n\r\n"));
        assert!(refused("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n"));
        assert!(refused("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"));
    }

    #[test]
    fn well_framed_requests_pass_whatever_their_bodies_say() {
        let body = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let counted = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}{GET}", body.len());
        let chunk = format!("{:x};x=y\r\n{body}\r\n0\r\nTrailer: a\r\n\r\n", body.len());
        let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{GET}");
        for text in
            [GET, &counted, &chunked, &format!("{GET}{GET}\r\n\r\n{GET}"), &format!("{counted}{chunked}")]
        {
            assert!(!refused(text), "{text:?}");
        }
    }

    #[test]
    fn a_bad_request_is_found_behind_good_ones() {
        let counted = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for before in [GET, counted, chunked] {
            assert!(refused(&format!("{before}{GET}{SMUGGLED}")), "{before:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut framing = Framing::new();
        let line = format!("X: {}\r\n", "y".repeat(1000));
        assert!((0..200).any(|_| framing.feed(line.as_bytes())));
    }

    #[test]
    fn a_tunnel_is_not_watched() {
        assert!(!refused(&format!("CONNECT h:443 HTTP/1.1\r\n\r\n{SMUGGLED}")));
    }

    #[test]
    fn junk_ends_the_watch_without_a_verdict() {
        for text in [
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert!(!refused(text), "{text:?}");
        }
    }
}
