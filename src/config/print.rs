//! The checked configuration as YAML, in the shape that operators write: every preset and default spelled out.
//!
//! Only here (and where two of these are compared) `serde_yaml` is used, and only to write: it stops at the first error and
//! knows no lines.
//! Files are shown by path, never by content; secrets by the variable or the file that they came from.

mod listener;
mod pool;
mod rules;
mod scaling;
mod sources;
mod tenants;

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::checked::{
    Access, AccessLog, Admin, Cluster, Config, EndpointSettings, HealthProbe, HostPattern, Mode, Node, ProbePort,
    Scope, Secret, SecretSource, ServerSettings, Services, Token, UpstreamTls,
};
use super::units::print_duration;
use crate::ids::{Endpoint, Role};

/// The configuration as YAML that loads again to the same configuration.
pub fn effective(config: &Config) -> String {
    // Writing text, numbers, lists and maps with text keys to memory cannot fail.
    serde_yaml::to_string(&document(config)).unwrap_or_default()
}

/// The same before it is written.
pub(super) fn document(config: &Config) -> Value {
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), listener::print(listener)));
    let clusters = config.clusters.iter().map(|cluster| (cluster.name.as_str(), print_cluster(cluster)));
    let first = [
        ("listeners", map(listeners)),
        ("clusters", map(clusters)),
        ("rules", map(config.rules.iter().map(|rule| (rule.name.as_str(), rules::print(rule))))),
    ];
    let keys = secrets("keys", "key_file", &config.affinity_keys).map(|keys| ("affinity", map([keys])));
    let last = [("admin", print_admin(&config.admin)), ("server", print_server(&config.server))];
    map(first.into_iter().chain(keys).chain(last))
}

fn print_admin(admin: &Admin) -> Value {
    let lists = [("bind", texts(&admin.bind)), ("allow", texts(&admin.allow))];
    map(lists.into_iter().chain(print_tokens(&admin.tokens)))
}

/// As [`secrets`], with the scopes of those that are not good for everything. Those of a file are.
fn print_tokens(tokens: &[Token]) -> Option<(&'static str, Value)> {
    if tokens.iter().all(|token| token.scope == Scope::unlimited()) {
        let plain: Vec<Secret> = tokens.iter().map(|token| token.secret.clone()).collect();
        return secrets("tokens", "token_file", &plain);
    }
    let token = |token: &Token| match token.scope == Scope::unlimited() {
        true => variable(&token.secret),
        false => map([
            ("token", variable(&token.secret)),
            ("may", texts(&token.scope.may.iter().map(|may| may.as_str()).collect::<Vec<_>>())),
            ("pools", texts(&token.scope.pools)),
        ]),
    };
    Some(("tokens", Value::Sequence(tokens.iter().map(token).collect())))
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
        ("watch", or_off(server.watch.map(|interval| text(print_duration(interval))))),
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
        ("sources", map(cluster.sources.iter().map(|source| (source.name.as_str(), sources::print(source, cluster))))),
        ("max_dynamic", number(cluster.max_dynamic)),
        ("pools", map(Role::ALL.map(|role| (role.as_str(), pool::print(&cluster.pools[role.index()], role))))),
        ("tenants", tenants::print(&cluster.tenants)),
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
    some([
        ("id", Some(text(&node.id))),
        ("host", Some(text(node.host.to_text()))),
        ("roles", Some(texts(&node.roles))),
        ("weight", Some(number(node.weight))),
        ("backup", Some(Value::Bool(node.backup))),
        ("max_in_flight", node.max_in_flight.map(number)),
        // Not every id could be written as a route.
        ("route", (node.route != node.id.as_str()).then(|| text(&node.route))),
        ("ports", Some(map(endpoints.map(|endpoint| (endpoint.as_str(), number(node.ports[endpoint.index()])))))),
    ])
}

/// The variables that secrets came from, under the key `list`, or their file, under the key `file`. Nothing without
/// secrets.
fn secrets<'a>(list: &'a str, file: &'a str, secrets: &[Secret]) -> Option<(&'a str, Value)> {
    let path = |secret: &Secret| match secret.source() {
        SecretSource::File(path) => Some(text(path.display())),
        SecretSource::Variable(_) | SecretSource::Program => None,
    };
    match secrets.first().map(path)? {
        Some(path) => Some((file, path)),
        None => Some((list, Value::Sequence(secrets.iter().map(variable).collect()))),
    }
}

fn variable(secret: &Secret) -> Value {
    match secret.source() {
        SecretSource::Variable(name) => Value::String(format!("${{{name}}}")),
        // One that the program made, or a file's among others: no configuration file leads here.
        SecretSource::Program | SecretSource::File(_) => text("…"),
    }
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
