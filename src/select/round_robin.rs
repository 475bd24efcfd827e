//! Smooth weighted round robin.
//!
//! The order is computed beforehand, one cycle of it, as an earliest-deadline-first schedule. With `W` the sum of the
//! weights, turn `k` (from 0) of a member of weight `w` may be taken from slot `⌊kW/w⌋` on and is due before slot
//! `⌈(k+1)W/w⌉`; in each slot the member goes whose turn is due first, of those that may. This is the scheduling of
//! Liu and Layland (1973) with the windows of proportionate fairness (Baruah, Cohen, Plaxton and Varvel, 1996); all
//! deadlines are met, since earliest-deadline-first is optimal for unit tasks with whole releases and deadlines. So after
//! any `n` slots a member has had `⌊nw/W⌋` or `⌈nw/W⌉` of them, and in any `n` slots in a row at most `⌈nw/W⌉ + 1`. The
//! greedy method that nginx made popular costs a pass over all members for each pick and has no such bound.
//!
//! A pick is then one atomic addition and one look at a table.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest cycle that is stored. A cycle has as many slots as the weights sum up to, divided by their greatest
/// common divisor: up to 256 members of any weight stay below (256 each), and 1,000 members if their mean weight does not
/// exceed 65. Above, the weights are scaled down to it, each rounded but at least 1; so small weights gain a little, and
/// the cycle has at most one slot a member more.
const LONGEST_CYCLE: u64 = 65_536;

/// Slots that a pick looks ahead, past members that are not usable, before it takes any that is. Within a cycle the next
/// usable member can be far away if another one has nearly all the weight.
const LOOK_AHEAD: usize = 32;

/// The order of one cycle of turns, as an earliest-deadline-first schedule.
#[derive(Debug)]
pub struct RoundRobin {
    /// Positions of members; each as often as its weight says.
    cycle: Box<[u32]>,
    /// Positions of all members with a weight, for when the cycle's next ones are not usable.
    members: Box<[u32]>,
}

impl RoundRobin {
    /// For members with these weights. A member of weight 0 is never picked.
    pub fn new(weights: &[u32]) -> Self {
        let weights = reduce(weights);
        let members = weights.iter().map(|&(position, _)| position).collect();
        RoundRobin { cycle: schedule(&weights), members }
    }

    /// The position of the next usable member; `None` if none is. `turn` is the pool's, see [`Pick`](super::Pick).
    pub fn pick(&self, turn: &AtomicUsize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if self.cycle.is_empty() {
            return None;
        }
        // Relaxed: only the number counts, nothing else is published with it.
        let start = turn.fetch_add(1, Ordering::Relaxed);
        // Neither is empty: who is in the cycle is a member.
        let next_usable = |slots: &[u32], ahead: usize| {
            let from = start % slots.len();
            let (before, after) = slots.split_at(from);
            after.iter().chain(before).take(ahead).map(|&member| member as usize).find(|&member| usable(member))
        };
        next_usable(&self.cycle, LOOK_AHEAD).or_else(|| next_usable(&self.members, self.members.len()))
    }
}

/// Positions and weights of the members that have one, divided by the greatest common divisor, and scaled down if the
/// cycle would become too long.
fn reduce(weights: &[u32]) -> Vec<(u32, u64)> {
    let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, weight)).max(1);
    let members = (0..).zip(weights).filter(|(_, weight)| **weight > 0);
    let mut reduced: Vec<_> = members.map(|(position, &weight)| (position, u64::from(weight / divisor))).collect();
    let total: u64 = reduced.iter().map(|(_, weight)| weight).sum();
    if total > LONGEST_CYCLE {
        for (_, weight) in &mut reduced {
            *weight = ((*weight * LONGEST_CYCLE + total / 2) / total).max(1);
        }
    }
    reduced
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A member's next turn, ordered by what matters first: the deadline, then the position so that ties have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    due: u64,
    position: u32,
    weight: u64,
    number: u64,
}

impl Turn {
    fn new(position: u32, weight: u64, number: u64, total: u64) -> Self {
        Turn { due: ((number + 1) * total).div_ceil(weight), position, weight, number }
    }

    /// The first slot in which the turn may be taken.
    fn release(&self, total: u64) -> u64 {
        self.number * total / self.weight
    }
}

/// One cycle of the members' turns.
fn schedule(weights: &[(u32, u64)]) -> Box<[u32]> {
    let total = weights.iter().map(|(_, weight)| weight).sum();
    // Turns that may be taken, by deadline; and those that may not yet, by release.
    let mut ready: BinaryHeap<_> =
        weights.iter().map(|&(position, weight)| Reverse(Turn::new(position, weight, 0, total))).collect();
    let mut waiting = BinaryHeap::new();
    let mut cycle = Vec::new();
    for slot in 0..total {
        while let Some(&Reverse((release, turn))) = waiting.peek()
            && release <= slot
        {
            waiting.pop();
            ready.push(Reverse(turn));
        }
        // There always is one: by slot s, turns for at least s + 1 slots have been released.
        let Some(Reverse(turn)) = ready.pop() else { continue };
        cycle.push(turn.position);
        let next = Turn::new(turn.position, turn.weight, turn.number + 1, total);
        waiting.push(Reverse((next.release(total), next)));
    }
    cycle.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<usize> {
        let (algorithm, turn) = (RoundRobin::new(weights), AtomicUsize::new(0));
        (0..count).map(|_| algorithm.pick(&turn, |_| true).unwrap()).collect()
    }

    #[test]
    fn turns_are_interleaved() {
        for (weights, order) in [
            (&[1][..], &[0, 0, 0][..]),
            (&[7, 7, 7], &[0, 1, 2, 0, 1, 2]), // equal weights: plain round robin
            (&[2, 1, 1], &[0, 1, 0, 2, 0, 1, 0, 2]),
            (&[5, 1, 1], &[0, 0, 0, 1, 0, 0, 2]),
            (&[100, 50], &[0, 0, 1, 0, 0, 1]), // the divisor makes the cycle short
            (&[0, 3, 0, 3], &[1, 3, 1, 3]),    // weight 0 is nobody
        ] {
            assert_eq!(picks(weights, order.len()), order, "{weights:?}");
        }
    }

    #[test]
    fn nobody_is_picked_from_nobody() {
        for weights in [&[][..], &[0, 0]] {
            assert_eq!(RoundRobin::new(weights).pick(&AtomicUsize::new(3), |_| true), None);
        }
    }

    #[test]
    fn members_that_are_not_usable_are_passed_over() {
        let (algorithm, turn) = (RoundRobin::new(&[1, 2, 1]), AtomicUsize::new(0));
        for tried in 0..3 {
            for _ in 0..8 {
                assert_ne!(algorithm.pick(&turn, |member| member != tried).unwrap(), tried);
            }
        }
        assert_eq!(algorithm.pick(&turn, |_| false), None);
        assert_eq!(RoundRobin::new(&[4]).pick(&turn, |member| member != 0), None);
    }

    #[test]
    fn a_giant_that_is_not_usable_does_not_hide_the_others() {
        // The next slot of somebody else is up to 64,000 slots away.
        let (algorithm, turn) = (RoundRobin::new(&[u32::MAX, 1, 0, 1]), AtomicUsize::new(0));
        let mut seen = [0; 4];
        (0..100).for_each(|_| seen[algorithm.pick(&turn, |member| member != 0).unwrap()] += 1);
        assert_eq!((seen[0], seen[2]), (0, 0));
        assert!(seen[1] > 30 && seen[3] > 30, "{seen:?}");
    }

    #[test]
    fn a_new_snapshot_goes_on_where_the_old_one_was() {
        let turn = AtomicUsize::new(0);
        let first = RoundRobin::new(&[1, 1, 1]).pick(&turn, |_| true);
        let second = RoundRobin::new(&[1, 1, 1]).pick(&turn, |_| true);
        assert_eq!((first, second), (Some(0), Some(1)));
    }

    #[test]
    fn the_turn_may_wrap_around() {
        let (algorithm, turn) = (RoundRobin::new(&[1, 2]), AtomicUsize::new(usize::MAX - 1));
        assert!((0..6).all(|_| algorithm.pick(&turn, |_| true).is_some()));
    }

    #[test]
    fn long_cycles_are_scaled_down() {
        // As large as the configuration allows, and coprime.
        let weights: Vec<u32> = (0..1_000).map(|i| 256 - (i % 2)).collect();
        let algorithm = RoundRobin::new(&weights);
        assert!(algorithm.cycle.len() as u64 <= LONGEST_CYCLE + 1_000, "{}", algorithm.cycle.len());
        let mut seen = vec![0_u32; weights.len()];
        algorithm.cycle.iter().for_each(|&member| seen[member as usize] += 1);
        assert!(seen.iter().all(|&count| (64..=67).contains(&count)));
        // Exact up to 256 members of any weight.
        let weights: Vec<u32> = (0..256).map(|i| 256 - (i % 2)).collect();
        assert_eq!(RoundRobin::new(&weights).cycle.len(), weights.iter().sum::<u32>() as usize);
        // Weights in percent, as a slow start makes them.
        for weights in [&[25_600, 25_599][..], &[u32::MAX, u32::MAX - 1, 1]] {
            assert!(RoundRobin::new(weights).cycle.len() as u64 <= LONGEST_CYCLE + 3);
        }
    }

    #[test]
    fn threads_share_the_turns_exactly() {
        let (algorithm, turn) = (RoundRobin::new(&[3, 1]), AtomicUsize::new(0));
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| algorithm.pick(&turn, |_| true) == Some(0)).count()))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(counts.iter().sum::<usize>(), 3_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// After any number of picks everybody has had the share, rounded up or down; so the cycle is exact, too.
        #[test]
        fn shares_are_kept_at_every_moment(weights in prop::collection::vec(1..=256_u32, 1..12)) {
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut seen = vec![0_u64; weights.len()];
            for (done, member) in (1..).zip(picks(&weights, total as usize * 2)) {
                seen[member] += 1;
                for (&weight, &seen) in weights.iter().zip(&seen) {
                    let share = done * u64::from(weight);
                    prop_assert!((share / total..=share.div_ceil(total)).contains(&seen), "{done}: {seen}");
                }
            }
        }

        /// No run of picks gives a member more than its share, rounded up, and one.
        #[test]
        fn no_window_is_crowded(weights in prop::collection::vec(1..=20_u32, 1..6), from in 0..100_usize, len in 1..50_usize) {
            let total: usize = weights.iter().map(|&weight| weight as usize).sum();
            let window = &picks(&weights, from + len)[from..];
            for (member, &weight) in weights.iter().enumerate() {
                let seen = window.iter().filter(|&&picked| picked == member).count();
                prop_assert!(seen <= (len * weight as usize).div_ceil(total) + 1);
            }
        }

    }
}
