//! Rules for the nodes of a cluster.

use std::collections::HashMap;

use super::sources;
use crate::config::checked::{Mode, Node, NodeHost, Product};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCluster, RawNode, complete, entries};
use crate::ids::{Endpoint, NodeId, Role};

/// The nodes, with `ports` where they have none of their own. Addresses must be unique at endpoints that are `led_to`.
pub(super) fn check(
    raw: &Field<Items<RawNode>>,
    product: Option<Product>,
    ports: [u16; 2],
    led_to: [bool; 2],
    problems: &mut Problems,
) -> Vec<Node> {
    let Some(nodes) = raw.given() else { return Vec::new() };
    let mut ids = HashMap::new();
    let mut addresses = HashMap::new();
    let mut checked = Vec::new();
    for node in &nodes.value.items {
        unique_id(&node.value, &mut ids, problems);
        offered_ports(&node.value, product, problems);
        if let Some(product) = product {
            let ports = own_ports(&node.value, ports);
            let asked = |endpoint: &Endpoint| product.has(*endpoint) && led_to[endpoint.index()];
            unique_address(node, asked, ports, &mut addresses, problems);
        }
        checked.extend(build(&node.value, ports));
    }
    checked
}

/// A cluster needs a node, unless somebody may come who is not in the file.
pub(super) fn some(raw: &RawCluster, problems: &mut Problems) {
    let sources = !complete(&raw.sources) || !entries(&raw.sources).is_empty();
    let others = sources || Role::ALL.into_iter().any(|role| may_register(raw, role));
    if let Some(nodes) = raw.nodes.given().filter(|nodes| nodes.value.complete && nodes.value.items.is_empty())
        && !others
    {
        problems.error(&nodes.at, "no nodes", "at least one node");
    }
}

/// `None` if the node could not be read.
fn build(raw: &RawNode, ports: [u16; 2]) -> Option<Node> {
    Some(Node {
        id: raw.id.value()?.clone(),
        host: raw.host.value()?.clone(),
        roles: roles_of(raw)?,
        weight: raw.weight.or(1),
        backup: raw.backup.or(false),
        max_in_flight: raw.max_in_flight.value().copied(),
        route: raw.route.value().map_or(raw.id.value()?.as_str(), String::as_str).to_owned(),
        ports: own_ports(raw, ports),
        dynamic: false,
        leaving: false,
    })
}

fn own_ports(raw: &RawNode, ports: [u16; 2]) -> [u16; 2] {
    let own = raw.ports.or_empty();
    Endpoint::ALL.map(|endpoint| own.0[endpoint.index()].or(ports[endpoint.index()]))
}

/// The roles of a node, or `None` if they could not be read.
pub(super) fn roles_of(raw: &RawNode) -> Option<Vec<Role>> {
    match &raw.roles {
        Field::Absent => Some(vec![Role::Worker]),
        Field::Given(roles) if roles.value.complete && !roles.value.items.is_empty() => Some(roles.value.values()),
        Field::Given(_) | Field::Bad => None,
    }
}

fn unique_id<'a>(raw: &'a RawNode, ids: &mut HashMap<&'a NodeId, &'a Spot>, problems: &mut Problems) {
    let Some(id) = raw.id.given() else { return };
    match ids.get(&id.value) {
        Some(first) => {
            problems.error(
                &id.at,
                format!("the same id as on line {}", first.line),
                "ids that are unique in the cluster",
            );
        }
        None => {
            ids.insert(&id.value, &id.at);
        }
    }
}

fn offered_ports(raw: &RawNode, product: Option<Product>, problems: &mut Problems) {
    let (Some(product), Some(ports)) = (product, raw.ports.value()) else { return };
    for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| !product.has(*endpoint)) {
        if let Some(port) = ports.0[endpoint.index()].given() {
            let what = format!("product {} has no {endpoint} endpoint", product.as_str());
            problems.error(&port.at, what, "ports of endpoints that the product has");
        }
    }
}

type Addresses<'a> = HashMap<(&'a NodeHost, Endpoint, u16), &'a Spot>;

fn unique_address<'a>(
    node: &'a At<RawNode>,
    asked: impl Fn(&Endpoint) -> bool,
    ports: [u16; 2],
    addresses: &mut Addresses<'a>,
    problems: &mut Problems,
) {
    let Some(host) = node.value.host.given() else { return };
    // A port that could not be read is unknown, and not the default.
    if node.value.ports.is_bad() || node.value.ports.or_empty().0.iter().any(Field::is_bad) {
        return;
    }
    for endpoint in Endpoint::ALL.into_iter().filter(asked) {
        let port = ports[endpoint.index()];
        if let Some(first) = addresses.get(&(&host.value, endpoint, port)) {
            let what = format!("the same host and {endpoint} port {port} as the node on line {}", first.line);
            problems.error(&host.at, what, "each host and port once for each endpoint");
            // One mistake, even if it shows at both endpoints.
            return;
        }
        addresses.insert((&host.value, endpoint, port), &host.at);
    }
}

/// The roles of the nodes must fit the deployment pattern and the hosts.
pub(super) fn roles(raw: &RawCluster, problems: &mut Problems) {
    let Some(nodes) = raw.nodes.given() else { return };
    for node in &nodes.value.items {
        no_role(&node.value, problems);
    }
    match raw.mode.known_or(Mode::Separated) {
        Some(Mode::Separated) => separated(&nodes.value.items, problems),
        Some(Mode::Dual) => dual(raw, problems),
        None => {}
    }
    let known: Option<Vec<_>> = nodes.value.items.iter().map(|node| roles_of(&node.value)).collect();
    if let Some(known) = known.filter(|known| nodes.value.complete && !known.is_empty()) {
        for role in Role::ALL {
            hosts_and_nodes(raw, role, &known, &nodes.at, problems);
        }
    }
}

pub(super) fn no_role(raw: &RawNode, problems: &mut Problems) {
    if let Some(roles) = raw.roles.given()
        && roles.value.complete
        && roles.value.items.is_empty()
    {
        problems.error(&roles.at, "no roles", "worker, manager; without this key, worker");
    }
}

fn separated(nodes: &[At<RawNode>], problems: &mut Problems) {
    for node in nodes {
        if let (Some(roles), Some(2..)) = (node.value.roles.given(), roles_of(&node.value).map(|roles| roles.len())) {
            let what = "worker and manager at once in a separated cluster";
            problems.error(&roles.at, what, "one role, or mode: dual for the cluster");
        }
    }
}

fn dual(raw: &RawCluster, problems: &mut Problems) {
    let Some(nodes) = raw.nodes.given() else { return };
    let mut first: Option<&Spot> = None;
    let mut unknown = !nodes.value.complete;
    let mut manager_only = false;
    for node in &nodes.value.items {
        let at = node.value.roles.given().map_or(&node.at, |roles| &roles.at);
        match roles_of(&node.value).as_deref() {
            None => unknown = true,
            Some([Role::Manager]) => {
                manager_only = true;
                let what = "manager but not worker in a dual cluster";
                problems.error(at, what, "roles [worker, manager] for the one dual node, [worker] for all others");
            }
            Some([_, _]) => match first {
                None => first = Some(at),
                Some(first) => {
                    let what = format!("a second node with both roles, after the one on line {}", first.line);
                    problems.error(at, what, "exactly one dual node");
                }
            },
            Some(_) => {}
        }
    }
    // A manager that is no worker was probably meant to be the dual node: one mistake.
    if first.is_none() && !unknown && !manager_only && !nodes.value.items.is_empty() {
        problems.error(
            &nodes.at,
            "a dual cluster without a dual node",
            "exactly one node with roles [worker, manager]",
        );
    }
}

/// Whether members of a role may come over the admin API. If it is not known, they may.
fn may_register(raw: &RawCluster, role: Role) -> bool {
    if raw.pools.is_bad() {
        return true;
    }
    let Some(pool) = raw.pools.value().map(|pools| pools.of(role)) else { return false };
    let networks = pool.value().map(|pool| &pool.allowed_networks);
    pool.is_bad() || networks.is_some_and(|networks| !networks.absent_or(|list| list.items.is_empty()))
}

/// Hosts need nodes, or somebody who may come; nodes without hosts are never asked.
fn hosts_and_nodes(raw: &RawCluster, role: Role, known: &[Vec<Role>], nodes: &Spot, problems: &mut Problems) {
    let Some(hosts) = raw.hosts.value() else { return };
    let some_node = known.iter().any(|roles| roles.contains(&role));
    match hosts.of(role).given() {
        Some(given) if !given.value.items.is_empty() => {
            // The mode has its own rule for a missing manager.
            let dual = raw.mode.value() == Some(&Mode::Dual);
            let reported = dual && role == Role::Manager;
            if !some_node && !reported && !sources::may_bring(raw, role) && !may_register(raw, role) {
                problems.error(&given.at, format!("hosts for {role}s, but no node has this role"), "hosts with nodes");
            }
        }
        _ if some_node && complete(hosts.of(role)) => {
            let dual = known.iter().any(|roles| roles.len() == 2);
            // The dual pattern may be run by two balancers, one for each role.
            if !dual {
                problems.warning(nodes, format!("nodes with role {role}, but no hosts for it: they get no requests"));
            }
        }
        _ => {}
    }
}
