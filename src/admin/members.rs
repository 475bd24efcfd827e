//! Members and nodes: what is known of them, and what operators want of them.

use std::net::SocketAddr;
use std::time::Instant;

use http::StatusCode;
use log::info;
use serde::{Deserialize, Serialize};

use super::api::{Api, Request};
use super::body;
use super::problem::{Kind, Problem};
use super::reply::Reply;
use crate::config::{self, Cluster, Config};
use crate::ids::{ClusterName, Endpoint, Name, NodeId, Role};
use crate::member::AdminState;
use crate::registry::{NodeIndex, ShownMember, ShownNode};

/// How many there may be of what is named in place of something unknown.
const MOST_NAMED: usize = 100;

/// All members.
#[derive(Serialize)]
struct All {
    clusters: Vec<ShownCluster>,
}

#[derive(Serialize)]
struct ShownCluster {
    name: ClusterName,
    pools: Vec<Pool>,
}

#[derive(Serialize)]
struct Pool {
    role: Role,
    endpoint: Endpoint,
    partition: Option<Name>,
    queued: usize,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    #[serde(flatten)]
    known: Known,
    #[serde(flatten)]
    place: Place,
}

/// A node, and its members.
#[derive(Serialize)]
struct Node {
    cluster: ClusterName,
    #[serde(flatten)]
    known: Known,
    in_flight: usize,
    members: Vec<NodeMember>,
}

#[derive(Serialize)]
struct NodeMember {
    role: Role,
    endpoint: Endpoint,
    partition: Option<Name>,
    #[serde(flatten)]
    place: Place,
}

/// What is said of a node, wherever it is a member.
#[derive(Serialize)]
struct Known {
    id: NodeId,
    admin_state: AdminState,
    agent: Option<Agent>,
    sessions: Option<Sessions>,
}

#[derive(Serialize)]
struct Agent {
    state: AdminState,
    up: bool,
    /// Percent.
    weight: u32,
    max_in_flight: Option<usize>,
}

#[derive(Serialize)]
struct Sessions {
    left: usize,
    at_least: bool,
}

/// What is said of a node as a member of one pool.
#[derive(Serialize)]
struct Place {
    address: Option<SocketAddr>,
    standing: &'static str,
    weight: f64,
    backup: bool,
    in_flight: usize,
    max_in_flight: Option<usize>,
}

/// A change, and what came of it.
#[derive(Serialize)]
struct Changed {
    before: Node,
    after: Node,
}

/// What an operator wants of a node.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: String,
}

/// `GET /api/v1/members`
pub(super) fn list(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let cluster = |(index, cluster): (usize, &Cluster)| ShownCluster {
        name: cluster.name.clone(),
        pools: api
            .registry
            .shown_pools(Some(index), request.now)
            .into_iter()
            .filter(|shown| request.caller.scope.covers(&cluster.name, shown.pool.role))
            .map(|shown| Pool {
                role: shown.pool.role,
                endpoint: shown.pool.endpoint,
                partition: shown.pool.partition.clone(),
                queued: shown.queued,
                members: shown.members.iter().map(|member| Member::new(member, request.now)).collect(),
            })
            .collect(),
    };
    // A token that is good for no pool of a cluster does not learn of it.
    let clusters = api.registry.config().clusters.iter().enumerate();
    let clusters = clusters.filter(|(_, settings)| request.caller.scope.covers_some(&settings.name));
    Ok(json(&All { clusters: clusters.map(cluster).collect() }))
}

/// `GET /api/v1/clusters/{cluster}/nodes/{node}`
pub(super) fn show(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let index = find(api, request)?;
    check_pools(api, request, index)?;
    Ok(json(&node(api, index, request.now)?))
}

/// `PUT /api/v1/clusters/{cluster}/nodes/{node}/state`
pub(super) fn set_state(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let index = find(api, request)?;
    check_pools(api, request, index)?;
    let Wanted { state } = body::object(request.body, &["state"])?;
    let words = AdminState::ALL.map(AdminState::as_str);
    let wanted = AdminState::ALL.into_iter().find(|known| known.as_str() == state);
    let wanted = wanted.ok_or_else(|| body::not_as_expected(format!("there is no state {state:?}")).allowed(words))?;
    let mut before = node(api, index, request.now)?;
    // Somebody may have changed it in between.
    before.known.admin_state = api.registry.set_admin_state(index, wanted, request.now).ok_or_else(vanished)?;
    if before.known.admin_state != wanted {
        api.metrics.admin_change(wanted);
        let (who, from) = (request.who(), before.known.admin_state.as_str());
        info!("admin: {who} sets {}/{} from {from} to {}", before.cluster, before.known.id, wanted.as_str());
    }
    let after = node(api, index, request.now)?;
    Ok(json(&Changed { before, after }))
}

fn json(value: &impl Serialize) -> Reply {
    Reply::json(StatusCode::OK, "application/json", value)
}

/// The node that the path names.
fn find(api: &Api, request: &Request<'_>) -> Result<NodeIndex, Problem> {
    let [cluster, node] = request.parameters else { return Err(vanished()) }; // the paths of all callers have both
    let config = api.registry.config();
    let known = config.clusters.iter().enumerate().find(|(_, known)| known.name.as_str() == cluster);
    let (index, settings) = known.ok_or_else(|| unknown_cluster(config, cluster, request))?;
    let position = settings.nodes.iter().position(|known| known.id.as_str() == node);
    let position = position.ok_or_else(|| unknown_node(settings, node, request))?;
    Ok(NodeIndex { cluster: index, node: position })
}

/// The roles of a node.
fn roles<'c>(config: &'c Config, index: NodeIndex) -> Result<(&'c ClusterName, &'c [Role]), Problem> {
    let cluster = config.clusters.get(index.cluster).ok_or_else(vanished)?;
    let node = cluster.nodes.get(index.node).ok_or_else(vanished)?;
    Ok((&cluster.name, &node.roles))
}

/// Names the clusters that the token is good for.
pub(super) fn unknown_cluster(config: &Config, cluster: &str, request: &Request<'_>) -> Problem {
    let kind = Kind("unknown-cluster", "There is no such cluster");
    let problem = Problem::new(StatusCode::NOT_FOUND, kind, format!("there is no cluster {cluster:?}"));
    let names = config.clusters.iter().map(|cluster| &cluster.name);
    problem.allowed(names.filter(|name| request.caller.scope.covers_some(name)))
}

/// Names the nodes that the token is good for.
pub(super) fn unknown_node(cluster: &Cluster, node: &str, request: &Request<'_>) -> Problem {
    let kind = Kind("unknown-node", "There is no such node");
    let detail = format!("cluster {} has no node {node:?}", cluster.name);
    let covered =
        |node: &&config::Node| node.roles.iter().all(|&role| request.caller.scope.covers(&cluster.name, role));
    let nodes = cluster.nodes.iter().filter(covered).take(MOST_NAMED);
    Problem::new(StatusCode::NOT_FOUND, kind, detail).allowed(nodes.map(|node| &node.id))
}

/// Whether the token is good for all pools that a node may be in.
fn check_pools(api: &Api, request: &Request<'_>, index: NodeIndex) -> Result<(), Problem> {
    let config = api.registry.config();
    let (cluster, roles) = roles(config, index)?;
    api.guard.check_pools(request, cluster, roles)
}

/// A node that was there a moment ago.
fn vanished() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, Kind("unknown-node", "There is no such node"), "the node is gone")
}

fn node(api: &Api, index: NodeIndex, now: Instant) -> Result<Node, Problem> {
    let shown = api.registry.shown_node(index).ok_or_else(vanished)?;
    let id = shown.node.id();
    let mut members = Vec::new();
    for pool in api.registry.shown_pools(Some(index.cluster), now) {
        members.extend(pool.members.iter().filter(|member| member.node.node.id() == id).map(|member| NodeMember {
            role: pool.pool.role,
            endpoint: pool.pool.endpoint,
            partition: pool.pool.partition.clone(),
            place: Place::new(member),
        }));
    }
    Ok(Node {
        cluster: shown.node.cluster().clone(),
        known: Known::new(&shown, now),
        in_flight: shown.node.in_flight(),
        members,
    })
}

impl Member {
    fn new(shown: &ShownMember, now: Instant) -> Self {
        Member { known: Known::new(&shown.node, now), place: Place::new(shown) }
    }
}

impl Known {
    fn new(shown: &ShownNode, now: Instant) -> Self {
        let agent = shown.agent.map(|agent| Agent {
            state: agent.wanted,
            up: agent.up,
            weight: agent.weight,
            max_in_flight: limit(agent.max_in_flight),
        });
        let left = shown.node.sessions_left().left(now);
        Known {
            id: shown.node.id().clone(),
            admin_state: shown.wanted,
            agent,
            sessions: left.map(|left| Sessions { left: left.sessions, at_least: left.at_least }),
        }
    }
}

impl Place {
    fn new(shown: &ShownMember) -> Self {
        Place {
            address: shown.address,
            standing: shown.standing.as_str(),
            weight: f64::from(shown.weight) / 100.0,
            backup: shown.backup,
            in_flight: shown.in_flight,
            max_in_flight: limit(shown.max_in_flight),
        }
    }
}

/// To an agent, `usize::MAX` is no limit.
fn limit(most: Option<usize>) -> Option<usize> {
    most.filter(|&most| most != usize::MAX)
}
