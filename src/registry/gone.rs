//! Nodes that were taken out of the configuration while they had requests. One that is put back meanwhile goes on with
//! their count: the process is the same, and as busy as it was.

use std::sync::{Arc, Weak};

use ahash::AHashMap;

use crate::config::{Node as NodeSettings, NodeHost};
use crate::ids::{ClusterName, NodeId};
use crate::member::Node;

/// Nodes that are gone, and that a request may hold still.
#[derive(Debug, Default)]
pub(super) struct Gone(AHashMap<(ClusterName, NodeId), Left>);

#[derive(Debug)]
struct Left {
    /// Alive as long as a request is on it, or may be given to it by a snapshot of before.
    node: Weak<Node>,
    host: NodeHost,
    ports: [u16; 2],
}

impl Gone {
    /// Notes that a node leaves, which was where `settings` say.
    pub(super) fn leaves(&mut self, node: &Arc<Node>, settings: &NodeSettings) {
        let left = Left { node: Arc::downgrade(node), host: settings.host.clone(), ports: settings.ports };
        self.0.insert((node.cluster().clone(), node.id().clone()), left);
    }

    /// The node that has come back, if it is where it was (under the same name, if it has one) and a request holds it.
    pub(super) fn back(&mut self, cluster: &ClusterName, settings: &NodeSettings) -> Option<Arc<Node>> {
        let left = self.0.remove(&(cluster.clone(), settings.id.clone()))?;
        left.node.upgrade().filter(|_| left.host == settings.host && left.ports == settings.ports)
    }

    /// Forgets those that no request holds any more.
    pub(super) fn tidy(&mut self) {
        self.0.retain(|_, left| left.node.strong_count() > 0);
    }
}
