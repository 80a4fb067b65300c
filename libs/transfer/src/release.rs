//! The one rule for what may leave towards a git client.
//!
//! An answer that contains the last byte of an object holds it back until the whole is confirmed (the client then
//! either gets everything, or a body it cannot mistake for whole: git-lfs restarts cleanly when all but the last
//! byte came). Everything before the last byte is released as far as it is readable, and what is readable is the
//! reader's choice of checked bytes (see `darner_store`'s `Unchecked`).

/// How far an object has come, as one reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// End of the contiguous bytes that can be read from the reader's position.
    pub readable: u64,
    /// Total length, once known.
    pub size: Option<u64>,
    /// The whole was hashed and is what its id says.
    pub confirmed: bool,
}

/// The offset up to which bytes may be answered.
pub fn releasable(progress: Progress) -> u64 {
    match progress {
        Progress { confirmed: true, readable, .. } => readable,
        Progress { size: Some(size), readable, .. } => readable.min(size.saturating_sub(1)),
        // Any byte may turn out to be the last one: hold one back all the way.
        Progress { size: None, readable, .. } => readable.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_waits_for_the_confirmation() {
        let whole = Progress { readable: 100, size: Some(100), confirmed: false };
        assert_eq!(releasable(whole), 99);
        assert_eq!(releasable(Progress { confirmed: true, ..whole }), 100);
    }

    #[test]
    fn what_lies_before_the_last_byte_is_not_held() {
        assert_eq!(releasable(Progress { readable: 99, size: Some(100), confirmed: false }), 99);
        assert_eq!(releasable(Progress { readable: 7, size: Some(100), confirmed: false }), 7);
    }

    #[test]
    fn while_the_length_is_unknown_one_byte_is_always_held() {
        assert_eq!(releasable(Progress { readable: 7, size: None, confirmed: false }), 6);
        assert_eq!(releasable(Progress { readable: 0, size: None, confirmed: false }), 0);
    }

    #[test]
    fn nothing_of_an_unconfirmed_one_byte_object_leaves() {
        assert_eq!(releasable(Progress { readable: 1, size: Some(1), confirmed: false }), 0);
    }
}
