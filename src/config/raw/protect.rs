//! The mirror of what spares the members of a pool: ejection, retries, the queue, and the load that nodes report.

use std::time::Duration;

use super::USUAL;
use crate::config::decode::{Field, Fields};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::Node;
use crate::config::values::{boolean, duration, map_or_off, number, or_off, percent};

/// How often something is looked at.
pub(super) const RHYTHM: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);

/// Requests in flight, wherever they are limited.
pub(crate) const IN_FLIGHT: std::ops::RangeInclusive<usize> = 1..=1_000_000;

/// `clusters.*.pools.*.outliers`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawOutliers {
    pub(crate) consecutive: Field<Option<u32>>,
    pub(crate) error_rate: Field<Option<u8>>,
    pub(crate) latency: Field<Option<u32>>,
    pub(crate) requests: Field<u32>,
    pub(crate) interval: Field<Duration>,
    pub(crate) eject_for: Field<Duration>,
    pub(crate) eject_at_most: Field<Duration>,
    pub(crate) max_ejected: Field<u8>,
}

impl RawOutliers {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let outliers = RawOutliers {
            consecutive: fields.field("consecutive", or_off(number(1..=10_000))),
            // More than all can't be errors.
            error_rate: fields.field("error_rate", or_off(percent(1..=99))),
            latency: fields.field("latency", or_off(percent(101..=100_000))),
            requests: fields.field("requests", number(1..=1_000_000)),
            interval: fields.field("interval", duration(RHYTHM)),
            eject_for: fields.field("eject_for", duration(USUAL)),
            eject_at_most: fields.field("eject_at_most", duration(USUAL)),
            max_ejected: fields.field("max_ejected", percent(1..=100)),
        };
        fields.close();
        Some(outliers)
    }
}

/// `clusters.*.pools.*.retry`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawRetry {
    pub(crate) attempts: Field<usize>,
    pub(crate) try_timeout: Field<Option<Duration>>,
    pub(crate) budget: Field<u8>,
    pub(crate) budget_floor: Field<usize>,
}

impl RawRetry {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let retry = RawRetry {
            attempts: fields.field("attempts", number(1..=16)),
            try_timeout: fields.field("try_timeout", or_off(duration(USUAL))),
            budget: fields.field("budget", percent(0..=100)),
            budget_floor: fields.field("budget_floor", number(0..=10_000)),
        };
        fields.close();
        Some(retry)
    }
}

/// `clusters.*.pools.*.queue`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawQueue {
    pub(crate) length: Field<usize>,
    pub(crate) wait: Field<Duration>,
}

impl RawQueue {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let queue = RawQueue {
            length: fields.field("length", number(1..=100_000)),
            wait: fields.field("wait", duration(USUAL)),
        };
        fields.close();
        Some(queue)
    }
}

/// `clusters.*.pools.*.load`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawLoad {
    pub(crate) orca: Field<bool>,
    pub(crate) fade: Field<Duration>,
    pub(crate) agent: Field<Option<RawAgent>>,
}

impl RawLoad {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let load = RawLoad {
            orca: fields.field("orca", boolean),
            fade: fields.field("fade", duration(USUAL)),
            agent: fields.field("agent", map_or_off(RawAgent::read)),
        };
        fields.close();
        Some(load)
    }
}

/// `clusters.*.pools.*.load.agent`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAgent {
    pub(crate) port: Field<u16>,
    pub(crate) interval: Field<Duration>,
    pub(crate) timeout: Field<Duration>,
}

impl RawAgent {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let agent = RawAgent {
            port: fields.required("port", "1 to 65535", number(1..=u16::MAX)),
            interval: fields.field("interval", duration(RHYTHM)),
            timeout: fields.field("timeout", duration(RHYTHM)),
        };
        fields.close();
        Some(agent)
    }
}
