//! `clusters.*.pools`.

use serde_yaml::Value;

use super::{durations, map, number, or_off, some, text, texts};
use crate::config::checked::{
    Affinity, AffinityCookie, Algorithm, HashKey, HashSettings, LoadSettings, OutlierPolicy, PoolSettings, Secure,
};
use crate::config::units::{print_duration, print_percent};
use crate::ids::Role;

pub(super) fn print(pool: &PoolSettings, role: Role) -> Value {
    // Without effect it would only be warned of.
    let hashed = pool.balance == Algorithm::Hash || pool.hash != PoolSettings::of(role).hash;
    let timeouts = &pool.timeouts;
    let timeouts = [("connect", timeouts.connect), ("read", timeouts.read), ("write", timeouts.write)];
    some([
        ("balance", Some(text(pool.balance.as_str()))),
        ("hash", hashed.then(|| hash(&pool.hash))),
        ("affinity", Some(affinity(&pool.affinity))),
        (
            "keepalive",
            Some(map([
                ("connections", number(pool.keepalive.connections)),
                ("idle", text(print_duration(pool.keepalive.idle))),
            ])),
        ),
        ("timeouts", Some(durations(timeouts))),
        (
            "health",
            Some(map([
                ("interval", text(print_duration(pool.health.interval))),
                ("timeout", text(print_duration(pool.health.timeout))),
                ("rise", number(pool.health.rise)),
                ("fall", number(pool.health.fall)),
            ])),
        ),
        ("outliers", Some(or_off(pool.outliers.as_ref().map(outliers)))),
        ("panic", Some(text(print_percent(pool.panic)))),
        (
            "retry",
            Some(map([
                ("attempts", number(pool.retry.attempts)),
                ("try_timeout", or_off(pool.retry.try_timeout.map(|timeout| text(print_duration(timeout))))),
                ("budget", text(print_percent(pool.retry.budget))),
                ("budget_floor", number(pool.retry.budget_floor)),
            ])),
        ),
        ("max_in_flight", Some(or_off(pool.max_in_flight.map(number)))),
        ("queue", Some(queue(pool))),
        (
            "slow_start",
            Some(or_off(Some(pool.slow_start).filter(|time| !time.is_zero()).map(|time| text(print_duration(time))))),
        ),
        ("load", Some(load(&pool.load))),
        ("allowed_networks", Some(texts(&pool.allowed_networks))),
        ("scale", Some(or_off(pool.scale.as_ref().map(super::scaling::print)))),
    ])
}

fn queue(pool: &PoolSettings) -> Value {
    let queue = &pool.queue;
    let waits = || map([("length", number(queue.length)), ("wait", text(print_duration(queue.wait)))]);
    or_off((queue.length > 0).then(waits))
}

fn hash(hash: &HashSettings) -> Value {
    map([("by", hash_key(&hash.by)), ("bound", text(print_percent(hash.bound)))])
}

fn hash_key(key: &HashKey) -> Value {
    match key {
        HashKey::Client => text("client"),
        HashKey::Tenant => text("tenant"),
        HashKey::Header(name) => map([("header", text(name))]),
        HashKey::Cookie(name) => map([("cookie", text(name))]),
        HashKey::PathSegment(segment) => map([("path_segment", number(*segment))]),
    }
}

fn affinity(affinity: &Affinity) -> Value {
    match affinity {
        Affinity::Off => text("off"),
        Affinity::Cookie(cookie) => map([("cookie", affinity_cookie(cookie))]),
        Affinity::Route { cookie } => map([("route", map([("cookie", text(cookie))]))]),
        Affinity::Hash(key) => map([("hash", hash_key(key))]),
    }
}

fn affinity_cookie(cookie: &AffinityCookie) -> Value {
    let secure = match cookie.secure {
        Secure::Auto => "auto",
        Secure::Always => "always",
        Secure::Never => "never",
    };
    map([
        ("name", text(&cookie.name)),
        ("path", text(&cookie.path)),
        ("secure", text(secure)),
        ("same_site", or_off(cookie.same_site.map(|word| text(word.as_str())))),
        ("lifetime", text(cookie.lifetime.map_or_else(|| "session".to_owned(), print_duration))),
    ])
}

fn outliers(policy: &OutlierPolicy) -> Value {
    map([
        ("consecutive", or_off((policy.consecutive > 0).then(|| number(policy.consecutive)))),
        ("error_rate", or_off((policy.error_percent > 0).then(|| text(print_percent(policy.error_percent))))),
        ("latency", or_off((policy.latency_percent > 0).then(|| text(print_percent(policy.latency_percent))))),
        ("requests", number(policy.requests)),
        ("interval", text(print_duration(policy.interval))),
        ("eject_for", text(print_duration(policy.eject_for))),
        ("eject_at_most", text(print_duration(policy.eject_at_most))),
        ("max_ejected", text(print_percent(policy.max_ejected))),
    ])
}

fn load(load: &LoadSettings) -> Value {
    let agent = load.agent.map(|agent| {
        map([
            ("port", number(agent.port)),
            ("interval", text(print_duration(agent.interval))),
            ("timeout", text(print_duration(agent.timeout))),
        ])
    });
    map([("orca", Value::Bool(load.orca)), ("fade", text(print_duration(load.fade))), ("agent", or_off(agent))])
}
