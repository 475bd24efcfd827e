//! The member that a hash of the request names, or the next one if that has too many requests.
//!
//! The key leads to a slot of a table, and the slot has an owner. Owners are found by weighted rendezvous (Thaler and
//! Ravishankar, 1998): for each slot every member draws a waiting time, from its identity alone and with its weight as the
//! rate, and the shortest one wins. So a member has the share of the slots that its weight says; if it goes, its slots are
//! shared by the others, and no other slot changes hands; if it comes, it takes its share from all. A ring of points needs
//! many of them for shares as even, and with weights has no number of points that does not depend on the other members;
//! the table of Maglev (Eisenbud et al., 2016) also moves slots of members that stay.
//!
//! To draw a time for each slot and member would take long with 1,000 members. Instead each member draws a Poisson process
//! of events, each on a slot drawn for it; the first event on a slot is a waiting time of the same distribution. Events are
//! only drawn up to a time by which all slots have had one.
//!
//! A member may have up to `bound` percent of its share, by weight, of all requests in flight; beyond that the owner of the
//! next slot is asked (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016). Keys of one full
//! member are thereby spread over all others.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::draws::{Stream, mix};
use super::members::{Member, Members};
use super::{Candidate, Pick};

/// Slots of the table. With 1,000 members of equal weight each has 33 of them, give or take 6, and the bound evens it out.
const SLOTS: usize = 1 << 15;

/// Slots from that of the key on whose owners are asked before all members are, one after the other.
const PROBES: usize = 64;

/// The most members whose requests in flight are summed up for each pick. Of more, they are for every as many picks: a sum
/// that is old by that many requests moves the bound of a member by one request or two.
const EXACT: usize = 64;

/// See [`Algorithm::Hash`](crate::config::Algorithm::Hash).
#[derive(Debug)]
pub(super) struct Hash {
    members: Members,
    /// Indices into `members`; empty if there are none.
    owners: Box<[u32]>,
    /// What a member of weight 1 may have for each request in flight on any.
    bound: Option<f64>,
    /// All requests in flight, as last summed up.
    in_flight: AtomicUsize,
}

impl Hash {
    /// `bound` in percent; `None`: a member may have any number of requests.
    pub(super) fn new(candidates: &[Candidate<'_>], bound: Option<u16>) -> Self {
        let members = Members::new(candidates);
        let identities: Vec<(u64, u32)> = candidates
            .iter()
            .filter(|candidate| candidate.weight > 0) // as in `Members`
            .map(|candidate| (candidate.identity, candidate.weight))
            .collect();
        let weight: f64 = identities.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let bound = bound.map(|percent| f64::from(percent) / 100.0 / weight);
        let hash = Hash { members, owners: owners(&identities, weight), bound, in_flight: AtomicUsize::new(0) };
        hash.sum_up();
        hash
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if self.owners.is_empty() {
            return None;
        }
        let from = (mix(request.key) % SLOTS as u64) as usize; // below SLOTS
        let bound = self.bound.map(|bound| bound * (self.total(request.turn) + 1) as f64); // exact up to 2^53
        let has_room = |member: &Member| {
            // Exact: at most 2^32.
            bound.is_none_or(|bound| (member.gauge.in_flight() as f64) < bound * f64::from(member.weight))
        };
        let mut full = None;
        let (before, after) = self.owners.split_at(from); // there are SLOTS of them
        for &owner in after.iter().chain(before).take(PROBES) {
            let Some(member) = self.members.all().get(owner as usize).filter(|member| usable(member.position)) else {
                continue;
            };
            if has_room(member) {
                return Some(member.position);
            }
            full = full.or(Some(member.position));
        }
        // Hardly any is usable, or most are full since many requests have the same key.
        let all = self.members.all();
        let (before, after) = all.split_at(from % all.len().max(1)); // within `all`
        let mut others = after.iter().chain(before).filter(|member| usable(member.position)).peekable();
        // All that are usable may be full if those that are not have less than their share: then it is as if none were.
        let full = full.or(others.peek().map(|member| member.position));
        others.find(|member| has_room(member)).map(|member| member.position).or(full)
    }

    /// All requests in flight.
    fn total(&self, turn: &AtomicUsize) -> usize {
        // Relaxed: the numbers count for themselves.
        match self.members.all().len() <= EXACT || turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(EXACT) {
            true => self.sum_up(),
            false => self.in_flight.load(Ordering::Relaxed),
        }
    }

    fn sum_up(&self) -> usize {
        let sum = self.members.all().iter().map(|member| member.gauge.in_flight()).sum();
        self.in_flight.store(sum, Ordering::Relaxed);
        sum
    }
}

/// The owner of each slot, for members with these identities and weights (not 0) of this sum.
fn owners(members: &[(u64, u32)], weight: f64) -> Box<[u32]> {
    if members.is_empty() {
        return Box::default();
    }
    let mut slots = vec![(f64::INFINITY, 0); SLOTS];
    let mut streams: Vec<_> = members.iter().map(|&(identity, _)| (0.0, Stream::new(identity))).collect();
    // Each slot has had an event with a chance of 1 - 1/e^4 / SLOTS when the first horizon is reached. How many steps it
    // takes makes no difference to the owners.
    let step = SLOTS as f64 / weight;
    let mut horizon = step * ((SLOTS as f64).ln() + 4.0);
    while slots.iter().any(|(time, _)| *time == f64::INFINITY) {
        for ((index, (_, weight)), (time, stream)) in (0_u32..).zip(members).zip(&mut streams) {
            while *time < horizon {
                *time -= stream.unit().ln() / f64::from(*weight);
                let slot = &mut slots[(stream.next() % SLOTS as u64) as usize]; // there are SLOTS of them
                if *time < slot.0 {
                    *slot = (*time, index);
                }
            }
        }
        horizon += step;
    }
    slots.into_iter().map(|(_, owner)| owner).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    /// The identities of the owners.
    fn table(members: &[(u64, u32)]) -> Vec<u64> {
        let weight = members.iter().map(|&(_, weight)| f64::from(weight)).sum();
        owners(members, weight).iter().map(|&owner| members[owner as usize].0).collect()
    }

    fn owned(table: &[u64], identity: u64) -> f64 {
        table.iter().filter(|&&owner| owner == identity).count() as f64 / SLOTS as f64
    }

    #[test]
    fn slots_are_shared_by_weight() {
        for (members, within) in [
            (vec![(7, 1)], 1e-9),
            (vec![(1, 1), (2, 1), (3, 1)], 0.01),
            (vec![(1, 256), (2, 1), (3, 100), (4, 25_600)], 0.01),
            ((0..100).map(|identity| (identity, 1)).collect(), 0.003),
        ] {
            let (table, weight) = (table(&members), members.iter().map(|&(_, weight)| weight).sum::<u32>());
            for &(identity, share) in &members {
                let (owned, share) = (owned(&table, identity), f64::from(share) / f64::from(weight));
                assert!((owned - share).abs() < within, "{identity}: {owned}, not {share}");
            }
        }
    }

    #[test]
    fn only_the_slots_of_one_that_goes_change_hands() {
        let weighted: Vec<(u64, u32)> = (0..10).map(|i| (i * i, 1 + i as u32 % 3)).collect();
        for all in [vec![(1, 1), (2, 1), (3, 1)], vec![(1, 4), (2, 1), (3, 1)], weighted] {
            let before = table(&all);
            for (index, &(gone, _)) in all.iter().enumerate() {
                let mut left = all.clone();
                left.swap_remove(index); // the order is of no account
                let after = table(&left);
                assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == gone));
                // What it had is shared by weight, too: whoever stays has its new share.
                let weight: u32 = left.iter().map(|&(_, weight)| weight).sum();
                for &(identity, share) in &left {
                    assert!((owned(&after, identity) - f64::from(share) / f64::from(weight)).abs() < 0.01);
                }
            }
        }
    }

    #[test]
    fn a_key_stays_with_its_member_while_there_is_room() {
        let bench = Bench::new(&[1; 4]);
        let hash = Hash::new(&bench.candidates(), Some(125));
        let of_key = |key| hash.pick(&bench.request(key), |_| true).unwrap();
        for key in 0..100 {
            assert_eq!(of_key(key), of_key(key));
        }
        // 8 requests in flight, one to come: 1.25 * 9 / 4 = 2.8, so a third one is admitted; 1.25 * 10 / 4 = 3.1, so is a
        // fourth one; and with 1.25 * 11 / 4 = 3.4 no fifth.
        let (key, member) = (5, of_key(5));
        let mut flying: Vec<_> =
            (0..4).flat_map(|position| [position; 2]).map(|position| bench.start(position)).collect();
        for _ in 0..2 {
            assert_eq!(of_key(key), member);
            flying.push(bench.start(member));
        }
        let next = of_key(key);
        assert_ne!(next, member);
        assert_eq!(of_key(key), next, "and always the same next one");
        flying.clear();
        assert_eq!(of_key(key), member);
        let unbounded = Hash::new(&bench.candidates(), None);
        flying.extend((0..100).map(|_| bench.start(member)));
        assert_eq!(unbounded.pick(&bench.request(key), |_| true), Some(member));
    }

    #[test]
    fn nobody_exceeds_the_bound_however_uneven_the_keys() {
        for (weights, bound) in [(vec![1; 3], 101), (vec![1, 2, 3, 4], 125), (vec![1; 30], 200), (vec![3; 200], 125)] {
            let bench = Bench::new(&weights);
            let hash = Hash::new(&bench.candidates(), Some(bound));
            let total: u32 = weights.iter().sum();
            let mut flying = Vec::new();
            for _ in 0..2_000 {
                let position = hash.pick(&bench.request(7), |_| true).unwrap();
                flying.push(bench.start(position));
                let share = f64::from(weights[position]) / f64::from(total) * f64::from(bound) / 100.0;
                let most = (share * flying.len() as f64).ceil();
                assert!(bench.gauge(position).in_flight() as f64 <= most, "{position} of {weights:?}");
            }
        }
    }

    #[test]
    fn if_all_are_full_the_first_is_asked() {
        let bench = Bench::new(&[1; 3]);
        let hash = Hash::new(&bench.candidates(), Some(101));
        let first = hash.pick(&bench.request(3), |_| true).unwrap();
        let others: Vec<_> = (0..3).filter(|&position| position != first).collect();
        let _flying: Vec<_> = [others[0], others[0], others[1], others[1]].map(|position| bench.start(position)).into();
        let next = hash.pick(&bench.request(3), |position| position != first).unwrap();
        assert!(others.contains(&next));
        assert_eq!(hash.pick(&bench.request(3), |position| position == others[0]), Some(others[0]));
    }
}
