//! The checked form of `clusters.*.pools.*.scale`: how many nodes a role of a cluster should have.

use std::time::Duration;

use serde::Serialize;

/// How many nodes a role of a cluster should have. The rule that it directs is in [`crate::autoscale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScalePolicy {
    /// Whether nodes are started and stopped as decided. If not, the wanted number is only published. Of several
    /// balancers in front of the same nodes, one may act.
    pub acts: bool,
    /// The fewest nodes, 1 to 10,000; but none if [`Self::scale_to_zero`] says so.
    pub min: usize,
    /// The most nodes, at least `min`.
    pub max: usize,
    /// Requests in flight that a node should have in the mean, 1 to 1,000,000: fewer than it can serve at a time.
    pub target: usize,
    /// From one decision to the next.
    pub interval: Duration,
    /// Over which time the load is averaged that nodes are stopped by.
    pub window: Duration,
    /// How bursts are met; `None`: they count by their share of `window`.
    pub panic: Option<ScalePanic>,
    /// How long a node takes from its start to its first request: how far ahead a rising load is looked at. Zero: not
    /// at all.
    pub startup: Duration,
    /// How long a node may take to join. One that takes longer is given up and replaced.
    pub startup_limit: Duration,
    /// For how long fewer nodes must have been enough before one is stopped; `None`: for as long as a node takes to start,
    /// since it takes as long to have it back.
    pub cool_down: Option<Duration>,
    /// A node is stopped only if the others then have at most that percent of their target, 1 to 100.
    pub scale_down_at: u8,
    /// Nodes that may be starting at a time; `None`: any number.
    pub step_up: Option<usize>,
    /// Nodes that may be draining at a time; `None`: any number.
    pub step_down: Option<usize>,
    /// After which time without any request the last node is stopped; `None`: never.
    pub scale_to_zero: Option<Duration>,
    /// Percent of load that nodes should report in the mean, 1 to 100; `None`: what they report does not count.
    pub node_load: Option<u8>,
}

/// How bursts are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScalePanic {
    /// Over which time the load is averaged; shorter than [`ScalePolicy::window`].
    pub window: Duration,
    /// Percent of the nodes there are, ready or starting: from so many needed on, nodes are started for this load at
    /// once. 101 to 1000.
    pub threshold: u16,
}

impl ScalePolicy {
    /// The defaults, for nodes that should have `target` requests in flight.
    pub fn of(target: usize) -> Self {
        ScalePolicy {
            acts: false,
            min: 1,
            max: 5,
            target,
            interval: Duration::from_secs(1),
            window: Duration::from_secs(60),
            panic: Some(ScalePanic { window: Duration::from_secs(3), threshold: 200 }),
            startup: Duration::from_secs(30),
            startup_limit: Duration::from_secs(10 * 60),
            cool_down: None,
            scale_down_at: 95,
            step_up: None,
            step_down: Some(2),
            scale_to_zero: None,
            node_load: None,
        }
    }
}
