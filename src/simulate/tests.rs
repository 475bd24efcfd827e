//! The cluster model, with figures that can be followed by hand.

use std::time::Duration;

use super::*;
use crate::autoscale::{Fleet, Sample, ScalePolicy};

const SECOND: Duration = Duration::from_secs(1);

/// A rule that wants what a list says, second by second, and notes what it is told.
struct Script {
    wanted: Vec<usize>,
    policy: ScalePolicy,
    fleets: Vec<Fleet>,
    seen: Vec<Sample>,
    joined: Vec<Duration>,
}

fn script(wanted: &[usize]) -> Script {
    let mut policy = ScalePolicy::of(1);
    (policy.step_down, policy.max) = (None, 100);
    Script { wanted: wanted.to_vec(), policy, fleets: Vec::new(), seen: Vec::new(), joined: Vec::new() }
}

impl Rule for Script {
    fn interval(&self) -> Duration {
        SECOND
    }
    fn observe(&mut self, sample: &Sample) {
        self.seen.push(*sample);
    }
    fn joined(&mut self, took: Duration) {
        self.joined.push(took);
    }
    fn wanted(&mut self, fleet: &Fleet, _now: Duration) -> usize {
        self.fleets.push(fleet.clone());
        let round = self.fleets.len().min(self.wanted.len()) - 1;
        self.wanted[round]
    }
    fn policy(&self) -> &ScalePolicy {
        &self.policy
    }
}

fn trace(arrivals: &[(f64, f64)], end: f64) -> Trace {
    Trace::new(arrivals.iter().map(|(at, service)| Arrival { at: *at, service: *service }).collect(), end).unwrap()
}

fn model(slots: usize) -> Model {
    Model { slots, cores: slots, startup: SECOND * 3, jitter: 0.0, ..Model::default() }
}

#[test]
fn what_finds_no_room_waits_and_what_waits_too_long_is_refused() {
    // One node for one at a time: the second begins at 3, the third has waited for 5 s at 5.2.
    let requests = trace(&[(0.0, 3.0), (0.1, 3.0), (0.2, 3.0)], 10.0);
    let mut rule = script(&[1]);
    let outcome = play(&requests, &model(1), &mut rule);
    assert_eq!((outcome.requests, outcome.refused, outcome.over_goal, outcome.queue_peak), (3, 1, 2, 2));
    assert!((outcome.p99 - 5.9).abs() < 1e-6 && (outcome.node_hours - 10.0 / 3600.0).abs() < 1e-9, "{outcome:?}");
    assert_eq!((rule.seen[1].in_flight, rule.seen[1].queued), (1, 2));
    let total = |count: fn(&Sample) -> u64| rule.seen.iter().map(count).sum::<u64>();
    assert_eq!((total(|sample| sample.arrivals), total(|sample| sample.completions)), (3, 2));
    assert_eq!(rule.seen.iter().map(|sample| sample.time_on_nodes).sum::<Duration>(), SECOND * 6);
    let short = Model { queue: 1, ..model(1) };
    let outcome = play(&requests, &short, &mut script(&[1]));
    assert_eq!((outcome.refused, outcome.queue_peak), (1, 1), "the queue was full");
}

#[test]
fn nodes_start_serve_and_drain() {
    // Two nodes: each has a request until 6; from the second second on one is wanted.
    let requests = trace(&[(0.0, 6.0), (0.0, 6.0), (7.0, 1.0)], 10.0);
    let mut rule = script(&[2, 1]);
    let outcome = play(&requests, &Model { nodes: 2, ..model(1) }, &mut rule);
    assert_eq!((outcome.refused, outcome.steps_down), (0, 1));
    assert_eq!((rule.fleets[2].ready, rule.fleets[2].draining), (1, 1), "it drains");
    assert_eq!((rule.fleets[7].ready, rule.fleets[7].draining), (1, 0), "and is stopped when it is empty");
    assert!((outcome.node_hours * 3600.0 - 16.0).abs() < 1e-6, "{}", outcome.node_hours * 3600.0);
    // And from one to three.
    let mut rule = script(&[3]);
    play(&requests, &model(1), &mut rule);
    assert_eq!(rule.fleets[1], Fleet { ready: 1, starting: vec![SECOND; 2], draining: 0 });
    assert_eq!(rule.fleets[4], Fleet { ready: 3, starting: vec![], draining: 0 });
    assert_eq!(rule.joined, [SECOND * 3; 2]);
}

#[test]
fn starts_that_never_end_are_given_up() {
    let mut rule = script(&[2]);
    rule.policy.startup_limit = SECOND * 4;
    play(&trace(&[(0.0, 1.0)], 20.0), &Model { lost: 1.0, ..model(1) }, &mut rule);
    let oldest = rule.fleets.iter().flat_map(|fleet| &fleet.starting).max();
    assert_eq!(oldest, Some(&(SECOND * 4)));
    assert!(rule.fleets.iter().skip(1).all(|fleet| fleet.starting.len() == 1), "{:?}", rule.fleets);
}

#[test]
fn slow_nodes_take_longer() {
    let slow = Model { speeds: vec![(0.0, 0.5), (10.0, 1.0)], ..model(5) };
    let outcome = play(&trace(&[(0.25, 2.0), (12.0, 2.0)], 20.0), &slow, &mut script(&[1]));
    assert_eq!((outcome.requests, outcome.over_goal), (2, 0));
    assert!((outcome.p99 - 4.0).abs() < 1e-6, "{}", outcome.p99);
}

/// Erlang's formula: of requests that come at random, 2 at a time for 3 slots, 44.4 % wait, for 1 s in the mean over those
/// that wait. (C(3, 2) = 4/9; 1 / (3 - 2) services.)
#[test]
fn waiting_is_as_queueing_theory_has_it() {
    let draws = crate::select::Draws::new(11);
    let unit = || ((draws.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let mut at = 0.0;
    let arrivals = (0..200_000).map(|_| {
        at -= unit().ln() / 2.0;
        Arrival { at, service: -unit().ln() }
    });
    let requests = Trace::new(arrivals.collect(), 0.0).unwrap();
    let patient = Model { wait: SECOND * 1000, queue: 1_000_000, ..model(3) };
    let mut rule = script(&[1]);
    let outcome = play(&requests, &patient, &mut rule);
    assert_eq!((outcome.requests, outcome.refused), (200_000, 0));
    let mean = |count: fn(&Sample) -> usize| {
        rule.seen.iter().map(|sample| count(sample) as f64).sum::<f64>() / rule.seen.len() as f64
    };
    let (in_flight, queued) = (mean(|sample| sample.in_flight), mean(|sample| sample.queued));
    assert!((in_flight - 2.0).abs() < 0.03, "{in_flight}");
    assert!((queued - 8.0 / 9.0).abs() < 0.08, "{queued}");
}
