//! Progress for a person who waits; plain lines when nobody watches.
//!
//! Owns: bars and spinners on stderr. Never: writes to stdout, which belongs to results.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::say;

/// Redraw often enough to look alive.
const TICK: Duration = Duration::from_millis(120);

/// Something that takes a while and has no length.
#[derive(Debug)]
pub struct Waiting {
    spinner: Option<ProgressBar>,
}

impl Waiting {
    /// Shows the first words.
    pub fn begin(words: &str) -> Self {
        if !say::is_watched() {
            return Self { spinner: None };
        }
        let spinner = ProgressBar::new_spinner();
        spinner.set_message(words.to_owned());
        spinner.enable_steady_tick(TICK);
        Self { spinner: Some(spinner) }
    }

    /// Shows the next words.
    pub fn say(&self, words: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(words.to_owned()),
            None => say::note(words),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Bytes that arrive.
#[derive(Debug)]
pub struct Arriving {
    bar: Option<ProgressBar>,
}

impl Arriving {
    /// A bar for an object of this size, when it is known.
    pub fn begin(name: &str, size: Option<u64>) -> Self {
        if !say::is_watched() {
            return Self { bar: None };
        }
        let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let shape = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        Self { bar: Some(bar) }
    }

    /// So many bytes are here now, of so many.
    pub fn now(&self, received: u64, size: Option<u64>) {
        if let Some(bar) = &self.bar {
            if let Some(size) = size {
                bar.set_length(size);
            }
            bar.set_position(received);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
