//! What was decided last, for whoever wants to read it or to carry it out.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::{Decision, Fleet, ScalePolicy};
use crate::ids::{ClusterName, Role};

/// The newest decision for each role of each cluster that has a policy.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<(ClusterName, Role), Posted>>);

/// A decision, and what it was made from.
#[derive(Debug, Clone)]
pub struct Posted {
    /// What was decided.
    pub decision: Decision,
    /// From which nodes.
    pub fleet: Fleet,
    /// By which policy.
    pub policy: ScalePolicy,
    /// Whether it is to be carried out by whoever asks this balancer; see [`super::Acting`].
    pub acts: bool,
    /// When.
    pub at: SystemTime,
    /// When, for what is made from it.
    pub moment: Instant,
}

impl Board {
    /// What was decided last for a role; `None` if it has no policy, or nothing was decided yet.
    pub fn read(&self, cluster: &ClusterName, role: Role) -> Option<Posted> {
        self.0.lock().get(&(cluster.clone(), role)).cloned()
    }

    /// All of it, in the order of the names.
    pub fn all(&self) -> Vec<((ClusterName, Role), Posted)> {
        self.0.lock().iter().map(|(name, posted)| (name.clone(), posted.clone())).collect()
    }

    /// Puts a newer decision in place of the last one, which is returned.
    pub(crate) fn post(&self, name: (ClusterName, Role), posted: Posted) -> Option<Posted> {
        self.0.lock().insert(name, posted)
    }

    /// Takes away what `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&(ClusterName, Role)) -> bool) -> Vec<(ClusterName, Role)> {
        let mut posted = self.0.lock();
        let gone = posted.keys().filter(|name| !keep(name)).cloned().collect();
        posted.retain(|name, _| keep(name));
        gone
    }
}
