//! Stopping: no new connections, idle ones closed, the others finished.

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
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            begun: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            open: watch::Sender::new(0),
            connections: Mutex::default(),
            next_id: AtomicU64::new(0),
        }
    }
}

impl Drain {
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

    /// Counts a connection for as long as the returned guard lives.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        let activity = Arc::new(Activity::default());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.connections.lock().insert(id, activity.clone());
        self.open.send_modify(|open| *open += 1);
        if self.begun() {
            // The stop began between `accept` and here, and did not see this connection.
            activity.stop();
        }
        Entered { drain: self.clone(), id, activity }
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

impl Drop for Entered {
    fn drop(&mut self) {
        self.drain.connections.lock().remove(&self.id);
        self.drain.open.send_modify(|open| *open -= 1);
    }
}

/// Whether a connection waits for a request, and whether it should go on waiting.
#[derive(Debug, Default)]
pub(super) struct Activity {
    busy: AtomicBool,
    stopping: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Activity {
    /// A first byte of a request came, or the connection can never be said to be idle.
    pub(super) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// The answer is complete.
    pub(super) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether the connection should end instead of waiting for another request.
    pub(super) fn should_close(&self) -> bool {
        self.stopping.load(Ordering::Acquire) && !self.is_busy()
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
