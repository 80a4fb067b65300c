//! What is wrong with a configuration, all of it at once.
//!
//! Owns: the search for every key that does not fit or is not known. Never: reads anything; pure functions.
//! Method: deserialisation stops at its first mistake, so when the whole does not fit, each part is tried alone over
//! the defaults, and the smallest parts that do not fit are the mistakes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::layers::{self, Said};
use super::overlay;

/// The configuration, or every mistake in it.
pub(super) fn whole<T>(base: &Map<String, Value>, said: &Said) -> Result<T, Vec<String>>
where
    T: DeserializeOwned + Serialize,
{
    let search = Search { base, said, mistakes: Vec::new() };
    let search = match try_over::<T>(base, &said.values) {
        Ok((value, written)) => {
            let search = search.unknown(&said.values, &written);
            if search.mistakes.is_empty() {
                return Ok(value);
            }
            search
        }
        Err(_first) => search.parts::<T>(&[], &said.values),
    };
    let mut mistakes = search.mistakes;
    mistakes.sort();
    mistakes.dedup();
    Err(mistakes)
}

/// The form of `text` that its key takes: the text itself, what it is in YAML, or a list of its parts.
pub(super) fn fitting<T>(base: &Map<String, Value>, key: &[String], text: &str) -> Value
where
    T: DeserializeOwned + Serialize,
{
    let parsed = layers::parse(text).ok().filter(|value| !value.is_string() && !value.is_null());
    let parts = text.split(',').map(|part| Value::String(part.trim().to_owned())).collect();
    let as_text = Value::String(text.to_owned());
    [Some(as_text.clone()), parsed, Some(Value::Array(parts))]
        .into_iter()
        .flatten()
        .find(|candidate| try_over::<T>(base, &nested(key, candidate)).is_ok())
        .unwrap_or(as_text)
}

/// Deserialises `said` over the defaults, and writes the result out again.
fn try_over<T>(
    base: &Map<String, Value>,
    said: &Map<String, Value>,
) -> Result<(T, Map<String, Value>), String>
where
    T: DeserializeOwned + Serialize,
{
    let mut full = base.clone();
    overlay(&mut full, said);
    let value: T = serde_json::from_value(Value::Object(full)).map_err(|error| error.to_string())?;
    match serde_json::to_value(&value) {
        Ok(Value::Object(written)) => Ok((value, written)),
        _ => Err("cannot be written out".to_owned()),
    }
}

fn nested(key: &[String], value: &Value) -> Map<String, Value> {
    let nested = key
        .iter()
        .rev()
        .fold(value.clone(), |inner, part| Value::Object(Map::from_iter([(part.clone(), inner)])));
    match nested {
        Value::Object(nested) => nested,
        _ => Map::new(),
    }
}

struct Search<'a> {
    base: &'a Map<String, Value>,
    said: &'a Said,
    mistakes: Vec<String>,
}

impl Search<'_> {
    /// Tries every part of a block alone.
    fn parts<T>(mut self, key: &[String], block: &Map<String, Value>) -> Self
    where
        T: DeserializeOwned + Serialize,
    {
        for (part, value) in block {
            let key = [key, std::slice::from_ref(part)].concat();
            let alone = nested(&key, value);
            match try_over::<T>(self.base, &alone) {
                Ok((_, written)) => self = self.unknown(&alone, &written),
                Err(words) => {
                    let before = self.mistakes.len();
                    if let Value::Object(inner) = value {
                        self = self.parts::<T>(&key, inner);
                    }
                    // No smaller part is to blame: this one is.
                    if self.mistakes.len() == before {
                        self.mistake(&key.join("."), &words);
                    }
                }
            }
        }
        self
    }

    /// Notes every key of `said` that `written` does not have.
    fn unknown(mut self, said: &Map<String, Value>, written: &Map<String, Value>) -> Self {
        self.unknown_in(&mut Vec::new(), said, written);
        self
    }

    fn unknown_in(&mut self, key: &mut Vec<String>, said: &Map<String, Value>, written: &Map<String, Value>) {
        for (part, value) in said {
            key.push(part.clone());
            match written.get(part) {
                None => {
                    let near = near(part, written).map(|name| {
                        let block = key.iter().take(key.len() - 1).cloned();
                        block.chain([name]).collect::<Vec<_>>().join(".")
                    });
                    let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                    self.mistake(&key.join("."), &format!("unknown key{hint}"));
                }
                Some(written) => self.unknown_value(key, value, written),
            }
            key.pop();
        }
    }

    fn unknown_value(&mut self, key: &mut Vec<String>, said: &Value, written: &Value) {
        match (said, written) {
            (Value::Object(said), Value::Object(written)) => self.unknown_in(key, said, written),
            (Value::Array(said), Value::Array(written)) => {
                for (index, (said, written)) in said.iter().zip(written).enumerate() {
                    key.push(index.to_string());
                    self.unknown_value(key, said, written);
                    key.pop();
                }
            }
            _ => {}
        }
    }

    fn mistake(&mut self, key: &str, words: &str) {
        let source = self.said.sources.of(key);
        self.mistakes.push(format!("`{key}`: {words} ({source})"));
    }
}

/// A known key that `part` may have meant: one or two letters away, or another spelling.
fn near(part: &str, known: &Map<String, Value>) -> Option<String> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(part);
    known
        .keys()
        .map(|key| (distance(&wanted, &plain(key)), key))
        .filter(|(distance, key)| *distance <= 2.min(key.len() / 2))
        .min()
        .map(|(_, key)| key.clone())
}

/// Edit distance, row by row.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((other, above), above_left) in two.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            let change = above_left + usize::from(letter != *other);
            next.push(change.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
