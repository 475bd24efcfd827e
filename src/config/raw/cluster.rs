//! The mirror of a section under `clusters`.

use super::pool::RawPools;
use super::protect::IN_FLIGHT;
use super::rules::RawAccess;
use super::sources::RawSource;
use super::tenants::RawTenants;
use super::{ENDPOINTS, Items};
use crate::config::checked::{HostPattern, Mode, NodeHost, Product};
use crate::config::decode::{Field, Fields, list, named, set, wrong_type};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::{Node, Value};
use crate::config::values::{
    HOST_PATTERN_RULE, HOST_RULE, PATH_RULE, ROUTE_RULE, SERVICE_RULE, boolean, file, host, host_name, host_pattern,
    name, number, parsed, path, route, service, target, word,
};
use crate::ids::{Endpoint, Name, Role, Scheme};

pub(super) const PORT: std::ops::RangeInclusive<u16> = 1..=u16::MAX;
pub(super) const ROLES: &[(&str, Role)] = &[("worker", Role::Worker), ("manager", Role::Manager)];

/// A section under `clusters`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawCluster {
    pub(crate) product: Field<Product>,
    pub(crate) mode: Field<Mode>,
    pub(crate) hosts: Field<RawHosts>,
    pub(crate) services: Field<RawServices>,
    pub(crate) admin_services: Field<Items<String>>,
    pub(crate) paths: Field<RawPaths>,
    pub(crate) endpoints: Field<RawEndpoints>,
    pub(crate) access: Field<RawAccess>,
    pub(crate) nodes: Field<Items<RawNode>>,
    pub(crate) sources: Field<Items<(Name, RawSource)>>,
    pub(crate) max_dynamic: Field<usize>,
    pub(crate) pools: Field<RawPools>,
    pub(crate) tenants: Field<RawTenants>,
}

impl RawCluster {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const PRODUCTS: &[(&str, Product)] = &[
            ("esb", Product::Esb),
            ("mi", Product::Mi),
            ("is", Product::Is),
            ("apim", Product::Apim),
            ("as", Product::As),
            ("carbon", Product::Carbon),
        ];
        const MODES: &[(&str, Mode)] = &[("separated", Mode::Separated), ("dual", Mode::Dual)];
        let mut fields = Fields::open(node, at, problems)?;
        let sources = fields.field("sources", named("a map from a name to a source", RawSource::read));
        let nodes = list("a list of nodes", RawNode::read);
        let nodes = match &sources {
            Field::Absent => fields.required("nodes", "a list of nodes", nodes),
            Field::Bad | Field::Given(_) => fields.field("nodes", nodes),
        };
        let cluster = RawCluster {
            product: fields.required("product", "esb, mi, is, apim, as, carbon", word(PRODUCTS)),
            mode: fields.field("mode", word(MODES)),
            hosts: fields.required("hosts", "a map with the keys worker and manager", RawHosts::read),
            services: fields.field("services", RawServices::read),
            admin_services: fields.field("admin_services", service_list),
            paths: fields.field("paths", RawPaths::read),
            endpoints: fields.field("endpoints", RawEndpoints::read),
            access: fields.field("access", RawAccess::read),
            nodes,
            sources,
            max_dynamic: fields.field("max_dynamic", number(1..=65_536)),
            pools: fields.field("pools", RawPools::read),
            tenants: fields.field("tenants", RawTenants::read),
        };
        fields.close();
        Some(cluster)
    }
}

/// `clusters.*.hosts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawHosts {
    pub(crate) worker: Field<Items<HostPattern>>,
    pub(crate) manager: Field<Items<HostPattern>>,
}

impl RawHosts {
    pub(crate) fn of(&self, role: Role) -> &Field<Items<HostPattern>> {
        match role {
            Role::Worker => &self.worker,
            Role::Manager => &self.manager,
        }
    }

    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let read = || list("a list of host names", parsed(HOST_PATTERN_RULE, host_pattern));
        let hosts = RawHosts { worker: fields.field("worker", read()), manager: fields.field("manager", read()) };
        fields.close();
        Some(hosts)
    }
}

/// `clusters.*.services`.
#[derive(Debug, Clone)]
pub(crate) enum RawServices {
    Only(Items<String>),
    AnyButAdmin,
}

impl RawServices {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "any-but-admin" => Some(RawServices::AnyButAdmin),
            Value::List(_) => service_list(node, at, problems).map(RawServices::Only),
            _ => {
                wrong_type(node, at, "a list of names of services, or any-but-admin", problems);
                None
            }
        }
    }
}

fn service_list(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Items<String>> {
    set("a list of names of services", parsed(SERVICE_RULE, service))(node, at, problems)
}

/// `clusters.*.paths`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPaths {
    pub(crate) management: Field<Items<String>>,
    pub(crate) service: Field<Items<String>>,
    pub(crate) shared: Field<Items<String>>,
}

impl RawPaths {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let read = || list("a list of paths", parsed(PATH_RULE, path));
        let paths = RawPaths {
            management: fields.field("management", read()),
            service: fields.field("service", read()),
            shared: fields.field("shared", read()),
        };
        fields.close();
        Some(paths)
    }
}

/// `clusters.*.endpoints`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawEndpoints {
    pub(crate) servlet: Field<RawEndpoint>,
    pub(crate) passthrough: Field<RawEndpoint>,
}

impl RawEndpoints {
    pub(crate) fn of(&self, endpoint: Endpoint) -> &Field<RawEndpoint> {
        match endpoint {
            Endpoint::Servlet => &self.servlet,
            Endpoint::Passthrough => &self.passthrough,
        }
    }

    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let endpoints = RawEndpoints {
            servlet: fields.field("servlet", RawEndpoint::read),
            passthrough: fields.field("passthrough", RawEndpoint::read),
        };
        fields.close();
        Some(endpoints)
    }
}

/// `clusters.*.endpoints.*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawEndpoint {
    pub(crate) scheme: Field<Scheme>,
    pub(crate) port: Field<u16>,
    pub(crate) tls: Field<RawUpstreamTls>,
    pub(crate) health: Field<RawHealth>,
}

impl RawEndpoint {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let endpoint = RawEndpoint {
            scheme: fields.field("scheme", scheme),
            port: fields.field("port", number(PORT)),
            tls: fields.field("tls", RawUpstreamTls::read),
            health: fields.field("health", RawHealth::read),
        };
        fields.close();
        Some(endpoint)
    }
}

fn scheme(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Scheme> {
    word(&[("http", Scheme::Http), ("https", Scheme::Https)])(node, at, problems)
}

/// `clusters.*.endpoints.*.tls`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawUpstreamTls {
    pub(crate) ca: Field<String>,
    pub(crate) server_name: Field<String>,
    pub(crate) verify: Field<bool>,
}

impl RawUpstreamTls {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let tls = RawUpstreamTls {
            ca: fields.field("ca", file),
            server_name: fields.field("server_name", parsed("a host name, such as localhost", host_name)),
            verify: fields.field("verify", boolean),
        };
        fields.close();
        Some(tls)
    }
}

/// `clusters.*.endpoints.*.health`.
#[derive(Debug, Clone)]
pub(crate) enum RawHealth {
    Off,
    Tcp,
    Http(Box<RawProbe>),
}

/// `clusters.*.endpoints.*.health` as a map.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawProbe {
    pub(crate) path: Field<String>,
    pub(crate) port: Field<RawProbePort>,
    pub(crate) scheme: Field<Scheme>,
    pub(crate) host: Field<String>,
    pub(crate) expect: Field<Items<u16>>,
}

/// `clusters.*.endpoints.*.health.port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawProbePort {
    /// The word `servlet`.
    Servlet,
    Fixed(u16),
}

impl RawHealth {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "off" => Some(RawHealth::Off),
            Value::Scalar(scalar) if scalar.text == "tcp" => Some(RawHealth::Tcp),
            Value::Map(_) => RawProbe::read(node, at, problems).map(|probe| RawHealth::Http(Box::new(probe))),
            _ => {
                wrong_type(node, at, "off, tcp, or a map with a path", problems);
                None
            }
        }
    }
}

impl RawProbe {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const PATH: &str = "path and query, such as /services/Version";
        let mut fields = Fields::open(node, at, problems)?;
        let probe = RawProbe {
            path: fields.required("path", PATH, parsed(PATH, target)),
            port: fields.field("port", probe_port),
            scheme: fields.field("scheme", scheme),
            host: fields.field("host", parsed(HOST_RULE, |text| host(text).map(|host| host.to_text()))),
            expect: fields.field("expect", set("a list of status codes", number(100..=599))),
        };
        fields.close();
        Some(probe)
    }
}

fn probe_port(node: &Node, at: &Spot, problems: &mut Problems) -> Option<RawProbePort> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "servlet" => Some(RawProbePort::Servlet),
        _ => number(PORT)(node, at, problems).map(RawProbePort::Fixed),
    }
}

/// An item of `clusters.*.nodes`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawNode {
    pub(crate) id: Field<Name>,
    pub(crate) host: Field<NodeHost>,
    pub(crate) roles: Field<Items<Role>>,
    pub(crate) weight: Field<u16>,
    pub(crate) backup: Field<bool>,
    pub(crate) max_in_flight: Field<usize>,
    pub(crate) route: Field<String>,
    pub(crate) ports: Field<RawPorts>,
}

impl RawNode {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let node = RawNode {
            id: fields.required("id", "a name, unique in the cluster", name),
            host: fields.required("host", HOST_RULE, parsed(HOST_RULE, host)),
            roles: fields.field("roles", set("a list of worker, manager", word(ROLES))),
            weight: fields.field("weight", number(1..=256)),
            backup: fields.field("backup", boolean),
            max_in_flight: fields.field("max_in_flight", number(IN_FLIGHT)),
            route: fields.field("route", parsed(ROUTE_RULE, route)),
            ports: fields.field("ports", RawPorts::read),
        };
        fields.close();
        Some(node)
    }
}

/// `clusters.*.nodes[].ports`, by [`Endpoint::index`].
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPorts(pub(crate) [Field<u16>; 2]);

impl RawPorts {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let mut ports = RawPorts::default();
        for (key, endpoint) in ENDPOINTS {
            ports.0[endpoint.index()] = fields.field(key, number(PORT));
        }
        fields.close();
        Some(ports)
    }
}
