//! Tells what a source says: the writer of members, the log, and the metrics.

use std::sync::Arc;
use std::time::SystemTime;

use log::{info, warn};
use tokio::sync::mpsc;

use super::Update;
use super::track::{Failure, News, Track};
use crate::config::Node;
use crate::ids::{ClusterName, SourceName};
use crate::observe::sources::SourceMetrics;

/// What a source reports to.
#[derive(Debug)]
pub(super) struct Reporter {
    cluster: ClusterName,
    source: SourceName,
    track: Track,
    /// What of the last good answer was refused.
    refused: Vec<String>,
    metrics: Arc<SourceMetrics>,
    updates: mpsc::Sender<Update>,
}

/// Nobody wants to know any more.
#[derive(Debug)]
pub(super) struct Closed;

impl Reporter {
    pub(super) fn new(
        cluster: &ClusterName,
        source: &SourceName,
        metrics: &Arc<SourceMetrics>,
        updates: mpsc::Sender<Update>,
    ) -> Self {
        metrics.show(cluster, source);
        Reporter {
            cluster: cluster.clone(),
            source: source.clone(),
            track: Track::default(),
            refused: Vec::new(),
            metrics: metrics.clone(),
            updates,
        }
    }

    /// The source in log lines.
    pub(super) fn name(&self) -> String {
        format!("{}, source {}", self.cluster, self.source)
    }

    /// The members of the last good answer.
    pub(super) fn members(&self) -> impl Iterator<Item = &Node> {
        self.track.members()
    }

    /// Tells an answer.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(super) async fn tell(&mut self, answer: Result<Vec<Node>, Failure>) -> Result<(), Closed> {
        if answer.is_err() {
            self.metrics.error(&self.cluster, &self.source);
        }
        let step = self.track.take(answer);
        let held = self.track.members().count();
        match step.news {
            Some(News::Failed(Failure { reason, detail })) => {
                let colon = if detail.is_empty() { "" } else { ": " };
                warn!("{}: {reason}{colon}{detail}; its {held} members stay as they are", self.name());
            }
            Some(News::Recovered) => info!("{}: it answers again", self.name()),
            None => {}
        }
        self.note_good();
        let Some((members, difference)) = step.update else { return Ok(()) };
        info!("{}: {held} members {}", self.name(), difference.to_text());
        let update = Update { cluster: self.cluster.clone(), source: self.source.clone(), members };
        self.updates.send(update).await.map_err(|_| Closed)
    }

    /// Counts an answer of which something was refused, and says so if that is news.
    pub(super) fn refuse(&mut self, refused: &[String]) {
        if !refused.is_empty() {
            self.metrics.error(&self.cluster, &self.source);
            if self.refused != refused {
                warn!("{}: {}", self.name(), refused.join(", "));
            }
        }
        self.refused = refused.to_vec();
    }

    /// Notes that the source has nothing new to say, if what it said last was good.
    pub(super) fn note_good(&self) {
        if self.track.is_good() {
            self.metrics.good(&self.cluster, &self.source, self.track.members().count(), SystemTime::now());
        }
    }
}
