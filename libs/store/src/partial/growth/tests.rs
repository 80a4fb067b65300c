//! The state of a growing object against its promises and against a plain model.

use super::*;
use crate::error::ReadError;
use crate::partial::Unchecked;
use std::collections::HashMap;

const PIECE: u64 = 256 << 10;

fn growth(pieces: u64) -> Growth {
    Growth::new(Layout::of_size(pieces * PIECE))
}

fn digest(n: u8) -> PieceDigest {
    PieceDigest::from_bytes([n; 32])
}

fn write(growth: &mut Growth, piece: PieceIndex, n: u8) -> Result<(), WriteError> {
    let ticket = growth.begin(piece, false).unwrap();
    let (_, room) = growth.place(&ticket).unwrap();
    growth.grow(&ticket, room);
    growth.complete(&ticket, digest(n), None)
}

#[test]
fn a_piece_has_one_writer_at_a_time() {
    let mut growth = growth(2);
    let ticket = growth.begin(0, false).unwrap();
    assert!(growth.begin(0, false).is_none());
    growth.abandon(&ticket);
    assert!(growth.begin(0, false).is_some());
    assert!(growth.begin(2, false).is_none(), "the object has no such piece");
}

#[test]
fn a_whole_piece_is_not_written_again() {
    let mut growth = growth(1);
    write(&mut growth, 0, 1).unwrap();
    assert!(growth.begin(0, false).is_none());
    assert_eq!((growth.missing(), growth.digest(0)), (0, Some(digest(1))));
}

#[test]
fn a_short_piece_is_not_whole() {
    let mut growth = growth(1);
    let ticket = growth.begin(0, false).unwrap();
    growth.grow(&ticket, 5);
    let refused = growth.complete(&ticket, digest(1), None);
    assert!(matches!(refused, Err(WriteError::Short { written: 5, .. })));
    assert_eq!(growth.missing(), 1);
}

#[test]
fn a_piece_that_contradicts_the_attestation_is_not_whole() {
    let mut growth = growth(1);
    growth.attest(0, &[digest(7)], Bytes::new(), (1, "seed")).unwrap();
    assert!(matches!(write(&mut growth, 0, 1), Err(WriteError::Mismatch { .. })));
    write(&mut growth, 0, 7).unwrap();
}

#[test]
fn an_attestation_drops_whole_pieces_under_other_digests() {
    let mut growth = growth(2);
    write(&mut growth, 0, 1).unwrap();
    write(&mut growth, 1, 2).unwrap();
    let before = growth.rehash();
    let dropped = growth.attest(0, &[digest(1), digest(9)], Bytes::new(), (1, "seed"));
    assert_eq!(dropped, Some(vec![1]));
    assert!(growth.rehash() > before && growth.whole().contains(0) && !growth.whole().contains(1));
}

#[test]
fn another_reading_goes_on_where_it_agrees_and_is_refused_where_it_does_not() {
    let mut growth = growth(2);
    growth.attest(0, &[digest(1)], Bytes::from_static(b"a"), (1, "seed")).unwrap();
    growth.attest(0, &[digest(2)], Bytes::from_static(b"b"), (2, "seed")).unwrap();
    assert_eq!(
        growth.statements(0),
        vec![Bytes::from_static(b"b")],
        "nothing was held: the newer one counts"
    );
    write(&mut growth, 0, 2).unwrap();
    assert!(growth.holds_another(3, "seed") && !growth.holds_another(2, "seed"));
    assert!(growth.attest(0, &[digest(4)], Bytes::new(), (3, "seed")).is_none(), "another reading disagrees");
    assert!(growth.attest(0, &[digest(4)], Bytes::new(), (2, "seed")).is_none(), "it contradicts itself");
    assert!(growth.attest(2, &[digest(4)], Bytes::new(), (2, "seed")).is_none(), "no such piece");
    assert_eq!(growth.reading(), Some(&(2, "seed".to_owned())));
    assert!(growth.attest(0, &[digest(2), digest(3)], Bytes::new(), (3, "other")).is_some(), "it agrees");
    assert_eq!(growth.digest(1), Some(digest(3)));
}

#[test]
fn only_edge_growth_is_readable_at_the_edge() {
    let mut growth = growth(3);
    write(&mut growth, 0, 1).unwrap();
    let edge = growth.begin(1, true).unwrap();
    growth.grow(&edge, 10);
    let inner = growth.begin(2, false).unwrap();
    growth.grow(&inner, 10);
    assert_eq!(growth.readable(3, Unchecked::None), PIECE);
    assert_eq!(growth.readable(3, Unchecked::Edge), PIECE + 10);
    assert_eq!(growth.readable(2 * PIECE, Unchecked::Edge), 2 * PIECE);
    assert_eq!(growth.readable(2 * PIECE, Unchecked::Any), 2 * PIECE + 10);
    assert_eq!(growth.readable(PIECE + 20, Unchecked::Any), PIECE + 20);
    assert_eq!((growth.at_edge(), growth.under_way()), (vec![1], vec![1, 2]));
}

#[test]
fn a_claimed_piece_is_checked_before_it_is_read() {
    let mut growth = growth(3);
    growth.claim(1, digest(2));
    write(&mut growth, 0, 1).unwrap();
    assert_eq!(growth.plan(0, u64::MAX).unwrap(), ReadPlan::Plain(0..PIECE));
    assert_eq!(growth.plan(PIECE, 5).unwrap(), ReadPlan::Check(1, PIECE..2 * PIECE, digest(2)));
    growth.prove(1);
    assert_eq!(growth.plan(0, u64::MAX).unwrap(), ReadPlan::Plain(0..2 * PIECE));
    assert!(matches!(growth.plan(2 * PIECE, 1), Err(ReadError::Beyond { .. })));
}

#[test]
fn an_unknown_length_is_fixed_once_and_drops_what_lies_beyond() {
    let full = Layout::unknown().piece_bytes();
    let mut growth = Growth::new(Layout::unknown());
    write(&mut growth, 0, 1).unwrap();
    write(&mut growth, 1, 2).unwrap();
    let late = growth.begin(2, true).unwrap();
    growth.grow(&late, 100);
    let size = u64::from(full) * 2 + 100;
    assert!(growth.fix_size(size) && growth.fix_size(size) && !growth.fix_size(size + 1));
    growth.complete(&late, digest(3), None).unwrap();
    assert_eq!(growth.missing(), 0);

    let mut growth = Growth::new(Layout::unknown());
    write(&mut growth, 0, 1).unwrap();
    assert!(growth.fix_size(5), "the piece was longer than the object");
    assert_eq!((growth.whole().count(), growth.missing()), (0, 1));
}

#[test]
fn an_unknown_length_cannot_be_made_to_hold_a_bitmap_of_any_size() {
    let mut growth = Growth::new(Layout::unknown());
    assert!(growth.begin(u32::MAX, false).is_none());
    assert!(growth.attest(u32::MAX, &[digest(1), digest(2)], Bytes::new(), (1, "a")).is_none());
    assert!(growth.begin(100, false).is_some());
}

#[test]
fn a_reset_starts_a_new_era_and_voids_tickets() {
    let mut growth = growth(2);
    growth.attest(0, &[digest(1)], Bytes::new(), (1, "seed")).unwrap();
    write(&mut growth, 0, 1).unwrap();
    let ticket = growth.begin(1, false).unwrap();
    growth.reset();
    assert_eq!(growth.era(), 1);
    assert!(growth.place(&ticket).is_none());
    assert!(matches!(growth.complete(&ticket, digest(1), None), Err(WriteError::Stale)));
    assert_eq!((growth.whole().count(), growth.digest(0), growth.reading()), (0, None, None));
}

#[test]
fn a_window_moves_with_what_is_both_forgotten_and_hashed() {
    let mut growth = Growth::in_memory(Layout::of_size(10 * PIECE), 0);
    write(&mut growth, 0, 1).unwrap();
    write(&mut growth, 1, 1).unwrap();
    assert!(growth.begin(2, false).is_none(), "the window is two pieces");
    growth.forget_before(PIECE + 5);
    assert!(growth.begin(2, false).is_none(), "not hashed yet");
    growth.hashed(2 * PIECE);
    assert_eq!(growth.let_go(), PIECE);
    assert!(growth.begin(2, false).is_some());
    assert!(matches!(growth.plan(0, 1), Err(ReadError::Forgotten { offset: 0 })));
    assert_eq!(growth.servable().iter().collect::<Vec<_>>(), vec![1]);
    assert_eq!(growth.whole().count(), 2, "what was let go of is not fetched again");
}

#[test]
fn upstreams_are_bounded() {
    let mut growth = growth(1);
    for n in 0..100 {
        growth.add_upstream(&format!("https://h/{n}"));
    }
    assert_eq!(growth.upstreams().len(), MAX_UPSTREAMS);
}

#[test]
fn a_failed_one_hands_its_pieces_to_its_successor() {
    let mut growth = growth(2);
    write(&mut growth, 0, 1).unwrap();
    let ticket = growth.begin(1, false).unwrap();
    let next = growth.successor("cut");
    assert!(next.whole().contains(0) && next.outcome().is_none() && next.under_way().is_empty());
    assert!(growth.place(&ticket).is_none() && growth.begin(1, false).is_none());
    assert!(matches!(growth.plan(0, 1), Err(ReadError::Gone { .. })));
}

/// The plain model: what each piece of eight is.
#[derive(Default)]
struct Model {
    written: HashMap<PieceIndex, u64>,
    whole: BTreeSet<PieceIndex>,
}

impl Model {
    fn readable(&self, from: u64) -> u64 {
        let byte_is_here = |at: u64| {
            let piece = u32::try_from(at / PIECE).unwrap();
            self.whole.contains(&piece) || self.written.get(&piece).is_some_and(|n| at % PIECE < *n)
        };
        // Growth happens in eighths of a piece, so that looking at each eighth is enough.
        let mut end = from;
        while end < 8 * PIECE && byte_is_here(end) {
            end += PIECE / 8;
        }
        end
    }
}

proptest::proptest! {
    #[test]
    fn growing_agrees_with_a_plain_model(
        steps in proptest::collection::vec((0u8..5, 0u32..9, 1u64..9), 0..120),
        from in 0u64..64,
    ) {
        let mut growth = growth(8);
        let mut model = Model::default();
        let mut tickets: HashMap<PieceIndex, Ticket> = HashMap::new();
        for (step, piece, eighths) in steps {
            match step {
                0 => {
                    let ticket = growth.begin(piece, false);
                    let free = piece < 8 && !model.whole.contains(&piece) && !model.written.contains_key(&piece);
                    proptest::prop_assert_eq!(ticket.is_some(), free);
                    if let Some(ticket) = ticket {
                        tickets.insert(piece, ticket);
                        model.written.insert(piece, 0);
                    }
                }
                1 => if let Some(ticket) = tickets.get(&piece) {
                    let (_, room) = growth.place(ticket).unwrap();
                    let more = room.min(eighths * PIECE / 8);
                    growth.grow(ticket, more);
                    *model.written.get_mut(&piece).unwrap() += more;
                },
                2 => if let Some(ticket) = tickets.remove(&piece) {
                    let full = model.written.remove(&piece) == Some(PIECE);
                    proptest::prop_assert_eq!(growth.complete(&ticket, digest(1), None).is_ok(), full);
                    if full { model.whole.insert(piece); }
                },
                3 => if let Some(ticket) = tickets.remove(&piece) {
                    growth.abandon(&ticket);
                    model.written.remove(&piece);
                },
                _ => proptest::prop_assert_eq!(growth.lose(piece), model.whole.remove(&piece)),
            }
        }
        proptest::prop_assert_eq!(growth.whole().iter().collect::<BTreeSet<_>>(), model.whole.clone());
        let from = from * PIECE / 8;
        proptest::prop_assert_eq!(growth.readable(from, Unchecked::Any), model.readable(from));
        proptest::prop_assert_eq!(growth.missing() as usize, 8 - model.whole.len());
    }
}
