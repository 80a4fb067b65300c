//! Lists, a page at a time.
//!
//! Owns: the shape `{"items": [...], "next": cursor|null}` and what a cursor looks like. A cursor names the list it
//! belongs to and the last item shown; it is opaque to callers, and one that is damaged or of another list is
//! refused. Never: state; a cursor stays good over restarts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Items of a page when the caller does not say.
const USUAL: i64 = 50;
/// Most items of a page.
const MOST: i64 = 500;

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Items per page, 1 to 500; 50 when absent.
    pub limit: Option<i64>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `cursor` of the page after this one; null on the last.
    pub next: Option<String>,
}

/// A list and where in it the page begins.
#[derive(Debug, Clone)]
pub struct Place {
    list: &'static str,
    limit: i64,
    after: Option<String>,
}

impl Paging {
    /// The place in the list of this name.
    pub fn place(&self, list: &'static str) -> Result<Place, Problem> {
        let limit = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` must be 1 to {MOST}")));
        }
        let after = match &self.cursor {
            Some(cursor) => Some(open(list, cursor).ok_or_else(bad_cursor)?),
            None => None,
        };
        Ok(Place { list, limit, after })
    }
}

impl Place {
    /// One more than the page holds, to see whether another follows.
    pub fn fetched(&self) -> i64 {
        self.limit + 1
    }

    /// For a list in the order of a text: the page begins after this one.
    pub fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// For a list from the newest number down: the page begins before this one.
    pub fn before(&self) -> Result<i64, Problem> {
        self.after
            .as_deref()
            .map_or(Ok(i64::MAX), |number| number.parse().map_err(|_not_a_number| bad_cursor()))
    }

    /// The page of what was fetched; `name` is what the next cursor remembers of the last item.
    pub fn page<T>(&self, mut items: Vec<T>, name: impl Fn(&T) -> String) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(format!("{} {}", self.list, name(last))));
        Page { items, next }
    }
}

impl<T> Page<T> {
    /// A list with nothing in it.
    pub fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

fn open(list: &str, cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    Some(text.strip_prefix(list)?.strip_prefix(' ')?.to_owned())
}

fn bad_cursor() -> Problem {
    Problem::bad_request("`cursor` is not one of this list; take it from `next`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(limit: Option<i64>, cursor: Option<String>) -> Paging {
        Paging { limit, cursor }
    }

    #[test]
    fn pages_follow_one_another_and_the_last_says_so() {
        let first = paging(Some(2), None).place("nodes").unwrap();
        assert_eq!((first.fetched(), first.after()), (3, ""));
        let page = first.page(vec!["a", "b", "c"], ToString::to_string);
        assert_eq!(page.items, ["a", "b"]);
        let second = paging(Some(2), page.next).place("nodes").unwrap();
        assert_eq!(second.after(), "b");
        assert_eq!(second.page(vec!["c"], ToString::to_string).next, None);
    }

    #[test]
    fn numbers_page_downwards() {
        let first = paging(Some(1), None).place("audit").unwrap();
        assert_eq!(first.before().unwrap(), i64::MAX);
        let next = first.page(vec![9, 8], ToString::to_string).next;
        assert_eq!(paging(None, next).place("audit").unwrap().before().unwrap(), 9);
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let page = paging(Some(1), None).place("nodes").unwrap().page(vec!["7", "8"], ToString::to_string);
        assert_eq!(paging(None, page.next).place("audit").unwrap_err().status, 400);
    }

    #[test]
    fn a_damaged_cursor_is_refused() {
        for cursor in ["", "?", "AAAA", "zz zz", "' OR 1=1 --"] {
            assert!(paging(None, Some(cursor.to_owned())).place("nodes").is_err(), "{cursor}");
        }
        let words = URL_SAFE_NO_PAD.encode("audit x");
        assert!(paging(None, Some(words)).place("audit").unwrap().before().is_err());
    }

    #[test]
    fn a_page_has_a_bound() {
        for limit in [0, -1, MOST + 1, i64::MAX] {
            assert!(paging(Some(limit), None).place("nodes").is_err(), "{limit}");
        }
    }
}
