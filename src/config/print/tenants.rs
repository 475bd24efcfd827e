//! `clusters.*.tenants`.

use serde_yaml::Value;

use super::{map, number, or_off, text, texts};
use crate::config::checked::{Partition, TenantPattern, Tenants};

pub(super) fn print(tenants: &Tenants) -> Value {
    let hosts: Vec<_> = tenants.hosts.iter().map(|host| format!("*.{host}")).collect();
    map([
        ("hosts", texts(&hosts)),
        ("max_in_flight", or_off(tenants.max_in_flight.map(number))),
        ("partitions", Value::Sequence(tenants.partitions.iter().map(partition).collect())),
    ])
}

fn partition(partition: &Partition) -> Value {
    map([
        ("name", text(&partition.name)),
        ("tenants", Value::Sequence(partition.tenants.iter().map(|pattern| text(tenant(pattern))).collect())),
        ("nodes", texts(&partition.nodes)),
    ])
}

fn tenant(pattern: &TenantPattern) -> String {
    match pattern {
        TenantPattern::Any => "*".to_owned(),
        TenantPattern::Exact(tenant) => tenant.clone(),
        TenantPattern::Suffix(suffix) => format!("*{suffix}"),
        TenantPattern::Prefix(prefix) => format!("{prefix}*"),
        TenantPattern::Range(first, last) if first == last => first.to_string(),
        TenantPattern::Range(first, last) => format!("{first}-{last}"),
    }
}
