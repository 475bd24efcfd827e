//! Sources of a cluster, with nobody behind them but the test.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use carbon_elb::config;
use carbon_elb::discovery::{Sources, Update};
use carbon_elb::observe::sources::SourceMetrics;

use crate::support::{PATIENCE, wait_until};

/// Sources that are asked, on a thread of their own that ends with the test process.
pub(crate) struct Followed {
    updates: Receiver<Update>,
    collected: prometheus::Registry,
}

impl Followed {
    /// Asks sources as a cluster of the configuration has them.
    #[track_caller]
    pub(crate) fn start(sources: &str) -> Followed {
        let text = format!(
            "listeners: {{ web: {{ bind: '127.0.0.1:0', role: worker, endpoint: passthrough }} }}\nclusters:\n  esb:\n    \
             product: esb\n    hosts: {{ worker: ['*'] }}\n    endpoints: {{ passthrough: {{ health: off }} }}\n    \
             pools: {{ worker: {{ allowed_networks: [0.0.0.0/0, '::/0', 127.0.0.0/8, '::1'] }} }}\n    \
             sources: {{ {sources} }}\n"
        );
        let loaded = config::parse(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let collected = prometheus::Registry::new();
        let metrics = Arc::new(SourceMetrics::new(&collected).expect("metrics of different names"));
        let (sender, updates) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (told, mut heard) = tokio::sync::mpsc::channel(16);
                let mut sources = Sources::new(told, metrics);
                sources.apply(&loaded.config).await;
                while let Some(update) = heard.recv().await {
                    if sender.send(update).is_err() {
                        return;
                    }
                }
            });
        });
        Followed { updates, collected }
    }

    /// The members of the next update, as `ID HOST [SERVLET, PASSTHROUGH] xWEIGHT`.
    #[track_caller]
    pub(crate) fn next(&self) -> Vec<String> {
        let update = self.updates.recv_timeout(PATIENCE).expect("no update of the members");
        let member = |node: &config::Node| {
            let backup = if node.backup { " backup" } else { "" };
            format!("{} {} {:?} x{}{backup}", node.id, node.host.to_text(), node.ports, node.weight)
        };
        update.members.iter().map(member).collect()
    }

    /// Waits for an update with this many members, and passes over others.
    #[track_caller]
    pub(crate) fn until_members(&self, expected: usize) {
        let mut got = usize::MAX;
        while got != expected {
            got = self
                .updates
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|e| panic!("{got} members, and then {e}"))
                .members
                .len();
        }
    }

    /// Whether nothing was told since the last look.
    pub(crate) fn is_silent(&self) -> bool {
        self.updates.try_recv().is_err()
    }

    /// A metric of a source; 0 if there is none yet.
    pub(crate) fn metric(&self, name: &str, source: &str) -> f64 {
        let family = self.collected.gather().into_iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric().to_vec()).unwrap_or_default();
        let of_source = metrics.iter().find(|metric| metric.get_label().iter().any(|label| label.value() == source));
        // Before the source has begun there is none.
        let Some(metric) = of_source else { return 0.0 };
        if name.ends_with("_total") { metric.get_counter().get_value() } else { metric.get_gauge().get_value() }
    }

    /// Waits until answers of a source could not be used, so many times more than by now.
    #[track_caller]
    pub(crate) fn wait_for_errors(&self, source: &str, more: f64) {
        let now = self.metric("source_errors_total", source);
        wait_until("answers that cannot be used", || self.metric("source_errors_total", source) >= now + more);
    }
}
