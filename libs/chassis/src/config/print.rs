//! The printed forms of a configuration: a flat map for `/config`, a file for `--print-config`.
//!
//! Owns: the two forms. Never: sees a secret; it is given values that were redacted when they were written out.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Sources;

/// Every leaf as `"dotted.key": {"value": .., "source": ..}`.
pub(super) fn flat(value: &Value, sources: &Sources) -> Value {
    let mut leaves = Map::new();
    collect(value, "", sources, &mut leaves);
    Value::Object(leaves)
}

fn collect(value: &Value, key: &str, sources: &Sources, leaves: &mut Map<String, Value>) {
    match value {
        Value::Object(block) if !block.is_empty() => {
            for (part, inner) in block {
                collect(inner, &dotted(key, part), sources, leaves);
            }
        }
        leaf => drop(leaves.insert(key.to_owned(), json!({"value": leaf, "source": sources.of(key)}))),
    }
}

/// Block style for blocks, JSON (which is YAML) for leaves, the source as a comment.
pub(super) fn yaml(value: &Value, sources: &Sources) -> String {
    let mut text = String::new();
    if let Value::Object(block) = value {
        write_block(block, "", 0, sources, &mut text);
    }
    text
}

fn write_block(block: &Map<String, Value>, key: &str, depth: usize, sources: &Sources, text: &mut String) {
    for (part, inner) in block {
        let dotted = dotted(key, part);
        let indent = "  ".repeat(depth);
        // Writing into a String cannot fail.
        _ = match inner {
            Value::Object(inner) if !inner.is_empty() => {
                _ = writeln!(text, "{indent}{}:", name(part));
                write_block(inner, &dotted, depth + 1, sources, text);
                Ok(())
            }
            leaf => writeln!(text, "{indent}{}: {leaf} # {}", name(part), sources.of(&dotted)),
        };
    }
}

/// A key as it is when it is a plain word, quoted otherwise.
fn name(part: &str) -> String {
    let plain = part.starts_with(|first: char| first.is_ascii_alphabetic())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain { part.to_owned() } else { Value::from(part).to_string() }
}

fn dotted(block: &str, part: &str) -> String {
    if block.is_empty() { part.to_owned() } else { format!("{block}.{part}") }
}
