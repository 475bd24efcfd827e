//! From a configuration to the state that the registry keeps: nodes and pools that were there before are kept with all
//! that is known of them, by their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;

use super::agent_check;
use super::gone::Gone;
use super::setup::Setup;
use super::state::{ClusterState, NodeState, PoolState};
use crate::affinity::OwnCookies;
use crate::config::{Cluster, Config, Node, OutlierPolicy, Secret};
use crate::health::passive::{Change, Outliers};
use crate::ids::{Endpoint, Name, NodeId, Role};
use crate::observe::metrics::Metrics;
use crate::pool::{Pool, PoolParts, Sessions};
use crate::queue::Queue;
use crate::select::Clock;
use crate::tenant::TenantRules;

/// Numbers that are given once in a process.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    node: usize,
    pool: u64,
}

/// A cluster as it was before.
pub(super) struct Before<'a> {
    pub(super) state: ClusterState,
    pub(super) cluster: &'a Cluster,
    pub(super) setup: &'a Setup,
    /// The keys of affinity cookies.
    pub(super) keys: &'a [Secret],
}

/// Builds the state of clusters.
pub(super) struct Builder<'a> {
    pub(super) setup: &'a Setup,
    /// The keys of affinity cookies.
    pub(super) keys: &'a [Secret],
    pub(super) metrics: &'a Metrics,
    pub(super) clock: Clock,
    pub(super) now: Instant,
    pub(super) seed: u64,
    pub(super) numbers: &'a mut Numbers,
    pub(super) gone: &'a mut Gone,
    /// What has come of it besides.
    pub(super) outcome: Outcome,
}

/// What comes of a new configuration besides the state.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Nodes that are there no more.
    pub(super) left: Vec<NodeState>,
    /// Queues whose waiters have to look elsewhere.
    pub(super) abandoned: Vec<Arc<Queue>>,
    /// Members that are ejected no more, with their pool.
    pub(super) changes: Vec<(Arc<Pool>, Change<usize>)>,
}

/// A cluster whose pools are made.
struct New<'a> {
    cluster: &'a Cluster,
    /// Its nodes, with their numbers, by the partition that names them.
    nodes: ByPartition<'a>,
    /// The cookies that its nodes do not get to see.
    own: Arc<OwnCookies>,
    /// What there was of it before.
    reused: Option<&'a Reused<'a>>,
}

/// Nodes with their numbers by the position of their partition; `None`: those of no partition.
type ByPartition<'a> = AHashMap<Option<usize>, Vec<(usize, &'a Node)>>;

/// Which of a cluster's pools it is.
type PoolName = (Option<Name>, Role, Endpoint);

/// The pools of a cluster that were there before.
type Pools = AHashMap<PoolName, PoolState>;

impl Numbers {
    fn node(&mut self) -> usize {
        self.node += 1; // a node a nanosecond would take five hundred years
        self.node
    }

    fn pool(&mut self) -> u64 {
        self.pool += 1; // as above
        self.pool
    }
}

impl Builder<'_> {
    /// The state of a cluster: of that before, what still holds.
    pub(super) fn cluster(&mut self, cluster: &Cluster, before: Option<Before<'_>>) -> ClusterState {
        let Some(before) = before else {
            let rules = Arc::new(TenantRules::new(&cluster.tenants));
            let nodes = cluster.nodes.iter().map(|node| self.new_node(cluster, node, None)).collect();
            return self.finish(cluster, rules, nodes, &mut Pools::new(), None);
        };
        if self.is_unchanged(cluster, &before) {
            return before.state;
        }
        let Before { state, cluster: old, .. } = &before;
        let rules = match old.tenants == cluster.tenants {
            true => state.tenants.clone(),
            false => Arc::new(state.tenants.renewed(&cluster.tenants)),
        };
        let Before { state, cluster: old, setup, keys } = before;
        let mut pools: Pools = state.pools.into_iter().map(|pool| (name_of(&pool.pool), pool)).collect();
        let (nodes, same_routes) = self.nodes(cluster, old, state.nodes, &mut pools);
        let reused = Reused { same_routes, setup, same_keys: keys == self.keys };
        let state = self.finish(cluster, rules, nodes, &mut pools, Some(&reused));
        for pool in pools.into_values() {
            self.outcome.abandoned.extend(pool.waits());
        }
        state
    }

    /// Whether nothing of a cluster is changed by the new configuration, so that its state stays.
    fn is_unchanged(&self, cluster: &Cluster, before: &Before<'_>) -> bool {
        let trusts =
            || cluster.endpoints.iter().all(|e| self.setup.trust.trusts_as(&before.setup.trust, e.tls.as_ref()));
        *before.cluster == *cluster
            && before.keys == self.keys
            && leads(&before.setup.config, before.cluster) == leads(&self.setup.config, cluster)
            && trusts()
    }

    /// The nodes of a cluster: those that were there before, by their ids, and new ones. Returns also whether those have
    /// the same routes as before.
    fn nodes(
        &mut self,
        cluster: &Cluster,
        old: &Cluster,
        nodes: Vec<NodeState>,
        pools: &mut Pools,
    ) -> (Vec<NodeState>, bool) {
        let mut same_routes = true;
        let known = nodes.into_iter().zip(&old.nodes).map(|(state, node)| (&node.id, (state, node)));
        let mut known: AHashMap<&NodeId, (NodeState, &Node)> = known.collect();
        let mut node = |node: &Node| {
            let Some((mut state, old_node)) = known.remove(&node.id) else {
                return self.new_node(cluster, node, Some(self.now));
            };
            same_routes &= old_node.route == node.route;
            let moved = state.reconfigure((old, old_node), (cluster, node), self.now);
            let moved = |pool: &&mut PoolState| moved[pool.pool.endpoint.index()];
            for pool in pools.values_mut().filter(moved) {
                let change = pool.outliers.as_mut().and_then(|outliers| outliers.forget(&state.key));
                self.outcome.changes.extend(change.map(|change| (pool.pool.clone(), change)));
            }
            state
        };
        let nodes = cluster.nodes.iter().map(&mut node).collect();
        known.into_values().for_each(|(state, node)| self.leaves(state, node));
        (nodes, same_routes)
    }

    /// A node that comes; `joins`: while others of its cluster serve.
    fn new_node(&mut self, cluster: &Cluster, node: &Node, joins: Option<Instant>) -> NodeState {
        let mut state = NodeState::new(cluster, node, self.numbers.node(), joins);
        if let Some(before) = self.gone.back(&cluster.name, node) {
            state.continues(before, self.now);
        }
        state
    }

    /// A node that goes.
    pub(super) fn leaves(&mut self, state: NodeState, node: &Node) {
        self.gone.leaves(&state.node, node);
        self.outcome.left.push(state);
    }

    fn finish(
        &mut self,
        cluster: &Cluster,
        tenants: Arc<TenantRules>,
        nodes: Vec<NodeState>,
        known: &mut Pools,
        reused: Option<&Reused<'_>>,
    ) -> ClusterState {
        let new = New { cluster, nodes: by_partition(cluster, &nodes), own: Arc::new(OwnCookies::of(cluster)), reused };
        let mut pools = Vec::new();
        let partitions = (0..cluster.tenants.partitions.len()).map(Some);
        let positions = std::iter::once(None).chain(partitions).map(|partition| {
            Role::ALL.map(|role| {
                Endpoint::ALL.map(|endpoint| {
                    let pool = self.pool(&new, partition, role, endpoint, known)?;
                    pools.push(pool);
                    Some(pools.len() - 1)
                })
            })
        });
        let positions = positions.collect();
        let mut waiting = waiting(&pools);
        for (node, settings) in nodes.iter().zip(&cluster.nodes) {
            node.watch_sessions(cluster, settings, self.now);
            for endpoint in Endpoint::ALL {
                node.node.wait_in(endpoint, waiting.remove(&(node.key, endpoint)).unwrap_or_default());
            }
        }
        let by_key = nodes.iter().enumerate().map(|(position, node)| (node.key, position)).collect();
        ClusterState { pools, positions, tenants, nodes, by_key }
    }

    /// `None` if nothing leads there, or if a partition leaves it no nodes.
    fn pool(
        &mut self,
        new: &New<'_>,
        partition: Option<usize>,
        role: Role,
        endpoint: Endpoint,
        known: &mut Pools,
    ) -> Option<PoolState> {
        let New { cluster, reused, .. } = *new;
        let nodes = new.nodes.get(&partition).into_iter().flatten();
        let mut members: Vec<(usize, &Node)> = nodes.filter(|(_, node)| node.roles.contains(&role)).copied().collect();
        let partitioned = !cluster.tenants.partitions.is_empty();
        if !self.setup.config.leads_to(cluster, role, endpoint) || (partitioned && members.is_empty()) {
            return None;
        }
        members.sort_unstable_by_key(|&(key, _)| key);
        let partition = partition.and_then(|partition| cluster.tenants.partitions.get(partition));
        let partition = partition.map(|partition| partition.name.clone());
        let before = known.remove(&(partition.clone(), role, endpoint)).zip(reused);
        Some(match before {
            None => self.new_pool(new, partition, role, endpoint, &members),
            Some((before, reused)) => self.next_pool(new, before, reused, &members),
        })
    }

    fn new_pool(
        &mut self,
        New { cluster, own, .. }: &New<'_>,
        partition: Option<Name>,
        role: Role,
        endpoint: Endpoint,
        members: &[(usize, &Node)],
    ) -> PoolState {
        let settings = cluster.pools[role.index()].clone();
        let key = self.numbers.pool();
        let outliers = settings.outliers.map(|policy| self.outliers(policy, members));
        let of = (&cluster.name, role, partition.as_ref());
        let sessions = Sessions::new(&settings.affinity, self.keys, of, members, own.clone());
        let queue = |&(key, _): &(usize, &Node)| (key, Arc::new(Queue::new(settings.queue)));
        let queues = members.iter().map(queue).collect();
        let limited = limited(cluster, role, members);
        let pool = Arc::new(Pool::new(PoolParts {
            cluster: cluster.name.clone(),
            role,
            endpoint,
            partition,
            settings,
            upstream: cluster.endpoints[endpoint.index()].clone(),
            key,
            metrics: self.metrics.pool(&cluster.name, role),
            clock: self.clock,
            sessions,
            seed: self.seed.wrapping_add(key),
        }));
        PoolState { pool, outliers, queues, limited, view: None, unseen: false }
    }

    /// The pool itself stays if nothing of it changes; otherwise the new one goes on where it was.
    fn next_pool(
        &mut self,
        New { cluster, own, .. }: &New<'_>,
        before: PoolState,
        reused: &Reused<'_>,
        members: &[(usize, &Node)],
    ) -> PoolState {
        let PoolState { pool: old, outliers, queues, view, .. } = before;
        let (role, endpoint) = (old.role, old.endpoint);
        let (settings, upstream) = (&cluster.pools[role.index()], &cluster.endpoints[endpoint.index()]);
        let same_members = queues.keys().eq(members.iter().map(|(key, _)| key));
        let same_trust = self.setup.trust.trusts_as(&reused.setup.trust, upstream.tls.as_ref());
        let same_tables = !old.sessions.names_members() || reused.same_keys && reused.same_routes && same_members;
        let same_sessions = same_tables && old.sessions.hides(own);
        let pool = if old.settings == *settings && old.upstream == *upstream && same_sessions && same_trust {
            old.clone()
        } else {
            // Connections that were made otherwise must not be found any more.
            let same_way = same_trust && (old.upstream.scheme, &old.upstream.tls) == (upstream.scheme, &upstream.tls);
            let key = if same_way { old.key } else { self.numbers.pool() };
            let of = (&cluster.name, role, old.partition.as_ref());
            let sessions = Sessions::new(&settings.affinity, self.keys, of, members, own.clone());
            Arc::new(old.renewed(settings.clone(), upstream.clone(), sessions, key))
        };
        let outliers = self.next_outliers(&old, outliers, settings.outliers, members);
        let queues = self.next_queues(&pool, queues, members);
        PoolState { pool, outliers, queues, limited: limited(cluster, role, members), view, unseen: false }
    }

    fn next_queues(
        &mut self,
        pool: &Pool,
        mut known: BTreeMap<usize, Arc<Queue>>,
        members: &[(usize, &Node)],
    ) -> BTreeMap<usize, Arc<Queue>> {
        let policy = pool.settings.queue;
        let queue = |&(key, _): &(usize, &Node)| {
            let queue = known.remove(&key).inspect(|queue| queue.set_policy(policy));
            (key, queue.unwrap_or_else(|| Arc::new(Queue::new(policy))))
        };
        let queues = members.iter().map(queue).collect();
        self.outcome.abandoned.extend(known.into_values());
        queues
    }

    fn outliers(&self, policy: OutlierPolicy, members: &[(usize, &Node)]) -> Outliers<usize> {
        let mut outliers = Outliers::new(policy, self.now);
        outliers.retain(members.iter().map(|&(key, _)| key)); // all are new, so nothing changes
        outliers
    }

    /// With the same policy, members that stay keep what is known of them; with another one, all begin anew.
    fn next_outliers(
        &mut self,
        pool: &Arc<Pool>,
        known: Option<Outliers<usize>>,
        policy: Option<OutlierPolicy>,
        members: &[(usize, &Node)],
    ) -> Option<Outliers<usize>> {
        let mut note = |changes: Vec<Change<usize>>| {
            self.outcome.changes.extend(changes.into_iter().map(|change| (pool.clone(), change)));
        };
        match known {
            Some(mut known) if pool.settings.outliers == policy => {
                note(known.retain(members.iter().map(|&(key, _)| key)));
                return Some(known);
            }
            Some(mut known) => note(members.iter().filter_map(|(key, _)| known.forget(key)).collect()),
            None => {}
        }
        policy.map(|policy| self.outliers(policy, members))
    }
}

/// What of the state before may be used again.
struct Reused<'a> {
    same_routes: bool,
    setup: &'a Setup,
    same_keys: bool,
}

fn name_of(pool: &Pool) -> PoolName {
    (pool.partition.clone(), pool.role, pool.endpoint)
}

/// Which pools of a cluster some listener leads to, by [`Role::index`] and [`Endpoint::index`].
fn leads(config: &Config, cluster: &Cluster) -> [[bool; 2]; 2] {
    Role::ALL.map(|role| Endpoint::ALL.map(|endpoint| config.leads_to(cluster, role, endpoint)))
}

/// Those that may be full at some time.
fn limited(cluster: &Cluster, role: Role, members: &[(usize, &Node)]) -> Vec<usize> {
    let settings = &cluster.pools[role.index()];
    let is_limited = |node: &Node| {
        settings.max_in_flight.is_some()
            || node.max_in_flight.is_some()
            // An agent may set a limit at any time.
            || agent_check(cluster, node).is_some()
    };
    members.iter().filter(|(_, node)| is_limited(node)).map(|&(key, _)| key).collect()
}

/// Where requests wait for the endpoints of nodes. Nowhere if nothing limits one, so that the end of a request costs nothing.
fn waiting(pools: &[PoolState]) -> AHashMap<(usize, Endpoint), Vec<Arc<Queue>>> {
    let mut waiting = AHashMap::<_, Vec<_>>::new();
    for state in pools {
        for node in &state.limited {
            let queues = [Some(&state.pool.queue), state.queues.get(node)].into_iter().flatten().cloned();
            waiting.entry((*node, state.pool.endpoint)).or_default().extend(queues);
        }
    }
    waiting
}

/// The nodes of a cluster by the first partition that names them.
fn by_partition<'a>(cluster: &'a Cluster, nodes: &[NodeState]) -> ByPartition<'a> {
    let partitions = cluster.tenants.partitions.iter().enumerate().rev();
    let owners: AHashMap<&NodeId, usize> =
        partitions.flat_map(|(position, partition)| partition.nodes.iter().map(move |id| (id, position))).collect();
    let mut groups = ByPartition::new();
    for (state, node) in nodes.iter().zip(&cluster.nodes) {
        groups.entry(owners.get(&node.id).copied()).or_default().push((state.key, node));
    }
    groups
}
