//! The connections of the process: how many there may be, and how they end when it stops. Idle ones are closed, the
//! others finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The stop of the whole process, and the connections that it waits for.
#[derive(Debug)]
pub struct Drain {
    begun: watch::Sender<bool>,
    /// The same as `begun`, for those who ask for every request.
    stopping: AtomicBool,
    /// How many connections are open, for whoever waits for the last to end.
    open: watch::Sender<usize>,
    connections: Mutex<AHashMap<u64, Arc<Activity>>>,
    next_id: AtomicU64,
    /// Connections that there may be at a time.
    most: usize,
}

impl Drain {
    /// For at most `most` connections at a time.
    pub fn new(most: usize) -> Self {
        Drain {
            begun: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            open: watch::Sender::new(0),
            connections: Mutex::default(),
            next_id: AtomicU64::new(0),
            most,
        }
    }

    /// Begins the stop: listeners close, and so do connections that wait for their next request.
    pub fn begin(&self) {
        self.stopping.store(true, Ordering::Release);
        self.begun.send_replace(true);
        for activity in self.connections.lock().values() {
            activity.stop();
        }
    }

    /// Whether the stop has begun.
    pub fn begun(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells when the stop begins.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Returns when the stop has begun and the last connection is closed.
    pub async fn emptied(&self) {
        // The senders live in `self`, so waiting cannot fail.
        let _ = self.watch().wait_for(|&begun| begun).await;
        let _ = self.open.subscribe().wait_for(|&open| open == 0).await;
    }

    /// Counts a connection for as long as the returned guard lives. `None` if there are too many,
    /// unless it is `always` let in.
    pub(super) fn enter(self: &Arc<Self>, always: bool) -> Option<Entered> {
        let activity = Arc::new(Activity::default());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        {
            let mut connections = self.connections.lock();
            if connections.len() >= self.most && !always {
                return None;
            }
            connections.insert(id, activity.clone());
        }
        self.open.send_modify(|open| *open += 1);
        if self.begun() {
            // The stop began between `accept` and here, and did not see this connection.
            activity.stop();
        }
        Some(Entered { drain: self.clone(), id, activity })
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Entered {
    drain: Arc<Drain>,
    id: u64,
    /// What the connection is doing.
    pub(super) activity: Arc<Activity>,
}

impl Entered {
    /// Tells when the process stops.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.drain.watch()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.drain.connections.lock().remove(&self.id);
        self.drain.open.send_modify(|open| *open -= 1);
    }
}

/// What a connection is doing, and whether it should end instead of waiting for another request.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Whether a request is being read or answered, or the connection can never be said to be idle.
    busy: AtomicBool,
    stopping: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Activity {
    /// Something came of a request.
    pub(super) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// The answer is complete.
    pub(super) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Whether a next request has not begun.
    pub(super) fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }

    /// Whether the connection should end instead of waiting for another request.
    pub(super) fn should_close(&self) -> bool {
        self.stopping.load(Ordering::Acquire) && self.is_idle()
    }

    /// Remembers who waits for the first byte of a request. After that, [`Activity::should_close`] must be asked again.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut reader = self.reader.lock();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(reader) = self.reader.lock().take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_connections_than_allowed() {
        let drain = Arc::new(Drain::new(2));
        let first = drain.enter(false);
        let second = drain.enter(false);
        assert!(first.is_some() && second.is_some() && drain.enter(false).is_none());
        assert_eq!(drain.open(), 2);
        assert!(drain.enter(true).is_some(), "an operator");
        drop(first);
        assert_eq!(drain.open(), 1);
        assert!(drain.enter(false).is_some());
    }

    #[test]
    fn a_stop_closes_what_is_idle() {
        let drain = Arc::new(Drain::new(9));
        let (idle, busy) = (drain.enter(false).unwrap(), drain.enter(false).unwrap());
        busy.activity.begin();
        drain.begin();
        assert!(idle.activity.should_close() && !busy.activity.should_close());
        busy.activity.end();
        assert!(busy.activity.should_close(), "after its answer");
        assert!(drain.enter(false).is_some_and(|late| late.activity.should_close()), "accepted at the last moment");
    }
}
