//! What connections and requests read: everything that they are received and routed by, as of one moment.

use std::sync::Arc;

use super::setup::Setup;
use super::state::ClusterState;
use crate::config::Access;
use crate::ids::{ClusterName, Endpoint, Role};
use crate::pool::PoolView;
use crate::tenant::TenantRules;

/// Everything that a connection is received by and a request is routed by, as of one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: u64,
    /// What the configuration says of connections and requests.
    pub setup: Setup,
    clusters: Vec<ClusterPools>,
}

/// The pools of a cluster.
#[derive(Debug)]
struct ClusterPools {
    /// Those in which nothing has changed are those of the snapshot before.
    views: Vec<Arc<PoolView>>,
    /// Positions in `views`: of those for everybody first, then of each partition's, by [`Role::index`] and
    /// [`Endpoint::index`]. `None` where no listener leads, and where there is no node.
    positions: Vec<[[Option<usize>; 2]; 2]>,
    tenants: Arc<TenantRules>,
}

impl Snapshot {
    /// Of clusters whose views are up to date.
    pub(super) fn new(generation: u64, setup: &Setup, clusters: &[ClusterState]) -> Self {
        let pools = clusters.iter().map(|state| ClusterPools {
            views: state.pools.iter().filter_map(|pool| pool.view.clone()).collect(), // all have one
            positions: state.positions.clone(),
            tenants: state.tenants.clone(),
        });
        Snapshot { generation, setup: setup.clone(), clusters: pools.collect() }
    }

    /// The pool for a role and endpoint of the cluster at a position in the configuration: that of a tenant's partition,
    /// or if that has no nodes of the role, the one for everybody.
    pub fn pool(&self, cluster: usize, partition: Option<usize>, role: Role, endpoint: Endpoint) -> Option<&PoolView> {
        let pools = self.clusters.get(cluster)?;
        let of = |index: usize| pools.positions.get(index)?[role.index()][endpoint.index()];
        let position = partition.and_then(|partition| of(partition + 1)).or_else(|| of(0))?;
        pools.views.get(position).map(|view| &**view)
    }

    /// The name of the cluster at a position.
    pub fn cluster_name(&self, cluster: usize) -> Option<&ClusterName> {
        self.setup.config.clusters.get(cluster).map(|cluster| &cluster.name)
    }

    /// The position of a cluster.
    pub fn cluster_named(&self, name: &ClusterName) -> Option<usize> {
        self.setup.config.clusters.iter().position(|cluster| cluster.name == *name)
    }

    /// Who may reach the members of a role, whichever listener they come to.
    pub fn access(&self, cluster: usize, role: Role) -> Option<&Access> {
        self.setup.config.clusters.get(cluster).map(|cluster| &cluster.access[role.index()])
    }

    /// What tenants of a cluster get.
    pub fn tenants(&self, cluster: usize) -> Option<&TenantRules> {
        self.clusters.get(cluster).map(|cluster| &*cluster.tenants)
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = &PoolView> {
        self.clusters.iter().flat_map(|cluster| &cluster.views).map(|view| &**view)
    }
}
