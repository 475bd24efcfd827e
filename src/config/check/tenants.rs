//! Rules for `clusters.*.tenants`.

use std::collections::HashMap;

use super::nodes::roles_of;
use super::sources::may_bring;
use crate::config::checked::{HostPattern, Partition, TenantPattern, Tenants};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCluster, RawNode, RawPartition, complete};
use crate::ids::{NodeId, Role};

/// More entries than this, in all partitions of a cluster, would be looked at for too long by each request.
const MOST: usize = 4096;

pub(super) fn check(raw: &RawCluster, problems: &mut Problems) -> Tenants {
    let section = raw.tenants.or_empty();
    hosts_of_the_cluster(raw, &section.hosts, problems);
    let Some(partitions) = section.partitions.given() else {
        return Tenants {
            hosts: section.hosts.value().map(Items::values).unwrap_or_default(),
            max_in_flight: section.max_in_flight.or(None),
            partitions: Vec::new(),
        };
    };
    unique_names(&partitions.value.items, problems);
    nothing_empty(&partitions.value.items, problems);
    reachable(partitions, problems);
    one_partition_each(&partitions.value.items, problems);
    if let Some(nodes) = known_nodes(raw) {
        Members { nodes, raw }.check(partitions, problems);
    }
    Tenants {
        hosts: section.hosts.value().map(Items::values).unwrap_or_default(),
        max_in_flight: section.max_in_flight.or(None),
        partitions: partitions.value.items.iter().filter_map(|partition| build(&partition.value)).collect(),
    }
}

/// `None` if the partition could not be read.
fn build(raw: &RawPartition) -> Option<Partition> {
    Some(Partition {
        name: raw.name.value()?.clone(),
        tenants: raw.tenants.value()?.values(),
        nodes: raw.nodes.value()?.values(),
    })
}

/// A host that leads to another cluster, or nowhere, names no tenant of this one.
fn hosts_of_the_cluster(raw: &RawCluster, hosts: &Field<Items<String>>, problems: &mut Problems) {
    let Some(own) = raw.hosts.value().filter(|own| Role::ALL.iter().all(|role| complete(own.of(*role)))) else {
        return;
    };
    let own: Vec<&HostPattern> =
        Role::ALL.iter().filter_map(|role| own.of(*role).value()).flat_map(|hosts| &hosts.items).map(value).collect();
    for host in hosts.value().map_or(&[][..], |hosts| &hosts.items) {
        if !own.iter().any(|own| meet(own, &host.value)) {
            problems.warning(&host.at, format!("the cluster has no host below {}", host.value));
        }
    }
}

fn value<T>(at: &At<T>) -> &T {
    &at.value
}

/// Whether some host matches both a pattern and `*.suffix`.
fn meet(pattern: &HostPattern, suffix: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(host) => below(host, suffix),
        HostPattern::Suffix(other) => other == suffix || below(other, suffix) || below(suffix, other),
    }
}

fn below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn unique_names(partitions: &[At<RawPartition>], problems: &mut Problems) {
    let mut seen = HashMap::new();
    for name in partitions.iter().filter_map(|partition| partition.value.name.given()) {
        if let Some(first) = seen.get(&name.value) {
            let what = format!("the same name as on line {first}");
            problems.error(&name.at, what, "names that are unique in the cluster");
        } else {
            seen.insert(&name.value, name.at.line);
        }
    }
}

fn nothing_empty(partitions: &[At<RawPartition>], problems: &mut Problems) {
    for At { value: partition, .. } in partitions {
        if let Some(At { at, value: Items { items, complete: true } }) = partition.tenants.given()
            && items.is_empty()
        {
            problems.error(at, "no tenants", "at least one tenant, or \"*\" for all");
        }
        if let Some(At { at, value: Items { items, complete: true } }) = partition.nodes.given()
            && items.is_empty()
        {
            problems.error(at, "no nodes", "at least one id of a node");
        }
    }
}

/// An entry whose tenants all go to an earlier one is probably at the wrong place.
fn reachable(partitions: &At<Items<RawPartition>>, problems: &mut Problems) {
    let entries = partitions.value.items.iter().filter_map(|partition| partition.value.tenants.value());
    let entries: Vec<&At<TenantPattern>> = entries.flat_map(|tenants| &tenants.items).collect();
    if entries.len() > MOST {
        let what = format!("{} entries for tenants", entries.len());
        problems.error(&partitions.at, what, format!("at most {MOST} in all partitions of a cluster"));
        return;
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(index).find(|earlier| covers(&earlier.value, &entry.value)) {
            let what = format!("never matches: the entry on line {} takes all of these first", first.at.line);
            problems.warning(&entry.at, what);
        }
    }
}

/// Whether `first` takes every tenant that `second` would. `false` also if that is not obvious.
fn covers(first: &TenantPattern, second: &TenantPattern) -> bool {
    use TenantPattern::{Any, Exact, Prefix, Range, Suffix};
    match (first, second) {
        (Any, _) => true,
        (Exact(first), Exact(second)) => first == second,
        (Suffix(suffix), Exact(second)) => second.len() > suffix.len() && second.ends_with(suffix),
        (Suffix(suffix), Suffix(second)) => second.ends_with(suffix),
        (Prefix(prefix), Exact(second) | Prefix(second)) => second.starts_with(prefix),
        (Range(first, last), Range(from, to)) => first <= from && to <= last,
        _ => false,
    }
}

/// A node belongs to one partition at most.
fn one_partition_each(partitions: &[At<RawPartition>], problems: &mut Problems) {
    let mut seen: HashMap<&NodeId, &Spot> = HashMap::new();
    let nodes = partitions.iter().filter_map(|partition| partition.value.nodes.value());
    for node in nodes.flat_map(|nodes| &nodes.items) {
        if let Some(first) = seen.get(&node.value) {
            let what = format!("node {} is also in the partition on line {}", node.value, first.line);
            problems.error(&node.at, what, "each node in one partition at most");
        } else {
            seen.insert(&node.value, &node.at);
        }
    }
}

/// The nodes by id; `None` if one could not be read.
fn known_nodes(raw: &RawCluster) -> Option<HashMap<&NodeId, &RawNode>> {
    if matches!(raw.nodes, Field::Absent) {
        return Some(HashMap::new());
    }
    let nodes = raw.nodes.value().filter(|nodes| nodes.complete)?;
    nodes.items.iter().map(|node| Some((node.value.id.value()?, &node.value))).collect()
}

/// The nodes of the cluster, all of them known.
struct Members<'a> {
    nodes: HashMap<&'a NodeId, &'a RawNode>,
    raw: &'a RawCluster,
}

impl Members<'_> {
    fn check(&self, partitions: &At<Items<RawPartition>>, problems: &mut Problems) {
        let mut named: Vec<&NodeId> = Vec::new();
        let mut known = partitions.value.complete;
        for At { value: partition, .. } in &partitions.value.items {
            let Some(nodes) = partition.nodes.given() else {
                known = false;
                continue;
            };
            known &= nodes.value.complete & self.exist(&nodes.value, problems);
            named.extend(nodes.value.items.iter().map(value));
            if known {
                self.some_worker(nodes, problems);
            }
        }
        if known {
            self.rest(partitions, &named, problems);
        }
    }

    /// Whether all nodes are there.
    fn exist(&self, nodes: &Items<NodeId>, problems: &mut Problems) -> bool {
        let mut all = true;
        for node in nodes.items.iter().filter(|node| !self.nodes.contains_key(&node.value)) {
            all = false;
            let mut ids: Vec<&str> = self.nodes.keys().map(|id| id.as_str()).collect();
            ids.sort_unstable();
            problems.error(&node.at, format!("there is no node {}", node.value), ids.join(", "));
        }
        all
    }

    /// The worker hosts of the cluster must lead to a node for every partition.
    fn some_worker(&self, nodes: &At<Items<NodeId>>, problems: &mut Problems) {
        let known = nodes.value.items.iter().filter_map(|node| self.nodes.get(&node.value));
        let worker = |node: &&RawNode| roles_of(node).is_none_or(|roles| roles.contains(&Role::Worker));
        if self.has_hosts(Role::Worker) && !nodes.value.items.is_empty() && !known.copied().any(|node| worker(&node)) {
            problems.error(&nodes.at, "none of these nodes is a worker", "at least one worker in each partition");
        }
    }

    fn has_hosts(&self, role: Role) -> bool {
        let hosts = self.raw.hosts.value().and_then(|hosts| hosts.of(role).value());
        hosts.is_some_and(|hosts| !hosts.items.is_empty())
    }

    /// Tenants that no partition takes should find a node, too.
    fn rest(&self, partitions: &At<Items<RawPartition>>, named: &[&NodeId], problems: &mut Problems) {
        let mut entries = partitions.value.items.iter().filter_map(|partition| partition.value.tenants.value());
        if entries.any(|tenants| !tenants.complete || tenants.items.iter().any(|t| t.value == TenantPattern::Any)) {
            return;
        }
        for role in Role::ALL.into_iter().filter(|role| self.has_hosts(*role)) {
            // One whose roles could not be read may be another member.
            let has_role = |node: &RawNode| roles_of(node).is_none_or(|roles| roles.contains(&role));
            let mut left = self.nodes.iter().filter(|(id, node)| has_role(node) && !named.contains(id));
            let members = self.nodes.values().any(|node| has_role(node));
            if members && left.next().is_none() && !may_bring(self.raw, role) {
                let what = format!("every {role} is in a partition, and none takes \"*\": other tenants get 503");
                problems.warning(&partitions.at, what);
            }
        }
    }
}
