//! The only writer of what requests are routed by.
//!
//! Probes, name resolution, agents, requests that failed and the administrator report here; the registry keeps what they
//! said and publishes a whole new [`Snapshot`] when something changed that a request could notice. Requests read a
//! snapshot without a lock.

mod shown;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use self::shown::{ShownMember, ShownNode, ShownPool};
pub use self::snapshot::Snapshot;
use self::state::{ClusterState, NodeState};
use crate::classify::Classifier;
use crate::config::{AgentCheck, Cluster, Config, HealthProbe, Secret};
use crate::health::passive::Change;
use crate::health::{State, Transition};
use crate::ids::{Endpoint, Role};
use crate::member::{AdminState, Node};
use crate::observe::metrics::Metrics;
use crate::pool::Pool;
use crate::report::agent::{AgentState, Reply};
use crate::select::Clock;

/// Names a node: the position of its cluster in the configuration, and its own in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIndex {
    /// Position in `Config::clusters`.
    pub cluster: usize,
    /// Position in `Cluster::nodes`.
    pub node: usize,
}

/// A change of what the requests of a member of a pool tell of it.
#[derive(Debug)]
pub struct Ejection {
    /// The pool.
    pub pool: Arc<Pool>,
    /// The node behind the member.
    pub node: Arc<Node>,
    /// What has changed, and why.
    pub change: Change<usize>,
}

/// The writer of snapshots.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Held by writers from the change to the publication, so that snapshots appear in the order of the changes.
    state: Mutex<Vec<ClusterState>>,
    published: ArcSwap<Snapshot>,
    /// When the last tick was.
    ticked: Mutex<Instant>,
}

impl Registry {
    /// Builds the pools that the listeners of `config` lead to and publishes a first snapshot.
    ///
    /// Affinity cookies are made with the first of `affinity_keys`, and read with any. Time counts from `now`; `seed` is
    /// what the random numbers of the pools begin with.
    pub fn new(
        config: Arc<Config>,
        classifier: Classifier,
        metrics: Arc<Metrics>,
        affinity_keys: &[Secret],
        now: Instant,
        seed: u64,
    ) -> Self {
        let clock = Clock::new(now);
        let mut builder =
            state::Builder { config: &config, metrics: &metrics, affinity_keys, clock, now, seed, keys: 0 };
        let clusters: Vec<ClusterState> = config.clusters.iter().map(|cluster| builder.cluster(cluster)).collect();
        let first = Snapshot::new(0, Arc::new(classifier), &config, &clusters, now);
        let published = ArcSwap::from_pointee(first);
        let (state, ticked) = (Mutex::new(clusters), Mutex::new(now));
        let registry = Registry { config, metrics, clock, state, published, ticked };
        registry.show_all_nodes();
        registry
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The configuration that the registry was built from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The program's one clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Where a node is now; `None` while its name has not been resolved.
    pub fn address(&self, index: NodeIndex) -> Option<IpAddr> {
        self.state.lock().get(index.cluster)?.nodes.get(index.node)?.address
    }

    /// Whether a health check says that some endpoint of a node is down: it may have moved.
    pub fn is_down(&self, index: NodeIndex) -> bool {
        let clusters = self.state.lock();
        let node = clusters.get(index.cluster).and_then(|cluster| cluster.nodes.get(index.node));
        node.is_some_and(|node| node.health.iter().any(|health| health.state() == State::Down))
    }

    /// Takes in that a node's name stands for `address` now. Returns whether that is news.
    pub fn record_address(&self, index: NodeIndex, address: IpAddr, now: Instant) -> bool {
        let mut clusters = self.state.lock();
        let Some(cluster) = clusters.get_mut(index.cluster) else { return false };
        let Some(node) = cluster.nodes.get_mut(index.node) else { return false };
        if node.address.replace(address) == Some(address) {
            return false;
        }
        // What was found out about the old address says nothing of the new one.
        node.health = node.health.map(crate::health::Health::forget);
        node.up_since = [None; 2];
        node.node.sessions_left().forget(now);
        node.agent = AgentState::default();
        // The agent may have been the one who wanted the drain.
        node.count_sessions_left(now);
        cluster.forget(index.node, &Endpoint::ALL);
        self.publish(&clusters, now);
        true
    }

    /// Takes in the outcome of a probe of a node's endpoint at `address`; one of an address that the node has left does
    /// not count. Returns the change of its state, for the caller to log.
    pub fn record_probe(
        &self,
        index: NodeIndex,
        endpoint: Endpoint,
        address: IpAddr,
        good: bool,
        now: Instant,
    ) -> Option<Transition> {
        let cluster = self.config.clusters.get(index.cluster)?;
        let policy = probe_policy(cluster, index.node);
        let mut clusters = self.state.lock();
        let cluster = clusters.get_mut(index.cluster)?;
        let state = cluster.nodes.get_mut(index.node).filter(|node| node.address == Some(address))?;
        let transition = state.health[endpoint.index()].record(good, &policy)?;
        state.up_since[endpoint.index()] = (transition.to == State::Up).then_some(now);
        let node = state.node.clone();
        if transition.to == State::Up {
            // It was started again, say: what requests told before is of another time.
            cluster.forget(index.node, &[endpoint]);
        }
        self.publish(&clusters, now);
        // After the snapshot: whoever sees the metric may count on requests being routed by it.
        self.metrics.node_up(node.cluster(), node.id(), endpoint, transition.to == State::Up);
        Some(transition)
    }

    /// Takes in what an operator wants of a node. Returns what was wanted before; `None` if there is no such node.
    pub fn set_admin_state(&self, index: NodeIndex, wanted: AdminState, now: Instant) -> Option<AdminState> {
        self.change_node(index, now, |node| {
            let before = std::mem::replace(&mut node.admin, wanted);
            node.warm_up_after(before, wanted, now);
            (before, before != wanted)
        })
    }

    /// Takes in what a node's agent says at `address`; one of an address that the node has left does not count. Returns
    /// what holds now, if that is news.
    pub fn record_agent(&self, index: NodeIndex, address: IpAddr, reply: &Reply, now: Instant) -> Option<AgentState> {
        self.change_node(index, now, |node| {
            let before = node.agent.wanted;
            let changed = node.address == Some(address) && node.agent.apply(reply);
            node.warm_up_after(before, node.agent.wanted, now);
            (changed.then_some(node.agent), changed)
        })?
    }

    /// Takes in that a node's agent has fallen silent. Returns what holds now, if that is news.
    pub fn record_silent_agent(&self, index: NodeIndex, now: Instant) -> Option<AgentState> {
        self.change_node(index, now, |node| {
            let changed = node.agent.forget_load();
            (changed.then_some(node.agent), changed)
        })?
    }

    /// Changes a node, and publishes if the change says that it was one.
    fn change_node<T>(
        &self,
        index: NodeIndex,
        now: Instant,
        change: impl FnOnce(&mut NodeState) -> (T, bool),
    ) -> Option<T> {
        let mut clusters = self.state.lock();
        let node = node_mut(&mut clusters, index)?;
        let (result, changed) = change(node);
        if changed {
            // Before the snapshot: requests that see it are to be counted.
            node.count_sessions_left(now);
            self.publish(&clusters, now);
        }
        Some(result)
    }

    /// Decides about a member of a pool whose requests have told something that has to be decided about.
    pub fn judge(&self, cluster: usize, pool: &Arc<Pool>, member: usize, now: Instant) -> Option<Ejection> {
        let mut clusters = self.state.lock();
        let state = clusters.get_mut(cluster)?.pools.iter_mut().find(|state| state.pool.key == pool.key)?;
        let change = state.outliers.as_mut()?.decide(&member, now)?;
        let node = clusters.get(cluster)?.nodes.get(member)?.node.clone();
        self.publish(&clusters, now);
        drop(clusters);
        self.metrics.ejection(pool, node.id(), &change);
        Some(Ejection { pool: pool.clone(), node, change })
    }

    /// Does what the time asks for: ends ejections, judges intervals, and lets the shares of starting members grow.
    pub fn tick(&self, now: Instant) -> Vec<Ejection> {
        let mut clusters = self.state.lock();
        let mut ejections = Vec::new();
        let mut grown = false;
        let last = std::mem::replace(&mut *self.ticked.lock(), now);
        for (cluster, config) in clusters.iter_mut().zip(&self.config.clusters) {
            ejections.extend(cluster.tick(now));
            grown |= cluster.has_grown(config, last, now);
        }
        if grown || !ejections.is_empty() {
            self.publish(&clusters, now);
        }
        drop(clusters);
        for ejection in &ejections {
            self.metrics.ejection(&ejection.pool, ejection.node.id(), &ejection.change);
        }
        ejections
    }

    /// Every node with what it is busy with, for the metrics.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.lock().iter().flat_map(|cluster| cluster.nodes.iter().map(|node| node.node.clone())).collect()
    }

    /// What operators want of a node, and what its agent says. `None` if there is no such node.
    pub fn wanted(&self, index: NodeIndex) -> Option<(AdminState, AgentState)> {
        let clusters = self.state.lock();
        let node = clusters.get(index.cluster)?.nodes.get(index.node)?;
        Some((node.admin, node.agent))
    }

    /// The endpoints of nodes that are to be probed.
    pub fn probed(&self) -> Vec<(NodeIndex, Endpoint)> {
        let is_probed = |index: NodeIndex, endpoint: Endpoint| {
            let cluster = self.config.clusters.get(index.cluster);
            cluster.is_some_and(|cluster| cluster.endpoints[endpoint.index()].health != HealthProbe::Off)
        };
        self.used().into_iter().filter(|&(index, endpoint)| is_probed(index, endpoint)).collect()
    }

    /// The nodes whose agents are to be asked, and how.
    pub fn agents(&self) -> Vec<(NodeIndex, AgentCheck)> {
        let mut nodes: Vec<NodeIndex> = self.used().into_iter().map(|(index, _)| index).collect();
        nodes.dedup(); // those of a node stand together
        let check = |index: NodeIndex| agent_check(self.config.clusters.get(index.cluster)?, index.node);
        nodes.into_iter().filter_map(|index| Some((index, check(index)?))).collect()
    }

    /// The endpoints of nodes that some pool leads to.
    fn used(&self) -> Vec<(NodeIndex, Endpoint)> {
        let mut used = Vec::new();
        for (cluster, state) in self.state.lock().iter().enumerate() {
            for node in 0..state.nodes.len() {
                let leads_to = |endpoint: &Endpoint| {
                    state.pools.iter().any(|pool| pool.pool.endpoint == *endpoint && pool.queues.contains_key(&node))
                };
                let endpoints = Endpoint::ALL.into_iter().filter(leads_to);
                used.extend(endpoints.map(|endpoint| (NodeIndex { cluster, node }, endpoint)));
            }
        }
        used
    }

    /// Publishes the state. The caller holds the lock on it.
    fn publish(&self, clusters: &[ClusterState], now: Instant) {
        let last = self.published.load();
        let next = Snapshot::new(last.generation + 1, last.classifier.clone(), &self.config, clusters, now);
        self.published.store(Arc::new(next));
        // Some member may have room now that had none.
        for state in clusters.iter().flat_map(|cluster| &cluster.pools) {
            state.changed();
        }
    }

    /// Gives every endpoint in use a line in the metrics before its first probe.
    fn show_all_nodes(&self) {
        for (index, endpoint) in self.used() {
            let mut clusters = self.state.lock();
            if let Some(state) = node_mut(&mut clusters, index) {
                let up = state.health[endpoint.index()].state() == State::Up;
                self.metrics.node_up(state.node.cluster(), state.node.id(), endpoint, up);
            }
        }
    }
}

/// How a node is probed: as the settings of its worker pool say if it is a worker (a dual node is in two pools and is
/// still probed once), else as those of the manager pool.
pub fn probe_policy(cluster: &Cluster, node: usize) -> crate::config::HealthPolicy {
    let worker = cluster.nodes.get(node).is_some_and(|node| node.roles.contains(&Role::Worker));
    let role = if worker { Role::Worker } else { Role::Manager };
    cluster.pools[role.index()].health
}

/// How a node's agent is asked: as the settings of the worker pool say if the node is in it and they name an agent, else
/// as those of the manager pool. A dual node has one agent.
pub fn agent_check(cluster: &Cluster, node: usize) -> Option<AgentCheck> {
    let roles = &cluster.nodes.get(node)?.roles;
    let asked = [Role::Worker, Role::Manager].into_iter().filter(|role| roles.contains(role));
    asked.filter_map(|role| cluster.pools[role.index()].load.agent).next()
}

fn node_mut(clusters: &mut [ClusterState], index: NodeIndex) -> Option<&mut NodeState> {
    clusters.get_mut(index.cluster)?.nodes.get_mut(index.node)
}
