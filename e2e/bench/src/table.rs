//! The table of results.

use std::fmt;

/// One line: what was measured, as samples of a ratio or of a plain figure.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) must: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) samples: Vec<f64>,
    pub(crate) unit: &'static str,
    pub(crate) note: String,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, Result<Row, String>)>,
}

impl Table {
    pub(crate) fn push(&mut self, bench: &str, row: Row) {
        eprintln!("  {}: {}", row.what, spread(&row));
        self.rows.push((bench.to_owned(), Ok(row)));
    }

    pub(crate) fn failed(&mut self, bench: &str, words: &str) {
        eprintln!("  {bench} could not be measured: {words}");
        self.rows.push((bench.to_owned(), Err(words.to_owned())));
    }
}

/// Minimum, median, maximum.
pub(crate) fn spread(row: &Row) -> String {
    let mut sorted = row.samples.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (low, middle, high) = (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
    format!("{middle:.2}{unit} ({low:.2} .. {high:.2})", unit = row.unit)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| bench | measured | median (min .. max) | must | aim | note |\n|---|---|---|---|---|---|"
        )?;
        for (bench, row) in &self.rows {
            match row {
                Ok(row) => writeln!(
                    f,
                    "| {bench} | {} | {} | {} | {} | {} |",
                    row.what,
                    spread(row),
                    row.must,
                    row.aim,
                    row.note
                )?,
                Err(words) => writeln!(f, "| {bench} | failed: {} | | | | |", words.replace('\n', " "))?,
            }
        }
        Ok(())
    }
}
