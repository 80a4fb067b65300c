//! Git LFS pointer files, read and written exactly as git-lfs does (lfs/pointer.go).
//!
//! The specification is stricter in places and looser in others; users see what the client does, so that is what is
//! kept here: unknown keys are refused, trimmed or CRLF pointers are read but not canonical, a blob of 1,024 bytes
//! or more is content.

use crate::oid::Oid;

/// The address every pointer is written with.
pub const VERSION: &str = "https://git-lfs.github.com/spec/v1";
/// A blob of this length or more is never a pointer.
pub const CUTOFF_BYTES: usize = 1024;

/// Addresses of earlier names of the project that are still read; compared byte for byte.
const VERSIONS: [&str; 3] = ["http://git-media.io/v/2", "https://hawser.github.com/spec/v1", VERSION];
/// Without one of these in the text the client does not even try.
const NAMES: [&str; 3] = ["git-media", "hawser", "git-lfs"];

/// What a pointer file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The object.
    pub oid: Oid,
    /// Its bytes.
    pub size: u64,
    /// Filters it went through, by rising priority.
    pub extensions: Vec<Extension>,
}

/// One `ext-N-name` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// 0 to 9, each used once.
    pub priority: u8,
    /// Name of the filter.
    pub name: String,
    /// The content before the filter.
    pub oid: Oid,
}

/// A pointer as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it says.
    pub pointer: Pointer,
    /// Whether it is written exactly as it should be.
    pub canonical: bool,
}

/// Why a blob is content rather than a pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPointer {
    /// 1,024 bytes or more, not text, or without any of the project's names.
    #[error("not a pointer file")]
    Content,
    /// A line without a value, or one too many.
    #[error("line {0} does not belong in a pointer file")]
    Line(usize),
    /// A key out of place or unknown.
    #[error("expected the key `{expected}`, found `{found}`")]
    Key {
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A value that cannot be.
    #[error("the value of `{0}` is not valid")]
    Value(&'static str),
}

impl Pointer {
    /// The pointer of an object that went through no extension.
    pub const fn new(oid: Oid, size: u64) -> Self {
        Self { oid, size, extensions: Vec::new() }
    }

    /// The one right text. That of an empty object is empty.
    pub fn encode(&self) -> String {
        if self.size == 0 {
            return String::new();
        }
        let extensions: Vec<String> = self
            .extensions
            .iter()
            .map(|Extension { priority, name, oid }| format!("ext-{priority}-{name} sha256:{oid}\n"))
            .collect();
        format!("version {VERSION}\n{}oid sha256:{}\nsize {}\n", extensions.concat(), self.oid, self.size)
    }
}

/// Reads a blob.
pub fn parse(blob: &[u8]) -> Result<Parsed, NotPointer> {
    if blob.len() >= CUTOFF_BYTES {
        return Err(NotPointer::Content);
    }
    let text = std::str::from_utf8(blob).ok().ok_or(NotPointer::Content)?;
    if text.is_empty() {
        return Ok(Parsed { pointer: Pointer::new(Oid::EMPTY, 0), canonical: true });
    }
    let trimmed = text.trim();
    if !NAMES.iter().any(|name| trimmed.contains(name)) {
        return Err(NotPointer::Content);
    }
    let pointer = read(trimmed)?;
    let canonical = pointer.encode() == text;
    Ok(Parsed { pointer, canonical })
}

fn read(text: &str) -> Result<Pointer, NotPointer> {
    const KEYS: [&str; 3] = ["version", "oid", "size"];
    let mut values: Vec<&str> = Vec::with_capacity(3);
    let mut extensions: Vec<Extension> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (key, value) = line.split_once(' ').ok_or(NotPointer::Line(at))?;
        let expected = *KEYS.get(values.len()).ok_or(NotPointer::Line(at))?;
        if key == expected {
            values.push(value);
        } else {
            let read = extension(key, value, expected)?;
            // The client keeps lines in a map: a repeated line replaces, two names of one priority are refused.
            match extensions.iter_mut().find(|known| known.priority == read.priority) {
                Some(known) if known.name == read.name => *known = read,
                Some(_) => return Err(NotPointer::Value("ext")),
                None => extensions.push(read),
            }
        }
    }
    extensions.sort_by_key(|extension| extension.priority);
    let mut values = values.into_iter();
    match values.next() {
        Some(version) if VERSIONS.contains(&version) => {}
        _ => return Err(NotPointer::Value("version")),
    }
    let oid = values.next().and_then(digest).ok_or(NotPointer::Value("oid"))?;
    let size = values.next().and_then(size).ok_or(NotPointer::Value("size"))?;
    Ok(Pointer { oid, size, extensions })
}

fn extension(key: &str, value: &str, expected: &'static str) -> Result<Extension, NotPointer> {
    let wrong = || NotPointer::Key { expected, found: key.chars().take(64).collect() };
    let (digit, name) = key.strip_prefix("ext-").and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
    let named = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match digit.as_bytes() {
        [digit @ b'0'..=b'9'] if named => Ok(Extension {
            priority: digit - b'0',
            name: name.to_owned(),
            oid: self::digest(value).ok_or(NotPointer::Value("ext"))?,
        }),
        _ => Err(wrong()),
    }
}

fn digest(value: &str) -> Option<Oid> {
    value.strip_prefix("sha256:")?.parse().ok()
}

/// As Go's `strconv.ParseInt`: a sign is allowed, the number is not below zero and fits into 63 bits.
fn size(value: &str) -> Option<u64> {
    value.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn text(extra: &str) -> String {
        format!("version {VERSION}\n{extra}oid sha256:{OID}\nsize 12345\n")
    }

    fn refusal(text: &str) -> NotPointer {
        parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_canonical_pointer_is_read_and_written_alike() {
        let parsed = parse(text("").as_bytes()).unwrap();
        assert!(parsed.canonical);
        assert_eq!(parsed.pointer, Pointer::new(OID.parse().unwrap(), 12345));
        assert_eq!(parsed.pointer.encode(), text(""));
    }

    #[test]
    fn the_empty_blob_is_the_empty_object() {
        let parsed = parse(b"").unwrap();
        assert_eq!((parsed.pointer.oid, parsed.pointer.size, parsed.canonical), (Oid::EMPTY, 0, true));
        assert_eq!(parsed.pointer.encode(), "");
    }

    #[test]
    fn untidy_pointers_are_read_but_not_canonical() {
        let tidy = text("");
        for untidy in [
            tidy.replace('\n', "\r\n"),
            format!("\n\n{tidy}\n"),
            tidy.trim_end().to_owned(),
            tidy.replace("oid", "\noid"),
            tidy.replace(VERSION, "https://hawser.github.com/spec/v1"),
            tidy.replace(VERSION, "http://git-media.io/v/2"),
            tidy.replace("size ", "size +"),
        ] {
            let parsed = parse(untidy.as_bytes()).expect(&untidy);
            assert!(!parsed.canonical, "{untidy:?}");
            assert_eq!(parsed.pointer.encode(), tidy);
        }
    }

    #[test]
    fn extensions_are_sorted_and_unique() {
        let lines = format!("ext-1-b sha256:{OID}\next-0-a sha256:{OID}\n");
        let parsed = parse(text(&lines).as_bytes()).unwrap();
        assert!(!parsed.canonical);
        let names: Vec<_> = parsed.pointer.extensions.iter().map(|ext| ext.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(parse(parsed.pointer.encode().as_bytes()).unwrap().canonical);
        let twice = format!("ext-0-a sha256:{OID}\next-0-b sha256:{OID}\n");
        assert_eq!(refusal(&text(&twice)), NotPointer::Value("ext"));
        assert!(matches!(refusal(&text(&format!("ext-10-a sha256:{OID}\n"))), NotPointer::Key { .. }));
    }

    #[test]
    fn keys_out_of_place_are_content() {
        assert!(matches!(refusal(&text("wat 1\n")), NotPointer::Key { expected: "oid", .. }));
        assert_eq!(refusal(&format!("{}more 1\n", text(""))), NotPointer::Line(3));
        let turned = format!("version {VERSION}\nsize 1\noid sha256:{OID}\n");
        assert!(matches!(refusal(&turned), NotPointer::Key { expected: "oid", .. }));
        assert_eq!(refusal("git-lfs"), NotPointer::Line(0));
    }

    #[test]
    fn values_that_cannot_be_are_content() {
        for (from, to, key) in [
            (VERSION, "https://git-lfs.github.com/spec/v2", "version"),
            ("sha256:", "sha1:", "oid"),
            ("4d7a", "4D7A", "oid"),
            ("12345", "-1", "size"),
            ("12345", "12345678901234567890", "size"),
            ("12345", "0x10", "size"),
        ] {
            assert_eq!(refusal(&text("").replace(from, to)), NotPointer::Value(key), "{to}");
        }
    }

    #[test]
    fn what_is_long_binary_or_nameless_is_content() {
        let long = format!("{}{}", text(""), " ".repeat(CUTOFF_BYTES));
        for blob in [long.as_bytes(), b"\xff\xfegit-lfs", b"version 1\n", b"hello\n"] {
            assert_eq!(parse(blob), Err(NotPointer::Content));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_back(bytes in proptest::array::uniform32(0u8..), size in 1u64..(1 << 62)) {
            let pointer = Pointer::new(Oid::from_bytes(bytes), size);
            let parsed = parse(pointer.encode().as_bytes()).unwrap();
            assert_eq!(parsed, Parsed { pointer, canonical: true });
        }

        #[test]
        fn no_blob_makes_the_reader_fall(text in "(version |oid |size |ext-[0-9]-|sha256:|git-lfs|[ -~]|\n){0,40}") {
            drop(parse(text.as_bytes()));
        }
    }
}
