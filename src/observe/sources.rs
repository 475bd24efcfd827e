//! Metrics of the sources of members.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::ids::{ClusterName, SourceName};

const LABELS: [&str; 2] = ["cluster", "source"];

/// What is known of each source.
#[derive(Debug)]
pub struct SourceMetrics {
    errors: IntCounterVec,
    members: IntGaugeVec,
    last_good: GaugeVec,
}

impl SourceMetrics {
    /// Registers them with `collected`.
    ///
    /// # Errors
    /// Two metrics of one name, which would be a mistake in this file.
    pub fn new(collected: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = SourceMetrics {
            errors: IntCounterVec::new(
                Opts::new("source_errors_total", "Answers of a source of members that could not be used."),
                &LABELS,
            )?,
            members: IntGaugeVec::new(
                Opts::new("source_members", "Members that a source told of in its last good answer."),
                &LABELS,
            )?,
            last_good: GaugeVec::new(
                Opts::new(
                    "source_last_good_timestamp_seconds",
                    "When a source gave its last good answer; 0 before the first.",
                ),
                &LABELS,
            )?,
        };
        collected.register(Box::new(metrics.errors.clone()))?;
        collected.register(Box::new(metrics.members.clone()))?;
        collected.register(Box::new(metrics.last_good.clone()))?;
        Ok(metrics)
    }

    /// Gives a source its lines before its first answer.
    pub fn show(&self, cluster: &ClusterName, source: &SourceName) {
        let labels = [cluster.as_str(), source.as_str()];
        self.errors.with_label_values(&labels);
        self.members.with_label_values(&labels);
        self.last_good.with_label_values(&labels);
    }

    /// Counts an answer that could not be used.
    pub fn error(&self, cluster: &ClusterName, source: &SourceName) {
        self.errors.with_label_values(&[cluster.as_str(), source.as_str()]).inc();
    }

    /// Notes a good answer.
    pub fn good(&self, cluster: &ClusterName, source: &SourceName, members: usize, now: SystemTime) {
        let labels = [cluster.as_str(), source.as_str()];
        self.members.with_label_values(&labels).set(i64::try_from(members).unwrap_or(i64::MAX));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_good.with_label_values(&labels).set(since.as_secs_f64());
    }

    /// Drops a source that is asked no more.
    pub fn forget(&self, cluster: &ClusterName, source: &SourceName) {
        let labels = [cluster.as_str(), source.as_str()];
        // An error is that it has no lines.
        let _ = self.errors.remove_label_values(&labels);
        let _ = self.members.remove_label_values(&labels);
        let _ = self.last_good.remove_label_values(&labels);
    }
}
