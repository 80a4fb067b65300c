//! Configuration: file < environment < flags, with the source of every key.
//!
//! Owns: layering, the report of all mistakes at once (each by its dotted key, in back-ticks), redaction and the
//! printed form. Never: acts on a value, shows a [`Secret`]. `layers` reads what was said, `check` finds what is wrong
//! with it; both are pure but for reading the file and the environment.
//!
//! How a key is known: the configuration, written out again, still has it. So a block needs no list of its keys, and
//! flattened blocks and maps work; it must not use `skip_serializing_if` or `alias`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod check;
mod layers;
mod print;
mod values;

pub use values::{ByteSize, Secret};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Env => "environment",
            Self::Flag => "flag",
            Self::Feed => "feed",
        })
    }
}

/// The source of each key that does not have its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Where the value of this dotted key comes from: what was said about it, or about a block it is in.
    pub fn of(&self, key: &str) -> Source {
        let mut key = key;
        loop {
            if let Some(source) = self.0.get(key) {
                return *source;
            }
            match key.rsplit_once('.') {
                Some((block, _)) => key = block,
                None => return Source::Default,
            }
        }
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
        print::flat(&self.shown(), &self.sources)
    }

    /// The configuration as a file that could be read again, with the source of each value as a comment, secrets
    /// redacted.
    pub fn to_yaml(&self) -> String {
        print::yaml(&self.shown(), &self.sources)
    }

    fn shown(&self) -> Value {
        serde_json::to_value(&self.value).unwrap_or_else(|error| Value::String(error.to_string()))
    }
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
    /// One line each, with its key in back-ticks. A service that finds mistakes of its own ends with this, and the
    /// process ends with the exit code for a wrong configuration.
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

impl std::error::Error for ConfigError {}

/// Loads a configuration: the defaults, the file, the environment (`DARNER__GIT__LISTEN` is `git.listen`) and the
/// flags, each over the ones before it. A text from the environment or a flag becomes what its key takes: a number, a
/// list (`[a, b]` or `a,b`), a text.
pub fn load<T: DeserializeOwned + Serialize + Default>(
    file: Option<&Path>,
    flags: &[(String, Value)],
) -> Result<Loaded<T>, ConfigError> {
    load_with::<T>(file, std::env::vars().collect(), flags)
}

/// The same with the environment as an argument.
fn load_with<T: DeserializeOwned + Serialize + Default>(
    file: Option<&Path>,
    environment: Vec<(String, String)>,
    flags: &[(String, Value)],
) -> Result<Loaded<T>, ConfigError> {
    let Ok(Value::Object(base)) = serde_json::to_value(T::default()) else {
        // A configuration that is not a map of keys is a mistake of this house, not of the operator.
        return Err(ConfigError::new(vec!["the default configuration cannot be written out".to_owned()]));
    };
    let mut mistakes = Vec::new();
    let mut said = layers::Said::default();
    if let Some(path) = file {
        match layers::read_file(path) {
            Ok(content) => said.add(Vec::new(), Value::Object(content), Source::File),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for (key, text) in layers::environment(environment, &base) {
        let value = check::fitting::<T>(&base, &key, &text);
        said.add(key, value, Source::Env);
    }
    for (key, value) in flags {
        let key: Vec<String> = key.split('.').map(str::to_owned).collect();
        let value = match value {
            Value::String(text) => check::fitting::<T>(&base, &key, text),
            other => other.clone(),
        };
        said.add(key, value, Source::Flag);
    }
    let said = said.without_unset(&base);
    let found = check::whole::<T>(&base, &said);
    match found {
        Ok(value) if mistakes.is_empty() => Ok(Loaded { value, sources: said.sources }),
        Ok(_) => Err(ConfigError::new(mistakes)),
        Err(more) => {
            mistakes.extend(more);
            Err(ConfigError::new(mistakes))
        }
    }
}

/// Lays `over` onto `under`: blocks merge, everything else is replaced.
fn overlay(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => overlay(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
