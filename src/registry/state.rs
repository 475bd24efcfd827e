//! What the registry keeps: the nodes with all that was said of them, and the pools that outlive snapshots.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent_check;
use super::build::Numbers;
use super::gone::Gone;
use super::managers::Managers;
use super::setup::Setup;
use super::{Ejection, NodeKey};
use crate::config::{Cluster, HealthProbe, Node as NodeSettings, NodeHost, PoolSettings};
use crate::health::passive::{self, Change, Outliers, Recorder};
use crate::health::{Health, State};
use crate::ids::Endpoint;
use crate::member::{AdminState, Node};
use crate::pool::{Facts, Member, Pool, PoolView, Standing, growth};
use crate::queue::Queue;
use crate::report::agent::AgentState;
use crate::tenant::TenantRules;

/// Everything that writers change, behind one lock.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) setup: Setup,
    /// As the configuration of `setup` has them.
    pub(super) clusters: Vec<ClusterState>,
    pub(super) numbers: Numbers,
    pub(super) gone: Gone,
    /// Changes that the next tick tells of.
    pub(super) untold: Vec<Ejection>,
    /// When the last tick was.
    pub(super) ticked: Instant,
}

#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) pools: Vec<PoolState>,
    /// Positions in `pools`: of those for everybody first, then of each partition's, by [`crate::ids::Role::index`] and
    /// [`Endpoint::index`].
    pub(super) positions: Vec<[[Option<usize>; 2]; 2]>,
    /// Which tenants have which partition, how they are told, and how much each may have in flight.
    pub(super) tenants: Arc<TenantRules>,
    /// As the configuration has them.
    pub(super) nodes: Vec<NodeState>,
    /// Positions in `nodes`, by the numbers of the nodes.
    pub(super) by_key: BTreeMap<usize, usize>,
}

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) pool: Arc<Pool>,
    /// What the requests of its members tell, by the number of the node.
    pub(super) outliers: Option<Outliers<usize>>,
    /// Where the requests of sessions wait for their member, by the number of the node: exactly its members.
    pub(super) queues: BTreeMap<usize, Arc<Queue>>,
    /// The numbers, in their order, of those of its nodes that may be full at some time.
    pub(super) limited: Vec<usize>,
    /// What was published last.
    pub(super) view: Option<Arc<PoolView>>,
    /// Whether those that wait were not told of it yet.
    pub(super) unseen: bool,
}

#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) node: Arc<Node>,
    /// No other node has or had it in this process.
    pub(super) key: usize,
    pub(super) address: Option<IpAddr>,
    /// By [`Endpoint::index`].
    pub(super) health: [Health; 2],
    /// By [`Endpoint::index`]: when it came up.
    pub(super) up_since: [Option<Instant>; 2],
    /// Nobody is to be sent there: it is at the place of a manager.
    pub(super) kept_away: bool,
    /// What operators want of it.
    pub(super) admin: AdminState,
    /// Whether it is drained because nobody names it any more, as its settings say.
    leaving: bool,
    /// What its agent says.
    pub(super) agent: AgentState,
    /// A hash of its id.
    pub(super) identity: u64,
}

impl Kept {
    /// Where a node is: positions of its cluster, and in it.
    pub(super) fn find(&self, NodeKey(key): NodeKey) -> Option<(usize, usize)> {
        let found = |(position, cluster): (usize, &ClusterState)| Some((position, *cluster.by_key.get(&key)?));
        self.clusters.iter().enumerate().find_map(found)
    }

    pub(super) fn node(&self, key: NodeKey) -> Option<&NodeState> {
        let (cluster, node) = self.find(key)?;
        self.clusters.get(cluster)?.nodes.get(node)
    }

    pub(super) fn node_mut(&mut self, key: NodeKey) -> Option<&mut NodeState> {
        let (cluster, node) = self.find(key)?;
        self.clusters.get_mut(cluster)?.nodes.get_mut(node)
    }

    /// The settings of a node, and of its cluster.
    pub(super) fn settings(&self, key: NodeKey) -> Option<(&Cluster, &NodeSettings)> {
        let (cluster, node) = self.find(key)?;
        let cluster = self.setup.config.clusters.get(cluster)?;
        Some((cluster, cluster.nodes.get(node)?))
    }

    /// Forgets what the requests of a node's members told, at these endpoints.
    pub(super) fn forget(&mut self, NodeKey(key): NodeKey, endpoints: &[Endpoint]) {
        for cluster in &mut self.clusters {
            let Some(node) = cluster.by_key.get(&key).and_then(|&position| cluster.nodes.get(position)) else {
                continue;
            };
            for state in cluster.pools.iter_mut().filter(|state| endpoints.contains(&state.pool.endpoint)) {
                let change = state.outliers.as_mut().and_then(|outliers| outliers.forget(&key));
                let (pool, node) = (&state.pool, &node.node);
                let ejection = change.map(|change| Ejection { pool: pool.clone(), node: node.clone(), change });
                self.untold.extend(ejection);
            }
        }
    }

    /// Keeps changes for the next tick to tell of.
    pub(super) fn tell(&mut self, changes: impl IntoIterator<Item = (Arc<Pool>, Change<usize>)>) {
        for (pool, change) in changes {
            let node = self.node(NodeKey(change.member)).map(|state| state.node.clone());
            self.untold.extend(node.map(|node| Ejection { pool, node, change }));
        }
    }
}

impl ClusterState {
    /// Does what the time asks for in every pool.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Ejection> {
        let mut ejections = Vec::new();
        for state in &mut self.pools {
            let changes = state.outliers.as_mut().map(|outliers| outliers.tick(now)).unwrap_or_default();
            let ejection = |change: Change<usize>| {
                let node = self.nodes.get(*self.by_key.get(&change.member)?)?.node.clone();
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

    /// Makes the views of its pools anew where something has changed that a request could notice.
    ///
    /// Returns the nodes, by their positions, that are kept away from the place of a manager since now.
    pub(super) fn show(&mut self, (at, config): (usize, &Cluster), managers: &Managers, now: Instant) -> Vec<usize> {
        let ClusterState { pools, nodes, by_key, .. } = self;
        let mut kept_away = Vec::new();
        for (position, (state, node)) in nodes.iter_mut().zip(&config.nodes).enumerate() {
            let away = managers.keep_away(at, node, state);
            if away && !state.kept_away {
                kept_away.push(position);
            }
            state.kept_away = away;
        }
        for pool in pools {
            let known = |key: &usize| {
                let &position = by_key.get(key)?;
                nodes.get(position).filter(|node| !node.kept_away).zip(config.nodes.get(position))
            };
            let members: Vec<Member> = pool.members(known, now).collect();
            if !pool.view.as_ref().is_some_and(|view| view.is_of(&pool.pool, &members)) {
                pool.view = Some(Arc::new(PoolView::new(pool.pool.clone(), members)));
                pool.unseen = true;
            }
        }
        kept_away
    }

    /// After the publication: tells those that wait in a pool whose view is new that a member may have room.
    pub(super) fn wake(&mut self) {
        for pool in &mut self.pools {
            if std::mem::take(&mut pool.unseen) {
                pool.waits().for_each(|queue| queue.changed());
            }
        }
    }
}

impl PoolState {
    pub(super) fn passive(&self, node: usize) -> Option<passive::Standing> {
        self.outliers.as_ref()?.standing(&node)
    }

    fn recorder(&self, node: usize) -> Option<Arc<Recorder>> {
        self.outliers.as_ref()?.recorder(&node).cloned()
    }

    /// The nodes that have a known address; `known` has what is known of one.
    fn members<'s>(
        &'s self,
        known: impl Fn(&usize) -> Option<(&'s NodeState, &'s NodeSettings)> + 's,
        now: Instant,
    ) -> impl Iterator<Item = Member> + 's {
        let (endpoint, settings) = (self.pool.endpoint, &self.pool.settings);
        self.queues.iter().filter_map(move |(key, queue)| {
            let (known, node) = known(key)?;
            Some(Member {
                node: known.node.clone(),
                index: *key,
                host: node.host.clone(),
                address: SocketAddr::new(known.address?, node.ports[endpoint.index()]),
                ports: node.ports,
                standing: known.standing(endpoint, self.passive(*key), settings.slow_start, now),
                draining: known.wanted() == AdminState::Draining,
                backup: node.backup,
                weight: known.weight(node),
                limit: known.limit(node, settings),
                recorder: self.recorder(*key),
                queue: queue.clone(),
                identity: known.identity,
            })
        })
    }

    /// Where requests wait: for some member, and each for the member of its session.
    pub(super) fn waits(&self) -> impl Iterator<Item = Arc<Queue>> {
        std::iter::once(&self.pool.queue).chain(self.queues.values()).cloned()
    }
}

impl NodeState {
    /// A node of which nothing is known. `joins`: it comes now, while others serve.
    pub(super) fn new(cluster: &Cluster, node: &NodeSettings, key: usize, joins: Option<Instant>) -> Self {
        let health = Endpoint::ALL.map(|endpoint| match is_probed(cluster, endpoint) {
            false => Health::unprobed(),
            true if joins.is_some() => Health::joining(),
            true => Health::unknown(),
        });
        NodeState {
            node: Arc::new(Node::new(cluster.name.clone(), node.id.clone())),
            key,
            address: fixed_address(node),
            health,
            up_since: health.map(|health| joins.filter(|_| health.state() == State::Up)),
            kept_away: false,
            admin: AdminState::Ready,
            leaving: node.leaving,
            agent: AgentState::default(),
            identity: crate::affinity::member_identity(&cluster.name, &node.id),
        }
    }

    /// Goes on with the requests of a node that had left and was the same. Whether it serves is to be found out anew.
    pub(super) fn continues(&mut self, before: Arc<Node>, now: Instant) {
        self.node = before;
        self.count_sessions_left(now);
    }

    /// Goes by other settings of the node and its cluster. What was found out about another place is forgotten. Returns
    /// which endpoints have moved, by [`Endpoint::index`].
    pub(super) fn reconfigure(
        &mut self,
        (old_cluster, old): (&Cluster, &NodeSettings),
        (cluster, new): (&Cluster, &NodeSettings),
        now: Instant,
    ) -> [bool; 2] {
        let elsewhere = old.host != new.host;
        if elsewhere {
            self.address = fixed_address(new);
            self.node.sessions_left().forget(now);
        }
        self.leaving = new.leaving;
        if elsewhere || agent_check(cluster, new).is_none() {
            // Another agent speaks for it, or none.
            self.agent = AgentState::default();
        }
        self.count_sessions_left(now);
        Endpoint::ALL.map(|endpoint| {
            let index = endpoint.index();
            let moved = elsewhere || old.ports[index] != new.ports[index];
            let (before, probed) = (is_probed(old_cluster, endpoint), is_probed(cluster, endpoint));
            if before != probed {
                self.health[index] = self.health[index].probed(probed);
            }
            if moved {
                self.health[index] = if probed { Health::joining() } else { Health::unprobed() };
                self.up_since[index] = (!probed).then_some(now);
            }
            moved
        })
    }

    /// Takes in that it is at another address.
    pub(super) fn moved(&mut self, now: Instant) {
        // What was found out about the old address says nothing of the new one.
        self.health = self.health.map(Health::forget);
        self.up_since = [None; 2];
        self.node.sessions_left().forget(now);
        self.agent = AgentState::default();
        self.count_sessions_left(now);
    }

    /// Takes in that a probe has taken an endpoint up or down.
    pub(super) fn turned(&mut self, endpoint: Endpoint, to: State, now: Instant) {
        self.up_since[endpoint.index()] = (to == State::Up).then_some(now);
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
        let standing = Standing::of(&Facts {
            admin: self.wanted(),
            health: self.health[endpoint.index()].state(),
            agent_down: !self.agent.up,
            passive,
            up_for: up_for.filter(|&up_for| up_for < slow_start),
        });
        let is_joining = self.health[endpoint.index()].is_joining();
        if standing == Standing::Unknown && is_joining { Standing::Joining } else { standing }
    }

    /// Whether its agent, or a probe of one of the endpoints, says that it is down.
    pub(super) fn is_down(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> bool {
        let is_down = |endpoint: Endpoint| self.health[endpoint.index()].state() == State::Down;
        !self.agent.up || endpoints.into_iter().any(is_down)
    }

    /// Its configured weight, times what its agent says in percent.
    pub(super) fn weight(&self, node: &NodeSettings) -> u32 {
        u32::from(node.weight).saturating_mul(self.agent.weight)
    }

    /// Requests that may be in flight on one of its endpoints.
    pub(super) fn limit(&self, node: &NodeSettings, settings: &PoolSettings) -> Option<usize> {
        self.agent.max_in_flight.or(node.max_in_flight).or(settings.max_in_flight)
    }

    /// What operators and its agent want of it, and that it is leaving: the strictest counts.
    pub(super) fn wanted(&self) -> AdminState {
        let leaving = if self.leaving { AdminState::Draining } else { AdminState::Ready };
        self.admin.max(self.agent.wanted).max(leaving)
    }

    /// Begins or ends counting the sessions that it has left.
    pub(super) fn count_sessions_left(&self, now: Instant) {
        self.node.sessions_left().set_draining(self.wanted() == AdminState::Draining, now);
    }

    /// Counts its sessions always if it may be stopped: the one with the fewest is.
    pub(super) fn watch_sessions(&self, cluster: &Cluster, node: &NodeSettings, now: Instant) {
        let scaled = node.roles.iter().any(|role| cluster.pools[role.index()].scale.is_some());
        self.node.sessions_left().set_watched(scaled, now);
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

fn is_probed(cluster: &Cluster, endpoint: Endpoint) -> bool {
    cluster.endpoints[endpoint.index()].health != HealthProbe::Off
}

fn fixed_address(node: &NodeSettings) -> Option<IpAddr> {
    match node.host {
        NodeHost::Address(address) => Some(address),
        NodeHost::Name(_) => None,
    }
}
