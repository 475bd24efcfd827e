//! What the names of the file's nodes stand for: a node that is given by name is somewhere, too, and nobody else is there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Config, Node, NodeHost};
use crate::ids::{ClusterName, NodeId};

/// What the name of a node of the file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its cluster.
    pub cluster: ClusterName,
    /// The node.
    pub id: NodeId,
    /// Its host, as it is written.
    pub name: String,
    /// What that was resolved to.
    pub address: IpAddr,
}

/// What is known of all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names(BTreeMap<(ClusterName, NodeId), (String, IpAddr)>);

impl Names {
    pub(super) fn of(known: Vec<Resolved>) -> Self {
        // As the addresses of members are written.
        let named = |known: Resolved| ((known.cluster, known.id), (known.name, known.address.to_canonical()));
        Names(known.into_iter().map(named).collect())
    }

    /// Forgets those that no node has any more.
    pub(super) fn keep_those_of(&mut self, file: &Config) {
        if self.0.is_empty() {
            return;
        }
        let nodes = file.clusters.iter().flat_map(|cluster| cluster.nodes.iter().map(|node| (&cluster.name, node)));
        let hosts: BTreeMap<(&ClusterName, &NodeId), &NodeHost> =
            nodes.map(|(cluster, node)| ((cluster, &node.id), &node.host)).collect();
        self.0.retain(
            |(cluster, id), (name, _)| matches!(hosts.get(&(cluster, id)), Some(NodeHost::Name(host)) if host == name),
        );
    }

    /// The file with addresses in place of the names that are known; the file itself if none is.
    pub(super) fn put_into(&self, file: &Arc<Config>) -> Arc<Config> {
        if self.0.is_empty() {
            return file.clone();
        }
        let mut config = Config::clone(file);
        for cluster in &mut config.clusters {
            let name = &cluster.name;
            let known = |node: &Node| self.0.get(&(name.clone(), node.id.clone())).map(|(_, address)| *address);
            for node in &mut cluster.nodes {
                if let Some(address) = known(node) {
                    node.host = NodeHost::Address(address);
                }
            }
        }
        Arc::new(config)
    }
}
