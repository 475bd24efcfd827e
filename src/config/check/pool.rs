//! Rules for a section under `pools`.

use crate::config::checked::{HealthPolicy, Keepalive, PoolSettings, UpstreamTimeouts};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawHealthPolicy, RawPool};
use crate::config::units::print_duration;
use crate::ids::Role;

pub(super) fn check(raw: &RawPool, role: Role, at: Option<&Spot>, problems: &mut Problems) -> PoolSettings {
    let defaults = PoolSettings::of(role);
    let keepalive = raw.keepalive.or_empty();
    let timeouts = raw.timeouts.or_empty();
    PoolSettings {
        balance: raw.balance.or(defaults.balance),
        keepalive: Keepalive {
            connections: keepalive.connections.or(defaults.keepalive.connections),
            idle: keepalive.idle.or(defaults.keepalive.idle),
        },
        timeouts: UpstreamTimeouts {
            connect: timeouts.connect.or(defaults.timeouts.connect),
            read: timeouts.read.or(defaults.timeouts.read),
            write: timeouts.write.or(defaults.timeouts.write),
        },
        health: health(&raw.health.or_empty(), defaults.health, at, problems),
        ..defaults
    }
}

fn health(raw: &RawHealthPolicy, defaults: HealthPolicy, at: Option<&Spot>, problems: &mut Problems) -> HealthPolicy {
    let (interval, timeout) = (raw.interval.or(defaults.interval), raw.timeout.or(defaults.timeout));
    let known = !raw.interval.is_bad() && !raw.timeout.is_bad();
    let at = raw.timeout.given().or(raw.interval.given()).map(|given| &given.at).or(at);
    if let Some(at) = at.filter(|_| known && timeout > interval) {
        let (timeout, interval) = (print_duration(timeout), print_duration(interval));
        problems.error(
            at,
            format!("a probe may take {timeout}, but they begin every {interval}"),
            "a timeout that is not longer than the interval (defaults: timeout 2s, interval 5s)",
        );
    }
    HealthPolicy { interval, timeout, rise: raw.rise.or(defaults.rise), fall: raw.fall.or(defaults.fall) }
}
