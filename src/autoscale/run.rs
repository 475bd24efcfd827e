//! Samples the load, and lets the autoscaler decide: in the balancer, which sees the requests. What is decided is posted
//! on a [`Board`] and carried out elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use log::info;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::time::{MissedTickBehavior, interval};

use super::board::{Board, Posted};
use super::members::{Arrivals, members_of};
use super::{Fleet, Sample, ScalePolicy, Scaler};
use crate::config::Config;
use crate::ids::{ClusterName, Role};
use crate::observe::metrics::Metrics;
use crate::pool::PoolView;
use crate::registry::{Registry, ShownPool, Snapshot};
use crate::select::Moment;

/// From one sample to the next. A sample takes no lock, and reads a few numbers for each member.
const SAMPLE: Duration = Duration::from_millis(100);

/// Says whether this balancer's decisions are to be carried out. Of several balancers with the same members one may act.
pub trait Acting: Send + Sync {
    /// Whether this one does, for a role.
    fn acts(&self, cluster: &ClusterName, role: Role, policy: &ScalePolicy) -> bool;
}

/// The balancer acts whose configuration says so: the operator sees to it that there is one. (A lease in etcd or in
/// Kubernetes would be another one of these.)
#[derive(Debug, Clone, Copy, Default)]
pub struct Configured;

impl Acting for Configured {
    fn acts(&self, _: &ClusterName, _: Role, policy: &ScalePolicy) -> bool {
        policy.acts
    }
}

/// The service that samples and decides for each role that has a policy.
pub struct Autoscaling<A> {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    acting: A,
}

impl<A: Acting + Clone> Autoscaling<A> {
    /// Samples what `registry` has, and posts on `board` and in the metrics.
    pub fn new(registry: Arc<Registry>, metrics: Arc<Metrics>, board: Arc<Board>, acting: A) -> Self {
        Autoscaling { registry, metrics, board, acting }
    }

    /// Runs until it is dropped. Without any policy it sleeps until the configuration changes.
    async fn run(&self) {
        let (board, metrics, acting) = (self.board.clone(), self.metrics.clone(), self.acting.clone());
        let mut observed = Autoscaler { board, metrics, acting, epoch: Instant::now(), roles: BTreeMap::new() };
        let mut configurations = self.registry.configurations();
        let mut ticks = interval(SAMPLE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await.into_std();
            // Looked at before the configuration is, so that no change is missed.
            configurations.mark_unchanged();
            observed.follow(&self.registry.config(), now);
            if observed.roles.is_empty() {
                match configurations.changed().await {
                    Ok(()) => continue,
                    Err(_) => return, // the registry is gone
                }
            }
            observed.sample(&self.registry.snapshot(), self.registry.clock().at(now), now);
            if observed.is_due(now) {
                observed.decide(&self.registry.shown_pools(None, now), now);
            }
        }
    }
}

#[async_trait]
impl<A: Acting + Clone + 'static> Service for Autoscaling<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        tokio::select! {
            () = self.run() => {}
            // An error means that the server is gone.
            _ = shutdown.wait_for(|&stopping| stopping) => {}
        }
    }

    fn name(&self) -> &str {
        "autoscaler"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

type Name = (ClusterName, Role);

/// All roles that have a policy.
struct Autoscaler<A> {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    acting: A,
    epoch: Instant,
    roles: BTreeMap<Name, Watched>,
}

/// One role of a cluster.
struct Watched {
    scaler: Scaler,
    arrivals: Arrivals,
    /// When it was last sampled, and what was seen then.
    last: Option<Seen>,
    /// When it is decided next.
    next: Instant,
}

/// What a sample is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    at: Instant,
    in_flight: usize,
    queued: usize,
    /// Requests that were finished since the process began, refused ones included.
    finished: u64,
    /// Those of them that nodes were asked for.
    asked: u64,
    node_load: Option<f64>,
}

impl<A: Acting> Autoscaler<A> {
    /// Takes in the configuration that holds now. A role whose policy is another one begins anew.
    fn follow(&mut self, config: &Config, now: Instant) {
        let mut present = BTreeSet::new();
        for cluster in &config.clusters {
            for role in Role::ALL {
                let Some(policy) = cluster.pools[role.index()].scale else { continue };
                let name = (cluster.name.clone(), role);
                present.insert(name.clone());
                if self.roles.get(&name).is_none_or(|watched| *watched.scaler.policy() != policy) {
                    self.roles.insert(name, Watched::new(policy, now));
                }
            }
        }
        self.roles.retain(|name, _| present.contains(name));
        for (cluster, role) in self.board.retain(|name| present.contains(name)) {
            self.metrics.scale().forget(&cluster, role);
        }
    }

    fn sample(&mut self, snapshot: &Snapshot, moment: Moment, now: Instant) {
        for ((cluster, role), watched) in &mut self.roles {
            let views = snapshot.pools().filter(|view| view.pool.cluster == *cluster && view.pool.role == *role);
            watched.observe(seen(views, moment, now), self.epoch);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.roles.values().any(|watched| watched.next <= now)
    }

    fn decide(&mut self, pools: &[ShownPool], now: Instant) {
        for ((cluster, role), watched) in self.roles.iter_mut().filter(|(_, watched)| watched.next <= now) {
            let own = pools.iter().filter(|shown| shown.pool.cluster == *cluster && shown.pool.role == *role);
            let (fleet, took) = watched.arrivals.observe(&members_of(own), now);
            took.into_iter().for_each(|took| watched.scaler.joined(took));
            let decision = watched.scaler.decide(&fleet, now.saturating_duration_since(self.epoch));
            let policy = *watched.scaler.policy();
            watched.next = now + policy.interval;
            let acts = self.acting.acts(cluster, *role, &policy);
            let posted = Posted { decision, fleet, policy, acts, at: SystemTime::now(), moment: now };
            self.metrics.scale().show(cluster, *role, &posted);
            let before = self.board.post((cluster.clone(), *role), posted.clone());
            if before.is_none_or(|before| before.decision.wanted != decision.wanted) {
                tell(cluster, *role, &posted);
            }
        }
    }
}

/// A line of the log for a decision that is not the one before.
fn tell(cluster: &ClusterName, role: Role, posted: &Posted) {
    let Posted { decision, fleet: Fleet { ready, starting, draining }, .. } = posted;
    info!(
        "scale: {cluster}/{role}: {} wanted ({ready} ready, {} starting, {draining} draining): {}",
        decision.wanted,
        starting.len(),
        decision.reason
    );
}

impl Watched {
    fn new(policy: ScalePolicy, now: Instant) -> Self {
        Watched { scaler: Scaler::new(policy), arrivals: Arrivals::default(), last: None, next: now + policy.interval }
    }

    fn observe(&mut self, seen: Seen, epoch: Instant) {
        if let Some(last) = self.last.replace(seen) {
            self.scaler.observe(&sample(&last, &seen, epoch));
        }
    }
}

/// What pools of one role are busy with now.
fn seen<'a>(views: impl Iterator<Item = &'a PoolView>, moment: Moment, now: Instant) -> Seen {
    let mut seen = Seen { at: now, in_flight: 0, queued: 0, finished: 0, asked: 0, node_load: None };
    let mut nodes = BTreeMap::new();
    for view in views {
        // The pools of a role share its counters.
        seen.finished = view.pool.metrics.finished_so_far();
        seen.asked = view.pool.metrics.asked_so_far();
        seen.queued += view.pool.queue.waiting();
        for member in view.members() {
            seen.queued += member.queue.waiting();
            let load = view.gauge(member).reported(moment, view.pool.settings.load.fade * 2);
            let known = nodes.entry(member.node.id()).or_insert((member.node.in_flight(), None));
            known.1 = known.1.or(load);
        }
    }
    seen.in_flight = nodes.values().map(|(in_flight, _)| in_flight).sum();
    let loads: Vec<f64> = nodes.values().filter_map(|(_, load)| *load).map(f64::from).collect();
    seen.node_load = (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64);
    seen
}

/// What has happened between two looks. Requests in flight, times the time, is what requests have been on nodes: over a
/// while that is the same as the sum over those that were finished, and it counts those too that take long.
fn sample(last: &Seen, seen: &Seen, epoch: Instant) -> Sample {
    let passed = seen.at.saturating_duration_since(last.at);
    let finished = seen.finished.saturating_sub(last.finished);
    let held = |seen: &Seen| u64::try_from(seen.in_flight + seen.queued).unwrap_or(u64::MAX);
    Sample {
        at: seen.at.saturating_duration_since(epoch),
        in_flight: seen.in_flight,
        queued: seen.queued,
        // Whoever came is finished, or here; a node that was taken out takes its requests along.
        arrivals: finished.saturating_add(held(seen)).saturating_sub(held(last)),
        completions: seen.asked.saturating_sub(last.asked),
        time_on_nodes: passed.saturating_mul(u32::try_from(last.in_flight).unwrap_or(u32::MAX)),
        node_load: seen.node_load,
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
