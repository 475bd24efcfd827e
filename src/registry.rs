//! The only writer of what requests are routed by.
//!
//! Probes, name resolution and (later) the administrator report here; the registry keeps what they said and publishes a
//! whole new [`Snapshot`] when something changed that a request could notice. Requests read a snapshot without a lock.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::classify::Classifier;
use crate::config::{Access, Cluster, Config, HealthProbe, NodeHost};
use crate::health::{Health, State, Transition};
use crate::ids::{Endpoint, Role};
use crate::member::Node;
use crate::observe::metrics::Metrics;
use crate::pool::{Member, Pool, PoolView};

/// Everything that a request is routed by, as of one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: u64,
    /// Says which cluster and role a request is for.
    pub classifier: Arc<Classifier>,
    pools: Vec<Pools>,
    config: Arc<Config>,
}

/// The pools of a cluster, by [`Role::index`] and [`Endpoint::index`]; `None` where no listener leads.
type Pools = [[Option<PoolView>; 2]; 2];

impl Snapshot {
    /// The pool for a role and endpoint of the cluster at a position in the configuration.
    pub fn pool(&self, cluster: usize, role: Role, endpoint: Endpoint) -> Option<&PoolView> {
        self.pools.get(cluster)?[role.index()][endpoint.index()].as_ref()
    }

    /// Who may reach the members of a role, whichever listener they come to.
    pub fn access(&self, cluster: usize, role: Role) -> Option<&Access> {
        self.config.clusters.get(cluster).map(|cluster| &cluster.access[role.index()])
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &PoolView> {
        self.pools.iter().flatten().flatten().flatten()
    }
}

/// Names a node: the position of its cluster in the configuration, and its own in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIndex {
    /// Position in `Config::clusters`.
    pub cluster: usize,
    /// Position in `Cluster::nodes`.
    pub node: usize,
}

/// The writer of snapshots.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    /// Held by writers from the change to the publication, so that snapshots appear in the order of the changes.
    state: Mutex<Vec<ClusterState>>,
    published: ArcSwap<Snapshot>,
}

#[derive(Debug)]
struct ClusterState {
    pools: [[Option<Arc<Pool>>; 2]; 2],
    nodes: Vec<NodeState>,
}

#[derive(Debug)]
struct NodeState {
    node: Arc<Node>,
    address: Option<IpAddr>,
    /// By [`Endpoint::index`].
    health: [Health; 2],
}

impl Registry {
    /// Builds the pools that the listeners of `config` lead to and publishes a first snapshot.
    pub fn new(config: Arc<Config>, classifier: Classifier, metrics: Arc<Metrics>) -> Self {
        let mut keys = 0..;
        let clusters: Vec<ClusterState> =
            config.clusters.iter().map(|cluster| ClusterState::new(cluster, &config, &metrics, &mut keys)).collect();
        let first = snapshot(0, Arc::new(classifier), &config, &clusters);
        let registry =
            Registry { config, metrics, state: Mutex::new(clusters), published: ArcSwap::from_pointee(first) };
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
    pub fn record_address(&self, index: NodeIndex, address: IpAddr) -> bool {
        let mut clusters = self.state.lock();
        let Some(node) = node_mut(&mut clusters, index) else { return false };
        if node.address.replace(address) == Some(address) {
            return false;
        }
        // What was found out about the old address says nothing of the new one.
        node.health = node.health.map(Health::forget);
        self.publish(&clusters);
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
    ) -> Option<Transition> {
        let cluster = self.config.clusters.get(index.cluster)?;
        let policy = probe_policy(cluster, index.node);
        let mut clusters = self.state.lock();
        let node = node_mut(&mut clusters, index).filter(|node| node.address == Some(address))?;
        let transition = node.health[endpoint.index()].record(good, &policy)?;
        let node = node.node.clone();
        self.publish(&clusters);
        // After the snapshot: whoever sees the metric may count on requests being routed by it.
        self.metrics.node_up(node.cluster(), node.id(), endpoint, transition.to == State::Up);
        Some(transition)
    }

    /// Every node with what it is busy with, for the metrics.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.lock().iter().flat_map(|cluster| cluster.nodes.iter().map(|node| node.node.clone())).collect()
    }

    /// The endpoints of nodes that are to be probed.
    pub fn probed(&self) -> Vec<(NodeIndex, Endpoint)> {
        let is_probed = |index: NodeIndex, endpoint: Endpoint| {
            let cluster = self.config.clusters.get(index.cluster);
            cluster.is_some_and(|cluster| cluster.endpoints[endpoint.index()].health != HealthProbe::Off)
        };
        self.used().into_iter().filter(|&(index, endpoint)| is_probed(index, endpoint)).collect()
    }

    /// The endpoints of nodes that some pool leads to.
    fn used(&self) -> Vec<(NodeIndex, Endpoint)> {
        let mut used = Vec::new();
        for (cluster, (config, state)) in self.config.clusters.iter().zip(self.state.lock().iter()).enumerate() {
            for (node, settings) in config.nodes.iter().enumerate() {
                let leads_to = |endpoint: &Endpoint| {
                    settings.roles.iter().any(|role| state.pools[role.index()][endpoint.index()].is_some())
                };
                let endpoints = Endpoint::ALL.into_iter().filter(leads_to);
                used.extend(endpoints.map(|endpoint| (NodeIndex { cluster, node }, endpoint)));
            }
        }
        used
    }

    /// Publishes the state. The caller holds the lock on it.
    fn publish(&self, clusters: &[ClusterState]) {
        let last = self.published.load();
        let next = snapshot(last.generation + 1, last.classifier.clone(), &self.config, clusters);
        self.published.store(Arc::new(next));
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

fn node_mut(clusters: &mut [ClusterState], index: NodeIndex) -> Option<&mut NodeState> {
    clusters.get_mut(index.cluster)?.nodes.get_mut(index.node)
}

impl ClusterState {
    fn new(cluster: &Cluster, config: &Config, metrics: &Metrics, keys: &mut impl Iterator<Item = u64>) -> Self {
        let pools = Role::ALL.map(|role| {
            Endpoint::ALL.map(|endpoint| {
                config.leads_to(cluster, role, endpoint).then(|| {
                    Arc::new(Pool::new(
                        cluster.name.clone(),
                        role,
                        endpoint,
                        cluster.pools[role.index()].clone(),
                        cluster.endpoints[endpoint.index()].clone(),
                        keys.next().unwrap_or_default(),
                        metrics.pool(&cluster.name, role),
                    ))
                })
            })
        });
        let nodes = cluster.nodes.iter().map(|node| NodeState::new(cluster, node)).collect();
        ClusterState { pools, nodes }
    }
}

impl NodeState {
    fn new(cluster: &Cluster, node: &crate::config::Node) -> Self {
        NodeState {
            node: Arc::new(Node::new(cluster.name.clone(), node.id.clone())),
            address: match node.host {
                NodeHost::Address(address) => Some(address),
                NodeHost::Name(_) => None,
            },
            health: Endpoint::ALL.map(|endpoint| match cluster.endpoints[endpoint.index()].health {
                HealthProbe::Off => Health::unprobed(),
                HealthProbe::Tcp | HealthProbe::Http { .. } => Health::unknown(),
            }),
        }
    }
}

fn snapshot(generation: u64, classifier: Arc<Classifier>, config: &Arc<Config>, clusters: &[ClusterState]) -> Snapshot {
    let pools = clusters.iter().zip(&config.clusters).map(|(state, cluster)| {
        let view = |pool: &Arc<Pool>| PoolView::new(pool.clone(), members(pool, cluster, &state.nodes));
        [0, 1].map(|role: usize| [0, 1].map(|endpoint: usize| state.pools[role][endpoint].as_ref().map(view)))
    });
    let pools = pools.collect();
    Snapshot { generation, classifier, pools, config: config.clone() }
}

/// The nodes of a cluster that have the pool's role and a known address.
fn members(pool: &Pool, cluster: &Cluster, states: &[NodeState]) -> Vec<Member> {
    let nodes = cluster.nodes.iter().zip(states).filter(|(node, _)| node.roles.contains(&pool.role));
    nodes
        .filter_map(|(node, state)| {
            Some(Member {
                node: state.node.clone(),
                host: node.host.clone(),
                address: SocketAddr::new(state.address?, node.ports[pool.endpoint.index()]),
                ports: node.ports,
                weight: node.weight,
                state: state.health[pool.endpoint.index()].state(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SEPARATED: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
  console: { bind: ['127.0.0.1:0'], role: manager }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'], manager: ['*'] }
    endpoints: { servlet: { scheme: http, health: tcp } }
    pools: { worker: { health: { rise: 1, fall: 2 } } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 192.0.2.11 }
      - { id: wk-2, host: wk-2.test }
";

    fn registry(yaml: &str) -> Registry {
        let config = crate::config::parse(yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}")).config;
        let classifier = Classifier::new(&config);
        Registry::new(Arc::new(config), classifier, Arc::new(Metrics::new().unwrap()))
    }

    /// The ids of the members that `picks` requests in a row go to.
    fn picked(registry: &Registry, role: Role, picks: usize) -> Vec<String> {
        let snapshot = registry.snapshot();
        let view = snapshot.pool(0, role, Endpoint::Servlet).unwrap();
        let ids = (0..picks).filter_map(|_| Some(view.pick(&[])?.member.node.id().to_string()));
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn node(node: usize) -> NodeIndex {
        NodeIndex { cluster: 0, node }
    }

    #[test]
    fn members_come_and_go_with_probes_and_addresses() {
        let registry = registry(SEPARATED);
        let workers = |registry: &Registry| picked(registry, Role::Worker, 4);
        let address = |index| IpAddr::from([192, 0, 2, 10 + u8::try_from(index).unwrap()]);
        let probe = |index, good| registry.record_probe(node(index), Endpoint::Servlet, address(index), good);

        assert_eq!(workers(&registry), ["wk-1"], "never probed, but nothing better is known; wk-2 has no address yet");
        assert!(registry.record_address(node(2), "192.0.2.12".parse().unwrap()));
        assert!(!registry.record_address(node(2), "192.0.2.12".parse().unwrap()), "the same again is no news");
        assert_eq!(workers(&registry), ["wk-1", "wk-2"]);

        assert_eq!(probe(1, true).map(|change| change.to), Some(State::Up));
        assert_eq!(workers(&registry), ["wk-1"], "a member that was never probed waits while another one is up");
        assert!(probe(2, true).is_some());
        assert_eq!(workers(&registry), ["wk-1", "wk-2"]);

        assert!(probe(1, false).is_none(), "one failure is not enough");
        assert_eq!(workers(&registry), ["wk-1", "wk-2"]);
        assert!(probe(1, false).is_some());
        assert_eq!(workers(&registry), ["wk-2"]);
        assert!(probe(2, false).is_none() && probe(2, false).is_some());
        assert_eq!(workers(&registry), [""; 0], "all are down");
        assert!(registry.is_down(node(1)) && !registry.is_down(node(0)));

        assert!(registry.record_address(node(2), "192.0.2.99".parse().unwrap()));
        assert_eq!(workers(&registry), ["wk-2"], "it moved: what was known of it is forgotten");
        assert!(probe(2, false).is_none(), "a late answer from where it was");
        assert_eq!(workers(&registry), ["wk-2"]);
        assert_eq!(picked(&registry, Role::Manager, 1), ["mgr-1"], "the other pool is not concerned");
    }

    #[test]
    fn a_request_keeps_the_snapshot_that_it_began_with() {
        let registry = registry(SEPARATED);
        let before = registry.snapshot();
        registry.record_probe(node(1), Endpoint::Servlet, "192.0.2.11".parse().unwrap(), false);
        let view = before.pool(0, Role::Worker, Endpoint::Servlet).unwrap();
        assert_eq!(view.ready(), 1);
        assert_eq!(registry.snapshot().pool(0, Role::Worker, Endpoint::Servlet).unwrap().ready(), 0);
        assert_eq!(registry.snapshot().generation, before.generation + 1);
    }

    #[test]
    fn a_dual_node_is_one_node_in_two_pools() {
        let dual = SEPARATED
            .replace("product: esb", "product: esb\n    mode: dual")
            .replace("[manager] }", "[worker, manager] }");
        let registry = registry(&dual);
        registry.record_address(node(2), "192.0.2.12".parse().unwrap());
        assert_eq!(picked(&registry, Role::Worker, 6), ["mgr-1", "wk-1", "wk-2"]);
        assert_eq!(picked(&registry, Role::Manager, 6), ["mgr-1"]);

        let snapshot = registry.snapshot();
        let pools = Role::ALL.map(|role| snapshot.pool(0, role, Endpoint::Servlet).unwrap());
        let leases: Vec<_> = pools.iter().flat_map(|view| [view.pick(&[]), view.pick(&[]), view.pick(&[])]).collect();
        let dual_node = &registry.nodes()[0];
        assert_eq!(dual_node.in_flight(), 4, "three console requests, and its third of the services");
        drop(leases);
        assert_eq!(dual_node.in_flight(), 0);
        assert_eq!(registry.probed().iter().filter(|(index, _)| *index == node(0)).count(), 1, "it is probed once");
    }

    #[test]
    fn pools_exist_where_listeners_lead() {
        let registry = registry(&SEPARATED.replace("  console: { bind: ['127.0.0.1:0'], role: manager }\n", ""));
        let snapshot = registry.snapshot();
        assert!(snapshot.pool(0, Role::Manager, Endpoint::Servlet).is_none());
        assert!(snapshot.pool(0, Role::Worker, Endpoint::Passthrough).is_none());
        assert_eq!(snapshot.pools().count(), 1);
        assert!(snapshot.pool(1, Role::Worker, Endpoint::Servlet).is_none(), "no such cluster");
    }
}
