//! Hosts of all clusters together, and the listeners in front of them.

use std::collections::HashMap;

use crate::config::checked::{HostPattern, Serves};
use crate::config::decode::At;
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCluster, RawConfig, RawListener, complete, entries};
use crate::ids::{Endpoint, Name, Role};

/// Within one role a host leads to one cluster.
pub(super) fn unique(raw: &RawConfig, problems: &mut Problems) {
    for role in Role::ALL {
        let mut seen: HashMap<&HostPattern, (&Name, &Spot)> = HashMap::new();
        for entry in entries(&raw.clusters) {
            let (name, cluster) = &entry.value;
            let Some(hosts) = cluster.hosts.value().and_then(|hosts| hosts.of(role).value()) else { continue };
            for host in &hosts.items {
                if let Some((other, first)) = seen.get(&host.value) {
                    let what = format!("the same {role} host as in cluster {other} on line {}", first.line);
                    problems.error(&host.at, what, "each host once for each role");
                } else {
                    seen.insert(&host.value, (name, &host.at));
                }
            }
        }
    }
}

/// A listener must lead somewhere: to a cluster that has hosts for its role, and nodes with its endpoint.
pub(super) fn behind_listeners(raw: &RawConfig, problems: &mut Problems) {
    let clusters = entries(&raw.clusters);
    if !complete(&raw.clusters) || clusters.is_empty() {
        return;
    }
    for At { value: (_, listener), at } in entries(&raw.listeners) {
        let Some(role) = listener.role.given() else { continue };
        let hosting = |cluster: &&At<(Name, RawCluster)>| may_serve(&cluster.value.1, role.value);
        if !clusters.iter().any(|cluster| hosting(&cluster)) {
            problems.error(&role.at, "no cluster has hosts for this role", "a role under hosts of a cluster");
            continue;
        }
        behind_endpoint(listener, at, clusters.iter().filter(hosting), problems);
    }
}

fn behind_endpoint<'a>(
    listener: &RawListener,
    at: &Spot,
    mut clusters: impl Iterator<Item = &'a At<(Name, RawCluster)>>,
    problems: &mut Problems,
) {
    let Some(endpoint) = listener.endpoint.known_or(Endpoint::Servlet) else { return };
    let has = |cluster: &RawCluster| cluster.product.value().is_none_or(|product| product.has(endpoint));
    if !clusters.any(|cluster| has(&cluster.value.1)) {
        let at = listener.endpoint.given().map_or(at, |endpoint| &endpoint.at);
        let what = format!("no cluster behind this listener has a {endpoint} endpoint");
        problems.error(at, what, "servlet; passthrough for esb, mi, apim and carbon");
    }
}

/// Whether the cluster has hosts for a role of the listener, or may have meant to.
fn may_serve(cluster: &RawCluster, serves: Serves) -> bool {
    let hosts = |role: Role| match cluster.hosts.value() {
        None => true,
        Some(hosts) => {
            let hosts = hosts.of(role);
            !complete(hosts) || hosts.value().is_some_and(|hosts| !hosts.items.is_empty())
        }
    };
    Role::ALL.into_iter().any(|role| serves.includes(role) && hosts(role))
}
