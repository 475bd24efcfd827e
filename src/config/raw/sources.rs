//! The mirror of a section under `clusters.*.sources`.

use std::net::SocketAddr;
use std::time::Duration;

use super::cluster::{ROLES, RawPorts};
use super::protect::IN_FLIGHT;
use super::{ENDPOINTS, Items};
use crate::config::decode::{Field, Fields, set};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::{Node, Value};
use crate::config::units::DAY;
use crate::config::values::{boolean, duration, file, host_name, name_server, number, parsed, word};
use crate::ids::{Endpoint, Role};

/// Looks at a file, and lives of answers.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;

const KINDS: &str = "a map with the key file or dns";
const NAME: &str = "a name in DNS, such as wk.internal or _http._tcp.wk.internal";
const SERVER: &str = "the address of a name server, with or without a port, such as \"10.0.0.2:53\"";

/// A section under `clusters.*.sources`.
#[derive(Debug, Clone)]
pub(crate) enum RawSource {
    File(RawFileSource),
    Dns(Box<RawDnsSource>),
}

/// A source with the key `file`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawFileSource {
    pub(crate) file: Field<String>,
    pub(crate) every: Field<Duration>,
}

/// A source with the key `dns`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawDnsSource {
    pub(crate) dns: Field<String>,
    pub(crate) records: Field<RawRecords>,
    pub(crate) server: Field<SocketAddr>,
    pub(crate) min_ttl: Field<Duration>,
    pub(crate) max_ttl: Field<Duration>,
    pub(crate) endpoint: Field<Endpoint>,
    pub(crate) roles: Field<Items<Role>>,
    pub(crate) weight: Field<u16>,
    pub(crate) backup: Field<bool>,
    pub(crate) max_in_flight: Field<usize>,
    pub(crate) ports: Field<RawPorts>,
}

/// `clusters.*.sources.*.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawRecords {
    A,
    Aaaa,
    Srv,
}

impl RawSource {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            crate::config::decode::wrong_type(node, at, KINDS, problems);
            return None;
        };
        let has = |key: &str| entries.iter().any(|entry| entry.key == key);
        match [has("file"), has("dns"), has("docker")] {
            [true, false, false] => RawFileSource::read(node, at, problems).map(RawSource::File),
            [false, true, false] => RawDnsSource::read(node, at, problems).map(|dns| RawSource::Dns(Box::new(dns))),
            [false, false, true] => {
                let what = "the process that clients talk to holds no socket of an engine: \
                            run carbon-elb docker-source beside it";
                problems.error(at, what, KINDS);
                None
            }
            [false, false, false] => {
                problems.error(at, "neither file nor dns", KINDS);
                None
            }
            _ => {
                problems.error(at, "more than one of file, dns and docker", "each source for itself");
                None
            }
        }
    }
}

impl RawFileSource {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let source = RawFileSource {
            file: fields.required("file", "the path of a file", file),
            every: fields.field("every", duration(EVERY)),
        };
        fields.close();
        Some(source)
    }
}

impl RawDnsSource {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const RECORDS: &[(&str, RawRecords)] =
            &[("a", RawRecords::A), ("aaaa", RawRecords::Aaaa), ("srv", RawRecords::Srv)];
        let mut fields = Fields::open(node, at, problems)?;
        let source = RawDnsSource {
            dns: fields.required("dns", NAME, parsed(NAME, host_name)),
            records: fields.field("type", word(RECORDS)),
            server: fields.field("server", parsed(SERVER, name_server)),
            min_ttl: fields.field("min_ttl", duration(TTL)),
            max_ttl: fields.field("max_ttl", duration(TTL)),
            endpoint: fields.field("endpoint", word(ENDPOINTS)),
            roles: fields.field("roles", set("a list of worker, manager", word(ROLES))),
            weight: fields.field("weight", number(1..=256)),
            backup: fields.field("backup", boolean),
            max_in_flight: fields.field("max_in_flight", number(IN_FLIGHT)),
            ports: fields.field("ports", RawPorts::read),
        };
        fields.close();
        Some(source)
    }
}

impl RawPorts {
    /// The port of an endpoint, as written.
    pub(crate) fn of(&self, endpoint: Endpoint) -> &Field<u16> {
        &self.0[endpoint.index()]
    }
}

/// The whole of a file that a source reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawMembers {
    pub(crate) nodes: Field<Items<super::RawNode>>,
}

impl RawMembers {
    /// Reads the root of the tree.
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, &Spot::root(node.line), problems)?;
        let nodes = crate::config::decode::list("a list of nodes", super::RawNode::read);
        let members = RawMembers { nodes: fields.required("nodes", "a list of nodes", nodes) };
        fields.close();
        Some(members)
    }
}
