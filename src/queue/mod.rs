//! Where requests wait while all members of a pool are full: first come, first served, and not for ever.
//!
//! A pool under its limit does not notice the queue: a request that arrives reads one number, and so does one that
//! finishes. Everything else happens under a lock, which is held for a few steps and never while somebody waits.
//!
//! # Nobody overtakes, and no wake-up is lost
//!
//! - Only one waiter tries to get a member: the one that has the turn, which is the first. It stays the first until it
//!   has a member, gives up or leaves; so a request that took the room (a retry, or one that arrived just before there
//!   was a queue) does not cost it its turn.
//! - The queue counts how often that waiter may try: once for each request that has finished. When it gets a
//!   member, what is left of the number is the next waiter's, who is woken if it is not zero. When it does not, all
//!   members were full after those requests had finished, and whoever took the room will finish, too: the number is
//!   forgotten.
//! - A waiter that does not want every member (one has just failed its request) may pass: then the number and the turn
//!   are those of the waiter behind it, or of the one that comes next. It keeps its place, and has the turn again when
//!   another request has finished.
//! - Whoever comes to an empty queue tries once more than it has done already, with the queue announced: a request that
//!   finished in between has not told anybody. As there may have been several, the next waiter tries, too, and so on
//!   until one fails. The same when the first waiter leaves, which may have been unable to use what was free.
//! - A waiter that is dropped leaves at once, and hands on its wake-up like one that gives up.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::QueuePolicy;

/// Says who has waited longer, also of waiters in different queues: the smaller number.
pub type Ticket = u64;

/// No waiter has it.
const NOBODY: Ticket = u64::MAX;

/// The next ticket, of all queues. At a billion a second there are enough for five hundred years.
static TICKETS: AtomicU64 = AtomicU64::new(0);

/// What a waiter has got from a try.
#[derive(Debug)]
pub enum Try<T> {
    /// What it waited for.
    Done(T),
    /// Nothing, as all members are full.
    Again,
    /// Nothing that it wants; whoever is behind it may try.
    Pass,
}

impl<T> From<Option<T>> for Try<T> {
    fn from(picked: Option<T>) -> Self {
        picked.map_or(Try::Again, Try::Done)
    }
}

/// The queue of a pool.
#[derive(Debug)]
pub struct Queue {
    /// As many as there are in the line, to be read without the lock.
    waiting: AtomicUsize,
    /// The ticket of the first in the line, or [`NOBODY`].
    first: AtomicU64,
    line: Mutex<Line>,
}

/// Why a request got no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueError {
    /// As many wait as may.
    Full,
    /// It has waited as long as it may.
    TimedOut,
}

impl QueueError {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            QueueError::Full => "queue_full",
            QueueError::TimedOut => "queue_timeout",
        }
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(policy: QueuePolicy) -> Self {
        let line = Line { policy, waiters: BTreeMap::new(), turn: 0, tries: 0 };
        Queue { waiting: AtomicUsize::new(0), first: AtomicU64::new(NOBODY), line: Mutex::new(line) }
    }

    /// Goes by another policy from here on. Those that wait stay, even if they are more now than may come.
    pub fn set_policy(&self, policy: QueuePolicy) {
        self.line.lock().policy = policy;
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether somebody waits here for longer than the one with that ticket.
    pub fn is_before(&self, ticket: Ticket) -> bool {
        self.first.load(Ordering::Relaxed) < ticket
    }

    /// When a request may be tried again that got no member, in whole seconds, at least 1: by then, all that wait now
    /// have a member or have given up.
    pub fn retry_after(&self) -> u64 {
        let wait = self.line.lock().policy.wait;
        wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
    }

    /// Gets a member, behind all that wait, and waits at most `limit`. Whoever finds that nobody is [waiting](Self::waiting)
    /// may try to get one without it. It must run where Tokio's timers do.
    ///
    /// `pick` is called each time when a member may have room; it takes the room and is [`Try::Done`], or says that all are
    /// full. It is called on the task of the caller and without a lock. It should take any member: a request that insists
    /// on one, and does not pass, holds up all that wait behind it.
    ///
    /// To drop the future is to leave the queue.
    ///
    /// # Errors
    /// [`QueueError::Full`] at once, [`QueueError::TimedOut`] after `limit`.
    pub async fn wait<T>(&self, limit: Duration, pick: impl FnMut(Ticket) -> Try<T>) -> Result<T, QueueError> {
        tokio::time::timeout(limit, self.line_up(pick)).await.unwrap_or(Err(QueueError::TimedOut))
    }

    /// Tells that a member has room for one more request. To be called after each request that was counted on a member
    /// of the pool, when it is counted no more; if the member is in several pools, for the queue of each.
    pub fn released(&self) {
        // Against the fence in `enter`: either the waiter that comes there sees the room, or it is seen here.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.give(1);
        }
    }

    /// Tells that the members may have room for any number of requests: one has come up, or limits were raised.
    pub fn changed(&self) {
        fence(Ordering::SeqCst); // as above
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.give(ANY);
        }
    }

    /// [`Queue::wait`] without an end.
    async fn line_up<T>(&self, mut pick: impl FnMut(Ticket) -> Try<T>) -> Result<T, QueueError> {
        let mut place = self.enter()?;
        loop {
            place.turn().await;
            match pick(place.ticket) {
                Try::Done(picked) => {
                    place.leave_served();
                    return Ok(picked);
                }
                Try::Again => {}
                Try::Pass => place.pass(),
            }
        }
    }

    fn enter(&self) -> Result<Place<'_>, QueueError> {
        let ticket = {
            let mut line = self.line.lock();
            if line.waiters.len() >= line.policy.length {
                return Err(QueueError::Full);
            }
            if line.waiters.is_empty() {
                (line.turn, line.tries) = (0, ANY);
            }
            // With the lock, so that the line is in the order of its tickets.
            let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
            line.waiters.insert(ticket, None);
            self.announce(&line);
            ticket
        };
        // The number of waiters is written before `pick` reads what the members are busy with; see `released`.
        fence(Ordering::SeqCst);
        Ok(Place { queue: self, ticket, tries: 0, served: false })
    }

    /// Writes down what is read without the lock.
    fn announce(&self, line: &Line) {
        self.waiting.store(line.waiters.len(), Ordering::Relaxed);
        let first = line.waiters.first_key_value().map_or(NOBODY, |(&first, _)| first);
        self.first.store(first, Ordering::Relaxed);
    }

    fn give(&self, tries: usize) {
        let first = self.line.lock().give(tries);
        first.into_iter().for_each(Waker::wake); // without the lock
    }
}

/// More tries than there are waiters: how many members have room is not known.
const ANY: usize = usize::MAX;

/// The waiters.
#[derive(Debug)]
struct Line {
    policy: QueuePolicy,
    /// By ticket, so in the order of their arrival. `None` while it is not asleep.
    waiters: BTreeMap<Ticket, Option<Waker>>,
    /// Waiters with smaller tickets have passed.
    turn: Ticket,
    /// How often the waiter that has the turn may try to get a member before it has to be woken again. 0 if there is no
    /// waiter at all.
    tries: usize,
}

impl Line {
    fn has_turn(&self, ticket: Ticket) -> bool {
        self.waiters.range(self.turn..).next().is_some_and(|(&first, _)| first == ticket)
    }

    /// Lets the first waiter try. Returns what wakes it, if it is asleep and has something to wake up for.
    fn give(&mut self, tries: usize) -> Option<Waker> {
        self.turn = 0;
        self.hand_on(tries)
    }

    /// Lets the waiter that has the turn try.
    fn hand_on(&mut self, tries: usize) -> Option<Waker> {
        if self.waiters.is_empty() {
            self.tries = 0;
            return None;
        }
        self.tries = self.tries.saturating_add(tries);
        let (_, next) = self.waiters.range_mut(self.turn..).next()?;
        if self.tries > 0 { next.take() } else { None }
    }
}

/// A place in the line, for as long as it lives.
#[derive(Debug)]
struct Place<'a> {
    queue: &'a Queue,
    ticket: Ticket,
    /// Tries that the waiter has taken for its turn.
    tries: usize,
    served: bool,
}

impl Place<'_> {
    /// Waits until it has the turn and a try. What was left of its last turn is forgotten.
    async fn turn(&mut self) {
        poll_fn(|context| self.poll_turn(context)).await;
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut line = self.queue.line.lock();
        let mine = line.has_turn(self.ticket);
        if mine && line.tries > 0 {
            self.tries = std::mem::take(&mut line.tries);
            return Poll::Ready(());
        }
        let asleep = line.waiters.get_mut(&self.ticket);
        let before = asleep.and_then(|asleep| asleep.replace(context.waker().clone()));
        drop(line);
        drop(before); // without the lock, as it may be the last that holds a task
        Poll::Pending
    }

    /// Leaves turn and tries to whoever is behind it.
    fn pass(&mut self) {
        let tries = std::mem::take(&mut self.tries);
        let mut line = self.queue.line.lock();
        // If another request has finished meanwhile, the turn is the first one's again; then that has these tries, too.
        if line.has_turn(self.ticket) {
            line.turn = self.ticket + 1;
        }
        let next = line.hand_on(tries);
        drop(line);
        next.into_iter().for_each(Waker::wake);
    }

    fn leave_served(mut self) {
        self.served = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line.lock();
        let has_turn = line.has_turn(self.ticket);
        let own = line.waiters.remove(&self.ticket);
        self.queue.announce(&line);
        let next = match (has_turn, self.served) {
            (_, true) => line.hand_on(self.tries.saturating_sub(1)),
            (true, false) => line.give(ANY),
            (false, false) => None, // it has no tries that it could hand on
        };
        drop(line);
        drop(own); // without the lock, as above
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
