//! How many nodes a role of a cluster should have: decided from what the balancer sees, and said with a reason.
//!
//! The rule decides and does nothing else: no clock, no I/O. Whoever runs it takes a [`Sample`] several times a second
//! ([`Scaler::observe`]), asks for a [`Decision`] every [`ScalePolicy::interval`] ([`Scaler::decide`]), and carries out
//! the [`Steps`] that lead there ([`Fleet::steps`]); [`victim`] says which member is stopped. Time is passed in, as the
//! time since any fixed moment, so that `carbon-elb simulate` runs the same code in virtual time.

mod board;
mod demand;
mod members;
pub mod published;
mod reason;
pub mod run;
mod scaler;
mod victim;
mod window;

pub use self::board::{Board, Posted};
pub use self::members::{Arrivals, RoleMember, members_of};
pub use self::reason::{Limit, Reason, Why};
pub use self::run::{Acting, Autoscaling, Configured};
pub use self::scaler::Scaler;
pub use self::victim::{Candidate, victim};
pub use crate::config::{ScalePanic, ScalePolicy};

use std::time::Duration;

/// What the balancer sees of a role at one moment, over all its endpoints, and what has happened since the last sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// When it was taken. Samples come in order.
    pub at: Duration,
    /// Requests given to nodes and not finished.
    pub in_flight: usize,
    /// Requests that wait for a node.
    pub queued: usize,
    /// Requests that have come, refused ones (queue full, no node) included.
    pub arrivals: u64,
    /// Requests that nodes have finished.
    pub completions: u64,
    /// How long those were on nodes, summed up, each with [`Sample::LONGEST`] at most.
    pub time_on_nodes: Duration,
    /// The mean load that the nodes report, 1 for full; `None` if none does.
    pub node_load: Option<f64>,
}

impl Sample {
    /// What one request may count for in [`Sample::time_on_nodes`]. A WebSocket that ends after hours says nothing about the
    /// requests that come now; while it is open, it counts as one in flight.
    pub const LONGEST: Duration = Duration::from_secs(60);
}

/// The nodes of a role, as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Nodes that get requests, static ones included.
    pub ready: usize,
    /// For each node that was started and has not joined: how long ago.
    pub starting: Vec<Duration>,
    /// Nodes that finish what they have before they are stopped.
    pub draining: usize,
}

/// How many nodes there should be, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Nodes, ready or starting, that there should be now; draining ones do not count.
    pub wanted: usize,
    /// Why so many.
    pub reason: Reason,
}

/// What leads from the nodes there are to those that are wanted. In the order in which it should be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// Starting nodes that have not joined in time: to be removed. Those that started first.
    pub give_up: usize,
    /// Draining nodes that are needed again: to be made ready.
    pub resume: usize,
    /// Nodes to start.
    pub start: usize,
    /// Starting nodes that are not needed any more: to be removed. Those that started last.
    pub cancel: usize,
    /// Ready nodes to drain; see [`victim`].
    pub drain: usize,
}

impl Fleet {
    /// Nodes that are starting and may still join in time.
    pub fn pending(&self, policy: &ScalePolicy) -> usize {
        self.starting.iter().filter(|age| **age < policy.startup_limit).count()
    }

    /// Nodes that serve requests or will soon.
    pub fn present(&self, policy: &ScalePolicy) -> usize {
        self.ready + self.pending(policy)
    }

    /// What leads to `wanted` nodes, as far as it may be done now: no more start, and no more drain, than the policy lets at a
    /// time.
    pub fn steps(&self, wanted: usize, policy: &ScalePolicy) -> Steps {
        let pending = self.pending(policy);
        let present = self.ready + pending;
        let missing = wanted.saturating_sub(present);
        let resume = missing.min(self.draining);
        let surplus = present.saturating_sub(wanted);
        let cancel = surplus.min(pending);
        let startable = policy.step_up.map_or(usize::MAX, |step| step.saturating_sub(pending));
        let drainable = policy.step_down.map_or(usize::MAX, |step| step.saturating_sub(self.draining));
        Steps {
            give_up: self.starting.len() - pending, // a part of them
            resume,
            start: (missing - resume).min(startable), // a part of it
            cancel,
            drain: (surplus - cancel).min(drainable), // a part of it
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_to_what_is_wanted() {
        let policy = ScalePolicy::of(10);
        let late = policy.startup_limit;
        let young = Duration::from_secs(1);
        let fleet = |ready, starting: &[Duration], draining| Fleet { ready, starting: starting.to_vec(), draining };
        let steps = Steps::default();
        let rows = [
            (fleet(2, &[], 0), 2, steps),
            (fleet(2, &[], 0), 5, Steps { start: 3, ..steps }),
            (fleet(2, &[young], 0), 5, Steps { start: 2, ..steps }),
            (fleet(2, &[young], 0), 3, steps),
            // One that is late is replaced.
            (fleet(2, &[young, late], 0), 4, Steps { give_up: 1, start: 1, ..steps }),
            // A node that is still there serves sooner than a new one.
            (fleet(2, &[], 2), 3, Steps { resume: 1, ..steps }),
            (fleet(2, &[], 1), 5, Steps { resume: 1, start: 2, ..steps }),
            // What is not there yet is missed least.
            (fleet(3, &[young, young], 0), 4, Steps { cancel: 1, ..steps }),
            (fleet(3, &[young], 0), 2, Steps { cancel: 1, drain: 1, ..steps }),
            (fleet(1, &[], 0), 0, Steps { drain: 1, ..steps }),
        ];
        let policy = ScalePolicy { step_down: None, ..policy };
        for (fleet, wanted, expected) in rows {
            assert_eq!(fleet.steps(wanted, &policy), expected, "{fleet:?} to {wanted}");
        }
        let limited = ScalePolicy { step_up: Some(3), step_down: Some(2), ..policy };
        let rows = [
            (fleet(2, &[young], 1), 9, Steps { resume: 1, start: 2, ..steps }),
            (fleet(2, &[young, young, young, young], 0), 9, steps),
            (fleet(9, &[], 1), 2, Steps { drain: 1, ..steps }),
            (fleet(9, &[young], 2), 2, Steps { cancel: 1, ..steps }),
        ];
        for (fleet, wanted, expected) in rows {
            assert_eq!(fleet.steps(wanted, &limited), expected, "{fleet:?} to {wanted}");
        }
    }
}
