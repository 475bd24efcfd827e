//! What is needed: from what was seen to a number of nodes, before any limit.

use std::time::Duration;

use super::window::{Means, Window};
use super::{Fleet, Sample, ScalePolicy, Why};

/// Standard deviations by which a mean may be off by chance: so much does not start a node, and does not stop one.
const CHANCE: f64 = 2.0;

/// But a node may have no more than this above its target for long: 0.05 is 5 %.
const MOST_ABOVE: f64 = 0.05;

/// What was seen, and what it says.
#[derive(Debug)]
pub(super) struct Demand {
    policy: ScalePolicy,
    window: Window,
    last: Option<Sample>,
    /// When there last was a request, or the first sample.
    busy: Duration,
    /// When a request has last come, or was last there.
    asked: Option<Duration>,
    /// How long nodes take to join.
    startup: Duration,
}

/// What is needed, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    pub(super) why: Why,
    /// The fewest nodes with which that is so with some margin: no node may be stopped that is one of them.
    pub(super) keep: usize,
}

impl Demand {
    pub(super) fn new(policy: ScalePolicy) -> Self {
        let shortest = policy.panic.map_or(policy.window, |panic| panic.window);
        Demand {
            policy,
            window: Window::new(policy.window.max(shortest), shortest),
            last: None,
            busy: Duration::ZERO,
            asked: None,
            startup: policy.startup,
        }
    }

    pub(super) fn observe(&mut self, sample: &Sample) {
        let is_asked = sample.in_flight > 0 || sample.queued > 0 || sample.arrivals > 0;
        if is_asked {
            self.asked = Some(sample.at);
        }
        if is_asked || self.last.is_none() {
            self.busy = sample.at;
        }
        self.window.push(sample);
        self.last = Some(*sample);
    }

    pub(super) fn joined(&mut self, took: Duration) {
        if !self.policy.startup.is_zero() {
            // Half of it is the newest: products take longer to start with each artifact.
            self.startup = (self.startup + took.min(self.policy.startup_limit)) / 2;
        }
    }

    /// How long nodes take to join: as the policy says, until starts were seen.
    pub(super) fn startup(&self) -> Duration {
        self.startup
    }

    /// Of several reasons for nodes the one for most.
    pub(super) fn need(&self, fleet: &Fleet, now: Duration) -> Need {
        let policy = &self.policy;
        let (Some(means), Some(last)) = (self.window.means(now, policy.window), self.last) else {
            return Need { why: Why::NoSamples, keep: 0 };
        };
        let present = fleet.present(policy);
        if present == 0 && last.queued > 0 {
            return Need { why: Why::FromZero { queued: last.queued }, keep: 1 };
        }
        if let Some(after) = policy.scale_to_zero {
            let idle = now.saturating_sub(self.busy);
            // Where there is no node, none is started before there is a request. One that did not wait long enough to be
            // seen waiting is one, too: two intervals, so that no decision misses it.
            let silent = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= policy.interval * 2);
            if idle >= after || (present == 0 && silent) {
                return Need { why: Why::Idle { idle }, keep: 0 };
            }
        }
        let mut need = self.average(&means, now);
        let others = [self.forecast(&means, now), self.burst(&means, present, now), self.reported(&last, fleet.ready)];
        for why in others.into_iter().flatten() {
            need.keep = need.keep.max(why.needed().unwrap_or(0));
            if why.needed() > need.why.needed() {
                need.why = why;
            }
        }
        need
    }

    /// The mean of the window, or, if the load falls, what the line through the window says that it is now.
    fn average(&self, means: &Means, now: Duration) -> Need {
        let policy = &self.policy;
        let mut load = offered(means, means.on_node);
        if let Some((trend, on_node)) = self.window.trend(now, policy.window).zip(means.on_node)
            && trend.slope < 0.0
        {
            let recent = self.recent(now).map_or(0.0, |(_, recent)| recent.in_flight);
            load = load.min((trend.now * on_node).max(recent));
        }
        let chance = chance(load, means.on_node, policy.window);
        let needed = self.nodes(load - chance.min(load * MOST_ABOVE));
        let share = f64::from(policy.scale_down_at) / 100.0;
        let keep = self.nodes((load + chance) / share).max(needed);
        Need { why: Why::Average { needed, load, window: policy.window, target: policy.target }, keep }
    }

    /// A rising load, as it will be when a node that is started now is ready. Rounded, since it may come or not.
    fn forecast(&self, means: &Means, now: Duration) -> Option<Why> {
        let (ahead, target) = (self.startup, self.policy.target);
        if self.policy.startup.is_zero() {
            return None;
        }
        let (trend, on_node) = self.window.trend(now, self.policy.window).zip(means.on_node)?;
        let load = trend.now * on_node;
        let expected = load + trend.slope * ahead.as_secs_f64() * on_node;
        let needed = (expected / target as f64).round() as usize; // saturates
        (trend.slope > 0.0).then_some(Why::Forecast { needed, load, expected, ahead, target })
    }

    /// A load that needs many more nodes than there are, as soon as it is there. What waits is to be served at once.
    fn burst(&self, means: &Means, present: usize, now: Duration) -> Option<Why> {
        let panic = self.policy.panic?;
        let (window, recent) = self.recent(now)?;
        let load = offered(&recent, means.on_node) + recent.queued;
        let needed = self.nodes(load - chance(load, means.on_node, window));
        let threshold = present.max(1).saturating_mul(usize::from(panic.threshold));
        (needed.saturating_mul(100) >= threshold).then_some(Why::Burst {
            needed,
            load,
            window,
            target: self.policy.target,
        })
    }

    fn reported(&self, last: &Sample, ready: usize) -> Option<Why> {
        let (load, target) = last.node_load.zip(self.policy.node_load)?;
        let percent = load * 100.0;
        let needed = ceil(ready as f64 * percent / f64::from(target));
        Some(Why::NodeLoad { needed, percent, target })
    }

    fn recent(&self, now: Duration) -> Option<(Duration, Means)> {
        let window = self.policy.panic?.window;
        Some((window, self.window.means(now, window)?))
    }

    /// Nodes for a load.
    fn nodes(&self, load: f64) -> usize {
        ceil(load / self.policy.target.max(1) as f64)
    }
}

/// The load that requests make which come: as many as come in a second are on nodes for so long (Little's law: in flight
/// is rate times mean time). What has piled up does not count, but what was refused does. If nothing was finished, what
/// is there.
fn offered(means: &Means, on_node: Option<f64>) -> f64 {
    match on_node {
        Some(on_node) => means.in_flight.max(means.arrivals * on_node),
        None => means.in_flight + means.queued,
    }
}

/// By how much the mean of a number in flight may be off by chance. Of requests that come independently of each other the
/// number varies by as much as there are (M/G/∞), and the mean of a window over which they are replaced many times by
/// less.
fn chance(load: f64, on_node: Option<f64>, window: Duration) -> f64 {
    let replaced = 2.0 * on_node.unwrap_or(0.0) / window.as_secs_f64();
    CHANCE * (load * replaced.min(1.0)).sqrt()
}

/// The next whole number that is not less; what is no number counts as 0.
fn ceil(number: f64) -> usize {
    number.ceil() as usize // saturates
}
