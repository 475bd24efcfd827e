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
use crate::registry::{NodeKey, ShownMember, ShownNode};

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
    let cluster = |cluster: &crate::config::Cluster| ShownCluster {
        name: cluster.name.clone(),
        pools: api
            .registry
            .shown_pools(Some(&cluster.name), request.now)
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
    let config = api.registry.config();
    let clusters = config.clusters.iter().filter(|known| request.caller.scope.covers_some(&known.name));
    Ok(json(&All { clusters: clusters.map(cluster).collect() }))
}

/// `GET /api/v1/clusters/{cluster}/nodes/{node}`
pub(super) fn show(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let key = find(api, request)?;
    Ok(json(&node(api, key, request.now)?))
}

/// `PUT /api/v1/clusters/{cluster}/nodes/{node}/state`
pub(super) fn set_state(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let key = find(api, request)?;
    let Wanted { state } = body::object(request.body, &["state"])?;
    let words = AdminState::ALL.map(AdminState::as_str);
    let wanted = AdminState::ALL.into_iter().find(|known| known.as_str() == state);
    let wanted = wanted.ok_or_else(|| body::not_as_expected(format!("there is no state {state:?}")).allowed(words))?;
    let mut before = node(api, key, request.now)?;
    // Somebody may have changed it in between.
    before.known.admin_state = api.registry.set_admin_state(key, wanted, request.now).ok_or_else(vanished)?;
    if before.known.admin_state != wanted {
        api.metrics.admin_change(wanted);
        let (who, from) = (request.who(), before.known.admin_state.as_str());
        info!("admin: {who} sets {}/{} from {from} to {}", before.cluster, before.known.id, wanted.as_str());
    }
    let after = node(api, key, request.now)?;
    Ok(json(&Changed { before, after }))
}

fn json(value: &impl Serialize) -> Reply {
    Reply::json(StatusCode::OK, "application/json", value)
}

/// The node that the path names, if the token is good for all pools that it may be in.
fn find(api: &Api, request: &Request<'_>) -> Result<NodeKey, Problem> {
    let [cluster, node] = request.parameters else { return Err(vanished()) }; // the paths of all callers have both
    let config = api.registry.config();
    let known = config.clusters.iter().find(|known| known.name.as_str() == cluster);
    let cluster = known.ok_or_else(|| unknown_cluster(&config, cluster, request))?;
    let known = cluster.nodes.iter().find(|known| known.id.as_str() == node);
    let node = known.ok_or_else(|| unknown_node(cluster, node, request))?;
    api.guard.check_pools(request, &cluster.name, &node.roles)?;
    api.registry.node(&cluster.name, &node.id).ok_or_else(vanished)
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

/// A node that was there a moment ago.
fn vanished() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, Kind("unknown-node", "There is no such node"), "the node is gone")
}

fn node(api: &Api, key: NodeKey, now: Instant) -> Result<Node, Problem> {
    let shown = api.registry.shown_node(key).ok_or_else(vanished)?;
    let id = shown.node.id();
    let mut members = Vec::new();
    for pool in api.registry.shown_pools(Some(shown.node.cluster()), now) {
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
