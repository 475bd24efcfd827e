//! Where members come from that are not in the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Affinity, Cluster, Config, Mode, Product};
use crate::ids::{Endpoint, Role, SourceName};

/// A source of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// Key under `sources`.
    pub name: SourceName,
    /// What is asked.
    pub kind: SourceKind,
}

/// What a source asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A file with nodes.
    File(FileSource),
    /// A name server.
    Dns(DnsSource),
}

/// A file with nodes, see [`crate::config::members`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileSource {
    /// Where it is. It need not exist.
    pub path: PathBuf,
    /// The time between two looks at it.
    pub every: Duration,
}

/// A name whose records are members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DnsSource {
    /// What is asked for, in lower case.
    pub name: String,
    /// Which records.
    pub records: Records,
    /// Who is asked; `None`: the name servers of the system.
    pub server: Option<SocketAddr>,
    /// An answer counts for as long as its time to live says, but at least so long.
    pub min_ttl: Duration,
    /// And at most so long.
    pub max_ttl: Duration,
    /// What every member gets.
    pub template: Template,
}

/// Records of DNS that name members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Records {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Targets with ports, priorities and weights. The port is that of this endpoint.
    Srv(Endpoint),
}

/// What a member gets that its source says nothing of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Template {
    /// Not empty, and fit for the cluster's mode.
    pub roles: Vec<Role>,
    /// Share of the load, 1 to 256.
    pub weight: u16,
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Requests in flight on each endpoint, instead of the pool's limit.
    pub max_in_flight: Option<usize>,
    /// By [`Endpoint::index`].
    pub ports: [u16; 2],
}

/// What the members of a source have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberRules {
    /// Which endpoints there are.
    pub product: Product,
    /// Which roles a member may have.
    pub mode: Mode,
    /// By [`Endpoint::index`]: the ports of members that name none.
    pub ports: [u16; 2],
    /// By [`Endpoint::index`]: whether a listener leads there.
    pub led_to: [bool; 2],
    /// By [`Role::index`]: whether a member must be given by name, because its certificate is verified by it.
    pub by_name: [bool; 2],
    /// Whether each member needs a route of its own.
    pub by_route: bool,
}

impl Config {
    /// What members of a cluster have to fit that are not in the configuration.
    pub fn member_rules(&self, cluster: &Cluster) -> MemberRules {
        let led_to = |endpoint: Endpoint| self.listeners.iter().any(|listener| listener.endpoint == endpoint);
        MemberRules {
            product: cluster.product,
            mode: cluster.mode,
            ports: Endpoint::ALL.map(|endpoint| cluster.endpoints[endpoint.index()].port),
            led_to: Endpoint::ALL.map(led_to),
            by_name: Role::ALL.map(|role| self.verifies_by_name(cluster, role)),
            by_route: cluster.pools.iter().any(|pool| matches!(pool.affinity, Affinity::Route { .. })),
        }
    }

    /// Whether something that is asked of members with this role, a request or a probe, verifies their certificates by
    /// the name under which they are known.
    fn verifies_by_name(&self, cluster: &Cluster, role: Role) -> bool {
        Endpoint::ALL.into_iter().filter(|endpoint| self.leads_to(cluster, role, *endpoint)).any(|endpoint| {
            let requests = cluster.endpoints[endpoint.index()].tls.as_ref();
            let tls = [requests, cluster.probe_tls(endpoint)];
            tls.into_iter().flatten().any(|tls| tls.verify && tls.server_name.is_none())
        })
    }
}
