//! What a download is in the traces of those who wait for it.
//!
//! Owns: the pairs of a caller's `download` span and what that was opened in. In a trace both end no earlier than the
//! download itself, so that whatever hangs below them lies within them. Never: anything where nothing is traced.

use std::sync::{Mutex, PoisonError};

use tracing::Span;

/// Callers beyond so many end their spans when they have joined.
const KEPT: usize = 16;

/// The callers' spans, first the one the download began for.
#[derive(Debug, Default)]
pub(super) struct Spans {
    kept: Mutex<Vec<(Span, Span)>>,
}

impl Spans {
    /// One more caller: its span, and what that was opened in.
    pub(super) fn keep(&self, span: Span, around: Span) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !span.is_disabled() && kept.len() < KEPT {
            kept.push((span, around));
        }
    }

    /// The download has ended: its spans end now, from the inside out. (A span ends where it was last entered.)
    pub(super) fn close(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for (span, around) in kept {
            span.in_scope(|| ());
            around.in_scope(|| ());
        }
    }
}
