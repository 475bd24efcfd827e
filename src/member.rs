//! A node as the running program knows it: what it is busy with, and what operators have said of it.
//!
//! A [`Node`] lives as long as the node is configured, or has requests. A new snapshot of the pools refers to the same nodes, so that
//! counts survive every change around them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, Endpoint, NodeId};
use crate::queue::Queue;
use crate::select::{Gauge, InFlight, Moment};
use crate::sessions::SessionsLeft;

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
    /// All of them.
    pub const ALL: [AdminState; 3] = [AdminState::Ready, AdminState::Draining, AdminState::Maintenance];

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
    /// By [`Endpoint::index`]: where requests wait for room on it. Empty where there is always room.
    queues: [ArcSwap<Vec<Arc<Queue>>>; 2],
    sessions_left: SessionsLeft,
}

impl Node {
    /// A node without requests.
    pub fn new(cluster: ClusterName, id: NodeId) -> Self {
        Node {
            cluster,
            id,
            gauges: [(); 2].map(|()| Arc::new(Gauge::new())),
            queues: Default::default(),
            sessions_left: SessionsLeft::new(),
        }
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

    /// The sessions that it has left while it is draining.
    pub fn sessions_left(&self) -> &SessionsLeft {
        &self.sessions_left
    }

    /// Says where requests wait for room on an endpoint from now on. The queues that it said before stay as long as
    /// somebody waits there: for a pool that is gone, on a node that is not.
    pub fn wait_in(&self, endpoint: Endpoint, mut queues: Vec<Arc<Queue>>) {
        let known = self.queues[endpoint.index()].load();
        let left =
            known.iter().filter(|known| known.waiting() > 0 && !queues.iter().any(|new| Arc::ptr_eq(new, known)));
        queues.extend(left.cloned().collect::<Vec<_>>());
        let same = known.len() == queues.len() && known.iter().zip(&queues).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.queues[endpoint.index()].store(Arc::new(queues));
        }
    }

    /// Tells those who wait that an endpoint has room for one more.
    fn released(&self, endpoint: Endpoint) {
        self.queues[endpoint.index()].load().iter().for_each(|queue| queue.released());
    }

    /// Requests that have been given to the node and are not finished, over all its roles and endpoints.
    pub fn in_flight(&self) -> usize {
        self.gauges.iter().map(|gauge| gauge.in_flight()).sum()
    }
}

/// Counts one request on an endpoint of a node for as long as it lives. When it ends, the next one that waits is told.
#[derive(Debug)]
pub struct Lease {
    node: Arc<Node>,
    endpoint: Endpoint,
    /// `None` only while it ends.
    in_flight: Option<InFlight>,
}

impl Lease {
    /// Keeps what the endpoint's gauge has counted.
    pub fn new(node: Arc<Node>, endpoint: Endpoint, in_flight: InFlight) -> Self {
        Lease { node, endpoint, in_flight: Some(in_flight) }
    }

    /// The node that the request is on.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Takes in that the request was there as a whole at `now`: see [`InFlight::received`].
    pub fn received(&mut self, now: Moment) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.received(now);
        }
    }

    /// Takes in that the header of the answer came at `now`. Only the first time counts.
    pub fn answered(&mut self, now: Moment) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.answered(now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // First the room, then the news of it.
        self.in_flight = None;
        self.node.released(self.endpoint);
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
        let node = Arc::new(node);
        let start = |endpoint| {
            let in_flight = node.gauge(endpoint).try_start(None, Moment::default()).unwrap();
            Lease::new(node.clone(), endpoint, in_flight)
        };
        let first = start(Endpoint::Servlet);
        let second = start(Endpoint::Passthrough);
        assert_eq!((node.in_flight(), second.node().id().as_str()), (2, "wk-1"));
        drop(first);
        assert_eq!((node.in_flight(), node.gauge(Endpoint::Passthrough).in_flight()), (1, 1));
        drop(second);
        assert_eq!(node.in_flight(), 0);
    }
}
