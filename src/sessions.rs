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

/// The sessions that were seen on a node since it began to drain, or, if it may be stopped when there are too many nodes,
/// always.
#[derive(Debug)]
pub struct SessionsLeft {
    /// The lock is taken by requests of sessions on a node that counts them, for a few steps.
    state: Mutex<State>,
    /// Has a random key, so that clients cannot choose what is equal.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    watched: bool,
    /// `None`: neither of them.
    count: Option<Count>,
}

#[derive(Debug)]
struct Count {
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
    /// Sessions that were seen since counting began, and within [`LIFE`].
    pub sessions: usize,
    /// There may be more: counting began less than [`LIFE`] ago, or there were more than [`MOST`].
    pub at_least: bool,
}

impl SessionsLeft {
    /// Of a node that is not draining.
    pub fn new() -> Self {
        SessionsLeft { state: Mutex::default(), hasher: RandomState::new() }
    }

    /// Says whether the node is draining from `now` on. To say the same again changes nothing.
    pub fn set_draining(&self, draining: bool, now: Instant) {
        let mut state = self.state.lock();
        state.draining = draining;
        state.settle(now);
    }

    /// Says whether sessions are counted from `now` on while the node is not draining, too. To say the same again changes
    /// nothing.
    pub fn set_watched(&self, watched: bool, now: Instant) {
        let mut state = self.state.lock();
        state.watched = watched;
        state.settle(now);
    }

    /// Forgets what was seen: there is another node behind the name.
    pub fn forget(&self, now: Instant) {
        if let Some(count) = &mut self.state.lock().count {
            *count = Count::new(now);
        }
    }

    /// Takes in a request of a session on the node. Does nothing if its sessions are not counted.
    pub fn note(&self, session: SessionName<'_>, now: Instant) {
        let key = self.hasher.hash_one(session);
        if let Some(count) = &mut self.state.lock().count {
            count.note(key, now);
        }
    }

    /// How many sessions are left; `None` if the node is not draining.
    pub fn left(&self, now: Instant) -> Option<Left> {
        let mut state = self.state.lock();
        if state.draining { state.left(now) } else { None }
    }

    /// How many sessions it has; `None` if they are not counted.
    pub fn seen(&self, now: Instant) -> Option<Left> {
        self.state.lock().left(now)
    }
}

impl State {
    /// Begins or ends to count.
    fn settle(&mut self, now: Instant) {
        match self.draining || self.watched {
            true => _ = self.count.get_or_insert_with(|| Count::new(now)),
            false => self.count = None,
        }
    }

    fn left(&mut self, now: Instant) -> Option<Left> {
        let count = self.count.as_mut()?;
        count.seen.retain(|_, last| lives(*last, now));
        let at_least = lives(count.since, now) || count.missed.is_some_and(|missed| lives(missed, now));
        Some(Left { sessions: count.seen.len(), at_least })
    }
}

impl Default for SessionsLeft {
    fn default() -> Self {
        SessionsLeft::new()
    }
}

impl Count {
    fn new(now: Instant) -> Self {
        Count { since: now, seen: AHashMap::new(), missed: None, swept: now }
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
    fn who_is_watched_counts_before_the_drain() {
        let (node, begin) = (SessionsLeft::new(), Instant::now());
        node.note(id("a"), begin);
        assert_eq!(node.seen(begin), None);
        node.set_watched(true, begin);
        node.note(id("a"), begin);
        node.note(id("b"), begin + 20 * MINUTE);
        assert_eq!((node.seen(begin), node.left(begin)), (left(2, true), None), "it is not draining");
        node.set_draining(true, begin + 40 * MINUTE);
        node.set_watched(true, begin + 40 * MINUTE);
        assert_eq!(node.left(begin + 40 * MINUTE), left(1, false), "nothing is unknown: it was watched long enough");
        node.set_draining(false, begin + 41 * MINUTE);
        assert_eq!(node.seen(begin + 41 * MINUTE), left(1, false));
        node.set_watched(false, begin + 41 * MINUTE);
        assert_eq!(node.seen(begin + 41 * MINUTE), None);
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
