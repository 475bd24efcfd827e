//! What requests read: everything that they are routed by, as of one moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::state::{ClusterState, PoolState};
use crate::classify::Classifier;
use crate::config::{Access, Cluster, Config};
use crate::ids::{Endpoint, Role};
use crate::member::AdminState;
use crate::pool::{Member, PoolView};
use crate::tenant::TenantRules;

/// Everything that a request is routed by, as of one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: u64,
    /// Says which cluster and role a request is for.
    pub classifier: Arc<Classifier>,
    clusters: Vec<ClusterPools>,
    config: Arc<Config>,
}

/// The pools of a cluster.
#[derive(Debug)]
struct ClusterPools {
    views: Vec<PoolView>,
    /// Positions in `views`: of those for everybody first, then of each partition's, by [`Role::index`] and
    /// [`Endpoint::index`]. `None` where no listener leads, and where there is no node.
    positions: Vec<[[Option<usize>; 2]; 2]>,
    tenants: Arc<TenantRules>,
}

impl Snapshot {
    pub(super) fn new(
        generation: u64,
        classifier: Arc<Classifier>,
        config: &Arc<Config>,
        clusters: &[ClusterState],
        now: Instant,
    ) -> Self {
        let pools = clusters.iter().zip(&config.clusters).map(|(state, cluster)| {
            let view = |pool: &PoolState| PoolView::new(pool.pool.clone(), members(pool, cluster, state, now));
            ClusterPools {
                views: state.pools.iter().map(view).collect(),
                positions: state.positions.clone(),
                tenants: state.tenants.clone(),
            }
        });
        Snapshot { generation, classifier, clusters: pools.collect(), config: config.clone() }
    }

    /// The pool for a role and endpoint of the cluster at a position in the configuration: that of a tenant's partition,
    /// or if that has no nodes of the role, the one for everybody.
    pub fn pool(&self, cluster: usize, partition: Option<usize>, role: Role, endpoint: Endpoint) -> Option<&PoolView> {
        let pools = self.clusters.get(cluster)?;
        let of = |index: usize| pools.positions.get(index)?[role.index()][endpoint.index()];
        let position = partition.and_then(|partition| of(partition + 1)).or_else(|| of(0))?;
        pools.views.get(position)
    }

    /// Who may reach the members of a role, whichever listener they come to.
    pub fn access(&self, cluster: usize, role: Role) -> Option<&Access> {
        self.config.clusters.get(cluster).map(|cluster| &cluster.access[role.index()])
    }

    /// What tenants of a cluster get.
    pub fn tenants(&self, cluster: usize) -> Option<&TenantRules> {
        self.clusters.get(cluster).map(|cluster| &*cluster.tenants)
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &PoolView> {
        self.clusters.iter().flat_map(|cluster| &cluster.views)
    }
}

/// The nodes of a pool that have a known address.
fn members(pool: &PoolState, cluster: &Cluster, state: &ClusterState, now: Instant) -> Vec<Member> {
    let endpoint = pool.pool.endpoint;
    let member = |(&index, queue): (&usize, &Arc<crate::queue::Queue>)| {
        let (node, known) = (cluster.nodes.get(index)?, state.nodes.get(index)?);
        let settings = &pool.pool.settings;
        Some(Member {
            node: known.node.clone(),
            index,
            host: node.host.clone(),
            address: SocketAddr::new(known.address?, node.ports[endpoint.index()]),
            ports: node.ports,
            standing: known.standing(endpoint, pool.passive(index), settings.slow_start, now),
            draining: known.wanted() == AdminState::Draining,
            backup: node.backup,
            weight: known.weight(node),
            limit: known.limit(node, settings),
            recorder: pool.recorder(index),
            queue: queue.clone(),
            identity: known.identity,
        })
    };
    pool.queues.iter().filter_map(member).collect()
}
