//! The checked configuration as YAML, in the shape that operators write: every preset and default spelled out.
//!
//! This is the only place that uses `serde_yaml`, and only to write: it stops at the first error and knows no lines.
//! Files are shown by path, never by content.

mod listener;
mod rules;

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::checked::{
    Access, AccessLog, Algorithm, Cluster, Config, EndpointSettings, HealthProbe, HostPattern, Mode, Node,
    PoolSettings, ProbePort, ServerSettings, Services, UpstreamTls,
};
use super::units::print_duration;
use crate::ids::{Endpoint, Role};

/// The configuration as YAML that loads again to the same configuration.
pub fn effective(config: &Config) -> String {
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), listener::print(listener)));
    let clusters = config.clusters.iter().map(|cluster| (cluster.name.as_str(), print_cluster(cluster)));
    let document = map([
        ("listeners", map(listeners)),
        ("clusters", map(clusters)),
        ("rules", map(config.rules.iter().map(|rule| (rule.name.as_str(), rules::print(rule))))),
        ("admin", map([("bind", texts(&config.admin.bind)), ("allow", texts(&config.admin.allow))])),
        ("server", print_server(&config.server)),
    ]);
    // Writing text, numbers, lists and maps with text keys to memory cannot fail.
    serde_yaml::to_string(&document).unwrap_or_default()
}

fn print_server(server: &ServerSettings) -> Value {
    let access_log = match &server.access_log {
        AccessLog::Off => "off".to_owned(),
        AccessLog::Stdout => "stdout".to_owned(),
        AccessLog::File(path) => path.display().to_string(),
    };
    map([
        ("threads", server.threads.map_or_else(|| text("auto"), number)),
        ("grace", text(print_duration(server.grace))),
        ("access_log", text(access_log)),
    ])
}

fn print_cluster(cluster: &Cluster) -> Value {
    let mode = match cluster.mode {
        Mode::Separated => "separated",
        Mode::Dual => "dual",
    };
    let services = match &cluster.services {
        Services::Only(services) => texts(services),
        Services::AnyButAdmin => text("any-but-admin"),
    };
    let hosts = Role::ALL.map(|role| (role.as_str(), hosts(&cluster.hosts[role.index()])));
    let paths = &cluster.paths;
    let endpoints = Endpoint::ALL.into_iter().filter(|endpoint| cluster.product.has(*endpoint));
    let endpoints = endpoints.map(|endpoint| (endpoint.as_str(), print_endpoint(&cluster.endpoints[endpoint.index()])));
    map([
        ("product", text(cluster.product.as_str())),
        ("mode", text(mode)),
        ("hosts", map(hosts)),
        ("services", services),
        ("admin_services", texts(&cluster.admin_services)),
        (
            "paths",
            map([
                ("management", texts(&paths.management)),
                ("service", texts(&paths.service)),
                ("shared", texts(&paths.shared)),
            ]),
        ),
        ("endpoints", map(endpoints)),
        ("access", map(Role::ALL.map(|role| (role.as_str(), print_access(&cluster.access[role.index()]))))),
        ("nodes", Value::Sequence(cluster.nodes.iter().map(|node| print_node(node, cluster)).collect())),
        ("pools", map(Role::ALL.map(|role| (role.as_str(), print_pool(&cluster.pools[role.index()]))))),
    ])
}

fn print_access(access: &Access) -> Value {
    map([("allow", texts(&access.allow)), ("deny", texts(&access.deny))])
}

fn hosts(hosts: &[HostPattern]) -> Value {
    let host = |host: &HostPattern| match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Suffix(suffix) => format!("*.{suffix}"),
        HostPattern::Exact(host) => host.clone(),
    };
    texts(&hosts.iter().map(host).collect::<Vec<_>>())
}

fn print_endpoint(endpoint: &EndpointSettings) -> Value {
    some([
        ("scheme", Some(text(endpoint.scheme))),
        ("port", Some(number(endpoint.port))),
        ("tls", endpoint.tls.as_ref().map(print_tls)),
        ("health", Some(print_health(&endpoint.health))),
    ])
}

fn print_tls(tls: &UpstreamTls) -> Value {
    some([
        ("ca", tls.ca.as_ref().map(|path| text(path.display()))),
        ("server_name", tls.server_name.as_ref().map(text)),
        ("verify", Some(Value::Bool(tls.verify))),
    ])
}

fn print_health(health: &HealthProbe) -> Value {
    let (scheme, port, path, host, expect) = match health {
        HealthProbe::Off => return text("off"),
        HealthProbe::Tcp => return text("tcp"),
        HealthProbe::Http { scheme, port, path, host, expect } => (scheme, port, path, host, expect),
    };
    let port = match port {
        ProbePort::Own => None,
        ProbePort::Servlet => Some(text("servlet")),
        ProbePort::Fixed(port) => Some(number(*port)),
    };
    some([
        ("path", Some(text(path))),
        ("port", port),
        ("scheme", Some(text(scheme))),
        ("host", Some(text(host))),
        ("expect", Some(Value::Sequence(expect.iter().copied().map(number).collect()))),
    ])
}

fn print_node(node: &Node, cluster: &Cluster) -> Value {
    let endpoints = Endpoint::ALL.into_iter().filter(|endpoint| cluster.product.has(*endpoint));
    map([
        ("id", text(&node.id)),
        ("host", text(node.host.to_text())),
        ("roles", texts(&node.roles)),
        ("weight", number(node.weight)),
        ("ports", map(endpoints.map(|endpoint| (endpoint.as_str(), number(node.ports[endpoint.index()]))))),
    ])
}

fn print_pool(pool: &PoolSettings) -> Value {
    let balance = match pool.balance {
        Algorithm::RoundRobin => "round_robin",
        Algorithm::Random => "random",
        Algorithm::LeastInFlight => "least_in_flight",
        Algorithm::TwoChoices => "two_choices",
        Algorithm::PeakEwma => "peak_ewma",
        Algorithm::Hash => "hash",
        Algorithm::LoadAware => "load_aware",
    };
    let (timeouts, health) = (&pool.timeouts, &pool.health);
    map([
        ("balance", text(balance)),
        (
            "keepalive",
            map([
                ("connections", number(pool.keepalive.connections)),
                ("idle", text(print_duration(pool.keepalive.idle))),
            ]),
        ),
        ("timeouts", durations([("connect", timeouts.connect), ("read", timeouts.read), ("write", timeouts.write)])),
        (
            "health",
            map([
                ("interval", text(print_duration(health.interval))),
                ("timeout", text(print_duration(health.timeout))),
                ("rise", number(health.rise)),
                ("fall", number(health.fall)),
            ]),
        ),
    ])
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (text(key), value)).collect::<Mapping>())
}

/// A map without the keys that have no value.
fn some<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    map(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

fn durations<const N: usize>(entries: [(&str, Duration); N]) -> Value {
    map(entries.map(|(key, duration)| (key, text(print_duration(duration)))))
}

fn texts<T: std::fmt::Display>(items: &[T]) -> Value {
    Value::Sequence(items.iter().map(text).collect())
}

/// Text as it is: what looks like a variable must not become one when the output is loaded.
fn text(text: impl std::fmt::Display) -> Value {
    Value::String(text.to_string().replace("${", "$${"))
}

fn number(number: impl Into<serde_yaml::Number>) -> Value {
    Value::Number(number.into())
}

/// A value that may be `off`.
fn or_off(value: Option<Value>) -> Value {
    value.unwrap_or_else(|| text("off"))
}
