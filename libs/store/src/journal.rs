//! The journal beside each partial: what was said and written of it, a line at a time.
//!
//! Owns: `<data>/partial/<hex>.journal`. Never: fsyncs; never trusted beyond its digests: a piece it lists is checked
//! against its digest before its first use. After a crash: kill -9 loses nothing, since a line is in the page cache
//! when its call returns; a power cut may tear the end off, which the checksum of each line shows, and pieces it
//! lists may not have reached the disk, which their digests show.
//!
//! One writer at a time (the partial's lock). A line is 16 hex digits of BLAKE3, a space, JSON, a newline.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use darner_lfs::layout::LAYOUT_VERSION;
use darner_lfs::{Layout, PieceDigest, PieceIndex};
use serde::{Deserialize, Serialize};

use crate::record::Media;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// The first line: the cut.
    Opened {
        /// Version of the layout rule.
        layout: u32,
        /// Bytes, if known.
        size: Option<u64>,
        /// Bytes of a piece.
        piece_bytes: u32,
        /// Never to be evicted.
        keep: Keep,
    },
    /// The length became known.
    Size(u64),
    /// A piece is whole, with this digest.
    Piece(PieceIndex, String),
    /// A piece is not whole after all.
    Lost(PieceIndex),
    /// Digests an object had here when it was whole; the disk that damaged it may have damaged them too.
    Known {
        /// The first piece.
        first: PieceIndex,
        /// The digests, one after the other.
        digests: String,
    },
    /// Whether it may be evicted changed.
    Keep(Keep),
    /// Somebody vouched for digests.
    Attested {
        /// The first piece.
        first: PieceIndex,
        /// The digests, one after the other.
        digests: String,
        /// The signed statement.
        statement: String,
        /// The reading.
        reading: u64,
        /// The attester.
        attester: String,
    },
    /// It was read from here.
    Upstream(String),
    /// What the origin said of it.
    Media(Media),
}

/// Whether the object may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// Pinned by the operator.
    pub(crate) pinned: bool,
    /// The only copy.
    pub(crate) authoritative: bool,
}

impl Keep {
    /// Either of them.
    pub(crate) const fn forever(self) -> bool {
        self.pinned || self.authoritative
    }
}

impl Line {
    /// The first line of a journal.
    pub(crate) fn opened(layout: &Layout, keep: Keep) -> Self {
        let (size, piece_bytes) = (layout.size(), layout.piece_bytes());
        Self::Opened { layout: LAYOUT_VERSION, size, piece_bytes, keep }
    }

    /// A whole piece.
    pub(crate) fn piece(piece: PieceIndex, digest: &PieceDigest) -> Self {
        Self::Piece(piece, hex::encode(digest.as_bytes()))
    }
}

/// Reads one digest of a line.
pub(crate) fn digest_of(text: &str) -> Option<PieceDigest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| PieceDigest::from_bytes(digest))
}

/// The journal, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    broken: bool,
}

impl Journal {
    /// Starts anew with these lines, over whatever was there.
    pub(crate) fn create(path: &Path, lines: &[Line]) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(0)?;
        let mut journal = Self { file, broken: false };
        let mut text = Vec::new();
        for line in lines {
            text.extend(encode(line)?);
        }
        journal.file.write_all(&text)?;
        Ok(journal)
    }

    /// Opens what a process before this one wrote; a torn end is cut off.
    pub(crate) fn resume(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let content = std::fs::read(path)?;
        let (lines, sound) = decode(&content);
        let file = OpenOptions::new().append(true).open(path)?;
        if sound < content.len() {
            file.set_len(u64::try_from(sound).map_err(io::Error::other)?)?;
        }
        Ok((Self { file, broken: false }, lines))
    }

    /// Appends a line. A disk that takes no more costs the next process this line only, so it is no error here.
    pub(crate) fn append(&mut self, line: &Line) {
        let written = encode(line).and_then(|text| self.file.write_all(&text));
        if let Err(error) = written
            && !self.broken
        {
            self.broken = true;
            tracing::warn!(%error, "a journal cannot be written; its partial may not be resumed after a restart");
        }
    }

    /// Starts over.
    pub(crate) fn restart(&mut self, lines: &[Line]) {
        if self.file.set_len(0).is_ok() {
            for line in lines {
                self.append(line);
            }
        }
    }
}

fn checksum(text: &[u8]) -> String {
    hex::encode(PieceDigest::of(text).as_bytes().first_chunk::<8>().copied().unwrap_or_default())
}

fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(line)?;
    let mut text = checksum(&json).into_bytes();
    text.push(b' ');
    text.extend(json);
    text.push(b'\n');
    Ok(text)
}

/// The sound lines and how many bytes they take.
fn decode(content: &[u8]) -> (Vec<Line>, usize) {
    let (mut lines, mut sound) = (Vec::new(), 0);
    for text in content.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = decode_line(text) else { break };
        lines.push(line);
        sound += text.len();
    }
    (lines, sound)
}

fn decode_line(text: &[u8]) -> Option<Line> {
    let text = text.strip_suffix(b"\n")?;
    let (sum, json) = text.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == sum).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        vec![
            Line::opened(&Layout::of_size(1 << 20), Keep::default()),
            Line::piece(2, &PieceDigest::of(b"x")),
            Line::Lost(2),
            Line::Upstream("https://h/org/repo".to_owned()),
        ]
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::create(&path, &lines()).unwrap();
        journal.append(&Line::Size(5));
        drop(journal);
        let (mut journal, read) = Journal::resume(&path).unwrap();
        assert_eq!(read[..4], lines()[..]);
        assert_eq!(read[4], Line::Size(5));
        journal.restart(&lines()[..1]);
        assert_eq!(Journal::resume(&path).unwrap().1, lines()[..1]);
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = PieceDigest::of(b"x");
        let Line::Piece(_, text) = Line::piece(0, &digest) else { unreachable!() };
        assert_eq!(digest_of(&text), Some(digest));
        assert_eq!(digest_of("zz"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_torn_or_flipped_end_costs_only_what_follows(cut in 0usize..400, flip in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            drop(Journal::create(&path, &lines()).unwrap());
            let mut content = std::fs::read(&path).unwrap();
            let cut = cut % content.len();
            content[cut] ^= 1 << flip;
            std::fs::write(&path, &content).unwrap();
            let (mut journal, read) = Journal::resume(&path).unwrap();
            proptest::prop_assert!(read.len() < lines().len());
            proptest::prop_assert_eq!(&read[..], &lines()[..read.len()]);
            journal.append(&Line::Size(9));
            let again = Journal::resume(&path).unwrap().1;
            proptest::prop_assert_eq!(again.last(), Some(&Line::Size(9)));
        }
    }
}
