//! Configuration: file < environment < flags, with the source of every key.
//!
//! Owns: layering, the report of all mistakes at once, redaction. Never: acts on a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Env,
    /// The command line.
    Flag,
    /// The manager's feed.
    Feed,
}

/// The source of each key that does not have its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Where the value of this dotted key comes from.
    pub fn of(&self, key: &str) -> Source {
        self.0.get(key).copied().unwrap_or(Source::Default)
    }

    /// Notes where the value of this dotted key comes from.
    pub fn set(&mut self, key: &str, source: Source) {
        self.0.insert(key.to_owned(), source);
    }
}

/// A configuration, and where each value comes from.
#[derive(Clone, Debug, Default)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// Where each value comes from.
    pub sources: Sources,
}

impl<T: Serialize> Loaded<T> {
    /// Every leaf as `"dotted.key": {"value": .., "source": ..}`, secrets redacted.
    pub fn render_redacted(&self) -> Value {
        Value::Null
    }

    /// The configuration as a file that could be read again, with the source of each value as a comment.
    pub fn to_yaml(&self) -> String {
        String::new()
    }
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
    /// One line each, with its key in back-ticks. Services add the mistakes they find themselves.
    pub fn new(mistakes: Vec<String>) -> Self {
        Self { mistakes }
    }

    /// The lines.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.mistakes.join("\n"))
    }
}

/// Loads a configuration.
pub fn load<T: DeserializeOwned + Serialize + Default>(
    _file: Option<&Path>,
    _flags: &[(String, Value)],
) -> Result<Loaded<T>, ConfigError> {
    Ok(Loaded::default())
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<redacted>")
    }
}

/// A number of bytes, written as a number or as `10GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteSize(pub u64);
