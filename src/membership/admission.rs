//! Who may be a member, besides the nodes of the file: what a configuration file is held against, and that it lies where
//! the operator allows members to be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::{Affinity, Cluster, Config, IN_FLIGHT, Mode, Node, NodeHost, UpstreamTls, is_route};
use crate::ids::{ClusterName, Endpoint, NodeId, Role};

/// Why somebody is not made a member, or a member not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such cluster.
    UnknownCluster,
    /// There is no such node, or it is no member that comes and goes.
    UnknownMember,
    /// The file or another source has the id; what is said of it there holds.
    Taken(String),
    /// Another node has the address and the port.
    AddressTaken(NodeId),
    /// Another node has the route, and sessions are found by it.
    RouteTaken(NodeId),
    /// The cluster has as many members as it may have.
    TooMany(usize),
    /// The pools of the role have no members besides those of the file: `allowed_networks` is empty.
    NotDynamic(Role),
    /// The address is in none of the networks that the pool of the role allows.
    Outside(IpAddr, Role, Vec<String>),
    /// Members that are not the file's are given by address.
    NoAddress,
    /// Its certificate could not be verified: it has an address, and the configuration no `server_name`.
    Unverifiable(Endpoint),
    /// Something is not as it may be: the key, what is wrong, and what is allowed.
    Malformed(&'static str, String, String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownCluster => f.write_str("there is no such cluster"),
            Refusal::UnknownMember => f.write_str("there is no such member"),
            Refusal::Taken(by) => write!(f, "the id is taken ({by})"),
            Refusal::AddressTaken(id) => write!(f, "{id} has this address and port"),
            Refusal::RouteTaken(id) => write!(f, "{id} has this route, and sessions are found by it"),
            Refusal::TooMany(most) => {
                write!(f, "the cluster has {most} members besides those of the file (max_dynamic)")
            }
            Refusal::NotDynamic(role) => {
                write!(f, "the {role} pool has members of the file only: its allowed_networks is empty")
            }
            Refusal::Outside(address, role, _) => {
                write!(f, "{address} is in none of the allowed_networks of the {role} pool")
            }
            Refusal::NoAddress => f.write_str("it has a host name in place of an address"),
            Refusal::Unverifiable(endpoint) => {
                write!(
                    f,
                    "its certificate cannot be verified by an address: endpoints.{endpoint}.tls has no server_name"
                )
            }
            Refusal::Malformed(key, what, allowed) => write!(f, "{key}: {what}; allowed: {allowed}"),
        }
    }
}

/// Whether a node may be a member of a cluster besides the nodes of the file. Its address is to be in canonical form.
///
/// # Errors
/// The first reason why not.
pub fn admit(config: &Config, cluster: &Cluster, node: &Node) -> Result<(), Refusal> {
    if cluster.nodes.iter().any(|own| own.id == node.id) {
        return Err(Refusal::Taken("the configuration file".to_owned()));
    }
    let NodeHost::Address(address) = node.host else { return Err(Refusal::NoAddress) };
    roles(cluster, &node.roles)?;
    for &role in &node.roles {
        allowed(cluster, role, address)?;
    }
    within(node)?;
    route(cluster, node)?;
    verifiable(config, cluster, node)?;
    // Nobody's requests may come to a node of another cluster this way either.
    let taken = config.clusters.iter().find_map(|other| {
        let mut nodes = other.nodes.iter();
        if other.name == cluster.name {
            same_place(nodes, config, cluster, node)
        } else {
            nodes.find(|known| known.host == node.host && ports(other, known).any(|port| node.ports.contains(&port)))
        }
    });
    taken.map_or(Ok(()), |own| Err(Refusal::AddressTaken(own.id.clone())))
}

/// One role in a separated cluster. The one manager of a dual cluster is the file's.
fn roles(cluster: &Cluster, roles: &[Role]) -> Result<(), Refusal> {
    let wrong = |what: &str, allowed: &str| Err(Refusal::Malformed("roles", what.to_owned(), allowed.to_owned()));
    match (cluster.mode, roles) {
        (_, [Role::Worker]) | (Mode::Separated, [Role::Manager]) => Ok(()),
        (Mode::Separated, []) | (Mode::Dual, []) => wrong("no roles", "[worker] or [manager]"),
        (Mode::Separated, _) => wrong("more than one role in a separated cluster", "[worker] or [manager]"),
        (Mode::Dual, _) => wrong("the manager of a dual cluster is the one in the file", "[worker]"),
    }
}

fn allowed(cluster: &Cluster, role: Role, address: IpAddr) -> Result<(), Refusal> {
    let networks = &cluster.pools[role.index()].allowed_networks;
    if networks.is_empty() {
        return Err(Refusal::NotDynamic(role));
    }
    // Nobody listens there; systems take 0.0.0.0 for themselves.
    let nowhere = address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST;
    // A wide network does not mean this machine, which has the admin listener, or what hosts of clouds ask for secrets.
    let means = |network: &IpNet| match own_networks().into_iter().find(|own| own.contains(&address)) {
        Some(own) => own.contains(network),
        None => network.contains(&address),
    };
    let allows = |network: &&IpNet| network.contains(&address) && means(network);
    if nowhere || networks.iter().find(allows).is_none() {
        return Err(Refusal::Outside(address, role, networks.iter().map(ToString::to_string).collect()));
    }
    Ok(())
}

/// The networks that every machine has for itself: loopback and link-local.
fn own_networks() -> [IpNet; 4] {
    let v4 = |address: [u8; 4], length| Ipv4Net::new_assert(address.into(), length).into();
    let v6 = |first: u16, last: u16, length| Ipv6Net::new_assert([first, 0, 0, 0, 0, 0, 0, last].into(), length).into();
    [v4([127, 0, 0, 0], 8), v4([169, 254, 0, 0], 16), v6(0, 1, 128), v6(0xfe80, 0, 10)]
}

/// What the configuration would refuse in a node, too.
fn within(node: &Node) -> Result<(), Refusal> {
    let range = |key, value: usize, range: std::ops::RangeInclusive<usize>| match range.contains(&value) {
        true => Ok(()),
        false => {
            let allowed = format!("{} to {}", range.start(), range.end());
            Err(Refusal::Malformed(key, format!("{value} is out of range"), allowed))
        }
    };
    range("weight", node.weight.into(), 1..=256)?;
    for port in node.ports {
        range("ports", port.into(), 1..=65_535)?;
    }
    node.max_in_flight.map_or(Ok(()), |most| range("max_in_flight", most, IN_FLIGHT))
}

/// A route must lead to one node where sessions are found by it.
fn route(cluster: &Cluster, node: &Node) -> Result<(), Refusal> {
    // Not every id could be written as a route.
    let own = node.route != node.id.as_str();
    if (own || by_route(cluster)) && !is_route(&node.route) {
        let what = format!("{:?} can't be a route", node.route);
        let allowed = "1 to 64 ASCII letters, digits or !#$%&'*+-^_`|~ (no dot)".to_owned();
        return Err(Refusal::Malformed("route", what, allowed));
    }
    same_route(cluster.nodes.iter(), cluster, node).map_or(Ok(()), |own| Err(Refusal::RouteTaken(own.id.clone())))
}

/// Whether sessions of the cluster are found by routes.
fn by_route(cluster: &Cluster) -> bool {
    cluster.pools.iter().any(|pool| matches!(pool.affinity, Affinity::Route { .. }))
}

/// Another one of `nodes` that has the route of a node, if routes count.
pub(super) fn same_route<'n>(
    mut nodes: impl Iterator<Item = &'n Node>,
    cluster: &Cluster,
    node: &Node,
) -> Option<&'n Node> {
    nodes.find(|other| by_route(cluster) && other.id != node.id && other.route == node.route)
}

/// Another one of `nodes` that is at the address and a port of a node.
pub(super) fn same_place<'n>(
    mut nodes: impl Iterator<Item = &'n Node>,
    config: &Config,
    cluster: &Cluster,
    node: &Node,
) -> Option<&'n Node> {
    nodes.find(|other| {
        let here = || {
            // Ports that no listener leads to are of no account between nodes that do the same.
            let alike = other.roles == node.roles;
            let theirs: Vec<u16> =
                if alike { asked(config, cluster, other).collect() } else { ports(cluster, other).collect() };
            let own: Vec<u16> =
                if alike { asked(config, cluster, node).collect() } else { ports(cluster, node).collect() };
            own.iter().any(|port| theirs.contains(port))
        };
        other.id != node.id && other.host == node.host && here()
    })
}

/// The ports of a node that its product has.
fn ports<'n>(cluster: &'n Cluster, node: &'n Node) -> impl Iterator<Item = u16> + 'n {
    let endpoints = Endpoint::ALL.into_iter().filter(|&endpoint| cluster.product.has(endpoint));
    endpoints.map(|endpoint| node.ports[endpoint.index()])
}

/// The ports of a node that a listener leads to.
fn asked<'n>(config: &'n Config, cluster: &'n Cluster, node: &'n Node) -> impl Iterator<Item = u16> + 'n {
    let led_to = |endpoint: &Endpoint| node.roles.iter().any(|&role| config.leads_to(cluster, role, *endpoint));
    Endpoint::ALL.into_iter().filter(led_to).map(|endpoint| node.ports[endpoint.index()])
}

/// A node that is given by address, and whose certificate is verified, needs a name that the certificate has: see the
/// rule for `server_name` of a configuration.
fn verifiable(config: &Config, cluster: &Cluster, node: &Node) -> Result<(), Refusal> {
    let nameless = |tls: &&UpstreamTls| tls.verify && tls.server_name.is_none();
    let reached = |endpoint: Endpoint| node.roles.iter().any(|&role| config.leads_to(cluster, role, endpoint));
    for endpoint in Endpoint::ALL.into_iter().filter(|&endpoint| reached(endpoint)) {
        let requests = cluster.endpoints[endpoint.index()].tls.as_ref();
        if [requests, cluster.probe_tls(endpoint)].into_iter().flatten().any(|tls| nameless(&tls)) {
            return Err(Refusal::Unverifiable(endpoint));
        }
    }
    Ok(())
}

/// The cluster of a name.
pub(super) fn cluster<'c>(config: &'c Config, name: &ClusterName) -> Result<&'c Cluster, Refusal> {
    config.clusters.iter().find(|cluster| cluster.name == *name).ok_or(Refusal::UnknownCluster)
}
