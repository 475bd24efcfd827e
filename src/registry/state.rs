//! What the registry keeps: the nodes with all that was said of them, and the pools that outlive snapshots.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Ejection, agent_check};
use crate::affinity::OwnCookies;
use crate::config::{Cluster, Config, HealthProbe, NodeHost, PoolSettings, Secret};
use crate::health::passive::{self, Outliers, Recorder};
use crate::health::{Health, State};
use crate::ids::{Endpoint, Role};
use crate::member::{AdminState, Node};
use crate::observe::metrics::Metrics;
use crate::pool::{Facts, Pool, PoolParts, Sessions, Standing, growth};
use crate::queue::Queue;
use crate::report::agent::AgentState;
use crate::select::Clock;
use crate::tenant::TenantRules;

#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) pools: Vec<PoolState>,
    /// Positions in `pools`: of those for everybody first, then of each partition's, by [`Role::index`] and
    /// [`Endpoint::index`].
    pub(super) positions: Vec<[[Option<usize>; 2]; 2]>,
    /// Which tenants have which partition, how they are told, and how much each may have in flight.
    pub(super) tenants: Arc<TenantRules>,
    pub(super) nodes: Vec<NodeState>,
}

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) pool: Arc<Pool>,
    /// What the requests of its members tell, by the position of the node.
    pub(super) outliers: Option<Outliers<usize>>,
    /// Where the requests of sessions wait for their member, by the position of the node: exactly its members.
    pub(super) queues: BTreeMap<usize, Arc<Queue>>,
    /// Those of its nodes that may be full at some time.
    limited: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) node: Arc<Node>,
    pub(super) address: Option<IpAddr>,
    /// By [`Endpoint::index`].
    pub(super) health: [Health; 2],
    /// By [`Endpoint::index`]: when it came up.
    pub(super) up_since: [Option<Instant>; 2],
    /// What operators want of it.
    pub(super) admin: AdminState,
    /// What its agent says.
    pub(super) agent: AgentState,
    /// A hash of its id.
    pub(super) identity: u64,
}

/// Builds the first state from the configuration.
pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    pub(super) metrics: &'a Metrics,
    pub(super) affinity_keys: &'a [Secret],
    pub(super) clock: Clock,
    pub(super) now: Instant,
    pub(super) seed: u64,
    pub(super) keys: u64,
}

impl Builder<'_> {
    pub(super) fn cluster(&mut self, cluster: &Cluster) -> ClusterState {
        let mut state = ClusterState {
            pools: Vec::new(),
            positions: Vec::new(),
            tenants: Arc::new(TenantRules::new(&cluster.tenants)),
            nodes: cluster.nodes.iter().map(|node| NodeState::new(cluster, node)).collect(),
        };
        let own_cookies = Arc::new(OwnCookies::of(cluster));
        let partitions = (0..cluster.tenants.partitions.len()).map(Some);
        for partition in std::iter::once(None).chain(partitions) {
            let positions = Role::ALL.map(|role| {
                Endpoint::ALL.map(|endpoint| {
                    let pool = self.pool(cluster, partition, role, endpoint, &own_cookies)?;
                    state.pools.push(pool);
                    Some(state.pools.len() - 1)
                })
            });
            state.positions.push(positions);
        }
        for (position, node) in state.nodes.iter().enumerate() {
            for endpoint in Endpoint::ALL {
                node.node.wait_in(endpoint, waiting_for(&state.pools, position, endpoint));
            }
        }
        state
    }

    /// `None` if nothing leads there, or if a partition leaves it no nodes.
    fn pool(
        &mut self,
        cluster: &Cluster,
        partition: Option<usize>,
        role: Role,
        endpoint: Endpoint,
        own_cookies: &Arc<OwnCookies>,
    ) -> Option<PoolState> {
        let nodes: Vec<usize> = nodes_of(cluster, partition, role).collect();
        let partitioned = !cluster.tenants.partitions.is_empty();
        if !self.config.leads_to(cluster, role, endpoint) || (partitioned && nodes.is_empty()) {
            return None;
        }
        let settings = cluster.pools[role.index()].clone();
        let key = self.keys;
        self.keys += 1;
        let outliers = settings.outliers.map(|policy| {
            let mut outliers = Outliers::new(policy, self.now);
            outliers.retain(nodes.iter().copied()); // all are new, so nothing changes
            outliers
        });
        let is_limited = |&node: &usize| {
            settings.max_in_flight.is_some()
                || cluster.nodes.get(node).is_some_and(|node| node.max_in_flight.is_some())
                // An agent may set a limit at any time.
                || agent_check(cluster, node).is_some()
        };
        let limited = nodes.iter().copied().filter(is_limited).collect();
        let partition = partition.and_then(|partition| cluster.tenants.partitions.get(partition));
        let partition = partition.map(|partition| &partition.name);
        let queues = nodes.iter().map(|&node| (node, Arc::new(Queue::new(settings.queue)))).collect();
        let sessions = Sessions::new(cluster, role, partition, nodes, self.affinity_keys, own_cookies.clone());
        let pool = Arc::new(Pool::new(PoolParts {
            cluster: cluster.name.clone(),
            role,
            endpoint,
            partition: partition.cloned(),
            settings,
            upstream: cluster.endpoints[endpoint.index()].clone(),
            key,
            metrics: self.metrics.pool(&cluster.name, role),
            clock: self.clock,
            sessions,
            seed: self.seed.wrapping_add(key),
        }));
        Some(PoolState { pool, outliers, queues, limited })
    }
}

/// Where requests wait for an endpoint of a node. Nowhere if nothing limits it, so that the end of a request costs nothing.
fn waiting_for(pools: &[PoolState], node: usize, endpoint: Endpoint) -> Vec<Arc<Queue>> {
    let pools = pools.iter().filter(|state| state.pool.endpoint == endpoint && state.limited.contains(&node));
    pools.flat_map(|state| [Some(&state.pool.queue), state.queues.get(&node)]).flatten().cloned().collect()
}

/// The positions of the nodes with a role that are a partition's, or that are no partition's.
fn nodes_of(cluster: &Cluster, partition: Option<usize>, role: Role) -> impl Iterator<Item = usize> {
    let partitions = &cluster.tenants.partitions;
    let owner = move |id| partitions.iter().position(|partition| partition.nodes.contains(id));
    let nodes = cluster.nodes.iter().enumerate();
    nodes
        .filter(move |(_, node)| node.roles.contains(&role) && owner(&node.id) == partition)
        .map(|(position, _)| position)
}

impl ClusterState {
    /// Forgets what the requests of a node's members told, at these endpoints.
    pub(super) fn forget(&mut self, node: usize, endpoints: &[Endpoint]) {
        let pools = self.pools.iter_mut().filter(|state| endpoints.contains(&state.pool.endpoint));
        for outliers in pools.filter_map(|state| state.outliers.as_mut()) {
            outliers.forget(&node);
        }
    }

    /// Does what the time asks for in every pool.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Ejection> {
        let mut ejections = Vec::new();
        for state in &mut self.pools {
            let changes = state.outliers.as_mut().map(|outliers| outliers.tick(now)).unwrap_or_default();
            let ejection = |change: passive::Change<usize>| {
                let node = self.nodes.get(change.member)?.node.clone();
                Some(Ejection { pool: state.pool.clone(), node, change })
            };
            ejections.extend(changes.into_iter().filter_map(ejection));
        }
        ejections
    }

    /// Whether the share of some member grows between two points in time.
    pub(super) fn has_grown(&self, config: &Cluster, from: Instant, to: Instant) -> bool {
        let up_since = || self.nodes.iter().flat_map(|node| node.up_since).flatten();
        let grows = |slow_start: Duration| {
            let step = |since, at: Instant| growth(at.saturating_duration_since(since), slow_start);
            up_since().any(|since| step(since, from) != step(since, to))
        };
        config.pools.iter().map(|settings| settings.slow_start).filter(|time| !time.is_zero()).any(grows)
    }
}

impl PoolState {
    pub(super) fn passive(&self, node: usize) -> Option<passive::Standing> {
        self.outliers.as_ref()?.standing(&node)
    }

    pub(super) fn recorder(&self, node: usize) -> Option<Arc<Recorder>> {
        self.outliers.as_ref()?.recorder(&node).cloned()
    }

    /// Tells those that wait that a member may have room.
    pub(super) fn changed(&self) {
        self.pool.queue.changed();
        self.queues.values().for_each(|queue| queue.changed());
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
            up_since: [None; 2],
            admin: AdminState::Ready,
            agent: AgentState::default(),
            identity: crate::affinity::member_identity(&cluster.name, &node.id),
        }
    }

    /// What is known of one of its endpoints as a whole.
    pub(super) fn standing(
        &self,
        endpoint: Endpoint,
        passive: Option<passive::Standing>,
        slow_start: Duration,
        now: Instant,
    ) -> Standing {
        let up_for = self.up_since[endpoint.index()].map(|since| now.saturating_duration_since(since));
        Standing::of(&Facts {
            admin: self.wanted(),
            health: self.health[endpoint.index()].state(),
            agent_down: !self.agent.up,
            passive,
            up_for: up_for.filter(|&up_for| up_for < slow_start),
        })
    }

    /// Its configured weight, times what its agent says in percent.
    pub(super) fn weight(&self, node: &crate::config::Node) -> u32 {
        u32::from(node.weight).saturating_mul(self.agent.weight)
    }

    /// Requests that may be in flight on one of its endpoints.
    pub(super) fn limit(&self, node: &crate::config::Node, settings: &PoolSettings) -> Option<usize> {
        self.agent.max_in_flight.or(node.max_in_flight).or(settings.max_in_flight)
    }

    /// What operators and its agent want of it: the stricter one counts.
    pub(super) fn wanted(&self) -> AdminState {
        self.admin.max(self.agent.wanted)
    }

    /// Begins or ends counting the sessions that it has left.
    pub(super) fn count_sessions_left(&self, now: Instant) {
        self.node.sessions_left().set_draining(self.wanted() == AdminState::Draining, now);
    }

    /// Who comes back from maintenance begins as if it had just come up.
    pub(super) fn warm_up_after(&mut self, before: AdminState, after: AdminState, now: Instant) {
        if before == AdminState::Maintenance && after != before {
            for endpoint in Endpoint::ALL {
                let up = self.health[endpoint.index()].state() == State::Up;
                self.up_since[endpoint.index()] = up.then_some(now);
            }
        }
    }
}
