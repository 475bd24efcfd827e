//! Rules for `scale` under a section of `pools`.

use std::time::Duration;

use crate::config::checked::{PoolSettings, ScalePanic, ScalePolicy};
use crate::config::decode::{At, Field};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCoolDown, RawPool, RawScale};
use crate::config::units::print_duration;

/// The share of `max_in_flight` that a node should have, if nothing else is said: what is left takes what chance brings.
const TARGET_PERCENT: usize = 80;

/// How much longer than the shortest window the longest may be: it is kept in slices of the shortest.
const LONGEST: u32 = 600;

/// `None` if the pool is not scaled.
pub(super) fn check(raw: &RawPool, settings: &PoolSettings, problems: &mut Problems) -> Option<ScalePolicy> {
    let At { value, at } = raw.scale.given()?;
    let raw_scale = value.as_ref()?;
    let policy = policy(raw_scale, target(raw_scale, raw, settings, at, problems));
    bounds(raw_scale, &policy, problems);
    windows(raw_scale, &policy, at, problems);
    starts(raw_scale, &policy, problems);
    told(raw_scale, raw, settings, problems);
    Some(policy)
}

fn target(scale: &RawScale, raw: &RawPool, settings: &PoolSettings, at: &Spot, problems: &mut Problems) -> usize {
    let most = settings.max_in_flight;
    if let (Some(given), Some(most)) = (scale.target.given(), most)
        && given.value > most
    {
        problems.error(
            &given.at,
            format!("no node may have {} in flight: max_in_flight is {most}", given.value),
            "at most max_in_flight; less, so that there is room when more come",
        );
    }
    let default = most.map(|most| (most * TARGET_PERCENT / 100).max(1));
    if scale.target.value().is_none() && default.is_none() && !scale.target.is_bad() && !raw.max_in_flight.is_bad() {
        let allowed = "target: how many requests a node should be busy with in the mean; without it, max_in_flight \
                       of the pool, of which it is 80%";
        problems.error(at, "nothing says how many requests a node is good for", allowed);
    }
    scale.target.or(default.unwrap_or(1))
}

fn policy(raw: &RawScale, target: usize) -> ScalePolicy {
    let defaults = ScalePolicy::of(target);
    let min = raw.min.or(defaults.min);
    ScalePolicy {
        acts: raw.acts.or(defaults.acts),
        min,
        max: raw.max.or(defaults.max.max(min)),
        target,
        interval: raw.interval.or(defaults.interval),
        window: raw.window.or(defaults.window),
        panic: match raw.panic.value() {
            None => defaults.panic,
            Some(raw) => raw.as_ref().zip(defaults.panic).map(|(raw, defaults)| ScalePanic {
                window: raw.window.or(defaults.window),
                threshold: raw.threshold.or(defaults.threshold),
            }),
        },
        startup: raw.startup.or(Some(defaults.startup)).unwrap_or(Duration::ZERO),
        startup_limit: raw.startup_limit.or(defaults.startup_limit),
        cool_down: match raw.cool_down.or(RawCoolDown::Startup) {
            RawCoolDown::Startup => None,
            RawCoolDown::Off => Some(Duration::ZERO),
            RawCoolDown::Time(time) => Some(time),
        },
        scale_down_at: raw.scale_down_at.or(defaults.scale_down_at),
        step_up: raw.step_up.or(defaults.step_up),
        step_down: raw.step_down.or(defaults.step_down),
        scale_to_zero: raw.scale_to_zero.or(defaults.scale_to_zero),
        node_load: raw.node_load.or(defaults.node_load),
    }
}

fn bounds(raw: &RawScale, policy: &ScalePolicy, problems: &mut Problems) {
    if let Some(max) = raw.max.given()
        && !raw.min.is_bad()
        && policy.min > max.value
    {
        let what = format!("at most {} nodes, but at least {}", max.value, policy.min);
        problems.error(&max.at, what, "max that is not less than min (default: 1)");
    }
}

/// A burst must be seen before the mean shows it, and often enough; all of it must fit into memory.
fn windows(raw: &RawScale, policy: &ScalePolicy, at: &Spot, problems: &mut Problems) {
    let Some(panic) = policy.panic else { return };
    let raw_panic = raw.panic.value().cloned().flatten().unwrap_or_default();
    if raw.window.is_bad() || raw.panic.is_bad() || raw_panic.window.is_bad() {
        return;
    }
    let at = raw_panic.window.given().or(raw.window.given()).map_or(at, |given| &given.at);
    let (short, long) = (print_duration(panic.window), print_duration(policy.window));
    if panic.window >= policy.window {
        let what = format!("bursts are looked for in {short}, and the mean is that of {long}");
        problems.error(at, what, "panic.window shorter than window (defaults: 3s, 1m), or panic: off");
    } else if policy.window > panic.window * LONGEST {
        let what = format!("bursts are looked for in {short}, and the mean is that of {long}");
        problems.error(at, what, "window at most 600 times as long as panic.window (default: 3s), or panic: off");
    }
}

fn starts(raw: &RawScale, policy: &ScalePolicy, problems: &mut Problems) {
    if raw.startup.is_bad() || raw.startup_limit.is_bad() || policy.startup <= policy.startup_limit {
        return;
    }
    let given = raw.startup_limit.given().map(|given| &given.at).or(raw.startup.given().map(|given| &given.at));
    if let Some(at) = given {
        let (usual, limit) = (print_duration(policy.startup), print_duration(policy.startup_limit));
        problems.error(
            at,
            format!("a start takes {usual}, but is given up after {limit}"),
            "startup_limit that is not shorter than startup (defaults: 10m and 30s)",
        );
    }
}

/// Keys that others leave without effect.
fn told(scale: &RawScale, raw: &RawPool, settings: &PoolSettings, problems: &mut Problems) {
    let load = raw.load.or_empty();
    let known = !raw.load.is_bad() && !load.orca.is_bad() && !load.agent.is_bad();
    let told = settings.load.orca || settings.load.agent.is_some();
    if let Field::Given(At { value: Some(_), at }) = &scale.node_load
        && known
        && !told
    {
        problems.warning(at, "no node tells its load: set load.orca or load.agent");
    }
    if let Field::Given(At { value: Some(_), at }) = &scale.scale_to_zero
        && !raw.queue.is_bad()
        && settings.queue.length == 0
    {
        problems.warning(at, "without a queue, requests that find no node get 503 until one has started");
    }
}
