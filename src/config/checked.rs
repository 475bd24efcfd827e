//! The configuration that the program runs on.
//!
//! Every value here has been checked against every other; only [`super::load`] builds one. Presets of the product and
//! defaults are already filled in, so no reader of these types has to know them.

mod listener;
mod pool;
mod rules;
mod scaling;
mod secret;
mod sources;
mod tenants;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

pub use self::listener::*;
pub use self::pool::*;
pub use self::rules::*;
pub use self::scaling::*;
pub use self::secret::*;
pub use self::sources::*;
pub use self::tenants::*;
pub use self::tokens::*;
use crate::ids::{ClusterName, Endpoint, NodeId, Role, Scheme};

/// A whole configuration file, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// In the order of the file; at least one.
    pub clusters: Vec<Cluster>,
    /// Limits on what requests may ask for, in the order of the file.
    pub rules: Vec<Rule>,
    /// Keys of affinity cookies: cookies are made with the first and read with any. Empty: some pool has none, or each
    /// process has a key of its own.
    pub affinity_keys: Vec<Secret>,
    /// The listener for health, readiness and metrics.
    pub admin: Admin,
    /// Settings of the process.
    pub server: ServerSettings,
}

impl Config {
    /// Whether a listener leads to `endpoint` on nodes of `cluster` with `role`: the pools that the program needs.
    pub fn leads_to(&self, cluster: &Cluster, role: Role, endpoint: Endpoint) -> bool {
        cluster.product.has(endpoint)
            && !cluster.hosts[role.index()].is_empty()
            && self.listeners.iter().any(|listener| listener.endpoint == endpoint && listener.serves.includes(role))
    }
}

/// A Carbon cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cluster {
    /// Key under `clusters`.
    pub name: ClusterName,
    /// Decides the path tables.
    pub product: Product,
    /// Separated or dual.
    pub mode: Mode,
    /// Host names by [`Role::index`]. Within one role no pattern appears in two clusters.
    pub hosts: [Vec<HostPattern>; 2],
    /// Which names under `/services` a worker may be asked for.
    pub services: Services,
    /// Further admin services (names as after `/services/`), besides the built-in table.
    pub admin_services: Vec<String>,
    /// The operator's additions to the product's path tables.
    pub paths: ExtraPaths,
    /// By [`Endpoint::index`]: what every node of the cluster offers there, unless the node says otherwise.
    pub endpoints: [EndpointSettings; 2],
    /// Which clients may reach the cluster, by [`Role::index`] and whichever listener they come to.
    pub access: [Access; 2],
    /// Those that are in the file; at least one, or a source.
    pub nodes: Vec<Node>,
    /// Where further members come from, in the order of the file.
    pub sources: Vec<Source>,
    /// How many members it may have besides those of the file, 1 to 65536.
    pub max_dynamic: usize,
    /// Pool settings by [`Role::index`].
    pub pools: [PoolSettings; 2],
    /// What tenants get.
    pub tenants: Tenants,
}

impl Cluster {
    /// The TLS settings of the probe that judges `endpoint`: those of the endpoint whose port is probed. A fixed port
    /// counts as the servlet endpoint if it is that endpoint's port; otherwise the probe goes with the judged endpoint,
    /// or with the servlet endpoint if the judged one is clear text. `None` exactly if the probe needs no TLS.
    pub fn probe_tls(&self, endpoint: Endpoint) -> Option<&UpstreamTls> {
        let servlet = &self.endpoints[Endpoint::Servlet.index()];
        let own = &self.endpoints[endpoint.index()];
        match &own.health {
            HealthProbe::Http { scheme: Scheme::Https, port, .. } => match port {
                ProbePort::Servlet => servlet.tls.as_ref(),
                ProbePort::Fixed(port) if *port == servlet.port => servlet.tls.as_ref(),
                ProbePort::Own | ProbePort::Fixed(_) => own.tls.as_ref().or(servlet.tls.as_ref()),
            },
            HealthProbe::Tcp => own.tls.as_ref(),
            HealthProbe::Off | HealthProbe::Http { .. } => None,
        }
    }
}

/// A WSO2 product, or any other Carbon server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Enterprise Service Bus, Enterprise Integrator.
    Esb,
    /// Micro Integrator.
    Mi,
    /// Identity Server.
    Is,
    /// API Manager.
    Apim,
    /// Application Server.
    As,
    /// Any other server on the Carbon kernel.
    Carbon,
}

impl Product {
    /// Whether the product's nodes have `endpoint` at all. Identity Server and Application Server have no pass-through
    /// transport; nothing leads to what [`Cluster::endpoints`] holds for them there.
    pub const fn has(self, endpoint: Endpoint) -> bool {
        !matches!((self, endpoint), (Product::Is | Product::As, Endpoint::Passthrough))
    }

    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Product::Esb => "esb",
            Product::Mi => "mi",
            Product::Is => "is",
            Product::Apim => "apim",
            Product::As => "as",
            Product::Carbon => "carbon",
        }
    }
}

/// The deployment pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Workers and managers are different nodes.
    Separated,
    /// Exactly one node is worker and manager, all others are workers.
    Dual,
}

/// A host name as written in the configuration, in lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostPattern {
    /// `"*"`: any host.
    Any,
    /// `"*.esb.example.com"`: any host with one label or more before `.esb.example.com`. Holds the part after `*.`.
    Suffix(String),
    /// `"esb.example.com"`, or an IP address (IPv6 without brackets, in its shortest form).
    Exact(String),
}

/// Which names under `/services` a worker may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Services {
    /// Exactly these. None of them is on the built-in table of admin services.
    Only(Vec<String>),
    /// All but admin services, by table and by name pattern.
    AnyButAdmin,
}

/// Paths that the operator adds to the product's tables. Each begins with `/`, is in canonical form, and covers the
/// path itself and everything below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExtraPaths {
    /// For managers only.
    pub management: Vec<String>,
    /// For workers only.
    pub service: Vec<String>,
    /// For whatever role the listener serves.
    pub shared: Vec<String>,
}

/// How an endpoint of a cluster's nodes is reached and judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EndpointSettings {
    /// Clear text or TLS.
    pub scheme: Scheme,
    /// The port on nodes that name no port of their own.
    pub port: u16,
    /// How nodes are verified. Present exactly if `scheme` is HTTPS.
    pub tls: Option<UpstreamTls>,
    /// What a probe asks.
    pub health: HealthProbe,
}

/// How a node's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// PEM file with the certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must have, also sent as SNI. `None`: the host name of the node; every node then
    /// has a name (not an address) or `verify` is off, if a listener or a probe leads to the endpoint at all.
    pub server_name: Option<String>,
    /// `false` only if the operator wrote so.
    pub verify: bool,
}

/// What a health probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HealthProbe {
    /// Members count as up without being asked.
    Off,
    /// A TCP connection is enough (a TLS handshake too, on an HTTPS endpoint).
    Tcp,
    /// A GET request.
    Http {
        /// Clear text or TLS, on the port below. For the TLS settings see [`Cluster::probe_tls`].
        scheme: Scheme,
        /// Where on the node the request goes.
        port: ProbePort,
        /// Path and query.
        path: String,
        /// The `Host` header.
        host: String,
        /// Status codes that mean "up".
        expect: Vec<u16>,
    },
}

/// Which port of a node a health probe goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbePort {
    /// The node's port of the endpoint that is judged.
    Own,
    /// The node's servlet port: how a pass-through port is judged where the health path is a servlet's.
    Servlet,
    /// The same port on every node.
    Fixed(u16),
}

impl ProbePort {
    /// The port to probe on `node` to judge `endpoint`.
    pub fn on(self, node: &Node, endpoint: Endpoint) -> u16 {
        match self {
            ProbePort::Own => node.ports[endpoint.index()],
            ProbePort::Servlet => node.ports[Endpoint::Servlet.index()],
            ProbePort::Fixed(port) => port,
        }
    }
}

/// A server of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// Unique in the cluster.
    pub id: NodeId,
    /// Name or address.
    pub host: NodeHost,
    /// Not empty, no repetition.
    pub roles: Vec<Role>,
    /// Share of the load, 1 to 256.
    pub weight: u16,
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Requests in flight, on each endpoint over all its roles, instead of the pool's limit.
    pub max_in_flight: Option<usize>,
    /// What Tomcat on it adds to session ids (`jvmRoute`); its id if the configuration says nothing.
    pub route: String,
    /// By [`Endpoint::index`]: the port, with the cluster's default filled in.
    pub ports: [u16; 2],
    /// Whether it came while the program runs: see [`crate::membership`]. Never in a file.
    pub dynamic: bool,
    /// Whether it is drained because nobody names it any more: see [`crate::membership`]. Never in a file.
    pub leaving: bool,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeHost {
    /// A fixed address.
    Address(IpAddr),
    /// A host name in lower case, resolved while the program runs.
    Name(String),
}

impl NodeHost {
    /// The host as it was written.
    pub fn to_text(&self) -> String {
        match self {
            NodeHost::Address(address) => address.to_string(),
            NodeHost::Name(name) => name.clone(),
        }
    }
}

/// The listener for health, readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Admin {
    /// Loopback by default; empty if switched off.
    pub bind: Vec<SocketAddr>,
    /// Who may read the metrics, besides this machine.
    pub allow: Vec<IpNet>,
    /// Bearer tokens for the API; empty: nobody may ask it.
    pub tokens: Vec<Token>,
}

/// Settings of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Threads that serve requests; `None`: one for each processor that the process may use.
    pub threads: Option<usize>,
    /// How long SIGTERM waits for requests in flight.
    pub grace: Duration,
    /// Where access lines go.
    pub access_log: AccessLog,
    /// How often the configuration file is looked at, to be read again when it has changed; `None`: never.
    pub watch: Option<Duration>,
}

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}
