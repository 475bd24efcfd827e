//! Sources of members as operators write them.

use serde_yaml::Value;

use super::{map, number, some, text, texts};
use crate::config::checked::{Cluster, DnsSource, Records, Source, SourceKind};
use crate::config::units::print_duration;
use crate::ids::Endpoint;

pub(super) fn print(source: &Source, cluster: &Cluster) -> Value {
    match &source.kind {
        SourceKind::File(file) => {
            map([("file", text(file.path.display())), ("every", text(print_duration(file.every)))])
        }
        SourceKind::Dns(dns) => print_dns(dns, cluster),
    }
}

fn print_dns(dns: &DnsSource, cluster: &Cluster) -> Value {
    let (records, own) = match dns.records {
        Records::A => ("a", None),
        Records::Aaaa => ("aaaa", None),
        Records::Srv(endpoint) => ("srv", Some(endpoint)),
    };
    let template = &dns.template;
    let ports = Endpoint::ALL.into_iter().filter(|endpoint| cluster.product.has(*endpoint) && own != Some(*endpoint));
    let ports = map(ports.map(|endpoint| (endpoint.as_str(), number(template.ports[endpoint.index()]))));
    some([
        ("dns", Some(text(&dns.name))),
        ("type", Some(text(records))),
        ("server", dns.server.map(text)),
        ("min_ttl", Some(text(print_duration(dns.min_ttl)))),
        ("max_ttl", Some(text(print_duration(dns.max_ttl)))),
        ("endpoint", own.map(text)),
        ("roles", Some(texts(&template.roles))),
        // SRV records have their own.
        ("weight", own.is_none().then(|| number(template.weight))),
        ("backup", own.is_none().then_some(Value::Bool(template.backup))),
        ("max_in_flight", template.max_in_flight.map(number)),
        ("ports", Some(ports)),
    ])
}
