//! What is known of a pool when it is decided what is done next: its members, as the balancers tell, and its instances,
//! as the provider tells.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ids::{ClusterName, NodeId, Role};
use crate::member::AdminState;

/// A pool that is scaled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolName {
    /// Its cluster.
    pub cluster: ClusterName,
    /// What its members do.
    pub role: Role,
}

impl std::fmt::Display for PoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.cluster, self.role)
    }
}

/// All that is known of a pool at one moment.
#[derive(Debug, Clone)]
pub struct World {
    /// What its members do.
    pub role: Role,
    /// How many members the acting balancer wants.
    pub wanted: usize,
    /// The most that it may ever want.
    pub max: usize,
    /// Every member of the pool, wherever it came from.
    pub members: BTreeMap<NodeId, Member>,
    /// What the provider has started and not removed yet.
    pub instances: BTreeMap<NodeId, Instance>,
    /// Whether all balancers have answered. Otherwise some request may be in flight that nobody has told of.
    pub complete: bool,
}

/// A member of a pool, as all balancers together tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What operators, or this program, want of it, as the acting balancer has it.
    pub state: AdminState,
    /// What the acting balancer knows of its health.
    pub health: Health,
    /// Requests in flight on it, and those that wait for it, of all balancers.
    pub busy: usize,
    /// Sessions that may live on it; `None`: the pool keeps none.
    pub sessions: Option<Sessions>,
    /// Whether it is a manager, too.
    pub manager: bool,
    /// Whether it is a worker, too.
    pub worker: bool,
    /// Whether it was registered through the admin API.
    pub registered: bool,
    /// Whether its registration has ended: it is taken out unless it is registered again.
    pub lapsed: bool,
    /// Whether some balancer that has answered does not know it, or has its registration ended.
    pub unknown: bool,
    /// Whether some balancer that has answered has it in another state than `state`.
    pub differs: bool,
}

impl Member {
    /// What its node does.
    pub fn roles(&self) -> Vec<Role> {
        let roles = [(Role::Manager, self.manager), (Role::Worker, self.worker)];
        roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role).collect()
    }

    /// Whether all balancers that have answered have it, and in the same state.
    pub fn is_agreed(&self) -> bool {
        !self.unknown && !self.differs
    }

    /// Whether it is on its way out: it is not counted on any more.
    pub fn is_leaving(&self) -> bool {
        self.state != AdminState::Ready
    }
}

/// What is known of a member's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves requests, or would if it was not leaving.
    Up,
    /// It was not probed yet.
    Unknown,
    /// It does not serve.
    Down,
}

/// How many sessions a member has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those that were seen.
    pub left: usize,
    /// There may be more.
    pub at_least: bool,
}

/// What a provider has started: a container, a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instance {
    /// It is being started.
    Starting,
    /// It runs there.
    Running(Place),
    /// It is being stopped, or removed.
    Stopping,
    /// It has ended by itself, or somebody else has ended it.
    Ended,
}

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub address: IpAddr,
    /// Its ports, by [`crate::ids::Endpoint::index`]; `None`: that of the cluster.
    pub ports: [Option<u16>; 2],
}
