//! A pool: the members that can serve one role of one cluster through one endpoint, and the choice among them.
//!
//! [`Pool`] is what stays (its turn counter, its settings, its counters); [`PoolView`] is what a snapshot holds: the
//! members that were ready when the snapshot was made. A request keeps its snapshot, so the view cannot change under it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::config::{EndpointSettings, NodeHost, PoolSettings};
use crate::health::State;
use crate::ids::{ClusterName, Endpoint, Role};
use crate::member::{Lease, Node};
use crate::observe::metrics::PoolMetrics;
use crate::select::{Candidate, Draws, Gauge, Moment, Pick, Selector};

/// The part of a pool that outlives every snapshot.
#[derive(Debug)]
pub struct Pool {
    /// The cluster that the pool belongs to.
    pub cluster: ClusterName,
    /// The role that its members have.
    pub role: Role,
    /// The port of the members that it leads to.
    pub endpoint: Endpoint,
    /// Algorithm, timeouts and keepalive.
    pub settings: PoolSettings,
    /// How the members' endpoint is spoken to.
    pub upstream: EndpointSettings,
    /// A number that no other pool has: it keeps the idle connections of pools apart, whose TLS settings may differ.
    pub key: u64,
    /// Counters by role.
    pub metrics: Arc<PoolMetrics>,
    /// Round robin's position. It is here so that a new snapshot does not begin again with the first member.
    turn: AtomicUsize,
    /// Random numbers for the algorithms that draw.
    draws: Draws,
}

impl Pool {
    /// A pool before its first snapshot.
    #[allow(clippy::too_many_arguments)] // each is a different thing, and there is one caller
    pub fn new(
        cluster: ClusterName,
        role: Role,
        endpoint: Endpoint,
        settings: PoolSettings,
        upstream: EndpointSettings,
        key: u64,
        metrics: Arc<PoolMetrics>,
    ) -> Self {
        let (turn, draws) = (AtomicUsize::new(0), Draws::new(key));
        Pool { cluster, role, endpoint, settings, upstream, key, metrics, turn, draws }
    }
}

/// A member of a pool as a snapshot holds it.
#[derive(Debug)]
pub struct Member {
    /// The node behind it.
    pub node: Arc<Node>,
    /// As configured; redirects may name it.
    pub host: NodeHost,
    /// Where connections go to.
    pub address: SocketAddr,
    /// All ports of the node, by [`Endpoint::index`]; redirects may name them.
    pub ports: [u16; 2],
    /// Share of the load.
    pub weight: u16,
    /// Health of the endpoint.
    pub state: State,
}

/// The members of a pool that may get requests.
#[derive(Debug)]
pub struct PoolView {
    /// What outlives the snapshot.
    pub pool: Arc<Pool>,
    ready: Vec<Member>,
    selector: Selector,
}

/// A member that was chosen for a request.
#[derive(Debug)]
pub struct Picked<'a> {
    /// Its position, to be told to the next [`PoolView::pick`] of the same request.
    pub position: usize,
    /// The member.
    pub member: &'a Member,
    /// Counts the request on the member's node.
    pub lease: Lease,
}

impl PoolView {
    /// Takes from all members with a known address those that may get requests: the ones that are up, or, if none is,
    /// the ones that were never probed (a start must not wait for the first probe).
    pub fn new(pool: Arc<Pool>, members: Vec<Member>) -> Self {
        let wanted = if members.iter().any(|member| member.state == State::Up) { State::Up } else { State::Unknown };
        let ready: Vec<Member> = members.into_iter().filter(|member| member.state == wanted).collect();
        // Gauges that last, identities and a clock come with the algorithms that need them.
        let gauge = Arc::new(Gauge::new());
        let candidates = (0..).zip(&ready).map(|(identity, member)| Candidate {
            weight: member.weight.into(),
            gauge: &gauge,
            identity,
        });
        let selector = Selector::new(&pool.settings, &candidates.collect::<Vec<_>>());
        PoolView { pool, ready, selector }
    }

    /// Chooses a member whose position is not among `tried`. `None` if there is no such member.
    pub fn pick(&self, tried: &[usize]) -> Option<Picked<'_>> {
        let request = Pick { now: Moment::default(), turn: &self.pool.turn, draws: &self.pool.draws, key: 0 };
        let position = self.selector.pick(&request, |position| !tried.contains(&position))?;
        let member = self.ready.get(position)?;
        Some(Picked { position, member, lease: Lease::new(member.node.clone()) })
    }

    /// The member at a position that [`PoolView::pick`] gave out.
    pub fn member(&self, position: usize) -> Option<&Member> {
        self.ready.get(position)
    }

    /// How many members may get requests.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ids::Name;
    use crate::observe::metrics::Metrics;

    /// A pool of three members with the weights 2, 1, 1.
    fn view() -> PoolView {
        let yaml = "
listeners: { web: { bind: ['127.0.0.1:0'], role: worker } }
clusters: { esb: { product: esb, hosts: { worker: ['*'] }, nodes: [{ id: a, host: a }],
  endpoints: { servlet: { scheme: http } } } }";
        let config = crate::config::parse(yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}")).config;
        let (cluster, metrics) = (&config.clusters[0], Metrics::new().unwrap());
        let settings = cluster.pools[Role::Worker.index()].clone();
        let upstream = cluster.endpoints[Endpoint::Servlet.index()].clone();
        let metrics = metrics.pool(&cluster.name, Role::Worker);
        let name = cluster.name.clone();
        let pool = Arc::new(Pool::new(name.clone(), Role::Worker, Endpoint::Servlet, settings, upstream, 0, metrics));
        let member = |(id, weight): (&str, u16)| Member {
            node: Arc::new(Node::new(name.clone(), Name::parse(id).unwrap())),
            host: NodeHost::Name(id.to_owned()),
            address: SocketAddr::from(([192, 0, 2, 1], 9763)),
            ports: [9763, 8280],
            weight,
            state: State::Up,
        };
        PoolView::new(pool, [("wk-1", 2), ("wk-2", 1), ("wk-3", 1)].map(member).into())
    }

    #[test]
    fn requests_are_spread_by_weight_and_counted() {
        let view = view();
        let picked: Vec<_> = (0..8).map(|_| view.pick(&[]).unwrap()).collect();
        let in_flight = |position: usize| view.member(position).unwrap().node.in_flight();
        assert_eq!([in_flight(0), in_flight(1), in_flight(2)], [4, 2, 2]);
        drop(picked);
        assert_eq!([in_flight(0), in_flight(1), in_flight(2)], [0, 0, 0]);
    }

    #[test]
    fn a_member_that_was_tried_is_not_picked_again() {
        let view = view();
        let mut tried = Vec::new();
        while let Some(picked) = view.pick(&tried) {
            tried.push(picked.position);
        }
        tried.sort_unstable();
        assert_eq!(tried, [0, 1, 2]);
    }
}
