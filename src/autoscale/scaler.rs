//! The rule: how what is needed becomes what is wanted.

use std::collections::VecDeque;
use std::time::Duration;

use super::demand::{Demand, Need};
use super::{Decision, Fleet, Limit, Reason, Sample, ScalePolicy, Why};

/// Decides how many nodes one role of one cluster should have. It remembers what it has seen, and nothing else.
#[derive(Debug)]
pub struct Scaler {
    policy: ScalePolicy,
    demand: Demand,
    /// What had to be kept in the last `cool_down`: only what nothing later exceeds, so that the first is the greatest.
    kept: VecDeque<(Duration, usize)>,
    /// When the first sample was taken.
    began: Option<Duration>,
}

impl Scaler {
    /// One that has seen nothing.
    pub fn new(policy: ScalePolicy) -> Self {
        Scaler { policy, demand: Demand::new(policy), kept: VecDeque::new(), began: None }
    }

    /// What it decides by.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// Takes in what was seen. The finer, the better: several samples a second.
    pub fn observe(&mut self, sample: &Sample) {
        self.began.get_or_insert(sample.at);
        self.demand.observe(sample);
    }

    /// Takes in how long a node took from its start to ready: it is looked as far ahead.
    pub fn joined(&mut self, took: Duration) {
        self.demand.joined(took);
    }

    /// How many nodes there should be at `now`, which is not before the last sample.
    pub fn decide(&mut self, fleet: &Fleet, now: Duration) -> Decision {
        let present = fleet.present(&self.policy);
        let Need { why, keep } = self.demand.need(fleet, now);
        let Some(needed) = why.needed() else {
            return self.bounded(present, why, None);
        };
        self.remember(if self.is_new(now) { keep.max(present) } else { keep }, now);
        let (wanted, limit) = if needed >= present { self.up(needed, fleet) } else { self.down(keep, fleet) };
        self.bounded(wanted, why, limit)
    }

    /// Whether too little was seen to say that a node is not needed. What is there then is taken for needed: a balancer
    /// that was restarted sees its load, and the nodes that register again, little by little.
    fn is_new(&self, now: Duration) -> bool {
        let enough = self.policy.window.max(self.cool_down());
        self.began.is_none_or(|began| now < began + enough)
    }

    fn cool_down(&self) -> Duration {
        self.policy.cool_down.unwrap_or(self.demand.startup())
    }

    fn remember(&mut self, keep: usize, now: Duration) {
        while self.kept.back().is_some_and(|(_, earlier)| *earlier <= keep) {
            self.kept.pop_back();
        }
        self.kept.push_back((now, keep));
        let cool_down = self.cool_down();
        while self.kept.front().is_some_and(|(at, _)| *at + cool_down < now) {
            self.kept.pop_front();
        }
    }

    fn up(&self, needed: usize, fleet: &Fleet) -> (usize, Option<Limit>) {
        let needed = needed.min(self.policy.max); // so that the limit that counts is told
        let Some(step) = self.policy.step_up else { return (needed, None) };
        let pending = fleet.pending(&self.policy);
        // Draining nodes need no start.
        let most = fleet.ready + fleet.draining + pending.max(step);
        if needed > most { (most, Some(Limit::StepUp(step))) } else { (needed, None) }
    }

    fn down(&self, keep: usize, fleet: &Fleet) -> (usize, Option<Limit>) {
        let policy = &self.policy;
        let present = fleet.present(policy);
        if keep >= present {
            return (present, Some(Limit::Margin { percent: policy.scale_down_at }));
        }
        let (mut wanted, mut limit) = (keep, None);
        let recently = self.kept.front().map_or(0, |(_, keep)| *keep);
        if recently > wanted {
            wanted = recently.min(present);
            limit = Some(Limit::CoolDown { needed: recently, time: self.cool_down() });
        }
        if let Some(step) = policy.step_down {
            let floor = fleet.ready.saturating_sub(step.saturating_sub(fleet.draining));
            if wanted < floor {
                wanted = floor;
                limit = Some(Limit::StepDown(step));
            }
        }
        (wanted, limit)
    }

    /// The bounds of the policy hold whatever was decided.
    fn bounded(&self, wanted: usize, why: Why, limit: Option<Limit>) -> Decision {
        let policy = &self.policy;
        let min = match why {
            Why::Idle { .. } => 0,
            // A balancer that was restarted starts no node at once, either.
            Why::NoSamples if policy.scale_to_zero.is_some() => 0,
            _ => policy.min,
        };
        let beyond = why.needed().is_some_and(|needed| needed > policy.max);
        let (wanted, limit) = match wanted {
            wanted if wanted < min => (min, Some(Limit::Min(min))),
            wanted if wanted > policy.max => (policy.max, Some(Limit::Max(policy.max))),
            wanted if wanted == policy.max && beyond => (wanted, Some(Limit::Max(policy.max))),
            wanted => (wanted, limit),
        };
        Decision { wanted, reason: Reason { why, limit } }
    }
}
