//! The rule: from what was seen to a number of nodes.

use std::collections::VecDeque;
use std::time::Duration;

use super::window::Window;
use super::{Decision, Fleet, Limit, Reason, Sample, ScalePolicy, Why};

/// Decides how many nodes one role of one cluster should have. It remembers what it has seen, and nothing else.
#[derive(Debug)]
pub struct Scaler {
    policy: ScalePolicy,
    window: Window,
    /// The last load that nodes have reported.
    node_load: Option<f64>,
    /// When there last was a request, or the first sample.
    busy: Option<Duration>,
    /// Until when no node is stopped because of a burst.
    panic_until: Option<Duration>,
    /// What was needed in the last `cool_down`: only what nothing later exceeds, so that the first is the greatest.
    needs: VecDeque<(Duration, usize)>,
    /// How long nodes take to join.
    startup: Duration,
}

impl Scaler {
    /// One that has seen nothing.
    pub fn new(policy: ScalePolicy) -> Self {
        let shortest = policy.panic.map_or(policy.window, |panic| panic.window);
        Scaler {
            policy,
            window: Window::new(policy.window, shortest),
            node_load: None,
            busy: None,
            panic_until: None,
            needs: VecDeque::new(),
            startup: policy.startup,
        }
    }

    /// What it decides by.
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// Takes in what was seen. The finer, the better: several samples a second.
    pub fn observe(&mut self, sample: &Sample) {
        self.window.push(sample);
        self.node_load = sample.node_load;
        if sample.in_flight > 0 || sample.queued > 0 || sample.arrivals > 0 || self.busy.is_none() {
            self.busy = Some(sample.at);
        }
    }

    /// Takes in how long a node took from its start to ready.
    pub fn joined(&mut self, took: Duration) {
        if !self.policy.startup.is_zero() {
            // Half of it is the newest: products become slower to start with each artifact.
            self.startup = (self.startup + took.min(self.policy.startup_limit)) / 2;
        }
    }

    /// How many nodes there should be at `now`, which is not before the last sample.
    pub fn decide(&mut self, fleet: &Fleet, now: Duration) -> Decision {
        let present = fleet.present(&self.policy);
        let why = self.why(fleet, now);
        let Some(needed) = why.needed() else {
            return self.bounded(present, why, None);
        };
        self.remember(needed.max(if self.needs.is_empty() { present } else { 0 }), now);
        let (wanted, limit) = if needed >= present { self.up(needed, fleet) } else { self.down(needed, fleet, now) };
        self.bounded(wanted, why, limit)
    }

    /// What says how many nodes are needed: the one that needs most.
    fn why(&mut self, fleet: &Fleet, now: Duration) -> Why {
        let policy = self.policy;
        let Some(means) = self.window.means(now, policy.window) else { return Why::NoSamples };
        let idle = self.busy.map_or(Duration::ZERO, |busy| now.saturating_sub(busy));
        if policy.scale_to_zero.is_some_and(|after| idle >= after) {
            return Why::Idle { idle };
        }
        let present = fleet.present(&policy);
        let mut why = Why::Average {
            needed: self.nodes(means.load()),
            load: means.load(),
            window: policy.window,
            target: policy.target,
        };
        let recent = policy.panic.and_then(|panic| self.window.means(now, panic.window).zip(Some(panic)));
        if let Some((recent, panic)) = recent {
            let needed = self.nodes(recent.load());
            if needed * 100 >= present.max(1) * usize::from(panic.threshold) {
                self.panic_until = Some(now + policy.window);
            }
            let burst = Why::Burst { needed, load: recent.load(), window: panic.window, target: policy.target };
            why = greater(why, burst);
        }
        let load = recent.map_or(means.load(), |(recent, _)| recent.load());
        if let Some(forecast) = self.forecast(load, now) {
            why = greater(why, forecast);
        }
        if let Some((load, target)) = self.node_load.zip(policy.node_load) {
            let percent = load * 100.0;
            let needed = ceil(fleet.ready as f64 * percent / f64::from(target));
            why = greater(why, Why::NodeLoad { needed, percent, target });
        }
        if why.needed() == Some(0) && means.queued > 0.0 {
            return Why::FromZero { queued: ceil(means.queued) };
        }
        why
    }

    fn nodes(&self, load: f64) -> usize {
        ceil(load / self.policy.target.max(1) as f64)
    }

    fn forecast(&self, load: f64, now: Duration) -> Option<Why> {
        let (ahead, target) = (self.startup, self.policy.target);
        if self.policy.startup.is_zero() {
            return None;
        }
        let slope = self.window.slope(now, self.policy.window)?;
        let expected = load + slope * ahead.as_secs_f64();
        (slope > 0.0).then(|| Why::Forecast { needed: self.nodes(expected), load, expected, ahead, target })
    }

    fn remember(&mut self, needed: usize, now: Duration) {
        while self.needs.back().is_some_and(|(_, earlier)| *earlier <= needed) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, needed));
        while self.needs.front().is_some_and(|(at, _)| *at + self.policy.cool_down < now) {
            self.needs.pop_front();
        }
    }

    fn up(&self, needed: usize, fleet: &Fleet) -> (usize, Option<Limit>) {
        let Some(step) = self.policy.step_up else { return (needed, None) };
        // Draining nodes need no start.
        let startable = step.saturating_sub(fleet.pending(&self.policy)) + fleet.draining;
        let most = fleet.present(&self.policy) + startable;
        if needed > most { (most, Some(Limit::StepUp(step))) } else { (needed, None) }
    }

    fn down(&self, needed: usize, fleet: &Fleet, now: Duration) -> (usize, Option<Limit>) {
        let policy = &self.policy;
        let present = fleet.present(policy);
        if self.panic_until.is_some_and(|until| now < until) {
            return (present, Some(Limit::Panic { time: policy.window }));
        }
        let mut wanted = needed;
        let mut limit = None;
        let recently = self.needs.front().map_or(0, |(_, needed)| *needed);
        if recently > wanted {
            wanted = recently.min(present);
            limit = Some(Limit::CoolDown { needed: recently, time: policy.cool_down });
        }
        if let Some(step) = policy.step_down {
            let least = fleet.ready.saturating_sub(step.saturating_sub(fleet.draining));
            if wanted < least {
                wanted = least.min(present);
                limit = Some(Limit::StepDown(step));
            }
        }
        (wanted, limit)
    }

    /// The bounds of the policy hold whatever was decided.
    fn bounded(&self, wanted: usize, why: Why, limit: Option<Limit>) -> Decision {
        let policy = &self.policy;
        let min = if matches!(why, Why::Idle { .. }) || (wanted == 0 && policy.scale_to_zero.is_some()) {
            0
        } else {
            policy.min
        };
        let (wanted, limit) = match wanted {
            wanted if wanted < min => (min, Some(Limit::Min(min))),
            wanted if wanted > policy.max => (policy.max, Some(Limit::Max(policy.max))),
            wanted => (wanted, limit),
        };
        Decision { wanted, reason: Reason { why, limit } }
    }
}

/// The one that needs more nodes; the first if both need as many.
fn greater(a: Why, b: Why) -> Why {
    if b.needed() > a.needed() { b } else { a }
}

/// The next whole number that is not less; what a float cannot say counts as 0 or as the largest.
fn ceil(number: f64) -> usize {
    number.ceil() as usize // saturates
}
