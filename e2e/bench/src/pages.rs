//! Free memory that is worth as much in every round.
//!
//! A virtual machine may give its free pages back to the host after about two seconds; touching them again is then
//! billed as CPU of whoever writes next. Seen here: 0.23 CPU-s per GiB written to a new file right after another one
//! was removed, 0.9 to 2.5 otherwise. What writes is therefore measured right after this many bytes were written and
//! removed again, ours and its reference alike.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const STEP: usize = 256 * 1024;

/// Writes `bytes` to a file of this directory and removes it.
pub(crate) fn touch(directory: &Path, bytes: u64) -> anyhow::Result<()> {
    let path = directory.join("pages");
    let block = vec![1u8; STEP];
    let file = File::create(&path)?;
    let mut at = 0;
    while at < bytes {
        file.write_all_at(&block, at)?;
        at += u64::try_from(STEP)?;
    }
    drop(file);
    Ok(std::fs::remove_file(path)?)
}
