//! What goes on besides the requests: probes, agents and name resolution, all of which report to the registry, and the look
//! at the configuration file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::sync::watch;

use crate::discovery::dns::Names;
use crate::health;
use crate::health::active::Prober;
use crate::health::agent::Agents;
use crate::registry::Registry;
use crate::reload::{self, Reloader};

/// How long clients wait at the start for pools without a member, and how often these are looked at.
const START_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The service of all that reports to the registry.
pub struct Control {
    registry: Arc<Registry>,
    reloader: Arc<Reloader>,
    /// Told when clients may be let in.
    opened: watch::Sender<bool>,
}

/// The tasks that a configuration wants.
struct Watchers {
    names: Names,
    prober: Prober,
    agents: Agents,
}

impl Control {
    /// Reports to `registry`, watches the configuration file, and says when clients may be let in.
    pub fn new(registry: Arc<Registry>, reloader: Arc<Reloader>, opened: watch::Sender<bool>) -> Self {
        Control { registry, reloader, opened }
    }

    /// Returns when every pool has a member that may be asked and no session could be on a node without an address, or
    /// when waiting has been long enough: names have to be resolved first. Requests that came before would get 503, or
    /// lose their sessions.
    async fn some_member_everywhere(&self) {
        let empty = || self.registry.snapshot().pools().any(|view| view.ready() == 0);
        let missing = || empty() || self.registry.awaits_addresses();
        let begun = tokio::time::Instant::now();
        // Bounded, and once a process: nobody tells when a snapshot is published.
        while missing() && begun.elapsed() < START_PATIENCE {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Watchers {
    fn new(registry: &Arc<Registry>) -> Self {
        Watchers {
            names: Names::new(registry.clone()),
            prober: Prober::new(registry.clone()),
            agents: Agents::new(registry.clone()),
        }
    }

    fn follow(&mut self) {
        self.names.follow();
        self.prober.follow();
        self.agents.follow();
    }
}

#[async_trait]
impl Service for Control {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        let mut configurations = self.registry.configurations();
        let mut watchers = Watchers::new(&self.registry);
        tokio::spawn(reload::watch(self.reloader.clone()));
        watchers.follow();
        health::outliers::start(&self.registry);
        self.some_member_everywhere().await;
        self.opened.send_replace(true);
        loop {
            tokio::select! {
                // Errors mean that the server is gone.
                changed = configurations.changed() => match changed {
                    Ok(()) => watchers.follow(),
                    Err(_) => return,
                },
                _ = shutdown.wait_for(|&stopping| stopping) => return,
            }
        }
    }

    fn name(&self) -> &str {
        "control"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
