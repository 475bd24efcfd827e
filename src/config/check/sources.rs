//! Rules for the sources of members, and for what files of theirs hold.

use std::time::Duration;

use super::{Context, affinity, endpoint, nodes};
use crate::config::checked::{
    Config, DnsSource, FileSource, MemberRules, Mode, Node, NodeHost, Product, Records, Source, SourceKind, Template,
};
use crate::config::decode::{At, Field};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCluster, RawConfig, RawDnsSource, RawMembers, RawNode, RawRecords, RawSource, entries};
use crate::ids::{Endpoint, Role};

/// How often files are looked at, unless they say.
const EVERY: Duration = Duration::from_secs(1);
/// The bounds of lives of answers, unless they say.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(300);

/// `clusters.*.sources`; `ports`: those of nodes that name none.
pub(super) fn check(raw: &RawCluster, ports: [u16; 2], context: &Context<'_>, problems: &mut Problems) -> Vec<Source> {
    nothing_at_all(raw, problems);
    let checked = entries(&raw.sources).iter().filter_map(|entry| {
        let (name, source) = &entry.value;
        let kind = match source {
            RawSource::File(file) => {
                SourceKind::File(FileSource { path: context.path(file.file.value()?), every: file.every.or(EVERY) })
            }
            RawSource::Dns(dns) => {
                SourceKind::Dns(Dns { raw: dns, at: &entry.at, cluster: raw }.check(ports, problems)?)
            }
        };
        Some(Source { name: name.clone(), kind })
    });
    checked.collect()
}

/// A cluster needs nodes, or somebody who tells them.
fn nothing_at_all(raw: &RawCluster, problems: &mut Problems) {
    let Some(sources) = raw.sources.given() else { return };
    if sources.value.complete && sources.value.items.is_empty() && matches!(raw.nodes, Field::Absent) {
        problems.error(&sources.at, "neither nodes nor sources", "at least one node or one source");
    }
    if raw.mode.value() == Some(&Mode::Dual) && matches!(raw.nodes, Field::Absent) {
        let what = "a dual cluster without a dual node: sources add workers only";
        problems.error(&sources.at, what, "exactly one node with roles [worker, manager] under nodes");
    }
}

/// Whether a source may bring nodes with this role: such that cannot be read may bring any.
pub(super) fn may_bring(raw: &RawCluster, role: Role) -> bool {
    let brings = |source: &RawSource| match source {
        RawSource::File(_) => true,
        RawSource::Dns(dns) => roles(dns).is_none_or(|roles| roles.contains(&role)),
    };
    match &raw.sources {
        Field::Absent => false,
        Field::Bad => true,
        Field::Given(sources) => {
            !sources.value.complete || sources.value.items.iter().any(|source| brings(&source.value.1))
        }
    }
}

/// `None` if they could not be read, or are none.
fn roles(raw: &RawDnsSource) -> Option<Vec<Role>> {
    match &raw.roles {
        Field::Absent => Some(vec![Role::Worker]),
        Field::Given(roles) if roles.value.complete && !roles.value.items.is_empty() => Some(roles.value.values()),
        Field::Given(_) | Field::Bad => None,
    }
}

/// A source with the key `dns`, its place, and its cluster.
struct Dns<'a> {
    raw: &'a RawDnsSource,
    at: &'a Spot,
    cluster: &'a RawCluster,
}

impl Dns<'_> {
    /// `None` if it could not be read.
    fn check(&self, ports: [u16; 2], problems: &mut Problems) -> Option<DnsSource> {
        let raw = self.raw;
        self.bounds(problems);
        self.roles_fit(problems);
        self.ports_are_offered(problems);
        let records = self.records(problems);
        let own = raw.ports.or_empty();
        Some(DnsSource {
            name: raw.dns.value()?.clone(),
            records: records?,
            server: raw.server.value().copied(),
            min_ttl: raw.min_ttl.or(MIN_TTL),
            max_ttl: raw.max_ttl.or(MAX_TTL),
            template: Template {
                roles: roles(raw)?,
                weight: raw.weight.or(1),
                backup: raw.backup.or(false),
                max_in_flight: raw.max_in_flight.value().copied(),
                ports: Endpoint::ALL.map(|endpoint| own.of(endpoint).or(ports[endpoint.index()])),
            },
        })
    }

    fn bounds(&self, problems: &mut Problems) {
        let (Some(min), Some(max)) = (self.raw.min_ttl.known_or(MIN_TTL), self.raw.max_ttl.known_or(MAX_TTL)) else {
            return;
        };
        if min > max {
            let at = self.raw.min_ttl.given().map_or(self.at, |min_ttl| &min_ttl.at);
            let at = self.raw.max_ttl.given().map_or(at, |max_ttl| &max_ttl.at);
            problems.error(at, "the longest time is shorter than the shortest", "max_ttl of at least min_ttl");
        }
    }

    fn roles_fit(&self, problems: &mut Problems) {
        let Some(At { value, at }) = self.raw.roles.given() else { return };
        if value.complete && value.items.is_empty() {
            problems.error(at, "no roles", "worker, manager; without this key, worker");
        }
        let roles = value.values();
        if let Some(mode) = self.cluster.mode.known_or(Mode::Separated) {
            fits_mode(&roles, mode, at, problems);
        }
    }

    fn ports_are_offered(&self, problems: &mut Problems) {
        let (Some(product), Some(ports)) = (self.cluster.product.value(), self.raw.ports.value()) else { return };
        for port in Endpoint::ALL.into_iter().filter(|endpoint| !product.has(*endpoint)) {
            if let Some(given) = ports.of(port).given() {
                let what = format!("product {} has no {port} endpoint", product.as_str());
                problems.error(&given.at, what, "ports of endpoints that the product has");
            }
        }
    }

    /// The records to ask for. Keys that only some of them have are refused with the others.
    fn records(&self, problems: &mut Problems) -> Option<Records> {
        let raw = self.raw;
        let kind = raw.records.known_or(RawRecords::A)?;
        if kind != RawRecords::Srv {
            if let Some(endpoint) = raw.endpoint.given() {
                problems.error(&endpoint.at, "addresses have no ports", "only with type: srv");
            }
            return Some(if kind == RawRecords::A { Records::A } else { Records::Aaaa });
        }
        let given = [raw.weight.given().map(|weight| &weight.at), raw.backup.given().map(|backup| &backup.at)];
        for at in given.into_iter().flatten() {
            problems.error(at, "SRV records have their own weights and priorities", "only with type: a or aaaa");
        }
        let product = self.cluster.product.known_or(Product::Carbon)?;
        let usual = if product.has(Endpoint::Passthrough) { Endpoint::Passthrough } else { Endpoint::Servlet };
        let endpoint = raw.endpoint.known_or(usual)?;
        if !product.has(endpoint) {
            let at = raw.endpoint.given().map_or(self.at, |endpoint| &endpoint.at);
            let what = format!("product {} has no {endpoint} endpoint", product.as_str());
            problems.error(at, what, "an endpoint that the product has");
        }
        if let Some(port) = raw.ports.value().and_then(|ports| ports.of(endpoint).given()) {
            problems.error(&port.at, "SRV records have this port themselves", "the port of the other endpoint");
        }
        Some(Records::Srv(endpoint))
    }
}

/// Members that come and go fit the deployment pattern if none of them is the one dual node.
fn fits_mode(roles: &[Role], mode: Mode, at: &Spot, problems: &mut Problems) {
    match mode {
        Mode::Separated if roles.len() > 1 => {
            let what = "worker and manager at once in a separated cluster";
            problems.error(at, what, "one role; another source for the other");
        }
        Mode::Dual if roles.contains(&Role::Manager) => {
            let what = "a manager that comes and goes in a dual cluster";
            problems.error(at, what, "worker; the dual node stands under nodes");
        }
        Mode::Separated | Mode::Dual => {}
    }
}

/// A source brings nobody to a pool that has no room for those who come and go.
pub(super) fn allowed_networks(raw: &RawConfig, config: &Config, problems: &mut Problems) {
    for (entry, cluster) in entries(&raw.clusters).iter().zip(&config.clusters) {
        let raw = &entry.value.1;
        let pools = raw.pools.or_empty();
        let is_bad = |role: Role| {
            let pool = pools.of(role);
            raw.pools.is_bad() || pool.is_bad() || pool.value().is_some_and(|pool| pool.allowed_networks.is_bad())
        };
        for source in entries(&raw.sources) {
            let (roles, need_all) = match &source.value.1 {
                RawSource::File(_) => (Role::ALL.to_vec(), false),
                RawSource::Dns(dns) => (roles(dns).unwrap_or_default(), true),
            };
            let closed = |role: &&Role| !is_bad(**role) && cluster.pools[role.index()].allowed_networks.is_empty();
            let closed: Vec<&str> = roles.iter().filter(closed).map(|role| role.as_str()).collect();
            if !closed.is_empty() && (need_all || closed.len() == roles.len()) {
                let what = format!("brings no members: allowed_networks is empty for {}", closed.join(" and "));
                let allowed = "networks where members may be, under pools.ROLE.allowed_networks";
                problems.error(&source.at, what, allowed);
            }
        }
    }
}

/// Members from DNS have addresses, and certificates name hosts.
pub(super) fn names_to_verify(raw: &RawConfig, config: &Config, problems: &mut Problems) {
    for (entry, cluster) in entries(&raw.clusters).iter().zip(&config.clusters) {
        let raw = &entry.value.1;
        if !endpoint::tls_is_known(raw) {
            continue;
        }
        let rules = config.member_rules(cluster);
        for source in entries(&raw.sources) {
            let (name, RawSource::Dns(dns)) = &source.value else { continue };
            let roles = roles(dns).unwrap_or_default();
            if roles.iter().any(|role| rules.by_name[role.index()]) {
                let what = format!("{name} finds addresses, which the nodes' certificates do not name");
                let allowed = "server_name, or verify: false, under tls of the endpoints that are asked";
                problems.error(&source.at, what, allowed);
            }
        }
    }
}

/// A file that cannot be used now is no reason not to start; but who checks wants to know.
pub(super) fn files(raw: &RawConfig, config: &Config, problems: &mut Problems) {
    if problems.has_errors() {
        // What the members have to fit is not known.
        return;
    }
    for (entry, cluster) in entries(&raw.clusters).iter().zip(&config.clusters) {
        let rules = config.member_rules(cluster);
        for source in &cluster.sources {
            let written = entries(&entry.value.1.sources).iter().find(|entry| entry.value.0 == source.name);
            let (Some(At { value: (_, RawSource::File(raw)), .. }), SourceKind::File(file)) = (written, &source.kind)
            else {
                continue;
            };
            let Some(at) = raw.file.given().map(|file| &file.at) else { continue };
            if let Err(found) = crate::config::load_members(&file.path, &rules) {
                let first = found.iter().next().map(ToString::to_string).unwrap_or_default();
                let more = if found.len() > 1 { format!(", and {} more", found.len() - 1) } else { String::new() };
                let what = format!("brings no members now: {}: {first}{more}", file.path.display());
                problems.warning(at, what);
            }
        }
    }
}

/// What the file of a source holds, against what its cluster is.
pub(crate) fn members(raw: &RawMembers, rules: &MemberRules, problems: &mut Problems) -> Vec<Node> {
    if let Some(nodes) = raw.nodes.given() {
        for node in &nodes.value.items {
            nodes::no_role(&node.value, problems);
            let at = node.value.roles.given().map_or(&node.at, |roles| &roles.at);
            let roles = nodes::roles_of(&node.value).unwrap_or_default();
            fits_mode(&roles, rules.mode, at, problems);
            let verified = roles.iter().any(|role| rules.by_name[role.index()]);
            address(&node.value, verified, problems);
        }
        if rules.by_route {
            affinity::unique_routes(&nodes.value.items, problems);
        }
    }
    nodes::check(&raw.nodes, Some(rules.product), rules.ports, rules.led_to, problems)
}

/// Who comes and goes is known by its address: a name could lead anywhere by the time that it is asked.
fn address(node: &RawNode, verified_by_name: bool, problems: &mut Problems) {
    match node.host.given() {
        Some(At { value: NodeHost::Name(_), at }) => problems.error(at, "a host name", "the address of the node"),
        Some(At { value: NodeHost::Address(_), at }) if verified_by_name => {
            let what = "an address, which the node's certificate does not name";
            let allowed = "server_name, or verify: false, under tls of the cluster's endpoints";
            problems.error(at, what, allowed);
        }
        Some(_) | None => {}
    }
}
