//! What was said about the configuration, layer by layer.
//!
//! Owns: reading the file and the environment, the dotted key of everything said, and its source. Never: judges a
//! value (`check` does), nor repeats a line of the file in an error (it may hold a secret).

use std::path::Path;

use serde_json::{Map, Value};

use super::{Source, Sources, overlay};

/// Separates the parts of a key in the name of an environment variable.
const SEPARATOR: &str = "__";

/// What every layer said, merged, and who said it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) values: Map<String, Value>,
    pub(super) sources: Sources,
}

impl Said {
    /// Lays one more value over what was said before.
    pub(super) fn add(&mut self, key: Vec<String>, value: Value, source: Source) {
        self.note(&key, &value, source);
        let nested =
            key.into_iter().rev().fold(value, |inner, part| Value::Object(Map::from_iter([(part, inner)])));
        if let Value::Object(nested) = nested {
            overlay(&mut self.values, &nested);
        }
    }

    fn note(&mut self, key: &[String], value: &Value, source: Source) {
        match value {
            Value::Object(block) if !block.is_empty() || key.is_empty() => {
                for (part, inner) in block {
                    self.note(&[key, std::slice::from_ref(part)].concat(), inner, source);
                }
            }
            _ => self.sources.set(&key.join("."), source),
        }
    }

    /// Without the known keys that were set to nothing (`schedulers:` with no value): they keep their default.
    pub(super) fn without_unset(mut self, base: &Map<String, Value>) -> Self {
        let mut unset = Vec::new();
        drop_unset(&mut self.values, base, "", &mut unset);
        for key in unset {
            self.sources.set(&key, Source::Default);
        }
        self
    }
}

fn drop_unset(
    said: &mut Map<String, Value>,
    base: &Map<String, Value>,
    block: &str,
    unset: &mut Vec<String>,
) {
    said.retain(|key, value| {
        let dotted = if block.is_empty() { key.clone() } else { format!("{block}.{key}") };
        match (value, base.get(key)) {
            (Value::Null, Some(_)) => {
                unset.push(dotted);
                false
            }
            (Value::Object(said), Some(Value::Object(base))) => {
                drop_unset(said, base, &dotted, unset);
                true
            }
            _ => true,
        }
    });
}

/// The file's content; its mistake in words otherwise. An empty file says nothing.
pub(super) fn read_file(path: &Path) -> Result<Map<String, Value>, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("configuration file {shown}: {error}"))?;
    match parse(&text) {
        Ok(Value::Object(content)) => Ok(content),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(format!("configuration file {shown}: expected `key: value` lines")),
        Err(words) => Err(format!("configuration file {shown}: {words}")),
    }
}

/// YAML 1.2 into a plain value; the error says where, but not what stands there.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
    };
    // A file of comments only is no YAML document to the parser, but says nothing to us.
    if text.lines().all(|line| line.trim_start().starts_with('#') || line.trim().is_empty()) {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// The keys said by the environment, in the spelling the configuration uses.
pub(super) fn environment(
    variables: Vec<(String, String)>,
    base: &Map<String, Value>,
) -> Vec<(Vec<String>, String)> {
    let mut said: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, text)| {
            let parts = name.strip_prefix("DARNER")?.strip_prefix(SEPARATOR)?;
            Some((spelled(parts, base), text))
        })
        .collect();
    said.sort();
    said
}

/// `GIT__ALLOW_PLAINTEXT` and `git__allowPlaintext` both name `git.allowPlaintext`.
fn spelled(parts: &str, base: &Map<String, Value>) -> Vec<String> {
    let mut block = Some(base);
    parts
        .split(SEPARATOR)
        .map(|part| {
            let plain = part.replace('_', "").to_ascii_lowercase();
            let known = block.and_then(|block| block.keys().find(|key| key.to_ascii_lowercase() == plain));
            let key = known.cloned().unwrap_or_else(|| camel(part));
            block = block.and_then(|block| block.get(&key)).and_then(Value::as_object);
            key
        })
        .collect()
}

/// A part nobody knows by default (it is inside an optional block, or wrong): `ALLOW_PLAINTEXT` is `allowPlaintext`;
/// a mixed-case one is taken as it is.
fn camel(part: &str) -> String {
    if part.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return part.to_owned();
    }
    let mut key = String::new();
    for (index, word) in part.to_ascii_lowercase().split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => key.push(first.to_ascii_uppercase()),
            Some(first) => key.push(first),
            None => {}
        }
        key.push_str(letters.as_str());
    }
    key
}
