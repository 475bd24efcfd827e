//! Keeps the time of ejections and of slow starts, and tells what requests have found out about members.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::time::{MissedTickBehavior, interval};

use super::passive::Standing;
use crate::registry::{Ejection, Registry};

/// How exactly ejections end and shares grow.
const STEP: Duration = Duration::from_millis(100);

/// Starts the task.
pub fn start(registry: &Arc<Registry>) {
    let registry = registry.clone();
    tokio::spawn(async move {
        let mut ticks = interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Until the process ends.
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // So that a member that fails is asked no more at once.
                () = registry.news() => {}
            }
            registry.tick(Instant::now()).iter().for_each(log_ejection);
        }
    });
}

/// A line of the log for a change of what the requests of a member tell.
fn log_ejection(ejection: &Ejection) {
    let Ejection { pool, node, change } = ejection;
    let name = format!("{}/{} {} {}", pool.cluster, pool.role, node.id(), pool.endpoint);
    match change.to {
        Standing::Ejected { .. } => {
            warn!("{name}: ejected, was {}: {} ({:?})", change.from.as_str(), change.why.as_str(), change.why);
        }
        Standing::Active | Standing::HalfOpen => {
            info!("{name}: {}, was {}: {}", change.to.as_str(), change.from.as_str(), change.why.as_str());
        }
    }
}
