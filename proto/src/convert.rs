//! Checked conversion between messages and `darner_lfs` values.

use darner_lfs::layout::{LAYOUT_VERSION, LayoutError};
use darner_lfs::{Holding, Layout, ObjectKey, Oid, UrlKey};

use crate::v1;

/// Why a message cannot be taken at its word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that must be there is absent.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A digest or key of another length than 32 bytes.
    #[error("`{0}` must have 32 bytes")]
    Length(&'static str),
    /// A layout of another rule.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The 32 bytes of a digest field.
pub fn digest(bytes: &[u8], field: &'static str) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_length| Malformed::Length(field))
}

/// The key of a message; absent keys are refused.
pub fn key(message: Option<&v1::ObjectKey>) -> Result<ObjectKey, Malformed> {
    match message.and_then(|key| key.kind.as_ref()) {
        Some(v1::object_key::Kind::Sha256(bytes)) => {
            Ok(ObjectKey::Sha256(Oid::from_bytes(digest(bytes, "key.sha256")?)))
        }
        Some(v1::object_key::Kind::Url(bytes)) => {
            Ok(ObjectKey::Url(UrlKey::from_bytes(digest(bytes, "key.url")?)))
        }
        None => Err(Malformed::Missing("key")),
    }
}

/// The layout of a message; absent layouts are refused.
pub fn layout(message: Option<&v1::Layout>) -> Result<Layout, Malformed> {
    let layout = message.ok_or(Malformed::Missing("layout"))?;
    Ok(Layout::checked(layout.version, layout.size, layout.piece_bytes)?)
}

/// The pieces a `Held` message names, under its own layout.
pub fn holding(held: &v1::Held) -> Result<(ObjectKey, Layout, Holding), Malformed> {
    let layout = layout(held.layout.as_ref())?;
    let count = layout.piece_count();
    let holding = match (held.complete, count) {
        (true, Some(count)) => Holding::full(count),
        _ => Holding::from_bytes(&held.pieces, count.unwrap_or(u32::MAX)),
    };
    Ok((key(held.key.as_ref())?, layout, holding))
}

impl From<ObjectKey> for v1::ObjectKey {
    fn from(key: ObjectKey) -> Self {
        let kind = match key {
            ObjectKey::Sha256(oid) => v1::object_key::Kind::Sha256(oid.as_bytes().to_vec().into()),
            ObjectKey::Url(url) => v1::object_key::Kind::Url(url.as_bytes().to_vec().into()),
        };
        Self { kind: Some(kind) }
    }
}

impl From<Layout> for v1::Layout {
    fn from(layout: Layout) -> Self {
        Self { version: LAYOUT_VERSION, size: layout.size(), piece_bytes: layout.piece_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_layouts_survive_the_wire() {
        for wanted in [ObjectKey::Sha256(Oid::EMPTY), ObjectKey::Url(UrlKey::of_url("https://h/p", &[]))] {
            assert_eq!(key(Some(&wanted.into())), Ok(wanted));
        }
        for wanted in [Layout::unknown(), Layout::of_size(12_345_678)] {
            assert_eq!(layout(Some(&wanted.into())), Ok(wanted));
        }
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        assert_eq!(key(None), Err(Malformed::Missing("key")));
        let short = v1::ObjectKey { kind: Some(v1::object_key::Kind::Sha256(vec![1, 2].into())) };
        assert_eq!(key(Some(&short)), Err(Malformed::Length("key.sha256")));
        let foreign = v1::Layout { version: 9, size: None, piece_bytes: 1 };
        assert_eq!(layout(Some(&foreign)), Err(Malformed::Layout(LayoutError::Version(9))));
    }

    #[test]
    fn a_bitmap_longer_than_the_object_is_cut() {
        let held = v1::Held {
            key: Some(Oid::EMPTY.into_key()),
            layout: Some(Layout::of_size(300_000).into()),
            complete: false,
            pieces: vec![0xff; 1000].into(),
        };
        assert_eq!(holding(&held).map(|(_, _, holding)| holding.count()), Ok(2));
    }

    trait IntoKey {
        fn into_key(self) -> v1::ObjectKey;
    }
    impl IntoKey for Oid {
        fn into_key(self) -> v1::ObjectKey {
            ObjectKey::Sha256(self).into()
        }
    }
}
