//! Members that come and go, and weights: what may be said of them, by whom, and what is answered.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use log::info;
use serde::{Deserialize, Serialize};

use super::api::{Api, Request};
use super::body;
use super::members::{unknown_cluster, unknown_node};
use super::problem::{Kind, Problem};
use super::reply::Reply;
use crate::config::{Cluster, Config, Node};
use crate::ids::{ClusterName, Endpoint, NAME_RULE, Name, NodeId, Role};
use crate::membership::{Denied, LEASE_SECONDS, Refusal, Registration, Shown, USUAL_LEASE_SECONDS, Weights};

/// What a member says of itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    address: String,
    roles: Option<Vec<String>>,
    weight: Option<u64>,
    ports: Option<SaidPorts>,
    backup: Option<bool>,
    max_in_flight: Option<u64>,
    route: Option<String>,
    lease: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SaidPorts {
    servlet: Option<u64>,
    passthrough: Option<u64>,
}

const SAID: [&str; 8] = ["address", "roles", "weight", "ports", "backup", "max_in_flight", "route", "lease"];

/// A renewal.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Renewal {
    lease: Option<u64>,
}

/// What an operator wants a weight to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedWeight {
    /// Not optional: to say nothing is not to say `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    weight: Option<u64>,
}

/// A member that is not the file's.
#[derive(Serialize)]
struct Member<'a> {
    cluster: &'a ClusterName,
    id: &'a NodeId,
    source: String,
    leaving: bool,
    lease: Option<Lease>,
    address: String,
    roles: &'a [Role],
    weight: u16,
    ports: Ports,
    backup: bool,
    max_in_flight: Option<usize>,
    route: &'a str,
}

/// Times in seconds.
#[derive(Serialize)]
struct Lease {
    seconds: u64,
    left: f64,
    ends: String,
}

#[derive(Serialize)]
struct Ports {
    servlet: u16,
    passthrough: u16,
}

/// The weight of a node.
#[derive(Serialize)]
struct ShownWeight {
    weight: u16,
    configured: u16,
}

#[derive(Serialize)]
struct Changed {
    before: ShownWeight,
    after: ShownWeight,
}

/// The member that a path names, and where it is to be.
struct Named<'c> {
    config: &'c Config,
    cluster: &'c Cluster,
    id: NodeId,
    request: &'c Request<'c>,
}

/// `GET /api/v1/clusters/{cluster}/members/{node}`
pub(super) fn show(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let named = named(&config, request)?;
    let shown = api.membership.shown(&named.cluster.name, &named.id, request.now);
    let shown = shown.ok_or_else(|| named.problem(Refusal::UnknownMember))?;
    api.guard.check_pools(request, &named.cluster.name, &shown.node.roles)?;
    Ok(reply(StatusCode::OK, &named, &shown))
}

/// `PUT /api/v1/clusters/{cluster}/members/{node}`
pub(super) fn register(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let named = named(&config, request)?;
    let registration = registration(body::object(request.body, &SAID)?)?;
    let cluster = &named.cluster.name;
    let roles: &[Role] = if registration.roles.is_empty() { &[Role::Worker] } else { &registration.roles };
    api.guard.check_pools(request, cluster, roles)?;
    // Who may not speak for a member may not replace it either.
    let may = |known: &[Role]| api.guard.check_pools(request, cluster, known);
    let registered = api.membership.register(cluster, &named.id, &registration, request.now, may);
    let registered = registered.map_err(|denied| named.denied(denied))?;
    if registered.new {
        info!("admin: {} registers {cluster}/{} at {}", request.who(), named.id, registration.address);
    }
    let status = if registered.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(reply(status, &named, &registered.shown))
}

/// `POST /api/v1/clusters/{cluster}/members/{node}/renew`
pub(super) fn renew(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let named = named(&config, request)?;
    let renewal = match request.body.trim_ascii() {
        b"" => Renewal::default(),
        body => body::object(body, &["lease"])?,
    };
    let term = renewal.lease.map(lease).transpose()?;
    let cluster = &named.cluster.name;
    let may = |known: &[Role]| api.guard.check_pools(request, cluster, known);
    let shown = api.membership.renew(cluster, &named.id, term, request.now, may);
    Ok(reply(StatusCode::OK, &named, &shown.map_err(|denied| named.denied(denied))?))
}

/// `DELETE /api/v1/clusters/{cluster}/members/{node}`
pub(super) fn deregister(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let named = named(&config, request)?;
    let cluster = &named.cluster.name;
    let may = |known: &[Role]| api.guard.check_pools(request, cluster, known);
    let shown = api.membership.deregister(cluster, &named.id, request.now, may);
    let shown = shown.map_err(|denied| named.denied(denied))?;
    info!("admin: {} deregisters {cluster}/{}", request.who(), named.id);
    Ok(reply(StatusCode::ACCEPTED, &named, &shown))
}

/// `PUT /api/v1/clusters/{cluster}/nodes/{node}/weight`
pub(super) fn set_weight(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let named = named(&config, request)?;
    let WantedWeight { weight } = body::object(request.body, &["weight"])?;
    let weight = weight.map(|weight| within("weight", weight, "1 to 256")).transpose()?;
    let cluster = &named.cluster.name;
    let may = |known: &[Role]| api.guard.check_pools(request, cluster, known);
    let (before, after) =
        api.membership.set_weight(cluster, &named.id, weight, may).map_err(|denied| match denied {
            Denied::Refused(Refusal::UnknownMember) => unknown_node(named.cluster, named.id.as_str(), request),
            denied => named.denied(denied),
        })?;
    if before != after {
        let id = &named.id;
        info!("admin: {} sets the weight of {cluster}/{id} from {} to {}", request.who(), before.weight, after.weight);
    }
    let shown = |weights: Weights| ShownWeight { weight: weights.weight, configured: weights.configured };
    let changed = Changed { before: shown(before), after: shown(after) };
    Ok(Reply::json(StatusCode::OK, "application/json", &changed))
}

fn named<'c>(config: &'c Config, request: &'c Request<'_>) -> Result<Named<'c>, Problem> {
    let (cluster, id) = match request.parameters {
        [cluster, id] => (cluster.as_str(), id.as_str()),
        _ => ("", ""), // the paths of all callers have both
    };
    let known = config.clusters.iter().find(|known| known.name.as_str() == cluster);
    let cluster = known.ok_or_else(|| unknown_cluster(config, cluster, request))?;
    let id = Name::parse(id).ok_or_else(|| {
        let problem = body::not_as_expected(format!("{id:?} in the path is no id of a node"));
        problem.allowed([NAME_RULE])
    })?;
    Ok(Named { config, cluster, id, request })
}

/// What a body says, in types that cannot be wrong; whether that may be in the cluster is decided later.
fn registration(said: Said) -> Result<Registration, Problem> {
    let Ok(address) = said.address.parse::<IpAddr>() else {
        let problem = body::not_as_expected(format!("address: {:?} is not an IP address", said.address));
        return Err(problem.allowed(["an IPv4 or IPv6 address, without port"]));
    };
    let role = |word: &String| {
        let words = Role::ALL.map(Role::as_str);
        let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
        known.ok_or_else(|| body::not_as_expected(format!("roles: there is no role {word:?}")).allowed(words))
    };
    let ports = said.ports.unwrap_or_default();
    let port = |port: Option<u64>| port.map(|port| within("ports", port, "1 to 65535")).transpose();
    Ok(Registration {
        address,
        roles: said.roles.unwrap_or_default().iter().map(role).collect::<Result<_, _>>()?,
        weight: said.weight.map_or(Ok(1), |weight| within("weight", weight, "1 to 256"))?,
        ports: by_endpoint(port(ports.servlet)?, port(ports.passthrough)?),
        backup: said.backup.unwrap_or(false),
        max_in_flight: said.max_in_flight.map(|most| within("max_in_flight", most, "1 to 1000000")).transpose()?,
        route: said.route,
        lease: lease(said.lease.unwrap_or(USUAL_LEASE_SECONDS))?,
    })
}

/// By [`Endpoint::index`].
fn by_endpoint<T>(servlet: T, passthrough: T) -> [T; 2] {
    const { assert!(Endpoint::Servlet.index() == 0 && Endpoint::Passthrough.index() == 1) };
    [servlet, passthrough]
}

/// A number in the type that it is to have. What fits there is held against the limits later.
fn within<T: TryFrom<u64>>(key: &str, number: u64, allowed: &str) -> Result<T, Problem> {
    T::try_from(number)
        .map_err(|_| body::not_as_expected(format!("{key}: {number} is out of range")).allowed([allowed]))
}

fn lease(seconds: u64) -> Result<Duration, Problem> {
    if LEASE_SECONDS.contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let problem = body::not_as_expected(format!("lease: {seconds} is out of range"));
    Err(problem.allowed([format!("{} to {} seconds", LEASE_SECONDS.start(), LEASE_SECONDS.end())]))
}

fn reply(status: StatusCode, named: &Named<'_>, shown: &Shown) -> Reply {
    let node: &Node = &shown.node;
    let lease = shown.lease.map(|(term, left)| Lease {
        seconds: term.as_secs(),
        left: left.as_secs_f64(),
        ends: humantime::format_rfc3339_millis(SystemTime::now() + left).to_string(),
    });
    let member = Member {
        cluster: &named.cluster.name,
        id: &named.id,
        source: shown.source.to_string(),
        leaving: node.leaving,
        lease,
        address: node.host.to_text(),
        roles: &node.roles,
        weight: node.weight,
        ports: Ports {
            servlet: node.ports[Endpoint::Servlet.index()],
            passthrough: node.ports[Endpoint::Passthrough.index()],
        },
        backup: node.backup,
        max_in_flight: node.max_in_flight,
        route: &node.route,
    };
    Reply::json(status, "application/json", &member)
}

impl Named<'_> {
    fn denied(&self, denied: Denied<Problem>) -> Problem {
        match denied {
            Denied::NotTheirs(problem) => problem,
            Denied::Refused(refusal) => self.problem(refusal),
        }
    }

    /// A refusal in words.
    fn problem(&self, refusal: Refusal) -> Problem {
        let detail = format!("{}/{}: {refusal}", self.cluster.name, self.id);
        let conflict = |name, title| Problem::new(StatusCode::CONFLICT, Kind(name, title), detail.clone());
        let forbidden = |name, title| Problem::new(StatusCode::FORBIDDEN, Kind(name, title), detail.clone());
        match refusal {
            Refusal::UnknownCluster => unknown_cluster(self.config, self.cluster.name.as_str(), self.request),
            Refusal::UnknownMember => {
                let kind = Kind("unknown-member", "There is no such member");
                Problem::new(StatusCode::NOT_FOUND, kind, detail)
            }
            Refusal::Taken(_) => conflict("id-taken", "The id is somebody else's"),
            Refusal::AddressTaken(_) => conflict("address-taken", "The address is somebody else's"),
            Refusal::RouteTaken(_) => conflict("route-taken", "The route is somebody else's"),
            Refusal::TooMany(_) => conflict("too-many-members", "The cluster is full"),
            Refusal::NotDynamic(_) => forbidden("no-dynamic-members", "The pool has members of the file only"),
            Refusal::Outside(_, _, networks) => {
                forbidden("address-not-allowed", "The address is not allowed").allowed(networks)
            }
            Refusal::NoAddress | Refusal::Unverifiable(_) => {
                forbidden("unverifiable", "The node's certificate could not be verified")
            }
            Refusal::Malformed(key, what, allowed) => {
                body::not_as_expected(format!("{key}: {what}")).allowed([allowed])
            }
        }
    }
}
