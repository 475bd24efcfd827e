//! Rules that say how many nodes there should be: the balancer's own, and three others to hold it against.

mod elb;
mod knative;

pub use self::elb::{Elb, ElbRates};
pub use self::knative::{Knative, KnativeSettings};

use std::time::Duration;

use crate::autoscale::{Fleet, Sample, ScalePolicy, Scaler};

/// A rule. What it wants is carried out as [`Fleet::steps`] says, for all rules in the same way.
pub trait Rule {
    /// From one decision to the next.
    fn interval(&self) -> Duration;

    /// Takes in what was seen.
    fn observe(&mut self, sample: &Sample);

    /// Takes in how long a node took from its start to ready.
    fn joined(&mut self, _took: Duration) {}

    /// How many nodes, ready or starting, there should be.
    fn wanted(&mut self, fleet: &Fleet, now: Duration) -> usize;

    /// What says how the wanted number is carried out, and its bounds.
    fn policy(&self) -> &ScalePolicy;
}

impl Rule for Scaler {
    fn interval(&self) -> Duration {
        Scaler::policy(self).interval
    }

    fn observe(&mut self, sample: &Sample) {
        Scaler::observe(self, sample);
    }

    fn joined(&mut self, took: Duration) {
        Scaler::joined(self, took);
    }

    fn wanted(&mut self, fleet: &Fleet, now: Duration) -> usize {
        self.decide(fleet, now).wanted
    }

    fn policy(&self) -> &ScalePolicy {
        Scaler::policy(self)
    }
}

/// The policy by which the wanted number of another rule is carried out: bounds and the deadline of starts only.
fn bounds(policy: &ScalePolicy) -> ScalePolicy {
    ScalePolicy { step_up: None, step_down: None, ..*policy }
}
