//! Random operations against a simple model: members come, go, fail, recover, drain and come back, and requests are given
//! to them and finish, by every algorithm.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::config::Algorithm;
use crate::member::Lease;

const STEPS: usize = 100_000;
const MOST_MEMBERS: usize = 12;
const LIMIT: usize = 5;

/// What the model knows: no more than the rules say.
struct World {
    pool: Arc<Pool>,
    /// By index: the node, its weight, and what is known of it.
    members: BTreeMap<usize, (Arc<Node>, u32, Standing)>,
    /// Requests in flight, with the member that has each.
    requests: Vec<(usize, Lease)>,
    view: Option<PoolView>,
    random: Draws,
    next: usize,
}

impl World {
    fn new(algorithm: Algorithm, seed: u64) -> Self {
        let empty = view("affinity: route", &[("wk-1", 1, Standing::Ready)]);
        let parts = |settings: PoolSettings| PoolParts {
            cluster: empty.pool.cluster.clone(),
            role: Role::Worker,
            endpoint: Endpoint::Servlet,
            partition: None,
            sessions: by_position(MOST_MEMBERS),
            settings,
            upstream: empty.pool.upstream.clone(),
            key: 0,
            metrics: empty.pool.metrics.clone(),
            clock: Clock::new(Instant::now()),
            seed,
        };
        let settings = PoolSettings { balance: algorithm, ..empty.pool.settings.clone() };
        let pool = Arc::new(Pool::new(parts(settings)));
        let (members, requests, random) = (BTreeMap::new(), Vec::new(), Draws::new(seed));
        World { pool, members, requests, view: None, random, next: 0 }
    }

    fn below(&self, limit: usize) -> usize {
        (self.random.draw() % limit.max(1) as u64) as usize
    }

    /// Some member, if there is one.
    fn any(&self) -> Option<usize> {
        self.members.keys().copied().nth(self.below(self.members.len()))
    }

    fn view(&mut self) -> &PoolView {
        let (pool, members) = (&self.pool, &self.members);
        self.view.get_or_insert_with(|| {
            let member = |(&index, (node, weight, standing)): (&usize, &(Arc<Node>, u32, Standing))| Member {
                node: node.clone(),
                index,
                host: NodeHost::Name(node.id().to_string()),
                address: SocketAddr::from(([192, 0, 2, 1], 9763)),
                ports: [9763, 8280],
                standing: *standing,
                draining: *standing == Standing::Draining,
                backup: false,
                weight: *weight,
                limit: Some(LIMIT),
                recorder: None,
                queue: Arc::new(Queue::new(pool.settings.queue)),
                identity: crate::affinity::member_identity(&pool.cluster, node.id()),
            };
            PoolView::new(pool.clone(), members.iter().map(member).collect())
        })
    }

    /// A change of a member: it comes, goes, fails, recovers, drains, rests or warms up.
    fn change(&mut self) {
        self.view = None;
        let free = (0..MOST_MEMBERS).find(|index| !self.members.contains_key(index));
        match (self.below(8), free, self.any()) {
            (0 | 1, Some(index), _) => {
                // A node that comes back is another one: what was in flight on the old one stays with that.
                self.next += 1;
                let id = NodeId::parse(&format!("wk-{}", self.next)).unwrap();
                let node = Arc::new(Node::new(self.pool.cluster.clone(), id));
                self.members.insert(index, (node, 1 + self.below(4) as u32, Standing::Ready));
            }
            (0..=2, _, Some(index)) => drop(self.members.remove(&index)),
            (change, _, Some(index)) => {
                let standings =
                    [Standing::Down, Standing::Draining, Standing::Maintenance, Standing::Ejected, Standing::Ready];
                self.members.get_mut(&index).unwrap().2 = standings[change - 3];
            }
            _ => {}
        }
    }

    /// A request without a session.
    fn request(&mut self) {
        let key = self.random.draw();
        let (ask, now) = (Ask { key, ..NEW }, Instant::now());
        let good: Vec<usize> = self.with(|standing| standing == Standing::Ready);
        let ejected: Vec<usize> = self.with(|standing| standing == Standing::Ejected);
        let allowed = if good.is_empty() { ejected } else { good };
        let members = self.members.clone();
        let full = |index: &usize| members[index].0.in_flight() >= LIMIT;
        match self.view().pick(&ask, now) {
            Choice::Picked(Picked { member, lease, .. }) => {
                let index = member.index;
                assert!(allowed.contains(&index), "{index} is {:?}", members[&index].2);
                assert!(lease.node().in_flight() <= LIMIT);
                self.requests.push((index, lease));
            }
            Choice::Full => assert!(!allowed.is_empty() && allowed.iter().all(full), "there was room"),
            Choice::Nobody => assert!(allowed.is_empty(), "{allowed:?} may be asked"),
            Choice::SessionFull(_) => panic!("it has no session"),
        }
    }

    /// A request of a session that some member has.
    fn request_of_session(&mut self) {
        let Some(index) = self.any() else { return };
        let (node, _, standing) = self.members[&index].clone();
        let keeps = !matches!(standing, Standing::Down | Standing::Maintenance);
        let session = session_on(index);
        match self.view().pick(&Ask { session, ..NEW }, Instant::now()) {
            Choice::Picked(Picked { member, lease, .. }) => {
                assert_eq!(member.index == index, keeps, "its member is {standing:?}");
                assert!(lease.node().in_flight() <= LIMIT);
                let chosen = member.index;
                self.requests.push((chosen, lease));
            }
            Choice::SessionFull(member) => assert!(member.index == index && node.in_flight() >= LIMIT),
            Choice::Full | Choice::Nobody => assert!(!keeps, "{standing:?} has room"),
        }
    }

    fn with(&self, holds: impl Fn(Standing) -> bool) -> Vec<usize> {
        self.members.iter().filter(|(_, member)| holds(member.2)).map(|(&index, _)| index).collect()
    }

    fn finish(&mut self) {
        if !self.requests.is_empty() {
            let (_, mut lease) = self.requests.swap_remove(self.below(self.requests.len()));
            lease.answered(self.pool.moment(Instant::now()));
        }
    }

    /// What the gauges say is what is in flight.
    fn check_counts(&self) {
        let mut counts: HashMap<*const Node, usize> = HashMap::new();
        for (_, lease) in &self.requests {
            *counts.entry(Arc::as_ptr(lease.node())).or_default() += 1;
        }
        for (node, ..) in self.members.values() {
            assert_eq!(node.in_flight(), counts.get(&Arc::as_ptr(node)).copied().unwrap_or(0));
        }
    }

    /// Requests one after the other go to the members that are ready, as the weights say.
    fn check_weights(&mut self) {
        const PICKS: u32 = 4_000;
        self.requests.clear();
        let ready = self.with(|standing| standing == Standing::Ready);
        let total: u32 = ready.iter().map(|index| self.members[index].1).sum();
        let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
        for _ in 0..if ready.is_empty() { 0 } else { PICKS } {
            let ask = Ask { key: self.random.draw(), ..NEW };
            let Choice::Picked(picked) = self.view().pick(&ask, Instant::now()) else { panic!("all are idle") };
            *counts.entry(picked.member.index).or_default() += 1;
        }
        for index in &ready {
            let share = f64::from(self.members[index].1) / f64::from(total);
            let (expected, count) = (share * f64::from(PICKS), f64::from(counts.get(index).copied().unwrap_or(0)));
            // Six standard deviations of a draw; hashing has its table besides.
            let spread = 6.0 * (f64::from(PICKS) * share * (1.0 - share)).sqrt() + 0.05 * expected + 1.0;
            assert!((count - expected).abs() <= spread, "{count} of {expected} at weight {share} of {counts:?}");
        }
    }
}

/// What a request tells whose session is on the member at an index.
fn session_on(index: usize) -> Session {
    Session::Found(crate::affinity::Found::Known { position: index, current: true })
}

/// Sessions whose tables have as many members, each at its own position.
fn by_position(members: usize) -> Sessions {
    let ids: Vec<String> = (0..members).map(|index| format!("m{index}")).collect();
    let members: Vec<_> = ids.iter().map(|id| (id.as_str(), 1, Standing::Ready)).collect();
    sessions_of(&members)
}

fn run(algorithm: Algorithm, steps: usize) {
    let mut world = World::new(algorithm, 2024);
    for step in 0..steps {
        match world.below(20) {
            0 => world.change(),
            1..=8 => world.request(),
            9 | 10 => world.request_of_session(),
            _ => world.finish(),
        }
        if step % 50 == 0 {
            world.check_counts();
        }
        if step % (steps / 20) == 0 && matches!(algorithm, Algorithm::RoundRobin | Algorithm::Random | Algorithm::Hash)
        {
            world.check_weights();
        }
    }
    let nodes: Vec<Arc<Node>> = world.members.values().map(|(node, ..)| node.clone()).collect();
    world.requests.clear();
    assert!(nodes.iter().all(|node| node.in_flight() == 0), "{algorithm:?}: something stays in flight");
}

#[test]
fn members_and_requests_come_and_go_as_the_model_says() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::LeastInFlight,
        Algorithm::TwoChoices,
        Algorithm::PeakEwma,
        Algorithm::LoadAware,
    ] {
        run(algorithm, STEPS);
    }
    // Each change costs it a table of 32,768 slots.
    run(Algorithm::Hash, STEPS / 50);
}
