//! Scaling: what the keys mean, and mistakes in them.

use super::refused::{GOOD, one_problem};
use super::*;

/// The policy of the workers of [`GOOD`] with these settings of their pool.
fn policy(settings: &str) -> Option<ScalePolicy> {
    let loaded = accepted(&GOOD.replace("{ balance: round_robin }", &format!("{{ {settings} }}")));
    assert_eq!(loaded.warnings, [], "{settings}");
    assert_eq!(accepted(&effective(&loaded.config)).config, loaded.config, "{settings}");
    loaded.config.clusters[0].pools[Role::Worker.index()].scale
}

#[test]
fn a_pool_is_scaled_if_it_says_so() {
    assert_eq!(policy(""), None);
    assert_eq!(policy("scale: off"), None);
    assert_eq!(policy("scale: { target: 50 }"), Some(ScalePolicy::of(50)));
    assert_eq!(policy("max_in_flight: 200, scale: {}"), Some(ScalePolicy::of(160)), "80% of what a node may have");
    assert_eq!(policy("max_in_flight: 1, scale: {}"), Some(ScalePolicy::of(1)));
    let more = policy("scale: { target: 50, min: 8 }").unwrap();
    assert_eq!((more.min, more.max), (8, 8), "a default does not contradict what is written");
}

#[test]
fn off_means_none() {
    let off =
        "panic: off, startup: off, cool_down: off, step_up: off, step_down: off, scale_to_zero: off, node_load: off";
    let off = policy(&format!("scale: {{ target: 50, {off} }}")).unwrap();
    assert_eq!((off.panic, off.startup, off.cool_down), (None, Duration::ZERO, Some(Duration::ZERO)));
    assert_eq!((off.step_up, off.step_down, off.scale_to_zero, off.node_load), (None, None, None, None));
    assert_eq!(policy("scale: { target: 50, cool_down: startup }").unwrap().cool_down, None);
    let rest = policy("scale: { target: 50, panic: { window: 5s } }").unwrap().panic.unwrap();
    assert_eq!((rest.window, rest.threshold), (Duration::from_secs(5), 200));
}

#[test]
fn mistakes_in_scaling() {
    let rows = [
        ("on", "scale: found \"on\"; allowed: off, or a map"),
        ("{}", "scale: nothing says how many requests a node is good for; allowed: target: how many"),
        ("{ target: 0 }", "target: 0 is out of range; allowed: 1 to 1000000"),
        ("{ target: 9, min: 0 }", "min: 0 is out of range; allowed: 1 to 10000"),
        ("{ target: 9, max: 10001 }", "max: 10001 is out of range"),
        (
            "{ target: 9, min: 5, max: 4 }",
            "max: at most 4 nodes, but at least 5; allowed: max that is not less than min",
        ),
        ("{ target: 9, acts: 1 }", "acts: \"1\" is not a boolean"),
        ("{ target: 9, interval: 10ms }", "interval: \"10ms\" is out of range"),
        (
            "{ target: 9, window: 3s }",
            "window: bursts are looked for in 3s, and the mean is that of 3s; allowed: panic.w",
        ),
        (
            "{ target: 9, panic: { window: 1m } }",
            "panic.window: bursts are looked for in 1m, and the mean is that of 1m",
        ),
        (
            "{ target: 9, window: 24h }",
            "window: bursts are looked for in 3s, and the mean is that of 24h; allowed: window",
        ),
        (
            "{ target: 9, panic: { threshold: 100% } }",
            "threshold: \"100%\" is out of range; allowed: a percentage from 101%",
        ),
        ("{ target: 9, panic: 200% }", "panic: found \"200%\"; allowed: off, or a map"),
        (
            "{ target: 9, startup: 11m }",
            "startup: a start takes 11m, but is given up after 10m; allowed: startup_limit",
        ),
        ("{ target: 9, startup_limit: 20s }", "startup_limit: a start takes 30s, but is given up after 20s"),
        ("{ target: 9, cool_down: 0s }", "cool_down: \"0s\" is out of range"),
        ("{ target: 9, cool_down: start }", "cool_down: \"start\": "),
        (
            "{ target: 9, scale_down_at: 101% }",
            "scale_down_at: \"101%\" is out of range; allowed: a percentage from 1% to",
        ),
        ("{ target: 9, step_down: 0 }", "step_down: 0 is out of range"),
        ("{ target: 9, scale_to_zero: true }", "scale_to_zero: \"true\""),
        ("{ target: 9, node_load: 0% }", "node_load: \"0%\" is out of range"),
        ("{ target: 9, maxx: 9 }", "maxx: unknown key (did you mean \"max\"?)"),
        // One mistake is one problem.
        ("{ target: x }", "target: \"x\" is not a whole number"),
        ("{ target: 9, min: x, max: 1 }", "min: \"x\" is not a whole number"),
        ("{ target: 9, panic: { window: x }, window: 1s }", "panic.window: \"x\""),
        ("{ target: 9, startup: x, startup_limit: 1s }", "startup: \"x\""),
    ];
    for (scale, fragment) in rows {
        one_problem("balance: round_robin", &format!("scale: {scale}"), 24, fragment, Severity::Error);
    }
    let rows = [
        (
            "max_in_flight: 8, scale: { target: 9 }",
            "target: no node may have 9 in flight: max_in_flight is 8; allowed: at",
        ),
        ("max_in_flight: x, scale: {}", "max_in_flight: \"x\" is not a whole number"),
    ];
    for (settings, fragment) in rows {
        one_problem("balance: round_robin", settings, 24, fragment, Severity::Error);
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let rows = [
        (
            "scale: { target: 9, node_load: 80% }",
            "scale.node_load: no node tells its load: set load.orca or load.agent",
        ),
        (
            "queue: off, scale: { target: 9, scale_to_zero: 1h }",
            "scale.scale_to_zero: without a queue, requests that find",
        ),
    ];
    for (settings, fragment) in rows {
        one_problem("balance: round_robin", settings, 24, fragment, Severity::Warning);
    }
    assert!(policy("load: { orca: true }, scale: { target: 9, node_load: 80% }").is_some());
}
