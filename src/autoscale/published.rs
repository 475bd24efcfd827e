//! What the admin API says of the pools that are scaled, as those who carry it out read it again: `carbon-elb scale`, KEDA.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, NodeId, Role};
use crate::member::AdminState;

/// `GET /api/v1/scaling`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Those of which something was decided.
    pub pools: Vec<ScaledPool>,
}

/// A role of a cluster. All durations are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaledPool {
    /// Its cluster.
    pub cluster: ClusterName,
    /// The role.
    pub role: Role,
    /// Whether this balancer's decision is to be carried out.
    pub acts: bool,
    /// Nodes that there should be, ready or starting.
    pub wanted: usize,
    /// Nodes that there are: ready, or starting and still to be expected.
    pub current: usize,
    /// Nodes that serve requests.
    pub ready: usize,
    /// Nodes that have not joined.
    pub starting: usize,
    /// Nodes that are drained.
    pub draining: usize,
    /// The fewest that the policy allows.
    pub min: usize,
    /// The most that the policy allows.
    pub max: usize,
    /// Why so many, in a word.
    pub reason: String,
    /// The same in a sentence with its figures.
    pub because: String,
    /// When it was decided (RFC 3339).
    pub at: String,
    /// How long ago that was.
    pub age: f64,
    /// From one decision to the next.
    #[serde(default)]
    pub interval: f64,
    /// How long a node may take to join.
    pub startup_limit: f64,
    /// Requests in flight on the nodes of the role.
    pub in_flight: usize,
    /// Requests that wait for one.
    pub queued: usize,
    /// The nodes of the role. Left out where only one pool is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<ScaledMember>>,
}

/// A node of a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaledMember {
    /// Its id.
    pub id: NodeId,
    /// All that it is.
    pub roles: Vec<Role>,
    /// Where it is; `None` while its name is not resolved.
    pub address: Option<IpAddr>,
    /// Its ports.
    pub ports: ScaledPorts,
    /// Whether it was registered over the API.
    pub registered: bool,
    /// Whether nobody names it any more, so that it is drained and taken out.
    pub leaving: bool,
    /// What operators want of it.
    pub state: AdminState,
    /// What is known of it as a whole.
    pub standing: String,
    /// Whether it serves requests, new or old ones.
    pub up: bool,
    /// Requests in flight on all its endpoints.
    pub in_flight: usize,
    /// Requests that wait for it: those of its sessions.
    pub queued: usize,
    /// The sessions that it has; `None` if it keeps none.
    pub sessions: Option<ScaledSessions>,
}

/// Ports of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaledPorts {
    /// Tomcat's.
    pub servlet: u16,
    /// That of the pass-through transport.
    pub passthrough: u16,
}

/// Sessions of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaledSessions {
    /// Those that were seen in the last half hour.
    pub left: usize,
    /// There may be more.
    pub at_least: bool,
}
