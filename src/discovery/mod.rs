//! Where nodes are. One source a file.
//!
//! [`dns`] finds the addresses of nodes that are configured by name. The other modules find members that are not
//! configured at all: a `file` that is looked at, or `records` of DNS, by `lookup`. Each source is a task that turns what it
//! was answered into a whole set of members; a `track` keeps what was good last, so that only changes are told, and an
//! answer that is none takes nobody away. [`Sources`] starts the tasks and ends them, as the configuration says.
//!
//! [`docker`] belongs to another process, which registers what it finds through the admin API.

pub mod dns;
pub mod docker;
mod file;
mod lookup;
mod records;
mod report;
mod track;
mod ttl;

use std::sync::Arc;

use log::error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::report::Reporter;
use crate::config::{Config, MemberRules, Node, Source, SourceKind};
use crate::ids::{ClusterName, SourceName};
use crate::observe::sources::SourceMetrics;

/// All members that a source knows of now: they replace those that it told before.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Whose members they are.
    pub cluster: ClusterName,
    /// Who says so.
    pub source: SourceName,
    /// In the order of their ids, which are unique in the set.
    pub members: Vec<Node>,
}

/// What makes a task the one that it is: if any of it changes, another task takes its place.
#[derive(Debug, Clone, PartialEq)]
struct Task {
    cluster: ClusterName,
    source: Source,
    rules: MemberRules,
}

/// The sources that are asked.
#[derive(Debug)]
pub struct Sources {
    updates: mpsc::Sender<Update>,
    metrics: Arc<SourceMetrics>,
    running: Vec<(Task, JoinHandle<()>)>,
}

impl Sources {
    /// None yet. What they find goes to `updates`; sources end when nobody listens there.
    pub fn new(updates: mpsc::Sender<Update>, metrics: Arc<SourceMetrics>) -> Self {
        Sources { updates, metrics, running: Vec::new() }
    }

    /// Asks the sources of `config`, and no others from now on. One that has changed keeps its members until it has
    /// answered; the members of one that is gone go with it.
    pub async fn apply(&mut self, config: &Config) {
        let wanted = tasks(config);
        let (kept, ended): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|(task, _)| wanted.contains(task));
        self.running = kept;
        for (task, handle) in ended {
            handle.abort();
            // After this it says nothing more. An error is that it was aborted, as it should be.
            let _ = handle.await;
            if !wanted.iter().any(|wanted| wanted.is_of(&task)) {
                self.metrics.forget(&task.cluster, &task.source.name);
                let gone = Update { cluster: task.cluster, source: task.source.name, members: Vec::new() };
                // Nobody listens any more: the process ends.
                let _ = self.updates.send(gone).await;
            }
        }
        for task in wanted {
            if !self.running.iter().any(|(running, _)| *running == task) {
                let reporter = Reporter::new(&task.cluster, &task.source.name, &self.metrics, self.updates.clone());
                let handle = tokio::spawn(follow(task.source.kind.clone(), task.rules, reporter));
                self.running.push((task, handle));
            }
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.running.iter().for_each(|(_, handle)| handle.abort());
    }
}

impl Task {
    /// Whether the other one asks the same source, perhaps in another way.
    fn is_of(&self, other: &Task) -> bool {
        (&self.cluster, &self.source.name) == (&other.cluster, &other.source.name)
    }
}

fn tasks(config: &Config) -> Vec<Task> {
    let of_cluster = |cluster| (cluster, config.member_rules(cluster));
    let clusters = config.clusters.iter().map(of_cluster);
    let tasks = clusters.flat_map(|(cluster, rules)| {
        let task = move |source: &Source| Task { cluster: cluster.name.clone(), source: source.clone(), rules };
        cluster.sources.iter().map(task)
    });
    tasks.collect()
}

/// Asks a source until nobody wants to know any more.
async fn follow(kind: SourceKind, rules: MemberRules, reporter: Reporter) {
    match kind {
        SourceKind::File(source) => file::follow(source, rules, reporter).await,
        SourceKind::Dns(source) => match lookup::Resolver::new(source.server) {
            Ok(resolver) => lookup::follow(source, resolver, reporter).await,
            Err(e) => error!("{}: names cannot be looked up: {e}", reporter.name()),
        },
    }
}

#[cfg(test)]
mod tests;
