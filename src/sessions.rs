//! How many sessions are left on a node that is draining.
//!
//! Nothing here keeps a session on its member: cookies do that, and hold all that is needed. So sessions cannot be listed,
//! only seen: while a node is draining, each request of a session on it is noted, and a session counts until it was silent
//! for so long that Tomcat has ended it. What was silent since the drain began is not seen, so the number is a lower bound
//! until that much time has passed.
//!
//! Clients choose their session ids, so they can make the number too high, up to [`MOST`]; nothing but what operators are
//! shown depends on it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

/// Sessions of one node that are remembered.
pub const MOST: usize = 1 << 16;

/// How long a session lives after its last request: Tomcat's default (`session-timeout`).
pub const LIFE: Duration = Duration::from_secs(30 * 60);

/// How often, at most, room is looked for among [`MOST`] sessions.
const SWEEP: Duration = Duration::from_secs(60);

/// The sessions that were seen on a node since it began to drain.
#[derive(Debug)]
pub struct SessionsLeft {
    /// `None`: it is not draining. The lock is taken by requests of sessions on a draining node, for a few steps.
    drain: Mutex<Option<Drain>>,
    /// Has a random key, so that clients cannot choose what is equal.
    hasher: RandomState,
}

#[derive(Debug)]
struct Drain {
    since: Instant,
    /// By a hash of what names the session: when its last request was.
    seen: AHashMap<u64, Instant>,
    /// When last there was no room for one.
    missed: Option<Instant>,
    swept: Instant,
}

/// What tells one session from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionName<'r> {
    /// The id that the node gave it.
    Id(&'r [u8]),
    /// The client's address, if it has no id.
    Client(IpAddr),
}

/// How many sessions a node has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Sessions that were seen since the drain began, and within [`LIFE`].
    pub sessions: usize,
    /// There may be more: the drain began less than [`LIFE`] ago, or there were more than [`MOST`].
    pub at_least: bool,
}

impl SessionsLeft {
    /// Of a node that is not draining.
    pub fn new() -> Self {
        SessionsLeft { drain: Mutex::new(None), hasher: RandomState::new() }
    }

    /// Says whether the node is draining from `now` on. To say the same again changes nothing.
    pub fn set_draining(&self, draining: bool, now: Instant) {
        let mut drain = self.drain.lock();
        match (draining, &*drain) {
            (true, None) => *drain = Some(Drain::new(now)),
            (false, Some(_)) => *drain = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Forgets what was seen: there is another node behind the name.
    pub fn forget(&self, now: Instant) {
        if let Some(drain) = &mut *self.drain.lock() {
            *drain = Drain::new(now);
        }
    }

    /// Takes in a request of a session on the node. Does nothing if that is not draining.
    pub fn note(&self, session: SessionName<'_>, now: Instant) {
        let key = self.hasher.hash_one(session);
        if let Some(drain) = &mut *self.drain.lock() {
            drain.note(key, now);
        }
    }

    /// How many sessions are left; `None` if the node is not draining.
    pub fn left(&self, now: Instant) -> Option<Left> {
        let mut drain = self.drain.lock();
        let drain = drain.as_mut()?;
        drain.seen.retain(|_, last| lives(*last, now));
        let at_least = lives(drain.since, now) || drain.missed.is_some_and(|missed| lives(missed, now));
        Some(Left { sessions: drain.seen.len(), at_least })
    }
}

impl Default for SessionsLeft {
    fn default() -> Self {
        SessionsLeft::new()
    }
}

impl Drain {
    fn new(now: Instant) -> Self {
        Drain { since: now, seen: AHashMap::new(), missed: None, swept: now }
    }

    fn note(&mut self, key: u64, now: Instant) {
        if let Some(last) = self.seen.get_mut(&key) {
            // Another thread may have come first with a later time.
            *last = now.max(*last);
            return;
        }
        if self.seen.len() >= MOST && now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.seen.retain(|_, last| lives(*last, now));
        }
        if self.seen.len() < MOST {
            self.seen.insert(key, now);
        } else {
            self.missed = Some(now);
        }
    }
}

/// Whether a session lives whose last request was at `last`.
fn lives(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) < LIFE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn id(text: &str) -> SessionName<'_> {
        SessionName::Id(text.as_bytes())
    }

    fn left(sessions: usize, at_least: bool) -> Option<Left> {
        Some(Left { sessions, at_least })
    }

    #[test]
    fn sessions_count_once_and_until_they_were_silent_for_long() {
        let (node, begin) = (SessionsLeft::new(), Instant::now());
        node.note(id("a"), begin);
        assert_eq!(node.left(begin), None, "it is not draining");
        node.set_draining(true, begin);
        assert_eq!(node.left(begin), left(0, true));
        for session in [id("a"), id("b"), id("a"), SessionName::Client(IpAddr::from([192, 0, 2, 1]))] {
            node.note(session, begin);
        }
        assert_eq!(node.left(begin), left(3, true));
        node.note(id("b"), begin + 10 * MINUTE);
        // As from a thread that was slow.
        node.note(id("b"), begin + 5 * MINUTE);
        assert_eq!(node.left(begin + 29 * MINUTE), left(3, true));
        assert_eq!(node.left(begin + 30 * MINUTE), left(1, false), "only b was seen since, and all that live were");
        assert_eq!(node.left(begin + 39 * MINUTE), left(1, false));
        assert_eq!(node.left(begin + 40 * MINUTE), left(0, false));
    }

    #[test]
    fn a_drain_begins_and_ends_with_the_state() {
        let (node, begin) = (SessionsLeft::new(), Instant::now());
        node.set_draining(true, begin);
        node.note(id("a"), begin);
        node.set_draining(true, begin + 31 * MINUTE);
        node.note(id("a"), begin + 31 * MINUTE);
        assert_eq!(node.left(begin + 31 * MINUTE), left(1, false), "to say it again begins nothing");
        node.forget(begin + 31 * MINUTE);
        assert_eq!(node.left(begin + 31 * MINUTE), left(0, true));
        node.set_draining(false, begin);
        node.forget(begin);
        node.note(id("a"), begin);
        assert_eq!(node.left(begin), None);
        node.set_draining(true, begin);
        assert_eq!(node.left(begin), left(0, true), "nothing is left of the drain before");
    }

    #[test]
    fn memory_is_bounded_and_the_number_says_so() {
        let (node, begin) = (SessionsLeft::new(), Instant::now());
        node.set_draining(true, begin);
        let fill = |from: usize, at| {
            for number in from..=from + MOST {
                node.note(SessionName::Id(&number.to_ne_bytes()), at);
            }
        };
        fill(0, begin);
        assert_eq!(node.left(begin + 29 * MINUTE), left(MOST, true));
        // Room is found without anybody having looked.
        fill(MOST + 1, begin + 40 * MINUTE);
        let missed = begin + 40 * MINUTE;
        assert_eq!(node.left(missed), left(MOST, true));
        node.note(id("late"), missed + SWEEP - Duration::from_secs(1));
        assert_eq!(node.left(missed + 29 * MINUTE), left(MOST, true));
        assert_eq!(node.left(missed + 30 * MINUTE), left(0, true), "one was missed a minute later");
        assert_eq!(node.left(missed + 31 * MINUTE), left(0, false));
    }
}
