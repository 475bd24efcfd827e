//! What operators are shown: every member with all that is known of it, those without an address too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::state::{ClusterState, PoolState};
use super::{NodeIndex, Registry};
use crate::config::Cluster;
use crate::member::{AdminState, Node};
use crate::pool::{Pool, Standing};
use crate::report::agent::AgentState;

/// A pool and its members, as of one moment.
#[derive(Debug)]
pub struct ShownPool {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Requests that wait for some member, or for the member of their session.
    pub queued: usize,
    /// In the order of the configuration.
    pub members: Vec<ShownMember>,
}

/// A member of a pool.
#[derive(Debug)]
pub struct ShownMember {
    /// The node behind it.
    pub node: ShownNode,
    /// Where connections go to; `None` while its name is not resolved, and nobody goes there.
    pub address: Option<SocketAddr>,
    /// What is known of it as a whole.
    pub standing: Standing,
    /// Its weight, times what its agent says in percent.
    pub weight: u32,
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Requests in flight on its endpoint.
    pub in_flight: usize,
    /// How many these may be.
    pub max_in_flight: Option<usize>,
    /// Requests that wait for it: those of its sessions.
    pub queued: usize,
}

/// What is said of a node.
#[derive(Debug, Clone)]
pub struct ShownNode {
    /// The node.
    pub node: Arc<Node>,
    /// What operators want of it.
    pub wanted: AdminState,
    /// What its agent says; `None` if none is asked.
    pub agent: Option<AgentState>,
}

impl Registry {
    /// All pools, or those of one cluster (by its position), as of one moment.
    pub fn shown_pools(&self, cluster: Option<usize>, now: Instant) -> Vec<ShownPool> {
        let clusters = self.state.lock();
        let all = clusters.iter().zip(&self.config.clusters).enumerate();
        let wanted = all.filter(|(index, _)| cluster.is_none_or(|cluster| cluster == *index));
        wanted
            .flat_map(|(_, (state, config))| state.pools.iter().map(move |pool| state.shown(pool, config, now)))
            .collect()
    }

    /// What is said of a node; `None` if there is no such node.
    pub fn shown_node(&self, index: NodeIndex) -> Option<ShownNode> {
        self.state.lock().get(index.cluster)?.shown_node(index.node, self.config.clusters.get(index.cluster)?)
    }
}

impl ClusterState {
    fn shown(&self, pool: &PoolState, config: &Cluster, now: Instant) -> ShownPool {
        let (endpoint, settings) = (pool.pool.endpoint, &pool.pool.settings);
        let member = |&index: &usize| {
            let (node, known) = (config.nodes.get(index)?, self.nodes.get(index)?);
            Some(ShownMember {
                node: self.shown_node(index, config)?,
                address: known.address.map(|address| SocketAddr::new(address, node.ports[endpoint.index()])),
                standing: known.standing(endpoint, pool.passive(index), settings.slow_start, now),
                weight: known.weight(node),
                backup: node.backup,
                in_flight: known.node.gauge(endpoint).in_flight(),
                max_in_flight: known.limit(node, settings),
                queued: pool.queues.get(&index).map_or(0, |queue| queue.waiting()),
            })
        };
        let queued = pool.pool.queue.waiting() + pool.queues.values().map(|queue| queue.waiting()).sum::<usize>();
        ShownPool { pool: pool.pool.clone(), queued, members: pool.queues.keys().filter_map(member).collect() }
    }

    fn shown_node(&self, index: usize, config: &Cluster) -> Option<ShownNode> {
        let (known, node) = (self.nodes.get(index)?, config.nodes.get(index)?);
        let mut pools = node.roles.iter().map(|role| &config.pools[role.index()]);
        let asked = pools.any(|settings| settings.load.agent.is_some());
        Some(ShownNode { node: known.node.clone(), wanted: known.admin, agent: asked.then_some(known.agent) })
    }
}
