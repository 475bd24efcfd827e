//! What operators are shown: every member with all that is known of it, those without an address too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::state::{ClusterState, NodeState, PoolState};
use super::{NodeKey, Registry, agent_check};
use crate::config::Cluster;
use crate::ids::{ClusterName, Endpoint};
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
    /// Whether its agent, or a probe of one of its endpoints that is in use, says that it is down. In maintenance no standing
    /// tells that.
    pub down: bool,
    /// What its agent says; `None` if none is asked.
    pub agent: Option<AgentState>,
}

impl Registry {
    /// All pools, or those of one cluster, as of one moment.
    pub fn shown_pools(&self, cluster: Option<&ClusterName>, now: Instant) -> Vec<ShownPool> {
        let kept = self.kept.lock();
        let all = kept.clusters.iter().zip(&kept.setup.config.clusters);
        let wanted = all.filter(|(_, config)| cluster.is_none_or(|cluster| *cluster == config.name));
        wanted.flat_map(|(state, config)| state.pools.iter().map(move |pool| state.shown(pool, config, now))).collect()
    }

    /// What is said of a node; `None` if there is no such node.
    pub fn shown_node(&self, key: NodeKey) -> Option<ShownNode> {
        let kept = self.kept.lock();
        let (cluster, node) = kept.find(key)?;
        kept.clusters.get(cluster)?.shown_node(node, kept.setup.config.clusters.get(cluster)?)
    }
}

impl ClusterState {
    fn shown(&self, pool: &PoolState, config: &Cluster, now: Instant) -> ShownPool {
        let (endpoint, settings) = (pool.pool.endpoint, &pool.pool.settings);
        let member = |(index, known): (usize, &NodeState)| {
            let node = config.nodes.get(index).filter(|_| pool.queues.contains_key(&known.key))?;
            Some(ShownMember {
                node: self.shown_node(index, config)?,
                address: known.address.map(|address| SocketAddr::new(address, node.ports[endpoint.index()])),
                standing: known.standing(endpoint, pool.passive(known.key), settings.slow_start, now),
                weight: known.weight(node),
                backup: node.backup,
                in_flight: known.node.gauge(endpoint).in_flight(),
                max_in_flight: known.limit(node, settings),
                queued: pool.queues.get(&known.key).map_or(0, |queue| queue.waiting()),
            })
        };
        let queued = pool.pool.queue.waiting() + pool.queues.values().map(|queue| queue.waiting()).sum::<usize>();
        ShownPool {
            pool: pool.pool.clone(),
            queued,
            members: self.nodes.iter().enumerate().filter_map(member).collect(),
        }
    }

    fn shown_node(&self, index: usize, config: &Cluster) -> Option<ShownNode> {
        let (known, node) = (self.nodes.get(index)?, config.nodes.get(index)?);
        let asked = agent_check(config, node).is_some();
        let agent = asked.then_some(known.agent);
        // Nobody probes an endpoint any more that no pool is for, so nothing would ever take it up again.
        let is_used = |endpoint: &Endpoint| self.pools.iter().any(|state| state.pool.endpoint == *endpoint);
        let down = known.is_down(Endpoint::ALL.into_iter().filter(is_used));
        Some(ShownNode { node: known.node.clone(), wanted: known.admin, down, agent })
    }
}
