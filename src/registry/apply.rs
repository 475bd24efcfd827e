//! From one configuration to the next.

use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;

use super::build::{Before, Builder, Outcome};
use super::state::{ClusterState, Kept};
use super::{Files, Registry, Used, used};
use crate::config::{Cluster, Config, Secret};
use crate::ids::{ClusterName, Endpoint, NodeId};

/// What a new configuration has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Nodes that came.
    pub joined: Vec<(ClusterName, NodeId)>,
    /// Nodes that left.
    pub left: Vec<(ClusterName, NodeId)>,
    /// The snapshot from which on it holds.
    pub generation: u64,
}

impl Registry {
    /// Goes by another configuration from here on, as one snapshot.
    ///
    /// Clusters and nodes are those that were there before if they have the same names: they keep what is known of them,
    /// their requests in flight and their sessions, and so do the pools. Requests that wait go on waiting, for the
    /// members that there are now. A node that comes and is probed gets requests after its first good probe.
    ///
    /// `files` is what is in the files that it names; `None`: what was in them before.
    ///
    /// It costs about what the changed clusters have of nodes, and is not for the thread of a request.
    pub fn apply(&self, config: Arc<Config>, files: Option<Files>, now: Instant) -> Changes {
        let mut kept = self.kept.lock();
        let used_before = used(&kept);
        let files = files.unwrap_or_else(|| kept.setup.files());
        let next = kept.setup.next(config, files, &self.metrics);
        let before = std::mem::replace(&mut kept.setup, next);
        let Kept { setup, clusters, numbers, gone, .. } = &mut *kept;
        gone.tidy();
        let states = std::mem::take(clusters).into_iter().zip(&before.config.clusters);
        let mut known: AHashMap<&ClusterName, (ClusterState, &Cluster)> =
            states.map(|(state, cluster)| (&cluster.name, (state, cluster))).collect();
        let keys_before = keys(&before.config, &self.own_keys);
        let mut builder = Builder {
            keys: keys(&setup.config, &self.own_keys),
            setup,
            metrics: &self.metrics,
            clock: self.clock,
            now,
            seed: self.seed,
            numbers,
            gone,
            outcome: Outcome::default(),
        };
        for cluster in &setup.config.clusters {
            let known = known.remove(&cluster.name);
            let before = known.map(|(state, cluster)| Before { state, cluster, setup: &before, keys: keys_before });
            clusters.push(builder.cluster(cluster, before));
        }
        for (state, cluster) in known.into_values() {
            builder.outcome.abandoned.extend(state.pools.iter().flat_map(|pool| pool.waits()));
            state.nodes.into_iter().zip(&cluster.nodes).for_each(|(state, node)| builder.leaves(state, node));
        }
        let outcome = builder.outcome;
        kept.tell(outcome.changes);
        self.publish(&mut kept, now);
        // After the snapshot: it says where to look.
        outcome.abandoned.iter().for_each(|queue| queue.changed());
        let names = |state: &super::state::NodeState| (state.node.cluster().clone(), state.node.id().clone());
        let left: Vec<_> = outcome.left.iter().map(names).collect();
        let joined = self.renew_metrics(&kept, &before.config, &used_before, &left);
        self.applied.send_modify(|count| *count += 1);
        Changes { joined, left, generation: self.published.load().generation }
    }

    /// Takes what is shown of nodes that are gone out of the metrics, and shows those that came. Returns the latter.
    fn renew_metrics(
        &self,
        kept: &Kept,
        before: &Config,
        used_before: &[Used],
        left: &[(ClusterName, NodeId)],
    ) -> Vec<(ClusterName, NodeId)> {
        let named = |config: &Config, used: &Used| {
            let cluster = config.clusters.get(used.cluster)?;
            Some((cluster.name.clone(), cluster.nodes.get(used.node)?.id.clone(), used.endpoint))
        };
        type Lines = ahash::AHashSet<(ClusterName, NodeId, Endpoint)>;
        let now: Lines = used(kept).iter().filter_map(|used| named(&kept.setup.config, used)).collect();
        for (cluster, node, endpoint) in used_before.iter().filter_map(|used| named(before, used)) {
            if !now.contains(&(cluster.clone(), node.clone(), endpoint)) {
                self.metrics.forget_endpoint(&cluster, &node, endpoint);
            }
        }
        left.iter().for_each(|(cluster, node)| self.metrics.forget_node(cluster, node));
        self.show_all_nodes(kept);
        let known: ahash::AHashSet<_> = before.clusters.iter().flat_map(names).collect();
        let all = kept.setup.config.clusters.iter().flat_map(names);
        all.filter(|name| !known.contains(name)).map(|(cluster, node)| (cluster.clone(), node.clone())).collect()
    }
}

/// The keys of affinity cookies: those of the configuration, or if it has none, the process's own.
pub(super) fn keys<'k>(config: &'k Config, own: &'k [Secret]) -> &'k [Secret] {
    if config.affinity_keys.is_empty() { own } else { &config.affinity_keys }
}

fn names(cluster: &Cluster) -> impl Iterator<Item = (&ClusterName, &NodeId)> {
    cluster.nodes.iter().map(move |node| (&cluster.name, &node.id))
}
