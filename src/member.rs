//! A node as the running program knows it: what it is busy with, and what operators have said of it.
//!
//! A [`Node`] lives as long as the node is configured. A new snapshot of the pools refers to the same nodes, so that
//! counts survive every change around them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, Endpoint, NodeId};
use crate::select::Gauge;

/// What operators, or the node's own agent, want of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// It gets its share.
    #[default]
    Ready,
    /// It finishes what it has, and keeps its sessions, but gets no new ones.
    Draining,
    /// It gets nothing.
    Maintenance,
}

impl AdminState {
    /// The word used in logs and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            AdminState::Ready => "ready",
            AdminState::Draining => "draining",
            AdminState::Maintenance => "maintenance",
        }
    }
}

/// A node and what it is busy with.
#[derive(Debug)]
pub struct Node {
    cluster: ClusterName,
    id: NodeId,
    /// By [`Endpoint::index`]: an endpoint has threads of its own, whichever role a request is for.
    gauges: [Arc<Gauge>; 2],
}

impl Node {
    /// A node without requests.
    pub fn new(cluster: ClusterName, id: NodeId) -> Self {
        Node { cluster, id, gauges: [(); 2].map(|()| Arc::new(Gauge::new())) }
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Its id, unique in the cluster.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The load of one of its endpoints.
    pub fn gauge(&self, endpoint: Endpoint) -> &Arc<Gauge> {
        &self.gauges[endpoint.index()]
    }

    /// Requests that have been given to the node and are not finished, over all its roles and endpoints.
    pub fn in_flight(&self) -> usize {
        self.gauges.iter().map(|gauge| gauge.in_flight()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::select::Moment;

    #[test]
    fn a_node_is_busy_with_what_its_endpoints_are() {
        let node = Node::new(Name::parse("esb").unwrap(), Name::parse("wk-1").unwrap());
        let start = |endpoint| node.gauge(endpoint).try_start(None, Moment::default()).unwrap();
        let first = start(Endpoint::Servlet);
        let second = start(Endpoint::Passthrough);
        assert_eq!(node.in_flight(), 2);
        drop(first);
        assert_eq!((node.in_flight(), node.gauge(Endpoint::Passthrough).in_flight()), (1, 1));
        drop(second);
        assert_eq!(node.in_flight(), 0);
    }
}
