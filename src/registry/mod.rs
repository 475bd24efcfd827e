//! The only writer of what requests are routed by.
//!
//! Probes, name resolution, agents, requests that failed and the administrator report here; the registry keeps what they
//! said and publishes a whole new [`Snapshot`] when something changed that a request could notice. Requests read a
//! snapshot without a lock.
//!
//! [`Registry::apply`] is the one way in which the configuration of a running balancer changes. Nodes have numbers
//! ([`NodeKey`]) that are never given twice, so a request that began before the change, or a probe that ends after it,
//! means the same node in every snapshot, or none.

mod apply;
mod build;
mod gone;
mod managers;
mod setup;
mod shown;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub use self::apply::Changes;
use self::build::{Builder, Numbers, Outcome};
use self::gone::Gone;
use self::managers::Managers;
pub use self::setup::{Files, Setup};
pub use self::shown::{ShownMember, ShownNode, ShownPool};
pub use self::snapshot::Snapshot;
use self::state::{Kept, NodeState};
use crate::config::{
    Affinity, AgentCheck, Cluster, Config, HealthPolicy, HealthProbe, Node as NodeSettings, NodeHost, ProbePort, Secret,
};
use crate::health::passive::Change;
use crate::health::{State, Transition};
use crate::ids::{ClusterName, Endpoint, NodeId, Role};
use crate::member::{AdminState, Node};
use crate::observe::metrics::Metrics;
use crate::pool::Pool;
use crate::report::agent::{AgentState, Reply};
use crate::select::Clock;

/// Names a node for as long as the process lives: no other node has or had its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub(crate) usize);

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

/// An endpoint of a node that some pool leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The node.
    pub key: NodeKey,
    /// Position of its cluster in the configuration.
    pub cluster: usize,
    /// Its position in the cluster.
    pub node: usize,
    /// The endpoint.
    pub endpoint: Endpoint,
}

/// The writer of snapshots.
#[derive(Debug)]
pub struct Registry {
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Keys of affinity cookies if the configuration has none.
    own_keys: Vec<Secret>,
    seed: u64,
    /// Held by writers from the change to the publication, so that snapshots appear in the order of the changes.
    kept: Mutex<Kept>,
    published: ArcSwap<Snapshot>,
    /// Told when requests have found out something that a tick has to decide about, or to tell of.
    news: Notify,
    /// Counts the configurations, so that those who follow them know when there is another one.
    applied: watch::Sender<u64>,
}

impl Registry {
    /// Builds the pools that the listeners of the configuration lead to and publishes a first snapshot.
    ///
    /// Affinity cookies are made with the first of the configuration's keys, and read with any; if it has none, with
    /// `own_keys`. Time counts from `now`; `seed` is what the random numbers of the pools begin with.
    pub fn new(setup: Setup, metrics: Arc<Metrics>, own_keys: Vec<Secret>, now: Instant, seed: u64) -> Self {
        let clock = Clock::new(now);
        let (mut numbers, mut gone) = (Numbers::default(), Gone::default());
        let mut builder = Builder {
            keys: apply::keys(&setup.config, &own_keys),
            setup: &setup,
            metrics: &metrics,
            clock,
            now,
            seed,
            numbers: &mut numbers,
            gone: &mut gone,
            outcome: Outcome::default(),
        };
        let config = setup.config.clone();
        let mut clusters: Vec<_> = config.clusters.iter().map(|cluster| builder.cluster(cluster, None)).collect();
        // All nodes are the file's.
        let shown = clusters.iter_mut().zip(config.clusters.iter().enumerate());
        shown.for_each(|(state, cluster)| _ = state.show(cluster, &Managers::default(), now));
        let published = ArcSwap::from_pointee(Snapshot::new(0, &setup, &clusters));
        let kept = Mutex::new(Kept { setup, clusters, numbers, gone, untold: Vec::new(), ticked: now });
        let (news, applied) = (Notify::new(), watch::Sender::new(0));
        let registry = Registry { metrics, clock, own_keys, seed, kept, published, news, applied };
        registry.show_all_nodes(&registry.kept.lock());
        registry
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The configuration that requests go by now.
    pub fn config(&self) -> Arc<Config> {
        self.published.load().setup.config.clone()
    }

    /// The program's one clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts the configurations: it changes when there is another one.
    pub fn configurations(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The node with an id; `None` if there is none.
    pub fn node(&self, cluster: &ClusterName, id: &NodeId) -> Option<NodeKey> {
        let kept = self.kept.lock();
        let position = kept.setup.config.clusters.iter().position(|known| known.name == *cluster)?;
        kept.clusters.get(position)?.nodes.iter().find(|state| state.node.id() == id).map(|state| NodeKey(state.key))
    }

    /// Where a node is now; `None` while its name has not been resolved.
    pub fn address(&self, key: NodeKey) -> Option<IpAddr> {
        self.kept.lock().node(key)?.address
    }

    /// Whether a health check says that some endpoint of a node is down: it may have moved.
    pub fn is_down(&self, key: NodeKey) -> bool {
        let kept = self.kept.lock();
        kept.node(key).is_some_and(|node| node.health.iter().any(|health| health.state() == State::Down))
    }

    /// Takes in that a node's name stands for `address` now; what was found out about a name that is not the node's host
    /// any more does not count. Returns whether that is news.
    pub fn record_address(&self, key: NodeKey, name: &str, address: IpAddr, now: Instant) -> bool {
        let mut kept = self.kept.lock();
        let is_host = |node: &NodeSettings| matches!(&node.host, NodeHost::Name(host) if host == name);
        if !kept.settings(key).is_some_and(|(_, node)| is_host(node)) {
            return false;
        }
        let Some(node) = kept.node_mut(key) else { return false };
        if node.address.replace(address) == Some(address) {
            return false;
        }
        node.moved(now);
        kept.forget(key, &Endpoint::ALL);
        self.publish(&mut kept, now);
        true
    }

    /// Takes in the outcome of a probe of a node's endpoint at `place`; one of an address that the node has left, or of a
    /// port that is not asked any more, does not count. Returns the change of its state, for the caller to log.
    pub fn record_probe(
        &self,
        key: NodeKey,
        endpoint: Endpoint,
        place: SocketAddr,
        good: bool,
        now: Instant,
    ) -> Option<Transition> {
        let mut kept = self.kept.lock();
        let (cluster, node) = kept.settings(key)?;
        if probed_port(cluster, node, endpoint) != place.port() {
            return None;
        }
        let policy = probe_policy(cluster, node);
        let state = kept.node_mut(key).filter(|node| node.address == Some(place.ip()))?;
        let transition = state.health[endpoint.index()].record(good, &policy)?;
        state.turned(endpoint, transition.to, now);
        let node = state.node.clone();
        if transition.to == State::Up {
            // It was started again, say: what requests told before is of another time.
            kept.forget(key, &[endpoint]);
        }
        self.publish(&mut kept, now);
        // After the snapshot: whoever sees the metric may count on requests being routed by it. Under the lock: the
        // node's metrics go when the node goes.
        self.metrics.node_up(node.cluster(), node.id(), endpoint, transition.to == State::Up);
        Some(transition)
    }

    /// Takes in what an operator wants of a node. Returns what was wanted before; `None` if there is no such node.
    pub fn set_admin_state(&self, key: NodeKey, wanted: AdminState, now: Instant) -> Option<AdminState> {
        self.change_node(key, now, |node| {
            let before = std::mem::replace(&mut node.admin, wanted);
            node.warm_up_after(before, wanted, now);
            (before, before != wanted)
        })
    }

    /// Takes in what a node's agent says at `address`; one of an address that the node has left does not count. Returns
    /// what holds now, if that is news.
    pub fn record_agent(&self, key: NodeKey, address: IpAddr, reply: &Reply, now: Instant) -> Option<AgentState> {
        self.change_node(key, now, |node| {
            let before = node.agent.wanted;
            let changed = node.address == Some(address) && node.agent.apply(reply);
            node.warm_up_after(before, node.agent.wanted, now);
            (changed.then_some(node.agent), changed)
        })?
    }

    /// Takes in that a node's agent has fallen silent. Returns what holds now, if that is news.
    pub fn record_silent_agent(&self, key: NodeKey, now: Instant) -> Option<AgentState> {
        self.change_node(key, now, |node| {
            let changed = node.agent.forget_load();
            (changed.then_some(node.agent), changed)
        })?
    }

    /// Changes a node, and publishes if the change says that it was one.
    fn change_node<T>(
        &self,
        key: NodeKey,
        now: Instant,
        change: impl FnOnce(&mut NodeState) -> (T, bool),
    ) -> Option<T> {
        let mut kept = self.kept.lock();
        let node = kept.node_mut(key)?;
        let (result, changed) = change(node);
        if changed {
            // Before the snapshot: requests that see it are to be counted.
            node.count_sessions_left(now);
            self.publish(&mut kept, now);
        }
        Some(result)
    }

    /// Says that requests have told something of a member that has to be decided about: the next tick will, soon. It
    /// takes no time, as requests say so.
    pub fn note_news(&self) {
        self.news.notify_one();
    }

    /// Returns when somebody has noted news since the last time.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Does what the time asks for: decides about members whose requests have told something, ends ejections, judges
    /// intervals, and lets the shares of starting members grow. Returns what has changed, for the caller to log.
    pub fn tick(&self, now: Instant) -> Vec<Ejection> {
        let mut kept = self.kept.lock();
        let Kept { clusters, setup, ticked, .. } = &mut *kept;
        let mut ejections = Vec::new();
        let mut grown = false;
        let last = std::mem::replace(ticked, now);
        for (cluster, config) in clusters.iter_mut().zip(&setup.config.clusters) {
            ejections.extend(cluster.tick(now));
            grown |= cluster.has_grown(config, last, now);
        }
        if grown || !ejections.is_empty() {
            self.publish(&mut kept, now);
        }
        let mut told = std::mem::take(&mut kept.untold);
        told.append(&mut ejections);
        // Under the lock: the metrics of nodes go when the nodes go.
        for ejection in &told {
            self.metrics.ejection(&ejection.pool, ejection.node.id(), &ejection.change);
        }
        told
    }

    /// Every node with what it is busy with, for the metrics.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.kept
            .lock()
            .clusters
            .iter()
            .flat_map(|cluster| cluster.nodes.iter().map(|node| node.node.clone()))
            .collect()
    }

    /// What operators want of a node, and what its agent says. `None` if there is no such node.
    pub fn wanted(&self, key: NodeKey) -> Option<(AdminState, AgentState)> {
        self.kept.lock().node(key).map(|node| (node.admin, node.agent))
    }

    /// Whether the place of some node is not known that sessions could be on.
    pub fn awaits_addresses(&self) -> bool {
        let kept = self.kept.lock();
        let mut pools = kept.clusters.iter().flat_map(|cluster| cluster.pools.iter().map(move |pool| (cluster, pool)));
        pools.any(|(cluster, pool)| {
            let position = |key: &usize| cluster.by_key.get(key).copied();
            let mut nodes = pool.queues.keys().filter_map(position).filter_map(|position| cluster.nodes.get(position));
            pool.pool.settings.affinity != Affinity::Off && nodes.any(|node| node.address.is_none())
        })
    }

    /// The endpoints of nodes that some pool leads to, those of a node together, and the setup that they are from.
    pub fn used(&self) -> (Setup, Vec<Used>) {
        let kept = self.kept.lock();
        (kept.setup.clone(), used(&kept))
    }

    /// The nodes whose agents are to be asked: their names, and how.
    pub fn agents(&self) -> Vec<(NodeKey, String, AgentCheck)> {
        let (setup, mut nodes) = self.used();
        nodes.dedup_by_key(|used| used.key); // those of a node stand together
        let check = |used: Used| {
            let cluster = setup.config.clusters.get(used.cluster)?;
            let node = cluster.nodes.get(used.node)?;
            Some((used.key, format!("{}/{}", cluster.name, node.id), agent_check(cluster, node)?))
        };
        nodes.into_iter().filter_map(check).collect()
    }

    /// The nodes whose hosts are names.
    pub fn named(&self) -> Vec<(NodeKey, String)> {
        let kept = self.kept.lock();
        let nodes = kept
            .clusters
            .iter()
            .zip(&kept.setup.config.clusters)
            .flat_map(|(state, cluster)| state.nodes.iter().map(|state| NodeKey(state.key)).zip(&cluster.nodes));
        let named = nodes.filter_map(|(key, node)| match &node.host {
            NodeHost::Name(name) => Some((key, name.clone())),
            NodeHost::Address(_) => None,
        });
        named.collect()
    }

    /// Publishes the state. The caller holds the lock on it.
    fn publish(&self, kept: &mut Kept, now: Instant) {
        let Kept { setup, clusters, .. } = kept;
        let managers = Managers::of(&setup.config, clusters);
        for (state, (at, cluster)) in clusters.iter_mut().zip(setup.config.clusters.iter().enumerate()) {
            for node in state.show((at, cluster), &managers, now).into_iter().filter_map(|node| cluster.nodes.get(node))
            {
                warn!("{}/{}: gets no requests, as a manager is at its place", cluster.name, node.id);
                let role = node.roles.first().copied().unwrap_or(Role::Worker);
                self.metrics.member_event(&cluster.name, role, "kept_away");
            }
        }
        let generation = self.published.load().generation + 1;
        self.published.store(Arc::new(Snapshot::new(generation, setup, clusters)));
        clusters.iter_mut().for_each(|cluster| cluster.wake());
        if !kept.untold.is_empty() {
            self.news.notify_one();
        }
    }

    /// Gives every endpoint in use a line in the metrics before its first probe.
    fn show_all_nodes(&self, kept: &Kept) {
        for Used { key, endpoint, .. } in used(kept) {
            if let Some(state) = kept.node(key) {
                let up = state.health[endpoint.index()].state() == State::Up;
                self.metrics.node_up(state.node.cluster(), state.node.id(), endpoint, up);
            }
        }
    }
}

fn used(kept: &Kept) -> Vec<Used> {
    let mut used = Vec::new();
    for (cluster, state) in kept.clusters.iter().enumerate() {
        for (node, NodeState { key, .. }) in state.nodes.iter().enumerate() {
            let leads_to = |endpoint: &Endpoint| {
                state.pools.iter().any(|pool| pool.pool.endpoint == *endpoint && pool.queues.contains_key(key))
            };
            let endpoints = Endpoint::ALL.into_iter().filter(leads_to);
            used.extend(endpoints.map(|endpoint| Used { key: NodeKey(*key), cluster, node, endpoint }));
        }
    }
    used
}

/// How a node is probed: as the settings of its worker pool say if it is a worker (a dual node is in two pools and is
/// still probed once), else as those of the manager pool.
pub fn probe_policy(cluster: &Cluster, node: &NodeSettings) -> HealthPolicy {
    let role = if node.roles.contains(&Role::Worker) { Role::Worker } else { Role::Manager };
    cluster.pools[role.index()].health
}

/// The port of a node that is probed to judge an endpoint.
pub fn probed_port(cluster: &Cluster, node: &NodeSettings, endpoint: Endpoint) -> u16 {
    let port = match cluster.endpoints[endpoint.index()].health {
        HealthProbe::Http { port, .. } => port,
        HealthProbe::Tcp | HealthProbe::Off => ProbePort::Own,
    };
    port.on(node, endpoint)
}

/// How a node's agent is asked: as the settings of the worker pool say if the node is in it and they name an agent, else
/// as those of the manager pool. A dual node has one agent.
pub fn agent_check(cluster: &Cluster, node: &NodeSettings) -> Option<AgentCheck> {
    let asked = [Role::Worker, Role::Manager].into_iter().filter(|role| node.roles.contains(role));
    asked.filter_map(|role| cluster.pools[role.index()].load.agent).next()
}
