//! The mirror of `clusters.*.pools.*.scale`.

use std::time::Duration;

use super::protect::IN_FLIGHT;
use crate::config::decode::{Field, Fields};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::Node;
use crate::config::units::DAY;
use crate::config::values::{boolean, duration, map_or_off, number, or_off, percent};

/// How many nodes a role may have.
const NODES: std::ops::RangeInclusive<usize> = 1..=10_000;

/// How long windows and delays may be.
const DELAY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;

/// `clusters.*.pools.*.scale`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawScale {
    pub(crate) acts: Field<bool>,
    pub(crate) min: Field<usize>,
    pub(crate) max: Field<usize>,
    pub(crate) target: Field<usize>,
    pub(crate) interval: Field<Duration>,
    pub(crate) window: Field<Duration>,
    pub(crate) panic: Field<Option<RawScalePanic>>,
    pub(crate) startup: Field<Option<Duration>>,
    pub(crate) startup_limit: Field<Duration>,
    pub(crate) cool_down: Field<RawCoolDown>,
    pub(crate) scale_down_at: Field<u8>,
    pub(crate) step_up: Field<Option<usize>>,
    pub(crate) step_down: Field<Option<usize>>,
    pub(crate) scale_to_zero: Field<Option<Duration>>,
    pub(crate) node_load: Field<Option<u8>>,
}

/// `clusters.*.pools.*.scale.cool_down`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawCoolDown {
    /// As long as a node takes to start.
    Startup,
    Off,
    Time(Duration),
}

/// `clusters.*.pools.*.scale.panic`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawScalePanic {
    pub(crate) window: Field<Duration>,
    pub(crate) threshold: Field<u16>,
}

impl RawScale {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let scale = RawScale {
            acts: fields.field("acts", boolean),
            min: fields.field("min", number(NODES)),
            max: fields.field("max", number(NODES)),
            target: fields.field("target", number(IN_FLIGHT)),
            interval: fields.field("interval", duration(Duration::from_millis(100)..=Duration::from_secs(60 * 60))),
            window: fields.field("window", duration(DELAY)),
            panic: fields.field("panic", map_or_off(RawScalePanic::read)),
            startup: fields.field("startup", or_off(duration(DELAY))),
            startup_limit: fields.field("startup_limit", duration(DELAY)),
            cool_down: fields.field("cool_down", cool_down),
            scale_down_at: fields.field("scale_down_at", percent(1..=100)),
            step_up: fields.field("step_up", or_off(number(NODES))),
            step_down: fields.field("step_down", or_off(number(NODES))),
            scale_to_zero: fields.field("scale_to_zero", or_off(duration(DELAY))),
            node_load: fields.field("node_load", or_off(percent(1..=100))),
        };
        fields.close();
        Some(scale)
    }
}

impl RawScalePanic {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let panic = RawScalePanic {
            window: fields.field("window", duration(DELAY)),
            threshold: fields.field("threshold", percent(101..=1000)),
        };
        fields.close();
        Some(panic)
    }
}

fn cool_down(node: &Node, at: &Spot, problems: &mut Problems) -> Option<RawCoolDown> {
    match &node.value {
        crate::config::tree::Value::Scalar(scalar) if scalar.text == "startup" => Some(RawCoolDown::Startup),
        _ => {
            let time = or_off(duration(DELAY))(node, at, problems)?;
            Some(time.map_or(RawCoolDown::Off, RawCoolDown::Time))
        }
    }
}
