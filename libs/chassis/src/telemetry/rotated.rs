//! The log file: appended to, rotated, bounded.
//!
//! Owns: `core.log`, `core.log.1` .. `core.log.3`. Never: fails or blocks a request for long: some lines are one `write`
//! to the page cache; when the disk is full the line is lost. After a crash the file is appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size at which the file is put aside.
const MAX_BYTES: u64 = 32 << 20;

/// Files put aside that are kept.
const KEPT: usize = 3;

/// A log file.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl Rotated {
    /// Opens the file for appending, making its directory.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::bounded(path, MAX_BYTES)
    }

    fn bounded(path: &Path, max_bytes: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, max_bytes })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match std::fs::rename(self.aside(number), self.aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.aside(1))?;
        self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for Rotated {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that cannot be written is lost: there is no better place to say so.
        drop(self.append(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lines_are_put_aside_and_the_oldest_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon").join("core.log");
        let mut log = Rotated::bounded(&path, 10).unwrap();
        for line in ["first...\n", "second..\n", "third...\n", "fourth..\n", "fifth...\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(path.with_file_name(name)).unwrap();
        assert_eq!(read("core.log"), "fifth...\n");
        assert_eq!(
            [read("core.log.1"), read("core.log.2"), read("core.log.3")],
            ["fourth..\n", "third...\n", "second..\n"]
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 4);
    }

    #[test]
    fn a_reopened_file_is_appended_to_and_still_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.log");
        Rotated::bounded(&path, 10).unwrap().write_all(b"12345").unwrap();
        let mut log = Rotated::bounded(&path, 10).unwrap();
        log.write_all(b"6789\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "123456789\n");
        log.write_all(b"x").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x");
    }

    #[test]
    fn one_line_longer_than_the_bound_is_still_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.log");
        Rotated::bounded(&path, 4).unwrap().write_all(b"longer than that").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "longer than that");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Rotated::open(&file.join("core.log")).is_err());
    }
}
