//! The attempts of one request: which member is asked, who was asked before, and what is done when one fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::debug;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use smallvec::SmallVec;

use super::on_trial::OnTrial;
use super::route::{Route, Seen};
use crate::health::passive::{Outcome, Recorder, Trial};
use crate::member::Lease;
use crate::pool::{self, Ask, Choice, Member, Picked, Pool, PoolView};
use crate::queue::{Queue, QueueError, Ticket, Try};
use crate::registry::{Registry, Snapshot};
use crate::retry::{self, Decision, Failed, Failure, Others, Place, RetryPass};

/// Attempts for one request, the first included. Pingora's own limit is set to the same.
pub const MAX_ATTEMPTS: usize = 16;

/// The longest body that can be sent again; Pingora keeps so much of one.
pub(super) const KEPT_BODY: u64 = 64 << 10;

/// Keys of peers that no other request has, above those of pools: they keep a request away from idle connections.
static ANEW: AtomicU64 = AtomicU64::new(1 << 63);

/// The attempts of a request.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The member that is asked, and that was asked last.
    current: Option<Attempt>,
    /// Numbers of the nodes that were asked.
    tried: SmallVec<[usize; 4]>,
    /// All of them.
    count: usize,
    /// Those that count for the policy.
    counted: usize,
    /// The node that is asked again, over a new connection.
    again: Option<usize>,
    /// Whether some attempt was over a new connection for that reason.
    tried_anew: bool,
    /// What it means for the request's session that another member than its own is asked, if that is so.
    session: Option<Away>,
    /// Whether there was no connection to the member that was asked last: it is not worth asking again at once.
    refused: bool,
    /// The place of a retry in the pool's budget.
    pass: Option<RetryPass>,
}

/// Why a request of a session is asked of another member than the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    /// It failed there. The session stays: the next request of it may fare better, or find out that the member is down.
    Once,
    /// There is no connection to the member, so the session moves.
    Moved,
}

/// A request on a member.
#[derive(Debug)]
struct Attempt {
    // Before the lease, whose end wakes a request that may want to be the next trial.
    trial: Option<OnTrial>,
    /// `None` when the member is free again.
    lease: Option<Lease>,
    recorder: Option<Arc<Recorder>>,
    /// Number of the node.
    index: usize,
    /// When it was given to the member; when its body was there, if that was later.
    began: Instant,
    reused: bool,
}

/// A member that was chosen.
struct Chosen {
    /// The snapshot that it is in, if that is not the request's.
    snapshot: Option<Arc<Snapshot>>,
    position: usize,
    // Before the lease, for the same reason.
    trial: Option<Trial>,
    lease: Lease,
}

/// What becomes of the first in a queue.
enum Turn {
    /// It has a member.
    Chosen(Chosen),
    /// Nobody may be asked.
    NoneReady,
    /// It is to wait in another queue.
    Elsewhere(Stand),
}

/// Where a request waits.
#[derive(Debug)]
struct Stand {
    /// The queue that it is in: the pool's, or that of the member of its session.
    own: Arc<Queue>,
    /// The pool's: of those that would take any member.
    pool: Arc<Queue>,
}

impl Stand {
    /// For any member.
    fn for_any(view: &PoolView) -> Self {
        Stand { own: view.pool.queue.clone(), pool: view.pool.queue.clone() }
    }

    /// For one member.
    fn for_one(view: &PoolView, member: &Member) -> Self {
        Stand { own: member.queue.clone(), pool: view.pool.queue.clone() }
    }
}

impl Chosen {
    fn new(picked: Picked<'_>, snapshot: Option<Arc<Snapshot>>) -> Self {
        let Picked { position, lease, trial, .. } = picked;
        Chosen { snapshot, position, lease, trial }
    }
}

/// Why a request has no member.
#[derive(Debug)]
pub(super) enum NoMember {
    /// Nobody may be asked.
    NoneReady,
    /// All are full, and so is the queue, or the wait was in vain; after so many seconds it may be tried again.
    Queue(QueueError, u64),
    /// The client has left while it waited.
    ClientGone,
    /// The client has sent nothing of the body for too long while it waited.
    TooSlow(Box<Error>),
}

impl Attempts {
    /// All attempts so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The number of the node that was asked last.
    pub(super) fn asked(&self) -> Option<usize> {
        self.current.as_ref().map(|attempt| attempt.index)
    }

    /// The request on the member that is asked now.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.current.as_ref()?.lease.as_ref()
    }

    /// Chooses a member and counts the request on it. It waits in a queue while all are full.
    pub(super) async fn choose(
        &mut self,
        session: &mut Session,
        route: &mut Route,
        registry: &Registry,
    ) -> Result<(), NoMember> {
        self.begin(route, registry);
        let now = Instant::now();
        let (chosen, began) = match self.choose_now(route, now)? {
            Ok(chosen) => (chosen, now),
            Err(stand) => (self.wait(session, route, registry, stand).await?, Instant::now()),
        };
        self.take(chosen, route, session.req_header(), began)
    }

    /// Makes ready for the next attempt: the lease of one that failed ends before another member is chosen, by what is known
    /// now.
    fn begin(&mut self, route: &mut Route, registry: &Registry) {
        self.current = None;
        if self.count > 0 {
            route.renew(registry.snapshot());
        }
    }

    /// A member, or where to wait for one.
    fn choose_now(&self, route: &Route, now: Instant) -> Result<Result<Chosen, Stand>, NoMember> {
        let view = route.view().ok_or(NoMember::NoneReady)?;
        match self.pick(view, self.ask(route.session, route), now) {
            Choice::Picked(picked) => Ok(Ok(Chosen::new(picked, None))),
            Choice::Full => Ok(Err(Stand::for_any(view))),
            Choice::SessionFull(member) => Ok(Err(Stand::for_one(view, member))),
            Choice::Nobody => Err(NoMember::NoneReady),
        }
    }

    /// A member that was not tried. If there is none now, the one that has failed is better than a wait for another, which
    /// may be long and in vain, unless it cannot even be connected to.
    fn pick<'v>(&self, view: &'v PoolView, ask: Ask<'_>, now: Instant) -> Choice<'v> {
        match view.pick(&ask, now) {
            Choice::Full | Choice::Nobody if !ask.tried.is_empty() && !self.refused => {
                view.pick(&Ask { tried: &[], ..ask }, now)
            }
            choice => choice,
        }
    }

    fn ask<'a>(&'a self, session: pool::Session, route: &Route) -> Ask<'a> {
        Ask { tried: &self.tried, session, again: self.again, key: route.key, ticket: None }
    }

    /// Waits until a member has room, the wait is over, or the client has left.
    async fn wait(
        &self,
        session: &mut Session,
        route: &Route,
        registry: &Registry,
        stand: Stand,
    ) -> Result<Chosen, NoMember> {
        let view = route.view().ok_or(NoMember::NoneReady)?;
        let limit = view.pool.settings.queue.wait;
        tokio::select! {
            waited = self.wait_in(stand, limit, route, registry) => waited,
            error = has_left(session) => Err(match error.etype() {
                ErrorType::ReadTimedout => NoMember::TooSlow(error),
                _ => NoMember::ClientGone,
            }),
        }
    }

    /// Waits in a queue, and in another one if the member of the session goes or comes meanwhile, or the request's tenant is
    /// another pool's by now.
    async fn wait_in(
        &self,
        mut stand: Stand,
        limit: Duration,
        route: &Route,
        registry: &Registry,
    ) -> Result<Chosen, NoMember> {
        let begun = tokio::time::Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            // Each pool that it has waited in is told.
            let _told = Told(stand.pool.clone());
            let turn = stand.own.wait(left, |ticket| self.try_turn(&stand.own, ticket, route, registry)).await;
            let next = match turn {
                Ok(Turn::Chosen(chosen)) => return Ok(chosen),
                Ok(Turn::NoneReady) => None,
                Ok(Turn::Elsewhere(next)) => Some(next),
                Err(e) => return Err(NoMember::Queue(e, stand.own.retry_after())),
            };
            // It has not used the room that it was woken for: the next one may be able to.
            stand.own.changed();
            stand = next.ok_or(NoMember::NoneReady)?;
        }
    }

    /// What is done by whoever has the turn in a queue.
    fn try_turn(&self, queue: &Arc<Queue>, ticket: Ticket, route: &Route, registry: &Registry) -> Try<Turn> {
        // Members may have come and gone meanwhile.
        let newest = registry.snapshot();
        // Of a pool that is gone, the members that it had serve what was let in for it.
        let (snapshot, seen) = match route.seen_in(&newest) {
            Some(seen) => (Some(&newest), Some(seen)),
            None => (None, route.seen()),
        };
        let Some(Seen { view, session, .. }) = seen else { return Try::Done(Turn::NoneReady) };
        // Whoever waits is less particular: any but the one that has just failed.
        let tried = self.tried.last().map_or(&[][..], std::slice::from_ref);
        let ask = Ask { tried, ticket: Some(ticket), ..self.ask(session, route) };
        let right = match self.pick(view, ask, Instant::now()) {
            Choice::Picked(picked) => return Try::Done(Turn::Chosen(Chosen::new(picked, snapshot.cloned()))),
            Choice::Nobody => return Try::Done(Turn::NoneReady),
            Choice::Full => Stand::for_any(view),
            Choice::SessionFull(member) => Stand::for_one(view, member),
        };
        if !Arc::ptr_eq(&right.own, queue) {
            return Try::Done(Turn::Elsewhere(right));
        }
        // The one that it does not want may have room for those behind it.
        if self.refused { Try::Pass } else { Try::Again }
    }

    fn take(
        &mut self,
        chosen: Chosen,
        route: &mut Route,
        request: &RequestHeader,
        began: Instant,
    ) -> Result<(), NoMember> {
        let Chosen { snapshot, position, lease, trial } = chosen;
        snapshot.into_iter().for_each(|snapshot| route.renew(snapshot));
        let (pool, member) = route.member(position).ok_or(NoMember::NoneReady)?;
        if self.count == 0 {
            self.session = route.note_session(pool, member, request).then_some(Away::Moved);
        } else {
            pool.metrics.retried();
            self.follow_session(route, member.index);
        }
        self.current = Some(Attempt {
            lease: Some(lease),
            trial: trial.map(|trial| OnTrial::new(trial, pool.queue.clone())),
            recorder: member.recorder.clone(),
            index: member.index,
            began,
            reused: false,
        });
        self.tried.push(member.index);
        self.count += 1;
        Ok(())
    }

    /// Fits a peer to this attempt: `repeatable` says that another one may follow.
    pub(super) fn fit(&mut self, peer: &mut HttpPeer, pool: &Pool, repeatable: bool) {
        if self.again.take().is_some() {
            peer.group_key = ANEW.fetch_add(1, Ordering::Relaxed);
            // Nobody will ask for it again.
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        if let Some(timeout) = retry::try_timeout(&pool.settings.retry, self.counted + 1, repeatable) {
            peer.options.read_timeout = Some(peer.options.read_timeout.map_or(timeout, |read| read.min(timeout)));
        }
    }

    /// Notes that there is a connection.
    pub(super) fn connected(&mut self, reused: bool) {
        if let Some(attempt) = &mut self.current {
            attempt.reused = reused;
        }
    }

    /// Takes in that the body is there: from here on the client waits for the member, and not the other way round.
    pub(super) fn received(&mut self, now: Instant, route: &Route) {
        let Some(attempt) = &mut self.current else { return };
        attempt.began = now;
        if let (Some(lease), Some(view)) = (&mut attempt.lease, route.view()) {
            lease.received(view.pool.moment(now));
        }
    }

    /// Takes in the status that the member has answered with.
    pub(super) fn answered(&mut self, status: u16, now: Instant, route: &Route, registry: &Registry) {
        let Some(attempt) = &mut self.current else { return };
        let latency = now.saturating_duration_since(attempt.began);
        if let (Some(lease), Some(view)) = (&mut attempt.lease, route.view()) {
            lease.answered(view.pool.moment(now));
        }
        attempt.judge(Outcome::of_status(status), latency, registry);
    }

    /// Whether the request is tried again after this, and how; the next attempt will be made so.
    pub(super) fn failed(&mut self, failed: &AttemptFailed, route: &Route, registry: &Registry) -> bool {
        let (Some(view), Some(attempt)) = (route.view(), &mut self.current) else { return false };
        let counts = failed.failure != Failure::Connect;
        let others = view.others(&self.tried, attempt.index);
        let facts = Failed {
            failure: failed.failure,
            reused: attempt.reused,
            tried_anew: self.tried_anew,
            idempotent: failed.idempotent,
            // The framework does not tell how much of it was.
            sent: counts,
            body_kept: failed.body_kept,
            attempts: self.counted + usize::from(counts),
            others,
        };
        let pass = &mut self.pass;
        let decision = retry::decide(&facts, &view.pool.settings.retry, || pass.take().or_else(|| view.retry_pass()));
        let anew = matches!(decision, Decision::Retry { place: Place::SameAnew, .. });
        let index = attempt.index;
        if !anew && !failed.blameless {
            attempt.judge(Outcome::GatewayError, Duration::ZERO, registry);
        }
        self.counted += usize::from(counts && !anew);
        self.refused = !counts;
        match decision {
            Decision::Retry { .. } if self.count >= MAX_ATTEMPTS => false,
            Decision::Retry { place, pass } => {
                self.pass = pass.or(self.pass.take());
                if self.refused && route.session_node() == Some(index) && self.session != Some(Away::Moved) {
                    self.session = Some(Away::Moved);
                    route.note_moved("unreachable");
                }
                self.prepare(place, index, others);
                true
            }
            Decision::GiveUp(why) => {
                view.pool.metrics.gave_up(why);
                false
            }
        }
    }

    /// Takes in which member is asked after one has failed: the session moves if its own is down by now, or gone, say.
    fn follow_session(&mut self, route: &Route, chosen: usize) {
        if !route.is_away(chosen) || self.session == Some(Away::Moved) {
            return;
        }
        self.session = match route.why_session_moves() {
            Some(why) => {
                route.note_moved(why);
                Some(Away::Moved)
            }
            None => Some(Away::Once),
        };
    }

    /// Whether this request is away from the member of its session, which stays there.
    pub(super) fn away_once(&self) -> bool {
        self.session == Some(Away::Once)
    }

    /// Says where the next attempt goes, after one on the node at `failed`.
    fn prepare(&mut self, place: Place, failed: usize, others: Others) {
        match place {
            // The whole round has failed. The next one begins, but not with the one that has failed just now.
            Place::Other if others == Others::Tried => self.tried.retain(|tried| *tried == failed),
            Place::Other => {}
            Place::Same => self.tried.clear(),
            Place::SameAnew => {
                self.again = self.tried.pop();
                self.tried_anew = true;
            }
        }
    }

    /// Ends the last attempt: the member is free again. Returns the node.
    pub(super) fn end(&mut self) -> Option<crate::ids::NodeId> {
        self.pass = None;
        let attempt = self.current.as_mut()?;
        attempt.trial = None;
        let lease = attempt.lease.take()?;
        Some(lease.node().id().clone())
    }
}

/// Tells those that would take any member of a pool when a request waits no more there. It may have been one of a session,
/// for which a place on its member was kept free.
struct Told(Arc<Queue>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.changed();
    }
}

/// How an attempt failed, as far as the request tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptFailed {
    pub(super) failure: Failure,
    /// Whether the request's method is.
    pub(super) idempotent: bool,
    /// Whether all that was read of the body can be sent again.
    pub(super) body_kept: bool,
    /// Whether it may not have been the member's fault.
    pub(super) blameless: bool,
}

impl Attempt {
    /// Tells what the request says of its member: once, and then whatever comes after the answer's header.
    fn judge(&mut self, outcome: Outcome, latency: Duration, registry: &Registry) {
        let decide = match (self.trial.take(), &self.recorder) {
            (Some(trial), _) => trial.end(outcome),
            (None, Some(recorder)) => recorder.record(outcome, latency),
            (None, None) => false,
        };
        if decide {
            registry.note_news();
        }
    }
}

/// Ready when the client of a request has left that waits for a member, or sends its body too slowly.
///
/// What is read of the body while it waits must be sent later, so only a body is read that is kept as a whole. If a
/// longer one is on its way, a client that leaves is noticed at the end of the wait.
async fn has_left(session: &mut Session) -> Box<Error> {
    let length = super::admit::content_length(&session.req_header().headers);
    let downstream = session.as_downstream_mut();
    downstream.enable_retry_buffering();
    let kept = length.is_some_and(|length| length <= KEPT_BODY);
    let mut done = downstream.is_body_done();
    loop {
        if !done && !kept {
            return std::future::pending().await;
        }
        match downstream.read_body_or_idle(done).await {
            Ok(Some(_)) => done = downstream.is_body_done(),
            // The end, even if trailers follow and the framework does not call it done: it would be told again at once.
            Ok(None) => done = true,
            Err(e) => {
                debug!("a client has left while its request waited for a member: {e}");
                return e;
            }
        }
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
