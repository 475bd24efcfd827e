//! Rules for a section under `pools`.

use std::time::Duration;

use super::{affinity, scaling};
use crate::config::checked::{
    AgentCheck, Algorithm, HashSettings, HealthPolicy, Keepalive, LoadSettings, OutlierPolicy, PoolSettings,
    QueuePolicy, RetryPolicy, UpstreamTimeouts,
};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawAgent, RawHealthPolicy, RawLoad, RawOutliers, RawPool, RawQueue, RawRetry};
use crate::config::units::print_duration;
use crate::ids::Role;

pub(super) fn check(raw: &RawPool, role: Role, at: Option<&Spot>, problems: &mut Problems) -> PoolSettings {
    let defaults = PoolSettings::of(role);
    let keepalive = raw.keepalive.or_empty();
    let timeouts = raw.timeouts.or_empty();
    let mut settings = PoolSettings {
        balance: raw.balance.or(defaults.balance),
        hash: hash(raw, defaults.hash),
        affinity: affinity::check(&raw.affinity, role, defaults.affinity, problems),
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
        outliers: outliers(&raw.outliers, defaults.outliers, problems),
        panic: raw.panic.or(defaults.panic),
        retry: retry(&raw.retry, defaults.retry),
        max_in_flight: raw.max_in_flight.or(defaults.max_in_flight),
        queue: queue(&raw.queue, defaults.queue),
        slow_start: raw.slow_start.or(Some(defaults.slow_start)).unwrap_or(Duration::ZERO),
        load: load(&raw.load.or_empty(), defaults.load, problems),
        allowed_networks: raw.allowed_networks.value().map(Items::values).unwrap_or_default(),
        scale: None, // it is held against the others
    };
    settings.scale = scaling::check(raw, &settings, problems);
    idle_keys(raw, &settings, problems);
    settings
}

/// Keys that another key leaves without effect.
fn idle_keys(raw: &RawPool, settings: &PoolSettings, problems: &mut Problems) {
    if let Some(hash) = raw.hash.given()
        && !raw.balance.is_bad()
        && settings.balance != Algorithm::Hash
    {
        problems.warning(&hash.at, "has no effect without balance: hash");
    }
    let load = raw.load.or_empty();
    let known = !raw.load.is_bad() && !load.orca.is_bad() && !load.agent.is_bad();
    let told = settings.load.orca || load.agent.value().is_some_and(Option::is_some);
    if let Some(balance) = raw.balance.given().filter(|balance| balance.value == Algorithm::LoadAware)
        && known
        && !told
    {
        problems
            .warning(&balance.at, "no node tells its load: set load.orca or load.agent, or members just take turns");
    }
}

fn hash(raw: &RawPool, defaults: HashSettings) -> HashSettings {
    let raw = raw.hash.or_empty();
    HashSettings { by: raw.by.value().cloned().unwrap_or(defaults.by), bound: raw.bound.or(defaults.bound) }
}

fn health(raw: &RawHealthPolicy, defaults: HealthPolicy, at: Option<&Spot>, problems: &mut Problems) -> HealthPolicy {
    let (interval, timeout) = (raw.interval.or(defaults.interval), raw.timeout.or(defaults.timeout));
    rhythm(&raw.interval, &raw.timeout, (interval, timeout), at, problems);
    HealthPolicy { interval, timeout, rise: raw.rise.or(defaults.rise), fall: raw.fall.or(defaults.fall) }
}

/// A probe must be over when the next one begins.
fn rhythm(
    raw_interval: &Field<Duration>,
    raw_timeout: &Field<Duration>,
    (interval, timeout): (Duration, Duration),
    at: Option<&Spot>,
    problems: &mut Problems,
) {
    let known = !raw_interval.is_bad() && !raw_timeout.is_bad();
    let at = raw_timeout.given().or(raw_interval.given()).map(|given| &given.at).or(at);
    if let Some(at) = at.filter(|_| known && timeout > interval) {
        let (timeout, interval) = (print_duration(timeout), print_duration(interval));
        problems.error(
            at,
            format!("a probe may take {timeout}, but they begin every {interval}"),
            "a timeout that is not longer than the interval (defaults: timeout 2s, interval 5s)",
        );
    }
}

fn outliers(
    raw: &Field<Option<RawOutliers>>,
    default: Option<OutlierPolicy>,
    problems: &mut Problems,
) -> Option<OutlierPolicy> {
    let Some(At { value, at }) = raw.given() else { return default };
    let raw = value.as_ref()?;
    let defaults = OutlierPolicy::default();
    let policy = OutlierPolicy {
        consecutive: raw.consecutive.or(Some(defaults.consecutive)).unwrap_or(0),
        error_percent: raw.error_rate.or(Some(defaults.error_percent)).unwrap_or(0),
        latency_percent: raw.latency.or(Some(defaults.latency_percent)).unwrap_or(0),
        requests: raw.requests.or(defaults.requests),
        interval: raw.interval.or(defaults.interval),
        eject_for: raw.eject_for.or(defaults.eject_for),
        eject_at_most: raw.eject_at_most.or(defaults.eject_at_most),
        max_ejected: raw.max_ejected.or(defaults.max_ejected),
    };
    let nothing = (policy.consecutive, policy.error_percent, policy.latency_percent) == (0, 0, 0);
    if nothing && !raw.consecutive.is_bad() && !raw.error_rate.is_bad() && !raw.latency.is_bad() {
        let allowed = "outliers: off, or at least one of consecutive, error_rate, latency";
        problems.error(at, "nothing gets a member ejected", allowed);
    }
    if let Some(given) = raw.eject_at_most.given().or(raw.eject_for.given())
        && !raw.eject_for.is_bad()
        && !raw.eject_at_most.is_bad()
        && policy.eject_for > policy.eject_at_most
    {
        let (first, longest) = (print_duration(policy.eject_for), print_duration(policy.eject_at_most));
        problems.error(
            &given.at,
            format!("the first ejection lasts {first}, and none longer than {longest}"),
            "eject_at_most that is not shorter than eject_for (defaults: 5m and 10s)",
        );
    }
    Some(policy)
}

fn retry(raw: &Field<Option<RawRetry>>, defaults: RetryPolicy) -> RetryPolicy {
    match raw.value() {
        None => defaults,
        Some(None) => RetryPolicy { attempts: 1, ..defaults },
        Some(Some(raw)) => RetryPolicy {
            attempts: raw.attempts.or(defaults.attempts),
            try_timeout: raw.try_timeout.or(defaults.try_timeout),
            budget: raw.budget.or(defaults.budget),
            budget_floor: raw.budget_floor.or(defaults.budget_floor),
        },
    }
}

fn queue(raw: &Field<Option<RawQueue>>, defaults: QueuePolicy) -> QueuePolicy {
    match raw.value() {
        None => defaults,
        Some(None) => QueuePolicy { length: 0, ..defaults },
        Some(Some(raw)) => QueuePolicy { length: raw.length.or(defaults.length), wait: raw.wait.or(defaults.wait) },
    }
}

fn load(raw: &RawLoad, defaults: LoadSettings, problems: &mut Problems) -> LoadSettings {
    LoadSettings {
        orca: raw.orca.or(defaults.orca),
        fade: raw.fade.or(defaults.fade),
        agent: match raw.agent.value() {
            None => defaults.agent,
            Some(raw) => raw.as_ref().and_then(|raw| agent(raw, problems)),
        },
    }
}

/// `None` if the port could not be read.
fn agent(raw: &RawAgent, problems: &mut Problems) -> Option<AgentCheck> {
    let interval = raw.interval.or(Duration::from_secs(5));
    let timeout = raw.timeout.or(Duration::from_secs(2));
    rhythm(&raw.interval, &raw.timeout, (interval, timeout), None, problems);
    Some(AgentCheck { port: *raw.port.value()?, interval, timeout })
}
