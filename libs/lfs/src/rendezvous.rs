//! Rendezvous (highest random weight) hashing: every node that knows the same members ranks them alike for a key,
//! and a member that comes or goes moves only its own share of the keys.

use crate::key::ObjectKey;

/// The members, best first, for an object. Members are named by a stable text (the gRPC address of a seed or scheduler).
pub fn rank<'a, M>(key: &ObjectKey, members: &'a [M], name: impl Fn(&M) -> &str) -> Vec<&'a M> {
    let mut ranked: Vec<_> = members.iter().map(|member| (weight(key, name(member)), member)).collect();
    ranked.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| name(left).cmp(name(right))));
    ranked.into_iter().map(|(_, member)| member).collect()
}

fn weight(key: &ObjectKey, name: &str) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(key.digest());
    hash.update(name.as_bytes());
    let mut first = [0; 8];
    hash.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid::Oid;

    fn key(n: u8) -> ObjectKey {
        Oid::from_bytes([n; 32]).into()
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let (forth, back) = (["a", "b", "c", "d"], ["d", "c", "b", "a"]);
        for n in 0..50 {
            assert_eq!(rank(&key(n), &forth, |m| m), rank(&key(n), &back, |m| m));
        }
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_keys() {
        let (all, fewer) = (["a", "b", "c", "d"], ["a", "b", "d"]);
        for n in 0..200 {
            let before = rank(&key(n), &all, |m| m);
            let after = rank(&key(n), &fewer, |m| m);
            let expected: Vec<_> = before.into_iter().filter(|m| **m != "c").collect();
            assert_eq!(after, expected);
        }
    }

    #[test]
    fn every_member_owns_a_share() {
        let members = ["a", "b", "c", "d"];
        let owned = |m: &str| (0..=255).filter(|n| *rank(&key(*n), &members, |m| m)[0] == m).count();
        assert!(members.iter().all(|m| owned(m) > 32));
    }
}
