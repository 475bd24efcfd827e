//! What the end-to-end tests stand on: the balancer, stub nodes and Tomcat servers as child processes, and the clients
//! that talk to them.

// Each test binary compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub(crate) mod boundary;
pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod corpus;
pub(crate) mod curl;
pub(crate) mod elb;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod tomcat;
pub(crate) mod topology;
pub(crate) mod websocket;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that is bound to happen. Far more than is needed: it only bounds a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` until it returns a value; `None` after `limit`.
///
/// The only place where tests poll: for what nobody reports by itself, such as a counter of the balancer.
pub(crate) fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds, and panics with `what` after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let held = poll(PATIENCE, || condition().then_some(()));
    assert!(held.is_some(), "waited {PATIENCE:?} in vain: {what}");
}

/// Waits until `value` has stayed the same for `calm`: the only evidence that something has come to a stop.
#[track_caller]
pub(crate) fn wait_until_steady<T: PartialEq>(what: &str, calm: Duration, mut value: impl FnMut() -> T) -> T {
    let mut last = value();
    let mut since = Instant::now();
    wait_until(what, || {
        let now = value();
        if now != last {
            last = now;
            since = Instant::now();
        }
        since.elapsed() >= calm
    });
    last
}

/// A directory that goes when the value goes, or else with the test process (see [`process`]).
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// An empty directory of its own below the one of this test process.
    pub(crate) fn new(label: &str) -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = process::scratch_root().join(format!("{label}-{number}"));
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        TempDir(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A child that is just ending may still write here; the watchdog tries once more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
