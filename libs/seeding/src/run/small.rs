//! Small objects: read to the end, hashed and kept in one step, without a growing object in between.
//!
//! Owns: what counts as small and as quick. Never: a word to anybody before the hash of the whole agreed. Whatever does not
//! come like that (slowly, cut, as something else, onto a full disk) is poured like any other object, from its first byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use darner_lfs::Oid;
use darner_origin::{OriginError, Reading};

use super::Runner;
use crate::credential::Presented;
use crate::flight::Standing;

/// A few packets: passing them on as they come would gain nobody anything.
const SMALL_BYTES: u64 = 64 << 10;
/// Who takes longer for so little is passed on as it comes.
const QUICK: Duration = Duration::from_millis(20);

impl Runner {
    /// Keeps a small object; false where it has to be poured, with everything that was read to come again.
    pub(super) async fn gulp(&mut self, presented: &Presented, answer: &mut Reading) -> bool {
        let Some((oid, size)) = self.is_small(answer) else { return false };
        let (content, read) = whole(answer, size).await;
        if read {
            match self.inner.parts.store.put(oid, content.clone(), Some(&presented.upstream)).await {
                Ok(stored) => {
                    self.flight.stands(presented, Standing::Accepted);
                    self.kept = Some(stored);
                    return true;
                }
                Err(error) => tracing::debug!(%oid, %error, "a small object is not kept in one step"),
            }
        }
        answer.unread(content);
        false
    }

    fn is_small(&self, answer: &Reading) -> Option<(Oid, usize)> {
        let size = answer.total.filter(|size| *size <= SMALL_BYTES && answer.start == 0)?;
        let oid = self.flight.key.oid().filter(|_| self.pour.is_none())?;
        Some((oid, usize::try_from(size).ok()?))
    }
}

/// What comes quickly, and whether it is all.
async fn whole(answer: &mut Reading, size: usize) -> (Bytes, bool) {
    let mut content = BytesMut::with_capacity(size);
    let read = async {
        while let Some(bytes) = answer.next().await? {
            content.extend_from_slice(&bytes);
        }
        Ok::<_, OriginError>(())
    };
    let ended = matches!(tokio::time::timeout(QUICK, read).await, Ok(Ok(())));
    let read = ended && content.len() == size;
    (content.freeze(), read)
}
