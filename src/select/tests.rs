//! What holds for every algorithm.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ids::Role;

/// Members, and what a pool keeps for them.
pub(super) struct Bench {
    weights: Vec<u32>,
    gauges: Vec<Arc<Gauge>>,
    turn: AtomicUsize,
    draws: Draws,
}

impl Bench {
    pub(super) fn new(weights: &[u32]) -> Self {
        Bench {
            weights: weights.to_vec(),
            gauges: weights.iter().map(|_| Arc::new(Gauge::new())).collect(),
            turn: AtomicUsize::new(0),
            draws: Draws::new(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn candidates(&self) -> Vec<Candidate<'_>> {
        let members = (0..).zip(&self.weights).zip(&self.gauges);
        members.map(|((identity, &weight), gauge)| Candidate { weight, gauge, identity }).collect()
    }

    pub(super) fn gauge(&self, position: usize) -> &Arc<Gauge> {
        &self.gauges[position]
    }

    pub(super) fn start(&self, position: usize) -> InFlight {
        self.gauges[position].try_start(None, Moment::default()).unwrap()
    }

    pub(super) fn request(&self, key: u64) -> Pick<'_> {
        self.request_at(key, Duration::ZERO)
    }

    pub(super) fn request_at(&self, key: u64, time: Duration) -> Pick<'_> {
        Pick { now: Moment::after(time), turn: &self.turn, draws: &self.draws, key }
    }

    fn selector(&self, balance: Algorithm) -> Selector {
        Selector::new(&PoolSettings { balance, ..PoolSettings::of(Role::Worker) }, &self.candidates())
    }
}

/// How often each of some members was picked, as a share.
pub(super) fn shares(members: usize, picks: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut seen = vec![0_u32; members];
    picks.for_each(|position| seen[position] += 1);
    let total = f64::from(seen.iter().sum::<u32>());
    seen.into_iter().map(|count| f64::from(count) / total).collect()
}

fn assert_by_weight(shares: &[f64], weights: &[u32], within: f64, case: &str) {
    let total = f64::from(weights.iter().sum::<u32>());
    for (share, &weight) in shares.iter().zip(weights) {
        let expected = f64::from(weight) / total;
        assert!((share - expected).abs() <= within, "{case}, {weights:?}: {shares:?}");
    }
}

#[test]
fn an_idle_pool_is_asked_by_weight() {
    let many = vec![1; 100];
    for algorithm in Algorithm::ALL {
        for weights in [&[1, 1, 1][..], &[5, 3, 0, 1], &[256, 1], &many] {
            let bench = Bench::new(weights);
            let selector = bench.selector(algorithm);
            let picks = (0..20_000).map(|key| selector.pick(&bench.request(key), |_| true).unwrap());
            assert_by_weight(&shares(weights.len(), picks), weights, 0.015, &format!("{algorithm:?}"));
        }
    }
}

#[test]
fn requests_that_stay_are_spread_by_weight() {
    for algorithm in [Algorithm::LeastInFlight, Algorithm::TwoChoices, Algorithm::PeakEwma, Algorithm::Hash] {
        for weights in [vec![1, 1, 1], vec![4, 2, 1], vec![3; 100]] {
            let bench = Bench::new(&weights);
            let selector = bench.selector(algorithm);
            let picks = (0..6_000).map(|key| selector.pick(&bench.request(key), |_| true).unwrap());
            let flying: Vec<_> = picks.map(|position| bench.start(position)).collect();
            let in_flight = (0..bench.len()).flat_map(|position| vec![position; bench.gauge(position).in_flight()]);
            // Consistent hashing may exceed the mean by a quarter.
            let within = if algorithm == Algorithm::Hash { 0.25 * 0.58 } else { 0.01 };
            assert_by_weight(&shares(bench.len(), in_flight), &weights, within, &format!("{algorithm:?}"));
            assert_eq!(flying.len(), 6_000);
        }
    }
}

#[test]
fn a_busy_member_is_passed_over() {
    for members in [3, 64, 65, 1_000] {
        for algorithm in [Algorithm::LeastInFlight, Algorithm::TwoChoices, Algorithm::PeakEwma, Algorithm::Hash] {
            let bench = Bench::new(&vec![1; members]);
            let selector = bench.selector(algorithm);
            let _flying: Vec<_> = (0..10).map(|_| bench.start(1)).collect();
            let picked = (0..2_000).filter(|&key| selector.pick(&bench.request(key), |_| true) == Some(1)).count();
            assert_eq!(picked, 0, "{algorithm:?} of {members}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_picks() {
    for algorithm in Algorithm::ALL {
        let run = || {
            let bench = Bench::new(&[1, 2, 3, 4]);
            let selector = bench.selector(algorithm);
            (0..200).map(|key| selector.pick(&bench.request(key), |_| true)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run(), "{algorithm:?}");
    }
}

/// One request after the other, each answered after the latency in milliseconds that its member has in this second.
fn one_after_the_other(weights: &[u32], latency: impl Fn(usize, u64) -> u64, seconds: u64) -> Vec<(u64, usize)> {
    let bench = Bench::new(weights);
    let selector = bench.selector(Algorithm::PeakEwma);
    let mut picked = Vec::new();
    let mut millis = 0;
    while millis < seconds * 1_000 {
        let (second, time) = (millis / 1_000, Duration::from_millis(millis));
        let position = selector.pick(&bench.request_at(0, time), |_| true).unwrap();
        picked.push((second, position));
        let mut request = bench.gauge(position).try_start(None, Moment::after(time)).unwrap();
        millis += latency(position, second);
        request.answered(Moment::after(Duration::from_millis(millis)));
    }
    picked
}

#[test]
fn members_that_are_as_fast_are_asked_by_weight() {
    for weights in [&[2, 1][..], &[1, 1, 1], &[5, 3, 2]] {
        let picked = one_after_the_other(weights, |_, _| 10, 100);
        let shares = shares(weights.len(), picked.into_iter().map(|(_, position)| position));
        assert_by_weight(&shares, weights, 0.03, "peak-EWMA");
    }
}

#[test]
fn a_member_that_was_slow_once_is_asked_again() {
    // Member 0 takes a second for each answer up to second 60, then 10 ms as the others.
    let slow = |position, second| if position == 0 && second < 60 { 1_000 } else { 10 };
    let picked = one_after_the_other(&[1; 3], slow, 180);
    let share = |from: u64, to: u64| {
        let within = picked.iter().filter(|(second, _)| (from..to).contains(second));
        shares(3, within.map(|&(_, position)| position))[0]
    };
    assert!(share(5, 60) < 0.02, "it is avoided: {}", share(5, 60));
    assert!(picked.iter().any(|&(second, position)| position == 0 && (25..60).contains(&second)), "and still probed");
    assert!(share(120, 180) > 0.3, "and has its share when it is fast again: {}", share(120, 180));
}

#[test]
fn a_member_that_does_not_answer_is_not_asked_more_and_more() {
    let bench = Bench::new(&[1; 3]);
    let selector = bench.selector(Algorithm::PeakEwma);
    let at = |millis| Moment::after(Duration::from_millis(millis));
    (0..3).for_each(|position| bench.start(position).answered(at(10)));
    // Member 0 keeps what it gets.
    let mut kept = Vec::new();
    for millis in (10..120_000).step_by(10) {
        let position = selector.pick(&bench.request_at(0, Duration::from_millis(millis)), |_| true).unwrap();
        let mut request = bench.gauge(position).try_start(None, at(millis)).unwrap();
        match position {
            0 => kept.push(request),
            _ => request.answered(at(millis + 10)),
        }
    }
    assert!((1..10).contains(&kept.len()), "{}", kept.len());
}

proptest! {
    // A table for hashing takes long to build without optimization.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    /// Against the simple model: somebody usable who has a weight, if there is one, else nobody.
    #[test]
    fn picks_the_usable(
        members in prop::collection::vec((0..=25_600_u32, any::<bool>(), 0..3_usize, prop::option::of(0.0..2.0_f32)), 0..100),
        turn in any::<usize>(),
        seed in any::<u64>(),
        key in any::<u64>(),
    ) {
        let weights: Vec<u32> = members.iter().map(|&(weight, ..)| weight).collect();
        let mut bench = Bench::new(&weights);
        (bench.turn, bench.draws) = (AtomicUsize::new(turn), Draws::new(seed));
        let mut flying = Vec::new();
        for (position, &(_, _, in_flight, load)) in members.iter().enumerate() {
            flying.extend((0..in_flight).map(|_| bench.start(position)));
            if let Some(load) = load {
                bench.gauge(position).report(load, Moment::default());
            }
        }
        for algorithm in Algorithm::ALL {
            let selector = bench.selector(algorithm);
            for _ in 0..4 {
                match selector.pick(&bench.request(key), |position| members[position].1) {
                    Some(position) => prop_assert!(weights[position] > 0 && members[position].1, "{algorithm:?}"),
                    None => prop_assert!(members.iter().all(|&(weight, usable, ..)| weight == 0 || !usable), "{algorithm:?}"),
                }
            }
        }
    }
}
