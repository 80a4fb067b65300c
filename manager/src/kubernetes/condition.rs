//! Conditions of a custom resource, as Kubernetes' own have them.
//!
//! Owns: that the time of a condition is the time of its last change of status. Never: a clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is so, is not, or is not known.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Why, in one word for programs.
    pub reason: String,
    /// Why, in words for people.
    pub message: String,
    /// When the status changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation it speaks of.
    #[serde(default)]
    pub observed_generation: i64,
}

/// What is to be said by a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub kind: &'static str,
    /// Whether it is so; none: not known.
    pub holds: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// Many.
    pub message: String,
}

impl Said {
    /// It is so.
    pub fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(true), reason, message: message.into() }
    }

    /// It is not.
    pub fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(false), reason, message: message.into() }
    }

    /// That is not known yet.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: None, reason, message: message.into() }
    }

    const fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions that say this, where `before` stood until now.
pub fn renewed(before: &[Condition], said: Vec<Said>, generation: i64, now: &str) -> Vec<Condition> {
    let since = |said: &Said| {
        let former = before.iter().find(|former| former.kind == said.kind && former.status == said.status());
        former.map_or_else(|| now.to_owned(), |former| former.last_transition_time.clone())
    };
    said.into_iter()
        .map(|said| Condition {
            kind: said.kind.to_owned(),
            status: said.status().to_owned(),
            reason: said.reason.to_owned(),
            last_transition_time: since(&said),
            message: said.message,
            observed_generation: generation,
        })
        .collect()
}

/// The conditions of `after` whose status or reason is news.
pub fn news<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let known = |condition: &Condition| {
        before.iter().any(|former| {
            (&former.kind, &former.status, &former.reason)
                == (&condition.kind, &condition.status, &condition.reason)
        })
    };
    after.iter().filter(|condition| !known(condition)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let first = renewed(&[], vec![Said::fails("Ready", "Waiting", "0 of 3")], 1, "t1");
        let second = renewed(&first, vec![Said::fails("Ready", "Waiting", "2 of 3")], 1, "t2");
        assert_eq!((second[0].last_transition_time.as_str(), second[0].message.as_str()), ("t1", "2 of 3"));
        let third = renewed(&second, vec![Said::holds("Ready", "InForce", "3 of 3")], 2, "t3");
        assert_eq!((third[0].last_transition_time.as_str(), third[0].observed_generation), ("t3", 2));
    }

    #[test]
    fn another_count_is_no_news_and_another_reason_is() {
        let first = renewed(&[], vec![Said::fails("Ready", "Waiting", "0 of 3")], 1, "t1");
        assert_eq!(news(&[], &first).len(), 1);
        let second = renewed(&first, vec![Said::fails("Ready", "Waiting", "2 of 3")], 1, "t2");
        assert!(news(&first, &second).is_empty());
        let third = renewed(&second, vec![Said::fails("Ready", "Refused", "by a")], 1, "t3");
        assert_eq!(news(&second, &third)[0].reason, "Refused");
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        let said = Said::unknown("InForce", "NoNodes", "");
        assert_eq!(renewed(&[], vec![said], 1, "t")[0].status, "Unknown");
    }
}
