//! `clusters.*.pools.*.scale`.

use std::time::Duration;

use serde_yaml::Value;

use super::{map, number, or_off, text};
use crate::config::checked::{ScalePanic, ScalePolicy};
use crate::config::units::{print_duration, print_percent};

pub(super) fn print(policy: &ScalePolicy) -> Value {
    let time = |time: Duration| text(print_duration(time));
    let unless_zero = |duration: Duration| or_off((!duration.is_zero()).then(|| time(duration)));
    map([
        ("acts", Value::Bool(policy.acts)),
        ("min", number(policy.min)),
        ("max", number(policy.max)),
        ("target", number(policy.target)),
        ("interval", time(policy.interval)),
        ("window", time(policy.window)),
        ("panic", or_off(policy.panic.as_ref().map(panic))),
        ("startup", unless_zero(policy.startup)),
        ("startup_limit", time(policy.startup_limit)),
        ("cool_down", policy.cool_down.map_or_else(|| text("startup"), unless_zero)),
        ("scale_down_at", text(print_percent(policy.scale_down_at))),
        ("step_up", or_off(policy.step_up.map(number))),
        ("step_down", or_off(policy.step_down.map(number))),
        ("scale_to_zero", or_off(policy.scale_to_zero.map(time))),
        ("node_load", or_off(policy.node_load.map(|load| text(print_percent(load))))),
    ])
}

fn panic(panic: &ScalePanic) -> Value {
    map([("window", text(print_duration(panic.window))), ("threshold", text(print_percent(panic.threshold)))])
}
