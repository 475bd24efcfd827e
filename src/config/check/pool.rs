//! Rules for a section under `pools`.

use std::time::Duration;

use crate::config::checked::{Algorithm, HealthPolicy, Keepalive, PoolSettings, UpstreamTimeouts};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawHealthPolicy, RawPool};
use crate::config::units::print_duration;

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn check(raw: &RawPool, at: Option<&Spot>, problems: &mut Problems) -> PoolSettings {
    let keepalive = raw.keepalive.or_empty();
    let timeouts = raw.timeouts.or_empty();
    PoolSettings {
        balance: raw.balance.or(Algorithm::RoundRobin),
        keepalive: Keepalive {
            connections: keepalive.connections.or(256),
            idle: keepalive.idle.or(Duration::from_secs(15)),
        },
        timeouts: UpstreamTimeouts {
            connect: timeouts.connect.or(Duration::from_secs(2)),
            // Long, because services call back ends of their own.
            read: timeouts.read.or(Duration::from_secs(5 * 60)),
            write: timeouts.write.or(Duration::from_secs(60)),
        },
        health: health(&raw.health.or_empty(), at, problems),
    }
}

fn health(raw: &RawHealthPolicy, at: Option<&Spot>, problems: &mut Problems) -> HealthPolicy {
    let (interval, timeout) = (raw.interval.or(INTERVAL), raw.timeout.or(TIMEOUT));
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
    HealthPolicy { interval, timeout, rise: raw.rise.or(2), fall: raw.fall.or(3) }
}
