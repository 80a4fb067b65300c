//! What leaves before a piece is whole, to whom, and what is never taken back in silence.

use std::time::Duration;

use darner_lfs::layout::PieceIndex;
use darner_lfs::{Layout, ObjectKey, RunningSha256};
use darner_store::{Partial, PieceWriter, Store, StoreConfig};

use super::{Reader, Tail, TailError};

const SIZE: usize = 600_000;
/// Long enough for what is there already; what is not there never comes.
const PATIENCE: Duration = Duration::from_millis(300);

struct Scene {
    partial: Partial,
    content: Vec<u8>,
    _store: Store,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let content: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut hash = RunningSha256::default();
        hash.update(&content);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::at(dir.path())).await.unwrap();
        let key = ObjectKey::from(hash.finish());
        let partial = store.partial(key, Layout::of_size(SIZE as u64)).await.unwrap();
        Self { partial, content, _store: store, _dir: dir }
    }

    /// The first `bytes` of a piece, from a seed or from another peer; the piece is not whole.
    fn begun(&self, piece: PieceIndex, bytes: usize, edge: bool) -> PieceWriter {
        let start = usize::try_from(self.partial.layout().piece_start(piece)).unwrap();
        let mut writer = self.partial.begin(piece, edge).unwrap();
        writer.write(&self.content[start..start + bytes]).unwrap();
        writer
    }

    fn tail(&self, reader: Reader) -> Tail {
        Tail::growing(self.partial.clone(), reader, 0, None, PATIENCE)
    }
}

#[tokio::test]
async fn bytes_that_a_seed_brings_leave_before_their_piece_is_whole() {
    let scene = Scene::set().await;
    let _writer = scene.begun(0, 5_000, true);
    let mut tail = scene.tail(Reader::Git);
    assert_eq!(tail.next().await.unwrap().unwrap(), scene.content[..5_000]);
}

#[tokio::test]
async fn unchecked_bytes_of_another_peer_never_leave_for_git() {
    let scene = Scene::set().await;
    let writer = scene.begun(0, 5_000, false);
    let mut tail = scene.tail(Reader::Git);
    assert!(matches!(tail.next().await, Err(TailError::Stalled(_))), "nobody has checked them");
    drop(writer);
    let piece = usize::try_from(scene.partial.layout().piece_start(1)).unwrap();
    scene.begun(0, piece, false).finish(None).unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap(), scene.content[..piece], "once it is whole they do");
}

#[tokio::test]
async fn another_node_gets_bytes_as_they_arrive() {
    let scene = Scene::set().await;
    let _writer = scene.begun(0, 5_000, false);
    let mut tail = scene.tail(Reader::Peer);
    assert_eq!(tail.next().await.unwrap().unwrap(), scene.content[..5_000]);
}

#[tokio::test]
async fn bytes_that_left_and_are_taken_back_break_the_answer() {
    let scene = Scene::set().await;
    let _writer = scene.begun(0, 5_000, true);
    let (mut began, mut waits) = (scene.tail(Reader::Git), scene.tail(Reader::Git));
    began.next().await.unwrap().unwrap();
    scene.partial.reset("it was a lie");
    assert!(matches!(began.next().await, Err(TailError::Tainted)));
    let _again = scene.begun(0, 7_000, true);
    assert_eq!(waits.next().await.unwrap().unwrap(), scene.content[..7_000], "who got nothing begins anew");
}

#[tokio::test]
async fn the_last_byte_of_a_whole_object_waits_for_its_hash() {
    let scene = Scene::set().await;
    for piece in 0..scene.partial.layout().piece_count().unwrap() {
        let range = scene.partial.layout().piece_range(piece).unwrap();
        let bytes = usize::try_from(range.end - range.start).unwrap();
        scene.begun(piece, bytes, true).finish(None).unwrap();
    }
    let mut tail = scene.tail(Reader::Git);
    let mut got = 0;
    while let Ok(Some(bytes)) = tail.next().await {
        got += bytes.len();
    }
    assert_eq!(got, SIZE - 1);
    scene.partial.finish().unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap(), scene.content[SIZE - 1..]);
}
