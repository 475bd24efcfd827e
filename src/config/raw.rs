//! What the operator wrote: a mirror of the YAML, in which every value is well-formed and knows its line, and nothing
//! has been compared with anything else yet.

mod affinity;
mod cluster;
mod listener;
mod pool;
mod protect;
mod rules;
mod scaling;
mod sources;
mod tenants;
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

pub(crate) use self::affinity::{RawAffinity, RawAffinityCookie, RawAffinityKeys};
pub(crate) use self::cluster::{
    RawCluster, RawEndpoint, RawEndpoints, RawHealth, RawNode, RawPaths, RawProbe, RawProbePort, RawServices,
    RawUpstreamTls,
};
pub(crate) use self::listener::{RawClientTimeouts, RawCookies, RawLimits, RawListener, RawListenerTls, RawResponse};
pub(crate) use self::pool::{RawHealthPolicy, RawPool, RawPools};
pub(crate) use self::protect::{IN_FLIGHT, RawAgent, RawLoad, RawOutliers, RawQueue, RawRetry};
pub(crate) use self::rules::RawRule;
pub(crate) use self::scaling::{RawCoolDown, RawScale};
pub(crate) use self::sources::{RawDnsSource, RawMembers, RawRecords, RawSource};
pub(crate) use self::tenants::RawPartition;
pub(crate) use self::tokens::{RawScope, RawToken};

use super::decode::{At, Field, Fields, Items, list, list_or_one, named};
use super::problem::{Problems, Spot};
use super::tree::{Node, Value};
use super::units::DAY;
use super::values::{BIND_RULE, bind, duration, file, network, number, or_off, parsed};
use crate::ids::{Endpoint, Name};

/// The limits of most durations.
const USUAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

const ENDPOINTS: &[(&str, Endpoint)] = &[("servlet", Endpoint::Servlet), ("passthrough", Endpoint::Passthrough)];
const BINDS: &str = "a list of addresses with ports, such as [\"0.0.0.0:8243\"]";

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawConfig {
    pub(crate) listeners: Field<Items<(Name, RawListener)>>,
    pub(crate) clusters: Field<Items<(Name, RawCluster)>>,
    pub(crate) rules: Field<Items<(Name, RawRule)>>,
    pub(crate) affinity: Field<RawAffinityKeys>,
    pub(crate) admin: Field<RawAdmin>,
    pub(crate) server: Field<RawServer>,
}

impl RawConfig {
    /// Reads the root of the tree.
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, &Spot::root(node.line), problems)?;
        let config = RawConfig {
            listeners: fields.required(
                "listeners",
                "a map from a name to a listener",
                named("a map from a name to a listener", RawListener::read),
            ),
            clusters: fields.required(
                "clusters",
                "a map from a name to a cluster",
                named("a map from a name to a cluster", RawCluster::read),
            ),
            rules: fields.field("rules", named("a map from a name to a rule", RawRule::read)),
            affinity: fields.field("affinity", RawAffinityKeys::read),
            admin: fields.field("admin", RawAdmin::read),
            server: fields.field("server", RawServer::read),
        };
        fields.close();
        Some(config)
    }
}

/// A list of networks, wherever it stands.
fn networks(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Items<IpNet>> {
    list("a list of networks", parsed("10.0.0.0/8, 192.168.1.7, fd00::/8", network))(node, at, problems)
}

/// `admin`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAdmin {
    pub(crate) bind: Field<Items<SocketAddr>>,
    pub(crate) allow: Field<Items<IpNet>>,
    pub(crate) tokens: Field<Items<RawToken>>,
    pub(crate) token_file: Field<String>,
}

impl RawAdmin {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let admin = RawAdmin {
            bind: fields.field("bind", list_or_one(BINDS, parsed(BIND_RULE, bind))),
            allow: fields.field("allow", networks),
            tokens: fields.field("tokens", list_or_one("a list of tokens", RawToken::read)),
            token_file: fields.field("token_file", file),
        };
        fields.close();
        Some(admin)
    }
}

/// `server`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawServer {
    /// `None` inside: `auto`.
    pub(crate) threads: Field<Option<usize>>,
    pub(crate) grace: Field<Duration>,
    /// `stdout`, `off` or a path.
    pub(crate) access_log: Field<String>,
    /// `None` inside: `off`.
    pub(crate) watch: Field<Option<Duration>>,
}

impl RawServer {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let server = RawServer {
            threads: fields.field("threads", threads),
            grace: fields.field("grace", duration(Duration::ZERO..=DAY)),
            access_log: fields.field("access_log", file),
            watch: fields.field("watch", or_off(duration(Duration::from_millis(100)..=Duration::from_secs(3600)))),
        };
        fields.close();
        Some(server)
    }
}

fn threads(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Option<usize>> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "auto" => Some(None),
        _ => number(1..=1024)(node, at, problems).map(Some),
    }
}

/// The entries of a map from names, with their places.
pub(crate) fn entries<T>(field: &Field<Items<(Name, T)>>) -> &[At<(Name, T)>] {
    field.value().map_or(&[], |items| items.items.as_slice())
}

/// Whether a list or map is known in full, so that something may be concluded from what is not in it.
pub(crate) fn complete<T>(field: &Field<Items<T>>) -> bool {
    match field {
        Field::Absent => true,
        Field::Bad => false,
        Field::Given(items) => items.value.complete,
    }
}
