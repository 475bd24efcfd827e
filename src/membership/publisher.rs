//! The task that hands effective configurations on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Membership;
use crate::config::Config;
use crate::ids::{ClusterName, NodeId};

/// The shortest time between two publications: what changes within it goes into one.
const GATHER: Duration = Duration::from_millis(50);

/// How often leases and drains are looked at, while there are some.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What requests are routed by.
pub trait Target: Send + Sync {
    /// Takes in a new effective configuration.
    fn publish(&self, config: Arc<Config>, now: Instant);

    /// How many requests each of these nodes is busy with; none for one that it does not know.
    fn in_flight(&self, nodes: &[(ClusterName, NodeId)]) -> Vec<usize>;
}

/// Publishes changes of the membership, and sees to what time changes in it.
#[derive(Debug)]
pub struct Publisher<T> {
    membership: Arc<Membership>,
    target: T,
}

impl<T: Target> Publisher<T> {
    /// Publishes to `target`, which has the configuration that `membership` began with.
    pub fn new(membership: Arc<Membership>, target: T) -> Self {
        Publisher { membership, target }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut last: Option<tokio::time::Instant> = None;
        loop {
            if let Some(last) = last {
                tokio::time::sleep_until(last + GATHER).await;
            }
            // The clock of the runtime, which tests hold.
            let now = tokio::time::Instant::now();
            let (published, waiting) = self.membership.step(now.into_std(), &self.target);
            if published {
                last = Some(now);
            }
            let changed = self.membership.changed.notified();
            match waiting {
                false => changed.await,
                // Either will do: the next round looks at everything.
                true => _ = tokio::time::timeout(LOOK_AGAIN, changed).await,
            }
        }
    }
}
