//! Counters for Prometheus.
//!
//! A request finds its counters without a look-up by label: they hang on its pool, or are indexed by reason.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry as Collected, TextEncoder,
};

use crate::health::passive::{Change, Standing, Why};
use crate::ids::{ClusterName, Endpoint, Name, NodeId, Role};
use crate::member::AdminState;
use crate::observe::scale::ScaleMetrics;
use crate::observe::sources::SourceMetrics;
use crate::pool::Pool;
use crate::retry::GiveUp;

/// Upper bounds of the latency histogram, in seconds: from a cached answer to the read timeout of a pool.
const LATENCY_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// Classes of status codes; the first stands for a request that got no answer at all.
const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    collected: Collected,
    requests: IntCounterVec,
    seconds: HistogramVec,
    asked: IntCounterVec,
    connections: IntCounterVec,
    retries: IntCounterVec,
    not_retried: IntCounterVec,
    sessions_moved: IntCounterVec,
    cookies_ignored: IntCounterVec,
    reports_unreadable: IntCounterVec,
    ejections: IntCounterVec,
    queued: IntGaugeVec,
    refused: IntCounterVec,
    rate_limited: IntCounterVec,
    node_up: IntGaugeVec,
    in_flight: IntGaugeVec,
    access_lines_lost: IntCounter,
    client_connections: IntGauge,
    connections_refused: IntCounterVec,
    snapshot: IntGauge,
    member_state: IntGaugeVec,
    draining_sessions: IntGaugeVec,
    admin_changes: IntCounterVec,
    admin_refused: IntCounterVec,
    reloads: IntCounterVec,
    configuration: IntGauge,
    configuration_loaded: IntGauge,
    scale: ScaleMetrics,
    sources: Arc<SourceMetrics>,
    member_events: IntCounterVec,
}

/// The counters of one role of one cluster.
#[derive(Debug)]
pub struct PoolMetrics {
    requests: [IntCounter; CODE_CLASSES.len()],
    seconds: Histogram,
    asked: IntCounter,
    new_connections: IntCounter,
    reused_connections: IntCounter,
    retries: IntCounter,
    /// For what is rare: looked up by label when it happens.
    rare: Rare,
    cookies_ignored: IntCounter,
    reports_unreadable: IntCounter,
}

#[derive(Debug)]
struct Rare {
    cluster: String,
    role: Role,
    not_retried: IntCounterVec,
    sessions_moved: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// Two metrics of one name, which would be a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let collected = Collected::new_custom(Some("carbon_elb".to_owned()), None)?;
        let metrics = Metrics {
            requests: IntCounterVec::new(
                Opts::new("requests_total", "Requests that were routed to a pool, by class of the answer's status."),
                &["cluster", "role", "code"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new("request_seconds", "From the end of the request's header to the end of the answer.")
                    .buckets(LATENCY_BUCKETS.to_vec()),
                &["cluster", "role"],
            )?,
            asked: IntCounterVec::new(
                Opts::new("asked_total", "Requests that have ended after some node was asked."),
                &["cluster", "role"],
            )?,
            connections: IntCounterVec::new(
                Opts::new("upstream_connections_total", "Requests to nodes, by whether their connection was new."),
                &["cluster", "role", "kind"],
            )?,
            retries: IntCounterVec::new(
                Opts::new("retries_total", "Attempts beyond the first of a request."),
                &["cluster", "role"],
            )?,
            not_retried: IntCounterVec::new(
                Opts::new("not_retried_total", "Attempts that failed and were not followed by another one, by reason."),
                &["cluster", "role", "reason"],
            )?,
            sessions_moved: IntCounterVec::new(
                Opts::new(
                    "sessions_moved_total",
                    "Requests that did not go to the member of their session, by reason.",
                ),
                &["cluster", "role", "reason"],
            )?,
            cookies_ignored: IntCounterVec::new(
                Opts::new("affinity_cookies_ignored_total", "Affinity cookies that none of the keys has made."),
                &["cluster", "role"],
            )?,
            reports_unreadable: IntCounterVec::new(
                Opts::new("load_reports_unreadable_total", "Reports of load in answers that could not be read."),
                &["cluster", "role"],
            )?,
            ejections: IntCounterVec::new(
                Opts::new("ejections_total", "Members that were ejected because requests failed on them, by reason."),
                &["cluster", "role", "node", "reason"],
            )?,
            queued: IntGaugeVec::new(
                Opts::new("queued", "Requests that wait because all members are full."),
                &["cluster", "role", "endpoint"],
            )?,
            refused: IntCounterVec::new(
                Opts::new("refused_total", "Requests that were answered without asking a node, by reason."),
                &["reason"],
            )?,
            rate_limited: IntCounterVec::new(
                Opts::new("rate_limited_total", "Requests that came earlier than a rate allows, by the rule."),
                &["rule"],
            )?,
            node_up: IntGaugeVec::new(
                Opts::new("node_up", "1 if the health check of the node's endpoint says up."),
                &["cluster", "node", "endpoint"],
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new("in_flight", "Requests that a node is busy with."),
                &["cluster", "node"],
            )?,
            access_lines_lost: IntCounter::new(
                "access_lines_lost_total",
                "Access lines that were dropped because the log could not be written fast enough.",
            )?,
            client_connections: IntGauge::new("client_connections", "Open connections of clients.")?,
            connections_refused: IntCounterVec::new(
                Opts::new("connections_refused_total", "Connections that were closed before a request, by reason."),
                &["reason"],
            )?,
            snapshot: IntGauge::new("snapshot_generation", "Grows each time members, addresses or health change.")?,
            member_state: IntGaugeVec::new(
                Opts::new("member_state", "1 for the state that a member of a pool is in, 0 for all others."),
                &["cluster", "role", "endpoint", "node", "state"],
            )?,
            draining_sessions: IntGaugeVec::new(
                Opts::new("draining_sessions", "Sessions that were seen on a draining node and may live; else 0."),
                &["cluster", "node"],
            )?,
            admin_changes: IntCounterVec::new(
                Opts::new("admin_changes_total", "Nodes that were set to another state through the admin API."),
                &["state"],
            )?,
            admin_refused: IntCounterVec::new(
                Opts::new("admin_refused_total", "Requests to the admin API without the right to ask, by reason."),
                &["reason"],
            )?,
            reloads: IntCounterVec::new(
                Opts::new("reloads_total", "Times that the configuration file was read again, by what came of it."),
                &["outcome"],
            )?,
            configuration: IntGauge::new("configuration", "Counts the configurations of the process; 1 at the start.")?,
            configuration_loaded: IntGauge::new(
                "configuration_loaded_timestamp_seconds",
                "When the configuration in force was taken over, in seconds since 1970.",
            )?,
            sources: Arc::new(SourceMetrics::new(&collected)?),
            member_events: IntCounterVec::new(
                Opts::new("member_events_total", "What happened to members that come and go, by event."),
                &["cluster", "role", "event"],
            )?,
            scale: ScaleMetrics::new(&collected)?,
            collected,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let all: [Box<dyn prometheus::core::Collector>; 27] = [
            Box::new(self.requests.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.asked.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.not_retried.clone()),
            Box::new(self.sessions_moved.clone()),
            Box::new(self.cookies_ignored.clone()),
            Box::new(self.reports_unreadable.clone()),
            Box::new(self.ejections.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.rate_limited.clone()),
            Box::new(self.node_up.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.access_lines_lost.clone()),
            Box::new(self.client_connections.clone()),
            Box::new(self.connections_refused.clone()),
            Box::new(self.snapshot.clone()),
            Box::new(self.member_state.clone()),
            Box::new(self.draining_sessions.clone()),
            Box::new(self.admin_changes.clone()),
            Box::new(self.admin_refused.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.configuration.clone()),
            Box::new(self.configuration_loaded.clone()),
            Box::new(self.member_events.clone()),
        ];
        all.into_iter().try_for_each(|metric| self.collected.register(metric))
    }

    /// What is known of the sources of members.
    pub fn sources(&self) -> &Arc<SourceMetrics> {
        &self.sources
    }

    /// The counters of a role of a cluster.
    pub fn pool(&self, cluster: &ClusterName, role: Role) -> Arc<PoolMetrics> {
        let labels = [cluster.as_str(), role.as_str()];
        let connections = |kind| self.connections.with_label_values(&[labels[0], labels[1], kind]);
        Arc::new(PoolMetrics {
            requests: CODE_CLASSES.map(|code| self.requests.with_label_values(&[labels[0], labels[1], code])),
            seconds: self.seconds.with_label_values(&labels),
            asked: self.asked.with_label_values(&labels),
            new_connections: connections("new"),
            reused_connections: connections("reused"),
            retries: self.retries.with_label_values(&labels),
            cookies_ignored: self.cookies_ignored.with_label_values(&labels),
            reports_unreadable: self.reports_unreadable.with_label_values(&labels),
            rare: Rare {
                cluster: cluster.as_str().to_owned(),
                role,
                not_retried: self.not_retried.clone(),
                sessions_moved: self.sessions_moved.clone(),
            },
        })
    }

    /// Counts a change that ejects a member.
    pub fn ejection(&self, pool: &Pool, node: &NodeId, change: &Change<usize>) {
        if matches!(change.to, Standing::Ejected { .. }) {
            let labels = [pool.cluster.as_str(), pool.role.as_str(), node.as_str(), change.why.as_str()];
            self.ejections.with_label_values(&labels).inc();
        }
    }

    /// Shows how many requests wait in a pool.
    pub fn queued(&self, cluster: &ClusterName, role: Role, endpoint: Endpoint, requests: usize) {
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        self.queued.with_label_values(&[cluster.as_str(), role.as_str(), endpoint.as_str()]).set(requests);
    }

    /// Counts a request that no node was asked for.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts what a rule's rate refuses.
    pub fn rate_limited(&self, rule: &Name) -> IntCounter {
        self.rate_limited.with_label_values(&[rule.as_str()])
    }

    /// Counts a connection that was closed before it could send a request.
    pub fn connection_refused(&self, reason: &str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// Shows whether a node's endpoint is up.
    pub fn node_up(&self, cluster: &ClusterName, node: &NodeId, endpoint: Endpoint, up: bool) {
        self.node_up.with_label_values(&[cluster.as_str(), node.as_str(), endpoint.as_str()]).set(i64::from(up));
    }

    /// Takes the health of a node's endpoint out: nothing leads there any more.
    pub fn forget_endpoint(&self, cluster: &ClusterName, node: &NodeId, endpoint: Endpoint) {
        // An error here and below means that there was nothing to take out.
        let _ = self.node_up.remove_label_values(&[cluster.as_str(), node.as_str(), endpoint.as_str()]);
    }

    /// Takes out what is counted of a node: it is gone. What is looked up when the metrics are asked for goes with
    /// [`Metrics::begin_nodes`].
    pub fn forget_node(&self, cluster: &ClusterName, node: &NodeId) {
        for (role, reason) in Role::ALL.iter().flat_map(|role| Why::EJECTS.map(|reason| (role, reason))) {
            let labels = [cluster.as_str(), role.as_str(), node.as_str(), reason];
            let _ = self.ejections.remove_label_values(&labels);
        }
    }

    /// Takes out what is shown of all nodes and pools, before those that there are now are shown.
    pub fn begin_nodes(&self) {
        for shown in [&self.in_flight, &self.member_state, &self.draining_sessions, &self.queued] {
            shown.reset();
        }
    }

    /// Shows how many requests a node is busy with.
    pub fn in_flight(&self, cluster: &ClusterName, node: &NodeId, requests: usize) {
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        self.in_flight.with_label_values(&[cluster.as_str(), node.as_str()]).set(requests);
    }

    /// Shows what is known of a member of a pool.
    pub fn member_state(&self, pool: &Pool, node: &NodeId, present: crate::pool::Standing) {
        for state in crate::pool::Standing::WORDS {
            let labels = [pool.cluster.as_str(), pool.role.as_str(), pool.endpoint.as_str(), node.as_str(), state];
            self.member_state.with_label_values(&labels).set(i64::from(state == present.as_str()));
        }
    }

    /// Shows how many sessions a draining node has left.
    pub fn draining_sessions(&self, cluster: &ClusterName, node: &NodeId, sessions: usize) {
        let sessions = i64::try_from(sessions).unwrap_or(i64::MAX);
        self.draining_sessions.with_label_values(&[cluster.as_str(), node.as_str()]).set(sessions);
    }

    /// Counts a node that an operator has set to another state.
    pub fn admin_change(&self, state: AdminState) {
        self.admin_changes.with_label_values(&[state.as_str()]).inc();
    }

    /// Counts a request to the admin API that had no right to ask.
    pub fn admin_refused(&self, reason: &str) {
        self.admin_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a reload, by what came of it.
    pub fn reloaded(&self, outcome: &str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// Shows which configuration of the process is in force since when.
    pub fn configuration_loaded(&self, number: u64, when: SystemTime) {
        let seconds = when.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.configuration.set(i64::try_from(number).unwrap_or(i64::MAX));
        self.configuration_loaded.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts something that happened to a member that comes and goes.
    pub fn member_event(&self, cluster: &ClusterName, role: Role, event: &str) {
        self.member_events.with_label_values(&[cluster.as_str(), role.as_str(), event]).inc();
    }

    /// What the autoscaler has decided.
    pub fn scale(&self) -> &ScaleMetrics {
        &self.scale
    }

    /// Counts access lines that were dropped.
    pub fn access_lines_lost(&self) -> &IntCounter {
        &self.access_lines_lost
    }

    /// Shows the connections of clients, and the generation of the snapshot in use.
    pub fn process(&self, client_connections: usize, generation: u64) {
        self.client_connections.set(i64::try_from(client_connections).unwrap_or(i64::MAX));
        self.snapshot.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// A metric without samples or with a label that is not text, which would be a mistake in this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.collected.gather())
    }
}

impl PoolMetrics {
    /// Counts a finished request; `status` is 0 if the client got no answer, `asked` says whether some node was asked.
    pub fn finished(&self, status: u16, took: Duration, asked: bool) {
        let class = usize::from(status / 100).min(CODE_CLASSES.len() - 1);
        // `class` is below the length of both.
        self.requests[class].inc();
        self.seconds.observe(took.as_secs_f64());
        if asked {
            self.asked.inc();
        }
    }

    /// How many requests were finished since the process began, refused ones included.
    pub fn finished_so_far(&self) -> u64 {
        self.seconds.get_sample_count()
    }

    /// How many of them a node was asked for.
    pub fn asked_so_far(&self) -> u64 {
        self.asked.get()
    }

    /// Counts a request that was given to a node.
    pub fn connected(&self, reused: bool) {
        if reused { self.reused_connections.inc() } else { self.new_connections.inc() }
    }

    /// Counts an attempt that failed and is not followed by another one.
    pub fn gave_up(&self, why: GiveUp) {
        let labels = [self.rare.cluster.as_str(), self.rare.role.as_str(), why.as_str()];
        self.rare.not_retried.with_label_values(&labels).inc();
    }

    /// Counts a request that does not go to the member of its session.
    pub fn session_moved(&self, why: &str) {
        let labels = [self.rare.cluster.as_str(), self.rare.role.as_str(), why];
        self.rare.sessions_moved.with_label_values(&labels).inc();
    }

    /// Counts a request whose affinity cookie none of the keys has made.
    pub fn cookie_ignored(&self) {
        self.cookies_ignored.inc();
    }

    /// Counts a report of load in an answer that cannot be read, or says nothing of the node's utilisation.
    pub fn load_report_unreadable(&self) {
        self.reports_unreadable.inc();
    }

    /// Counts an attempt beyond the first.
    pub fn retried(&self) {
        self.retries.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new().unwrap();
        let pool = metrics.pool(&Name::parse("esb").unwrap(), Role::Worker);
        pool.finished(204, Duration::from_millis(3), true);
        pool.finished(0, Duration::from_millis(3), false);
        pool.connected(true);
        metrics.refused("host_unknown");
        let text = metrics.render().unwrap();
        for line in [
            r#"carbon_elb_requests_total{cluster="esb",code="2xx",role="worker"} 1"#,
            r#"carbon_elb_requests_total{cluster="esb",code="none",role="worker"} 1"#,
            r#"carbon_elb_upstream_connections_total{cluster="esb",kind="reused",role="worker"} 1"#,
            r#"carbon_elb_refused_total{reason="host_unknown"} 1"#,
            r#"carbon_elb_request_seconds_count{cluster="esb",role="worker"} 2"#,
            r#"carbon_elb_asked_total{cluster="esb",role="worker"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
