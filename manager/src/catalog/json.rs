//! A column that holds JSON, passed on as it is.
//!
//! Owns: one type. Never: parses more than to see that it is JSON; a damaged column reads as `null`.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// JSON as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(value_type = Object)]
pub struct JsonText(String);

impl JsonText {
    /// JSON of a value. What cannot be said in JSON becomes `null`.
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for JsonText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parsed: Option<&RawValue> = serde_json::from_str(&self.0).ok();
        parsed.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_json_is_passed_on_and_damage_is_null() {
        assert_eq!(serde_json::to_string(&JsonText::of(&[1, 2])).unwrap(), "[1,2]");
        assert_eq!(serde_json::to_string(&JsonText::from("{".to_owned())).unwrap(), "null");
    }
}
