//! HTTP byte ranges (RFC 9110, section 14) as far as git-lfs and the piece link need them: one range, exact.

use std::ops::Range;

/// What a `Range` header asks of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranged {
    /// No usable range: answer 200 with the whole object (a malformed or multiple range is ignored, as the RFC allows).
    Whole,
    /// Answer 206 with these bytes, `Content-Range: bytes a-b/size`.
    Part(Range<u64>),
    /// Answer 416 with `Content-Range: bytes */size`.
    Unsatisfiable,
}

/// Reads a `Range` header against an object of `size` bytes.
pub fn parse(header: &str, size: u64) -> Ranged {
    let Some(spec) = header.trim().strip_prefix("bytes=") else { return Ranged::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Ranged::Whole };
    if spec.contains(',') {
        return Ranged::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), _) if first >= size && (last.is_empty() || number(last).is_some()) => {
            Ranged::Unsatisfiable
        }
        (Some(first), None) if last.is_empty() => Ranged::Part(first..size),
        (Some(first), Some(last)) if last >= first => Ranged::Part(first..last.saturating_add(1).min(size)),
        (None, Some(suffix)) if first.is_empty() => match suffix.min(size) {
            0 => Ranged::Unsatisfiable,
            suffix => Ranged::Part(size - suffix..size),
        },
        _ => Ranged::Whole,
    }
}

/// The first byte a `Range` header asks for, where the size of the object is not known yet.
pub fn start(header: &str) -> Option<u64> {
    let (first, _) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    number(first)
}

/// Reads `bytes a-b/total` of a 206 answer: the range and the total (absent for `*`).
pub fn parse_content_range(header: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    (last >= first && total.is_none_or(|total| last < total)).then(|| (first..last + 1, total))
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_exact() {
        let cases = [
            ("bytes=0-0", Ranged::Part(0..1)),
            ("bytes=2-", Ranged::Part(2..10)),
            ("bytes=2-100", Ranged::Part(2..10)),
            ("bytes=-3", Ranged::Part(7..10)),
            ("bytes=-30", Ranged::Part(0..10)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=10-12", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=5-2", Ranged::Whole),
            ("bytes=0-1,3-4", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("lines=0-1", Ranged::Whole),
            ("bytes=99999999999999999999-", Ranged::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header, 10), expected, "{header}");
        }
    }

    #[test]
    fn a_range_of_nothing_cannot_be_had() {
        assert_eq!(parse("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Ranged::Unsatisfiable);
    }

    #[test]
    fn content_range_is_read_with_care() {
        assert_eq!(parse_content_range("bytes 0-9/10"), Some((0..10, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5..10, None)));
        for bad in ["bytes 0-10/10", "bytes 9-0/10", "bytes */10", "0-9/10", "bytes 0-9"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
