//! A node as the running program knows it: its address, its health, and what it is busy with.
//!
//! A [`Node`] lives as long as the node is configured. A new snapshot of the pools refers to the same nodes, so that
//! counts and health survive every change around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ids::{ClusterName, NodeId};

/// A node and what it is busy with.
#[derive(Debug)]
pub struct Node {
    cluster: ClusterName,
    id: NodeId,
    in_flight: AtomicUsize,
}

impl Node {
    /// A node without requests.
    pub fn new(cluster: ClusterName, id: NodeId) -> Self {
        Node { cluster, id, in_flight: AtomicUsize::new(0) }
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Its id, unique in the cluster.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Requests that have been given to the node and are not finished, over all its roles and endpoints.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts one request on a node for as long as it lives.
#[derive(Debug)]
pub struct Lease {
    node: Arc<Node>,
}

impl Lease {
    /// Counts a request on `node`.
    pub fn new(node: Arc<Node>) -> Self {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease { node }
    }

    /// The node that the request is on.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.node.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    #[test]
    fn a_lease_counts_while_it_lives() {
        let node = Arc::new(Node::new(Name::parse("esb").unwrap(), Name::parse("wk-1").unwrap()));
        let first = Lease::new(node.clone());
        let second = Lease::new(node.clone());
        assert_eq!(node.in_flight(), 2);
        drop(first);
        assert_eq!(node.in_flight(), 1);
        assert_eq!(second.node().id().as_str(), "wk-1");
        drop(second);
        assert_eq!(node.in_flight(), 0);
    }
}
