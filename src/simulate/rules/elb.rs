//! The two algorithms of the retired WSO2 Elastic Load Balancer, for comparison only.
//!
//! Both look once in a task interval at how many requests are in flight, and decide by the mean of the last rounds once
//! that many have passed. Requests count for `message_expiry_time` at most, which is longer than any waits here.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Rule, bounds};
use crate::autoscale::{Fleet, Sample, ScalePolicy};

/// What the thresholds are for one instance.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thresholds {
    /// Up above `running × length`, down below `(running - 1) × length`.
    Queue { length: f64 },
    /// Up above `running × high`, down below `running × low`.
    Rates { high: f64, low: f64 },
}

/// The keys of ELB 2.0.5: requests per second that an instance can handle, and shares of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElbRates {
    /// `rps`.
    pub rps: f64,
    /// `alarming_upper_rate`.
    pub upper: f64,
    /// `alarming_lower_rate`.
    pub lower: f64,
    /// `scale_down_factor`.
    pub factor: f64,
}

impl ElbRates {
    /// The defaults, for an instance that can handle so many requests in a second.
    pub fn of(rps: f64) -> Self {
        ElbRates { rps, upper: 0.7, lower: 0.2, factor: 0.25 }
    }
}

/// One of the two algorithms.
#[derive(Debug)]
pub struct Elb {
    thresholds: Thresholds,
    policy: ScalePolicy,
    interval: Duration,
    rounds: usize,
    seen: VecDeque<f64>,
    last: f64,
}

impl Elb {
    /// `autoscaler_task_interval` and `rounds_to_average` of the defaults.
    const INTERVAL: Duration = Duration::from_secs(60);
    const ROUNDS: usize = 10;

    fn new(thresholds: Thresholds, policy: &ScalePolicy) -> Self {
        Elb {
            thresholds,
            policy: bounds(policy),
            interval: Self::INTERVAL,
            rounds: Self::ROUNDS,
            seen: VecDeque::new(),
            last: 0.0,
        }
    }

    /// The older one, with `queue_length_per_node`.
    pub fn older(length: f64, policy: &ScalePolicy) -> Self {
        Elb::new(Thresholds::Queue { length }, policy)
    }

    /// That of 2.0.5. It holds a number of requests in flight against a number of requests in an interval.
    pub fn newer(rates: ElbRates, policy: &ScalePolicy) -> Self {
        let handled = rates.rps * Self::INTERVAL.as_secs_f64();
        let (high, low) = (handled * rates.upper, handled * rates.lower * rates.factor);
        Elb::new(Thresholds::Rates { high, low }, policy)
    }
}

impl Rule for Elb {
    fn interval(&self) -> Duration {
        self.interval
    }

    fn observe(&mut self, sample: &Sample) {
        self.last = (sample.in_flight + sample.queued) as f64;
    }

    fn wanted(&mut self, fleet: &Fleet, _now: Duration) -> usize {
        self.seen.push_back(self.last);
        if self.seen.len() > self.rounds {
            self.seen.pop_front();
        }
        let present = fleet.present(&self.policy);
        let least = present.max(self.policy.min);
        if self.seen.len() < self.rounds {
            return least;
        }
        let average = self.seen.iter().sum::<f64>() / self.rounds as f64;
        let running = fleet.ready as f64;
        let (high, low) = match self.thresholds {
            Thresholds::Queue { length } => (running * length, (running - 1.0) * length),
            Thresholds::Rates { high, low } => (running * high, running * low),
        };
        if average > high && fleet.starting.is_empty() && fleet.ready < self.policy.max {
            // instances_per_scale_up
            return present + 1;
        }
        if average < low && fleet.ready > self.policy.min { present.saturating_sub(1) } else { least }
    }

    fn policy(&self) -> &ScalePolicy {
        &self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rule wants round by round, if `ready` nodes never change.
    fn rounds(mut rule: Elb, fleet: &Fleet, loads: &[usize]) -> Vec<usize> {
        let decide = |(round, load): (usize, &usize)| {
            let at = Elb::INTERVAL * round as u32;
            rule.observe(&Sample { at, in_flight: *load, ..Sample::default() });
            rule.wanted(fleet, at)
        };
        loads.iter().enumerate().map(decide).collect()
    }

    #[test]
    fn nothing_is_decided_before_the_window_is_full() {
        let policy = ScalePolicy::of(10);
        let fleet = Fleet { ready: 2, ..Fleet::default() };
        let wanted = rounds(Elb::older(400.0, &policy), &fleet, &[1000; 11]);
        assert_eq!(wanted, [2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3]);
        assert_eq!(rounds(Elb::older(400.0, &policy), &Fleet::default(), &[0]), [1], "min_app_instances at once");
    }

    #[test]
    fn the_older_one_compares_with_the_queue_length_of_all_nodes() {
        let policy = ScalePolicy::of(10);
        let last = |ready, starting: usize, load| {
            let fleet = Fleet { ready, starting: vec![Duration::ZERO; starting], draining: 0 };
            rounds(Elb::older(400.0, &policy), &fleet, &[load; 10])[9]
        };
        assert_eq!((last(2, 0, 800), last(2, 0, 801)), (2, 3));
        assert_eq!(last(2, 1, 9_000), 3, "nothing while one is pending");
        assert_eq!(last(5, 0, 9_000), 5, "max");
        assert_eq!((last(2, 0, 400), last(2, 0, 399)), (2, 1));
        assert_eq!(last(1, 0, 0), 1, "min");
    }

    #[test]
    fn the_newer_one_compares_with_requests_of_an_interval() {
        let policy = ScalePolicy::of(10);
        let last = |ready, load| {
            let fleet = Fleet { ready, ..Fleet::default() };
            rounds(Elb::newer(ElbRates::of(10.0), &policy), &fleet, &[load; 10])[9]
        };
        // 10 × 60 × 0.7 = 420; 10 × 60 × 0.2 × 0.25 = 30.
        assert_eq!((last(2, 840), last(2, 841)), (2, 3));
        assert_eq!((last(2, 60), last(2, 59)), (2, 1));
    }
}
