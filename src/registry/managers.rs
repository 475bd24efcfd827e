//! Keeps members that came while the program runs away from the places of managers.
//!
//! Who may register workers must not make a worker of a manager: requests of clients would come to it by the worker's rules.
//! [`crate::membership`] refuses what it can tell from the configuration. Here the addresses of names are known, too, and
//! looked at anew for every snapshot.

use std::net::SocketAddr;

use ahash::AHashMap;

use super::state::ClusterState;
use crate::config::{Config, Node};
use crate::ids::{Endpoint, Role};

/// Where the managers of all clusters are, with the positions of their clusters.
#[derive(Debug, Default)]
pub(super) struct Managers(AHashMap<SocketAddr, usize>);

impl Managers {
    /// Nowhere if all nodes are the file's: those are where the operator wants them.
    pub(super) fn of(config: &Config, clusters: &[ClusterState]) -> Self {
        let nodes = || {
            let all = config.clusters.iter().zip(clusters).enumerate();
            all.flat_map(|(position, (cluster, state))| {
                cluster.nodes.iter().zip(&state.nodes).map(move |(node, state)| (position, cluster, node, state))
            })
        };
        if !nodes().any(|(_, _, node, _)| node.dynamic) {
            return Managers::default();
        }
        let mut places = AHashMap::new();
        // Those of the file last, so that theirs are theirs.
        for dynamic in [true, false] {
            let managers = nodes().filter(|(_, _, node, _)| node.roles.contains(&Role::Manager));
            for (position, cluster, node, state) in managers.filter(|(_, _, node, _)| node.dynamic == dynamic) {
                let Some(address) = state.address.map(|address| address.to_canonical()) else { continue };
                let endpoints = Endpoint::ALL.into_iter().filter(|&endpoint| cluster.product.has(endpoint));
                let ports = endpoints.map(|endpoint| node.ports[endpoint.index()]);
                places.extend(ports.map(|port| (SocketAddr::new(address, port), position)));
            }
        }
        Managers(places)
    }

    /// Whether a node of the cluster at a position is at the place of a manager that it is not.
    pub(super) fn keep_away(&self, position: usize, node: &Node, state: &super::state::NodeState) -> bool {
        let Some(address) = state.address.filter(|_| node.dynamic && !self.0.is_empty()) else { return false };
        let own = |&of: &usize| of == position && node.roles.contains(&Role::Manager);
        let of = |port: &u16| self.0.get(&SocketAddr::new(address.to_canonical(), *port));
        node.ports.iter().filter_map(of).any(|of| !own(of))
    }
}
