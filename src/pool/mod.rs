//! A pool: the members that can serve one role of one cluster through one endpoint, and the choice among them.
//!
//! [`Pool`] is what stays (its turn counter, its settings, its queue, its counters); [`PoolView`] is what a snapshot
//! holds: the members as they were when the snapshot was made. A request keeps its snapshot, so the view cannot change
//! under it.

mod sessions;
mod standing;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use self::sessions::{Session, Sessions};
pub use self::standing::{Contender, Facts, Rules, Standing, growth, session_shares, shares};
use crate::config::{EndpointSettings, NodeHost, PoolSettings};
use crate::health::passive::{Recorder, Trial};
use crate::ids::{ClusterName, Endpoint, Name, Role};
use crate::member::{Lease, Node};
use crate::observe::metrics::PoolMetrics;
use crate::queue::{Queue, Ticket};
use crate::retry::{Budget, RetryPass};
use crate::select::{Candidate, Clock, Draws, Gauge, Moment, Pick, Selector};

/// The part of a pool that outlives every snapshot.
#[derive(Debug)]
pub struct Pool {
    /// The cluster that the pool belongs to.
    pub cluster: ClusterName,
    /// The role that its members have.
    pub role: Role,
    /// The port of the members that it leads to.
    pub endpoint: Endpoint,
    /// The tenant partition that it is for; `None`: for everybody else.
    pub partition: Option<Name>,
    /// Algorithm, timeouts and all that.
    pub settings: PoolSettings,
    /// How the members' endpoint is spoken to.
    pub upstream: EndpointSettings,
    /// A number that no other pool has: it keeps the idle connections of pools apart, whose TLS settings may differ.
    pub key: u64,
    /// Counters by role.
    pub metrics: Arc<PoolMetrics>,
    /// Where requests wait that may go to any member.
    pub queue: Arc<Queue>,
    /// What keeps sessions on their members.
    pub sessions: Sessions,
    /// How many requests may be retries.
    budget: Arc<Budget>,
    /// The time, as gauges have it.
    clock: Clock,
    /// Round robin's position. It is here so that a new snapshot does not begin again with the first member.
    turn: AtomicUsize,
    /// Random numbers for the algorithms that draw.
    draws: Draws,
}

/// What a pool is, before its first snapshot.
#[derive(Debug)]
pub struct PoolParts {
    /// See [`Pool`].
    pub cluster: ClusterName,
    /// See [`Pool`].
    pub role: Role,
    /// See [`Pool`].
    pub endpoint: Endpoint,
    /// See [`Pool`].
    pub partition: Option<Name>,
    /// See [`Pool`].
    pub settings: PoolSettings,
    /// See [`Pool`].
    pub upstream: EndpointSettings,
    /// See [`Pool`].
    pub key: u64,
    /// See [`Pool`].
    pub metrics: Arc<PoolMetrics>,
    /// See [`Pool`].
    pub sessions: Sessions,
    /// The program's one clock.
    pub clock: Clock,
    /// What the random numbers begin with.
    pub seed: u64,
}

impl Pool {
    /// A pool before its first snapshot.
    pub fn new(parts: PoolParts) -> Self {
        let PoolParts { cluster, role, endpoint, partition, settings, upstream, key, metrics, sessions, clock, seed } =
            parts;
        Pool {
            queue: Arc::new(Queue::new(settings.queue)),
            budget: Arc::new(Budget::new(&settings.retry)),
            turn: AtomicUsize::new(0),
            draws: Draws::new(seed),
            cluster,
            role,
            endpoint,
            partition,
            settings,
            upstream,
            key,
            metrics,
            sessions,
            clock,
        }
    }

    /// The same pool with other settings, members or ways to them. What requests wait in and what counts them stays, and
    /// so does the turn.
    pub fn renewed(&self, settings: PoolSettings, upstream: EndpointSettings, sessions: Sessions, key: u64) -> Self {
        self.queue.set_policy(settings.queue);
        let budget = match settings.retry == self.settings.retry {
            true => self.budget.clone(),
            false => Arc::new(Budget::new(&settings.retry)),
        };
        Pool {
            cluster: self.cluster.clone(),
            role: self.role,
            endpoint: self.endpoint,
            partition: self.partition.clone(),
            metrics: self.metrics.clone(),
            queue: self.queue.clone(),
            budget,
            clock: self.clock,
            turn: AtomicUsize::new(self.turn.load(Ordering::Relaxed)),
            draws: Draws::new(self.draws.draw()),
            settings,
            upstream,
            key,
            sessions,
        }
    }

    /// An instant, as gauges have it.
    pub fn moment(&self, now: Instant) -> Moment {
        self.clock.at(now)
    }
}

/// A member of a pool as a snapshot holds it.
#[derive(Debug)]
pub struct Member {
    /// The node behind it.
    pub node: Arc<Node>,
    /// The node's number, the same in every snapshot: no other node has or had it in this process.
    pub index: usize,
    /// As configured; redirects may name it.
    pub host: NodeHost,
    /// Where connections go to.
    pub address: SocketAddr,
    /// All ports of the node, by [`Endpoint::index`]; redirects may name them.
    pub ports: [u16; 2],
    /// What is known of it.
    pub standing: Standing,
    /// Whether it is to get no new sessions, whatever else is known of it.
    pub draining: bool,
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Its weight, times what its agent says in percent.
    pub weight: u32,
    /// Requests in flight on its endpoint.
    pub limit: Option<usize>,
    /// Takes in what becomes of its requests; `None` if nobody wants to know.
    pub recorder: Option<Arc<Recorder>>,
    /// Where the requests of its sessions wait.
    pub queue: Arc<Queue>,
    /// A hash of its id, for the algorithms that hash.
    pub identity: u64,
}

impl Member {
    /// Whether the same follows from both for requests of a pool with this `slow_start`.
    fn is_like(&self, other: &Member, slow_start: Duration) -> bool {
        let same_recorder = match (&self.recorder, &other.recorder) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_recorder
            && Arc::ptr_eq(&self.node, &other.node)
            && Arc::ptr_eq(&self.queue, &other.queue)
            && (self.index, self.address, self.ports) == (other.index, other.address, other.ports)
            && (self.draining, self.backup) == (other.draining, other.backup)
            && (self.weight, self.limit) == (other.weight, other.limit)
            && self.host == other.host
            && self.standing.is_like(other.standing, slow_start)
    }

    /// Whether it has no room for one that any member could serve: what waits for this one for longer comes first.
    fn is_full(&self, endpoint: Endpoint, ticket: Option<Ticket>) -> bool {
        let others_first = || match ticket {
            None => self.queue.waiting() > 0,
            Some(ticket) => self.queue.is_before(ticket),
        };
        self.limit.is_some_and(|limit| self.node.gauge(endpoint).in_flight() >= limit || others_first())
    }

    /// Whether another request is finding out about it.
    fn is_tried(&self) -> bool {
        self.standing == Standing::Trial && self.recorder.as_ref().is_some_and(|recorder| !recorder.awaits_trial())
    }
}

/// The members of a pool.
#[derive(Debug)]
pub struct PoolView {
    /// What outlives the snapshot.
    pub pool: Arc<Pool>,
    members: Vec<Member>,
    /// Their shares of new requests.
    shares: Vec<u32>,
    /// Whether members on trial get one request at a time: there are others for the rest.
    one_by_one: bool,
    /// Whether there will be a member: one that is there has to be probed, or the scaler starts the first. Requests that
    /// nobody can serve wait for it.
    awaited: bool,
    selector: Selector,
    /// For sessions that a hash names the member of, however the pool balances.
    by_key: Option<Selector>,
}

/// What is known of a request when it is given to a member.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// [`Member::index`] of those that it was given to already.
    pub tried: &'a [usize],
    /// What it tells of its session.
    pub session: Session,
    /// [`Member::index`] of the one that it goes to again, if that may still be asked.
    pub again: Option<usize>,
    /// A hash of what names the member, for the algorithms that hash.
    pub key: u64,
    /// What says since when it waits, if it does; one that does not overtakes nobody who does.
    pub ticket: Option<Ticket>,
}

/// What became of asking for a member.
#[derive(Debug)]
pub enum Choice<'a> {
    /// Here it is.
    Picked(Picked<'a>),
    /// All that may be asked are full, or nobody may be asked yet.
    Full,
    /// The member that has its session is full.
    SessionFull(&'a Member),
    /// There is nobody to be asked.
    Nobody,
}

/// A member that was chosen for a request.
#[derive(Debug)]
pub struct Picked<'a> {
    /// Its position in the view.
    pub position: usize,
    /// The member.
    pub member: &'a Member,
    /// The request finds out whether the member can be asked again.
    // Before the lease, whose end wakes a request that may want to be the next trial.
    pub trial: Option<Trial>,
    /// Counts the request on the member's endpoint.
    pub lease: Lease,
}

impl PoolView {
    /// Takes all members with a known address, in the order of their numbers.
    pub fn new(pool: Arc<Pool>, members: Vec<Member>) -> Self {
        let contenders: Vec<Contender> = members
            .iter()
            .map(|&Member { standing, draining, backup, weight, .. }| Contender { standing, draining, backup, weight })
            .collect();
        let rules = Rules { panic: pool.settings.panic, slow_start: pool.settings.slow_start };
        let shares = shares(&contenders, &rules);
        let selector = Selector::new(&pool.settings, &candidates(&pool, &members, &shares));
        let by_key = pool.sessions.by_hash().then(|| {
            let shares = session_shares(&contenders, &shares);
            Selector::by_key(&candidates(&pool, &members, &shares))
        });
        let asked = members.iter().zip(&shares).filter(|&(_, &share)| share > 0);
        let one_by_one = asked.into_iter().any(|(member, _)| member.standing != Standing::Trial);
        let joins = members.iter().any(|member| member.standing == Standing::Joining && member.weight > 0);
        let from_zero = pool.settings.scale.is_some_and(|policy| policy.scale_to_zero.is_some());
        let awaited = joins || from_zero && shares.iter().all(|&share| share == 0);
        PoolView { pool, members, shares, one_by_one, awaited, selector, by_key }
    }

    /// Whether a view of these members would be the same.
    pub fn is_of(&self, pool: &Arc<Pool>, members: &[Member]) -> bool {
        let slow_start = pool.settings.slow_start;
        Arc::ptr_eq(&self.pool, pool)
            && self.members.len() == members.len()
            && self.members.iter().zip(members).all(|(one, other)| one.is_like(other, slow_start))
    }

    /// Chooses a member for a request: the one that has its session, or one that was not tried.
    pub fn pick(&self, ask: &Ask<'_>, now: Instant) -> Choice<'_> {
        let now = self.pool.clock.at(now);
        let endpoint = self.pool.endpoint;
        if let Some((position, member)) = self.session(ask, now) {
            // Even a member on trial has to serve its sessions, as nobody else can.
            let overtakes = ask.ticket.is_none() && member.queue.waiting() > 0;
            let picked = if overtakes { None } else { self.take(position, member, now, false) };
            return picked.map_or(Choice::SessionFull(member), Choice::Picked);
        }
        if ask.ticket.is_none() && self.pool.queue.waiting() > 0 {
            return Choice::Full;
        }
        let request = Pick { now, turn: &self.pool.turn, draws: &self.pool.draws, key: ask.key };
        let has_room =
            |member: &Member| !(member.is_full(endpoint, ask.ticket) || self.one_by_one && member.is_tried());
        let usable = |position| self.untried(position, ask.tried).is_some_and(has_room);
        // Another thread may have taken the last place of a member that had one; then another member is looked for.
        for _ in 0..=self.members.len() {
            let Some(position) = self.selector.pick(&request, usable) else { break };
            let Some(member) = self.members.get(position) else { break };
            if let Some(picked) = self.take(position, member, now, self.one_by_one) {
                return Choice::Picked(picked);
            }
        }
        let some_full =
            (0..).zip(&self.shares).any(|(position, &share)| share > 0 && self.untried(position, ask.tried).is_some());
        if some_full || self.awaited { Choice::Full } else { Choice::Nobody }
    }

    /// The member that has the request's session, if it may still have it.
    fn session(&self, ask: &Ask<'_>, now: Moment) -> Option<(usize, &Member)> {
        let position = match (ask.again, ask.session, &self.by_key) {
            (None, Session::Hash(key), Some(by_key)) => {
                let request = Pick { now, turn: &self.pool.turn, draws: &self.pool.draws, key };
                by_key.pick(&request, |position| self.untried(position, ask.tried).is_some())?
            }
            (again, session, _) => {
                let node = again.or_else(|| self.pool.sessions.node(session))?;
                self.members.binary_search_by_key(&node, |member| member.index).ok()?
            }
        };
        let member = self.untried(position, ask.tried)?;
        member.standing.keeps_sessions().then_some((position, member))
    }

    fn untried(&self, position: usize, tried: &[usize]) -> Option<&Member> {
        self.members.get(position).filter(|member| !tried.contains(&member.index))
    }

    /// Counts the request on a member, if that has room. `one_by_one`: a member on trial has room for one.
    fn take<'a>(&self, position: usize, member: &'a Member, now: Moment, one_by_one: bool) -> Option<Picked<'a>> {
        let in_flight = self.gauge(member).try_start(member.limit, now)?;
        // At once: if the place is given back, whoever waits for one is told.
        let lease = Lease::new(member.node.clone(), self.pool.endpoint, in_flight);
        let trial = match (member.standing, &member.recorder) {
            (Standing::Trial, Some(recorder)) => match recorder.try_trial() {
                None if one_by_one => return None,
                trial => trial,
            },
            _ => None,
        };
        Some(Picked { position, member, trial, lease })
    }

    /// Lets a request be tried again, unless too many requests of the pool are retries.
    pub fn retry_pass(&self) -> Option<RetryPass> {
        self.pool.budget.pass(self.in_flight())
    }

    /// Requests in flight on the endpoints of the members, those of other pools among them.
    pub fn in_flight(&self) -> usize {
        self.members.iter().map(|member| self.gauge(member).in_flight()).sum()
    }

    /// The load of a member.
    pub fn gauge<'a>(&self, member: &'a Member) -> &'a Arc<Gauge> {
        member.node.gauge(self.pool.endpoint)
    }

    /// Whether a request that was tried on these could go to a member besides: for each one that gets new requests,
    /// whether it was tried.
    pub fn others(&self, tried: &[usize], failed: usize) -> crate::retry::Others {
        use crate::retry::Others;
        let shared = self.members.iter().zip(&self.shares).filter(|&(_, &share)| share > 0).map(|(member, _)| member);
        shared.filter(|member| member.index != failed).fold(Others::None, |others, member| {
            if tried.contains(&member.index) && others != Others::Untried { Others::Tried } else { Others::Untried }
        })
    }

    /// All members, in the order of their numbers.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many members may get new requests.
    pub fn ready(&self) -> usize {
        self.shares.iter().filter(|&&share| share > 0).count()
    }
}

/// What the algorithms are told of members that have these shares.
fn candidates<'a>(pool: &Pool, members: &'a [Member], shares: &[u32]) -> Vec<Candidate<'a>> {
    let candidate = |(member, &weight): (&'a Member, &u32)| Candidate {
        weight,
        gauge: member.node.gauge(pool.endpoint),
        identity: member.identity,
    };
    members.iter().zip(shares).map(candidate).collect()
}
