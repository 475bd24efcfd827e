//! What goes on besides the requests: probes, agents and name resolution, and members that come and go, all of which
//! report to the registry, and the look at the configuration file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::debug;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::discovery::dns::Names;
use crate::discovery::{Sources, Update};
use crate::health;
use crate::health::active::Prober;
use crate::health::agent::Agents;
use crate::ids::{ClusterName, NodeId};
use crate::membership::{self, Membership, Publisher, Target};
use crate::observe::sources::SourceMetrics;
use crate::registry::Registry;
use crate::reload::{self, Reloader};

/// How long clients wait at the start for pools without a member, and how often these are looked at.
const START_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many sets of members may wait to be taken in; sources wait beyond that.
const UPDATES: usize = 16;

/// The service of all that reports to the registry.
pub struct Control {
    registry: Arc<Registry>,
    membership: Arc<Membership>,
    reloader: Arc<Reloader>,
    sources: Arc<SourceMetrics>,
    /// Told when clients may be let in.
    opened: watch::Sender<bool>,
}

/// The tasks that a configuration wants.
struct Watchers {
    names: Names,
    prober: Prober,
    agents: Agents,
    sources: Sources,
}

impl Control {
    /// Reports to `registry`, publishes there who `membership` has, watches the configuration file for `reloader`, and says
    /// when clients may be let in. What is known of the sources of members is told to `sources`.
    pub fn new(
        registry: Arc<Registry>,
        membership: Arc<Membership>,
        reloader: Arc<Reloader>,
        sources: Arc<SourceMetrics>,
        opened: watch::Sender<bool>,
    ) -> Self {
        Control { registry, membership, reloader, sources, opened }
    }

    /// Returns when every pool has a member that may be asked and no session could be on a node without an address, or
    /// when waiting has been long enough: names have to be resolved first. Requests that came before would get 503, or
    /// lose their sessions.
    async fn some_member_everywhere(&self) {
        let empty = || self.registry.snapshot().pools().any(|view| view.ready() == 0);
        let missing = || empty() || self.registry.awaits_addresses();
        let begun = tokio::time::Instant::now();
        while missing() && begun.elapsed() < START_PATIENCE {
            // A short pause, bounded, once a process: what is missing may come by any of several ways.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Watchers {
    fn new(registry: &Arc<Registry>, sources: Sources) -> Self {
        Watchers {
            names: Names::new(registry.clone()),
            prober: Prober::new(registry.clone()),
            agents: Agents::new(registry.clone()),
            sources,
        }
    }

    async fn follow(&mut self, config: &Config) {
        self.sources.apply(config).await;
        self.names.follow();
        self.prober.follow();
        self.agents.follow();
    }
}

/// Hands on what sources find, until there are none any more.
async fn take_in(mut updates: mpsc::Receiver<Update>, membership: Arc<Membership>) {
    while let Some(Update { cluster, source, members }) = updates.recv().await {
        let source = membership::Source::Configured(source);
        if let Err(refusal) = membership.update(&cluster, &source, members, Instant::now()) {
            // The cluster has just gone with a new configuration, and its sources go with it.
            debug!("{cluster}, {source}: {refusal}");
        }
    }
}

impl Target for Arc<Registry> {
    fn publish(&self, config: Arc<Config>, now: Instant) {
        // Whom nodes are trusted by does not change with the members.
        self.apply(config, None, now);
    }

    fn in_flight(&self, nodes: &[(ClusterName, NodeId)]) -> Vec<usize> {
        if nodes.is_empty() {
            return Vec::new();
        }
        let known = self.nodes();
        let known: HashMap<_, _> = known.iter().map(|node| ((node.cluster(), node.id()), node.in_flight())).collect();
        nodes.iter().map(|(cluster, id)| known.get(&(cluster, id)).copied().unwrap_or_default()).collect()
    }
}

#[async_trait]
impl Service for Control {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        let mut configurations = self.registry.configurations();
        tokio::spawn(reload::watch(self.reloader.clone()));
        let (told, updates) = mpsc::channel(UPDATES);
        tokio::spawn(take_in(updates, self.membership.clone()));
        let mut watchers = Watchers::new(&self.registry, Sources::new(told, self.sources.clone()));
        watchers.follow(&self.registry.config()).await;
        health::outliers::start(&self.registry);
        // It ends with this service's runtime.
        tokio::spawn(Publisher::new(self.membership.clone(), self.registry.clone()).run());
        self.some_member_everywhere().await;
        self.opened.send_replace(true);
        loop {
            let changed = tokio::select! {
                // Errors mean that the server is gone.
                changed = configurations.changed() => changed.is_ok(),
                _ = shutdown.wait_for(|&stopping| stopping) => false,
            };
            if !changed {
                return;
            }
            watchers.follow(&self.registry.config()).await;
        }
    }

    fn name(&self) -> &str {
        "control"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
