//! Sources, from the configuration to the updates that they send.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::TextEncoder;
use tokio::time::timeout;

use super::*;
use crate::config::{self, NodeHost, Template};
use crate::ids::{Name, Role};

/// A worker of that name.
pub(super) fn node(id: &str) -> Node {
    Node {
        id: Name::parse(id).unwrap(),
        host: NodeHost::Address([127, 0, 0, 9].into()),
        roles: vec![Role::Worker],
        weight: 1,
        backup: false,
        max_in_flight: None,
        route: id.to_owned(),
        ports: [9443, 8280],
        dynamic: true,
        leaving: false,
    }
}

/// What members of a name server get.
pub(super) fn template() -> Template {
    Template { roles: vec![Role::Worker], weight: 3, backup: false, max_in_flight: Some(7), ports: [9443, 8280] }
}

/// Bounds a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, and the sources that read it.
struct Stage {
    folder: PathBuf,
    sources: Sources,
    updates: mpsc::Receiver<Update>,
    collected: prometheus::Registry,
}

impl Stage {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("carbon-elb-sources-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let collected = prometheus::Registry::new();
        let metrics = Arc::new(SourceMetrics::new(&collected).unwrap());
        let (sender, updates) = mpsc::channel(16);
        Stage { folder, sources: Sources::new(sender, metrics), updates, collected }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts a file in the place of another one, as a whole.
    fn replace(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    async fn apply(&mut self, sources: &str) {
        let text = format!(
            "listeners: {{ web: {{ bind: '127.0.0.1:0', role: worker, endpoint: passthrough }} }}\nclusters:\n  esb:\n    \
             product: esb\n    hosts: {{ worker: ['*'] }}\n    endpoints: {{ passthrough: {{ health: off }} }}\n    \
             pools: {{ worker: {{ allowed_networks: [0.0.0.0/0] }} }}\n    \
             nodes: [{{ id: fixed, host: 127.0.0.1 }}]\n    sources: {{ {sources} }}\n"
        );
        let loaded = config::parse(&text, &self.folder).unwrap_or_else(|problems| panic!("{problems}"));
        self.sources.apply(&loaded.config).await;
    }

    /// The next update, as `SOURCE: ID HOST …`.
    async fn next(&mut self) -> String {
        let update = timeout(PATIENCE, self.updates.recv()).await.expect("an update").expect("sources that run");
        assert_eq!(update.cluster.as_str(), "esb");
        let members: Vec<_> = update.members.iter().map(|n| format!(" {}@{}", n.id, n.host.to_text())).collect();
        format!("{}:{}", update.source, members.concat())
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let text = TextEncoder::new().encode_to_string(&self.collected.gather()).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Waits until a metric is what it should be.
    async fn counted(&self, line: &str, expected: f64) {
        let counts = async {
            while self.metric(line) != Some(expected) {
                tokio::task::yield_now().await;
            }
        };
        let counted = timeout(PATIENCE, counts).await;
        assert!(counted.is_ok(), "{line} is {:?}", self.metric(line));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const ERRORS: &str = "source_errors_total{cluster=\"esb\",source=\"listed\"}";
const MEMBERS: &str = "source_members{cluster=\"esb\",source=\"listed\"}";
const LAST_GOOD: &str = "source_last_good_timestamp_seconds{cluster=\"esb\",source=\"listed\"}";

#[tokio::test]
async fn a_file_is_followed_through_replacements_and_mistakes() {
    let mut stage = Stage::new();
    stage.apply("listed: { file: members.yaml, every: 100ms }").await;
    // It is not there yet.
    stage.counted(ERRORS, 1.0).await;
    assert_eq!(stage.metric(LAST_GOOD), Some(0.0));
    stage.replace("members.yaml", "nodes:\n  - { id: b, host: 10.0.0.2 }\n  - { id: a, host: 10.0.0.1 }\n");
    assert_eq!(stage.next().await, "listed: a@10.0.0.1 b@10.0.0.2");
    assert!(stage.metric(LAST_GOOD).unwrap() > 1_600_000_000.0);
    // JSON, and another order: nothing new.
    stage.replace(
        "members.yaml",
        "{\n\t\"nodes\": [\n\t\t{ \"id\": \"a\", \"host\": \"10.0.0.1\" },\n\t\t{ \"id\": \"b\", \"host\": \"10.0.0.2\", \"weight\": 1 }\n\t]\n}\n",
    );
    stage.replace("members.yaml", "{\"nodes\": [{\"id\": \"b\", \"host\": \"10.0.0.3\"}]}");
    assert_eq!(stage.next().await, "listed: b@10.0.0.3");
    for (number, bad) in
        ["nodes: [{ id: b }]", "nodes: [", "", "nodes: [{ id: c, host: 10.0.0.1, wait: 1 }]"].iter().enumerate()
    {
        stage.replace("members.yaml", bad);
        stage.counted(ERRORS, 2.0 + number as f64).await;
        assert_eq!(stage.metric(MEMBERS), Some(1.0), "{bad:?}");
    }
    // Nothing of all that was told.
    stage.replace("members.yaml", "nodes: []");
    assert_eq!(stage.next().await, "listed:", "nobody is a set too, if somebody says so");
    std::fs::remove_file(stage.path("members.yaml")).unwrap();
    stage.counted(ERRORS, 6.0).await;
    // A link that is set to another file, as volumes of containers do it.
    for (version, id) in [("v1", "x"), ("v2", "y")] {
        std::fs::write(stage.path(version), format!("nodes: [{{ id: {id}, host: 10.0.0.1 }}]")).unwrap();
        std::os::unix::fs::symlink(Path::new(version), stage.path("link")).unwrap();
        std::fs::rename(stage.path("link"), stage.path("members.yaml")).unwrap();
        assert_eq!(stage.next().await, format!("listed: {id}@10.0.0.1"));
    }
}

#[tokio::test]
async fn sources_come_and_go_with_the_configuration() {
    let mut stage = Stage::new();
    for name in ["a", "b"] {
        stage.replace(name, &format!("nodes: [{{ id: {name}, host: 10.0.0.1 }}]"));
    }
    stage.apply("listed: { file: a, every: 100ms }").await;
    assert_eq!(stage.next().await, "listed: a@10.0.0.1");
    stage.apply("listed: { file: a, every: 100ms }, more: { file: b }").await;
    assert_eq!(stage.next().await, "more: b@10.0.0.1", "the other one was left alone");
    // The same name with another file: the old members are not taken away in between.
    stage.apply("listed: { file: b }, more: { file: b }").await;
    assert_eq!(stage.next().await, "listed: b@10.0.0.1");
    stage.apply("more: { file: b }").await;
    assert_eq!(stage.next().await, "listed:", "whose source is gone goes");
    assert_eq!(stage.metric(MEMBERS), None);
    // Nobody listens any more: the sources end.
    stage.updates.close();
    stage.replace("b", "nodes: []");
    let (_, handle) = stage.sources.running.pop().unwrap();
    timeout(PATIENCE, handle).await.expect("the source ends").unwrap();
}

#[test]
fn clusters_tell_their_sources_what_members_have_to_fit() {
    let text = "listeners: { web: { bind: '127.0.0.1:0', role: worker } }\nclusters:\n  esb:\n    product: as\n    \
                hosts: { worker: ['*'] }\n    sources: { a: { file: f }, b: { file: f } }\n    \
                pools: { worker: { allowed_networks: ['::/0'] } }\n";
    let config = config::parse(text, Path::new("/nowhere")).unwrap().config;
    let tasks = tasks(&config);
    assert_eq!(tasks.len(), 2);
    assert!(!tasks[0].is_of(&tasks[1]));
    assert_eq!(tasks[0].rules, config.member_rules(&config.clusters[0]));
    assert_eq!((tasks[0].rules.led_to, tasks[0].rules.by_name), ([true, false], [false, true]));
}
