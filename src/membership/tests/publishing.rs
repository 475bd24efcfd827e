//! The task that publishes, in time that the tests hold.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{advance, pause};

use super::*;

/// What was published, and when, counted from the beginning.
struct Log {
    begin: tokio::time::Instant,
    published: Mutex<Vec<(Duration, Vec<String>)>>,
    in_flight: AtomicUsize,
}

impl Target for Arc<Log> {
    fn publish(&self, config: Arc<Config>, now: Instant) {
        let ids = nodes(&config, "esb")[2..].to_vec();
        self.published.lock().push((now - self.begin.into_std(), ids));
    }

    fn in_flight(&self, nodes: &[(ClusterName, NodeId)]) -> Vec<usize> {
        nodes.iter().map(|_| self.in_flight.load(Ordering::Relaxed)).collect()
    }
}

struct Stage {
    membership: Arc<Membership>,
    log: Arc<Log>,
    _task: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn new() -> Stage {
        pause();
        let membership = Arc::new(Membership::new(config(CLUSTERS), Arc::new(Metrics::new().unwrap())));
        let begin = tokio::time::Instant::now();
        let log = Arc::new(Log { begin, published: Mutex::default(), in_flight: AtomicUsize::new(0) });
        let task = tokio::spawn(Publisher::new(membership.clone(), log.clone()).run());
        let stage = Stage { membership, log, _task: task };
        stage.pass(0).await;
        stage
    }

    /// Lets time pass in small steps, so that the task acts when it wants to.
    async fn pass(&self, millis: u64) {
        for _ in 0..millis.div_ceil(10) {
            advance(Duration::from_millis(10)).await;
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    fn register(&self, id: &str, address: &str, seconds: u64) {
        let registration = Registration { lease: Duration::from_secs(seconds), ..at(address) };
        let now = tokio::time::Instant::now().into_std();
        self.membership.register(&name("esb"), &name(id), &registration, now, anybody).unwrap();
    }

    fn published(&self) -> Vec<(u128, String)> {
        let published = std::mem::take(&mut *self.log.published.lock());
        published.into_iter().map(|(when, ids)| (when.as_millis(), ids.join(", "))).collect()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_together_is_published_together_and_renewals_are_not() {
    let stage = Stage::new().await;
    stage.register("n1", "10.0.1.1", 30);
    stage.pass(0).await;
    assert_eq!(stage.published(), [(0, "n1 10.0.1.1 x1".into())], "the first change does not wait");
    for (id, address) in [("n2", "10.0.1.2"), ("n3", "10.0.1.3")] {
        stage.register(id, address, 30);
        stage.pass(10).await;
    }
    assert_eq!(stage.published(), []);
    stage.pass(100).await;
    let all = "n1 10.0.1.1 x1, n2 10.0.1.2 x1, n3 10.0.1.3 x1";
    let published = stage.published();
    // The timer is not finer than the steps in which time passes.
    assert!(published.len() == 1 && (50..=60).contains(&published[0].0), "{published:?}");
    assert_eq!(published[0].1, all);
    for _ in 0..100 {
        stage.register("n1", "10.0.1.1", 30);
        let now = tokio::time::Instant::now().into_std();
        stage.membership.renew(&name("esb"), &name("n2"), None, now, anybody).unwrap();
        stage.pass(10).await;
    }
    assert_eq!(stage.published(), []);
}

#[tokio::test(flavor = "current_thread")]
async fn who_falls_silent_is_drained_and_taken_out() {
    let stage = Stage::new().await;
    stage.register("n1", "10.0.1.1", 2);
    stage.log.in_flight.store(1, Ordering::Relaxed);
    stage.pass(1900).await;
    assert_eq!(stage.published().len(), 1);
    stage.pass(400).await;
    assert_eq!(stage.published().into_iter().map(|(_, ids)| ids).collect::<Vec<_>>(), ["n1 10.0.1.1 x1 leaving"]);
    stage.pass(5000).await;
    assert_eq!(stage.published(), [], "it is busy");
    stage.log.in_flight.store(0, Ordering::Relaxed);
    stage.pass(300).await;
    assert_eq!(stage.published().into_iter().map(|(_, ids)| ids).collect::<Vec<_>>(), [""]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_new_file_is_published_with_the_members() {
    let stage = Stage::new().await;
    stage.register("n1", "10.0.1.1", 30);
    stage.pass(100).await;
    stage.published();
    let now = tokio::time::Instant::now().into_std();
    let base = config(&CLUSTERS.replace("id: wk-1", "id: wk-2"));
    let effective = stage.membership.reload(base, now, |effective| effective);
    assert_eq!(nodes(&effective, "esb")[1..], ["wk-2 10.0.0.1 x2", "n1 10.0.1.1 x1"]);
    stage.pass(100).await;
    assert_eq!(stage.published(), [], "once is enough");
}
