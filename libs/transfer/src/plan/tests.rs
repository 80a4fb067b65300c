//! The rules of the plan as sentences, and a model of a whole swarm in rounds.

use darner_lfs::{Holding, Oid};

use super::*;

const LIMITS: Limits = Limits { lanes: 3, grace_ms: 50, aside_ms: 1_000, strikes: 3 };

fn key() -> ObjectKey {
    Oid::EMPTY.into()
}

fn plan(count: u32) -> Plan {
    Plan::new("me", key(), count, &Holding::empty(), LIMITS)
}

fn whole(plan: &mut Plan, id: &str, supply: Supply) {
    plan.offer(id, supply, false).complete = true;
}

#[test]
fn the_pieces_behind_the_reader_come_first_and_in_order() {
    let mut plan = plan(100);
    plan.set_head(40);
    whole(&mut plan, "peer", Supply::Peer);
    let taken: Vec<_> = (0..3).map(|_| plan.next("peer", 0)).collect();
    assert_eq!(taken, [Next::Take(40), Next::Take(41), Next::Take(42)]);
}

#[test]
fn what_lies_before_the_reader_is_fetched_in_the_end() {
    let mut plan = plan(3);
    plan.set_head(2);
    whole(&mut plan, "peer", Supply::Peer);
    assert_eq!(plan.next("peer", 0), Next::Take(2));
    plan.arrived(2);
    assert_eq!(plan.next("peer", 0), Next::Take(0));
}

#[test]
fn a_parent_has_a_bounded_number_of_lanes() {
    let mut plan = plan(10);
    whole(&mut plan, "peer", Supply::Peer);
    for _ in 0..3 {
        assert!(matches!(plan.next("peer", 0), Next::Take(_)));
    }
    assert_eq!(plan.next("peer", 0), Next::Idle);
    plan.arrived(0);
    assert!(matches!(plan.next("peer", 0), Next::Take(_)));
}

#[test]
fn everybody_takes_the_first_piece_from_the_seed() {
    let mut plan = plan(10);
    plan.offer("seed", Supply::Seed, false).under_way.insert(0);
    plan.offer("other", Supply::Peer, false);
    assert_eq!(plan.next("seed", 0), Next::Take(0));
}

#[test]
fn alone_with_the_seed_nothing_is_waited_for() {
    let mut plan = plan(10);
    whole(&mut plan, "seed", Supply::Seed);
    assert_eq!(plan.next("seed", 0), Next::Take(0));
    assert_eq!(plan.next("seed", 0), Next::Take(1));
}

#[test]
fn exactly_one_of_the_nodes_that_know_each_other_is_designated() {
    for piece in 1..100 {
        let nodes = ["a", "b", "c", "d"];
        let designated = nodes.iter().filter(|own| {
            let mut plan = Plan::new(own, key(), 100, &Holding::empty(), LIMITS);
            whole(&mut plan, "seed", Supply::Seed);
            for other in nodes.iter().filter(|other| other != own) {
                plan.offer(other, Supply::Peer, false);
            }
            plan.designated(piece, "seed")
        });
        assert_eq!(designated.count(), 1, "piece {piece}");
    }
}

#[test]
fn a_piece_left_to_its_designated_taker_is_taken_after_the_grace() {
    let mut plan = plan(100);
    plan.arrived(0);
    whole(&mut plan, "seed", Supply::Seed);
    plan.offer("other", Supply::Peer, false);
    let mut ours = 0;
    while let Next::Take(piece) = plan.next("seed", 0) {
        ours += 1;
        plan.arrived(piece);
    }
    assert!(ours > 10 && ours < 90, "about half of the pieces are ours: {ours}");
    assert_eq!(plan.next("seed", 0), Next::WaitUntil(50));
    assert!(matches!(plan.next("seed", 50), Next::Take(_)));
}

#[test]
fn what_a_peer_is_receiving_is_taken_from_it_while_it_arrives() {
    let mut plan = plan(10);
    plan.arrived(0);
    whole(&mut plan, "seed", Supply::Seed);
    plan.offer("other", Supply::Peer, false).under_way.insert(4);
    assert_eq!(plan.next("other", 0), Next::Take(4));
}

#[test]
fn the_last_resort_is_asked_only_after_the_others_had_their_chance() {
    let mut plan = plan(4);
    plan.offer("seed", Supply::Seed, true).complete = true;
    plan.offer("peer", Supply::Peer, false).holding.insert(1);
    assert_eq!(plan.next("peer", 0), Next::Take(1));
    assert_eq!(plan.next("seed", 10), Next::Take(0), "the first piece is never waited for");
    assert_eq!(plan.next("seed", 10), Next::WaitUntil(60));
    assert!(matches!(plan.next("seed", 60), Next::Take(2)));
}

#[test]
fn a_corrupt_parent_is_never_asked_again() {
    let mut plan = plan(4);
    whole(&mut plan, "bad", Supply::Peer);
    assert_eq!(plan.next("bad", 0), Next::Take(0));
    plan.failed(0, "bad", Failure::Corrupt, 0);
    assert_eq!(plan.next("bad", 1_000_000), Next::Idle);
    assert!(!plan.has_parents());
}

#[test]
fn a_stalled_parent_rests_and_its_piece_goes_elsewhere() {
    let mut plan = plan(4);
    whole(&mut plan, "slow", Supply::Peer);
    whole(&mut plan, "good", Supply::Peer);
    assert_eq!(plan.next("slow", 0), Next::Take(0));
    plan.failed(0, "slow", Failure::Stalled, 0);
    assert_eq!(plan.next("slow", 10), Next::WaitUntil(1_000));
    assert_eq!(plan.next("good", 10), Next::Take(0));
}

#[test]
fn what_was_being_taken_from_a_parent_that_left_is_missing_again() {
    let mut plan = plan(2);
    whole(&mut plan, "gone", Supply::Peer);
    assert_eq!(plan.next("gone", 0), Next::Take(0));
    plan.withdraw("gone");
    whole(&mut plan, "other", Supply::Peer);
    assert_eq!(plan.next("other", 0), Next::Take(0));
}

#[test]
fn a_parent_without_the_piece_is_not_asked_for_it_again() {
    let mut plan = plan(2);
    plan.offer("peer", Supply::Peer, false).holding = Holding::full(2);
    assert_eq!(plan.next("peer", 0), Next::Take(0));
    plan.failed(0, "peer", Failure::Absent, 0);
    assert_eq!(plan.next("peer", 0), Next::Take(1));
}

proptest::proptest! {
    /// Rounds of a swarm in which everybody knows everybody: it always ends, and with all pieces everywhere.
    #[test]
    fn a_swarm_of_plans_ends_with_everything_everywhere(nodes in 2usize..7, count in 1u32..60, rounds_late in 0u64..30) {
        let names: Vec<String> = (0..nodes).map(|n| format!("node-{n}")).collect();
        let mut plans: Vec<Plan> =
            names.iter().map(|own| Plan::new(own, key(), count, &Holding::empty(), LIMITS)).collect();
        let mut held: Vec<Holding> = vec![Holding::empty(); nodes];
        let mut from_seed = 0u64;
        for round in 0..10_000u64 {
            let read = u32::try_from(round.saturating_sub(rounds_late)).unwrap().min(count);
            for at in 0..nodes {
                plans[at].offer("seed", Supply::Seed, false).holding = Holding::full(read);
                for other in (0..nodes).filter(|other| *other != at) {
                    plans[at].offer(&names[other], Supply::Peer, false).holding = held[other].clone();
                }
                let parents: Vec<String> = plans[at].parents().map(str::to_owned).collect();
                for parent in parents {
                    if let Next::Take(piece) = plans[at].next(&parent, round * 10) {
                        from_seed += u64::from(parent == "seed");
                        plans[at].arrived(piece);
                        held[at].insert(piece);
                    }
                }
            }
            if plans.iter().all(Plan::is_complete) {
                break;
            }
        }
        assert!(plans.iter().all(Plan::is_complete));
        // Everybody takes piece 0 there; of the rest about one copy leaves the seed.
        let bound = u64::try_from(nodes).unwrap() + 2 * u64::from(count);
        assert!(from_seed <= bound, "{from_seed} pieces left the seed for {nodes} nodes of {count} pieces");
    }
}
