//! Where requests wait while all members of a pool are full: first come, first served, and not for ever.
//!
//! A pool under its limit does not notice the queue: a request that arrives reads one number, and so does one that
//! finishes. Everything else happens under a lock, which is held for a few steps and never while somebody waits.
//!
//! # Nobody overtakes, and no wake-up is lost
//!
//! - Only the first waiter ever tries to get a member. It stays the first until it has one, gives up or leaves; so a
//!   request that took the room (a retry, or one that arrived just before there was a queue) does not cost it its
//!   turn.
//! - The queue counts how often the first waiter may try: once for each request that has finished. When it gets a
//!   member, what is left of the number is the next waiter's, who is woken if it is not zero. When it does not, all
//!   members were full after those requests had finished, and whoever took the room will finish, too: the number is
//!   forgotten.
//! - Whoever comes to an empty queue tries once more than it has done already, with the queue announced: a request that
//!   finished in between has not told anybody. As there may have been several, the next waiter tries, too, and so on
//!   until one fails. The same when the first waiter leaves, which may have been unable to use what was free.
//! - A waiter that is dropped leaves at once, and hands on its wake-up like one that gives up.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::QueuePolicy;

/// The queue of a pool.
#[derive(Debug)]
pub struct Queue {
    /// As many as there are in the line, to be read without the lock.
    waiting: AtomicUsize,
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
        let line = Line { policy, next: 0, waiters: BTreeMap::new(), tries: 0 };
        Queue { waiting: AtomicUsize::new(0), line: Mutex::new(line) }
    }

    /// Goes by another policy from here on. Those that wait stay, even if they are more now than may come.
    pub fn set_policy(&self, policy: QueuePolicy) {
        self.line.lock().policy = policy;
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// When a request may be tried again that got no member, in whole seconds, at least 1: by then, all that wait now
    /// have a member or have given up.
    pub fn retry_after(&self) -> u64 {
        let wait = self.line.lock().policy.wait;
        wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
    }

    /// Gets a member: at once if nobody waits and one has room, else by waiting as long as the policy says.
    ///
    /// `pick` is called each time when a member may have room; it takes the room and returns the member, or returns
    /// `None` if all are full. It is called on the task of the caller and without a lock. It should take any member: a
    /// request that insists on one holds up all that wait behind it.
    ///
    /// # Errors
    /// As [`Queue::wait`].
    pub async fn admit<T>(&self, mut pick: impl FnMut() -> Option<T>) -> Result<T, QueueError> {
        if self.waiting() == 0
            && let Some(picked) = pick()
        {
            return Ok(picked);
        }
        let limit = self.line.lock().policy.wait;
        self.wait(limit, pick).await
    }

    /// Gets a member as [`Queue::admit`], but behind all that wait, and waits at most `limit`: for a request that has
    /// waited before. It must run where Tokio's timers do.
    ///
    /// To drop the future is to leave the queue.
    ///
    /// # Errors
    /// [`QueueError::Full`] at once, [`QueueError::TimedOut`] after `limit`.
    pub async fn wait<T>(&self, limit: Duration, pick: impl FnMut() -> Option<T>) -> Result<T, QueueError> {
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
    async fn line_up<T>(&self, mut pick: impl FnMut() -> Option<T>) -> Result<T, QueueError> {
        let mut place = self.enter()?;
        loop {
            place.turn().await;
            if let Some(picked) = pick() {
                place.leave_served();
                return Ok(picked);
            }
        }
    }

    fn enter(&self) -> Result<Place<'_>, QueueError> {
        let number = {
            let mut line = self.line.lock();
            if line.waiters.len() >= line.policy.length {
                return Err(QueueError::Full);
            }
            if line.waiters.is_empty() {
                line.tries = ANY;
            }
            let number = line.next;
            line.next += 1; // at a billion a second it is enough for five hundred years
            line.waiters.insert(number, None);
            self.waiting.store(line.waiters.len(), Ordering::Relaxed);
            number
        };
        // The number of waiters is written before `pick` reads what the members are busy with; see `released`.
        fence(Ordering::SeqCst);
        Ok(Place { queue: self, number, tries: 0, served: false })
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
    /// The number that the next one gets.
    next: u64,
    /// By number, so in the order of their arrival. `None` while it is not asleep.
    waiters: BTreeMap<u64, Option<Waker>>,
    /// How often the first waiter may try to get a member before it has to be woken again. 0 if there is none.
    tries: usize,
}

impl Line {
    fn is_first(&self, number: u64) -> bool {
        self.waiters.first_key_value().is_some_and(|(&first, _)| first == number)
    }

    /// Lets the first waiter try. Returns what wakes it, if it is asleep and has something to wake up for.
    fn give(&mut self, tries: usize) -> Option<Waker> {
        let Some(mut first) = self.waiters.first_entry() else {
            self.tries = 0;
            return None;
        };
        self.tries = self.tries.saturating_add(tries);
        if self.tries > 0 { first.get_mut().take() } else { None }
    }
}

/// A place in the line, for as long as it lives.
#[derive(Debug)]
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
    /// Tries that the waiter has taken for its turn.
    tries: usize,
    served: bool,
}

impl Place<'_> {
    /// Waits until it is the first and has a try. What was left of its last turn is forgotten.
    async fn turn(&mut self) {
        poll_fn(|context| self.poll_turn(context)).await;
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut line = self.queue.line.lock();
        let mine = line.is_first(self.number);
        if mine && line.tries > 0 {
            self.tries = std::mem::take(&mut line.tries);
            return Poll::Ready(());
        }
        let asleep = line.waiters.get_mut(&self.number);
        let before = asleep.and_then(|asleep| asleep.replace(context.waker().clone()));
        drop(line);
        drop(before); // without the lock, as it may be the last that holds a task
        Poll::Pending
    }

    fn leave_served(mut self) {
        self.served = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line.lock();
        let first = line.is_first(self.number);
        let own = line.waiters.remove(&self.number);
        self.queue.waiting.store(line.waiters.len(), Ordering::Relaxed);
        let next = match (first, self.served) {
            (false, _) => None, // it has no tries that it could hand on
            (true, true) => line.give(self.tries.saturating_sub(1)),
            (true, false) => line.give(ANY),
        };
        drop(line);
        drop(own); // without the lock, as above
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
