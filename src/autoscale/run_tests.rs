use std::path::Path;

use super::*;
use crate::ids::Endpoint;
use crate::registry::Setup;
use crate::upstream::TrustStore;

const CLUSTER: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker, endpoint: servlet }
  api: { bind: ['127.0.0.1:0'], role: worker, endpoint: passthrough }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'] }
    endpoints: { servlet: { scheme: http, health: off }, passthrough: { health: off } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 192.0.2.11 }
      - { id: wk-2, host: 192.0.2.12 }
";

/// A registry of three nodes whose workers have a policy.
fn registry(metrics: &Arc<Metrics>, now: Instant) -> Arc<Registry> {
    let mut config = crate::config::parse(CLUSTER, Path::new(".")).unwrap_or_else(|p| panic!("{p}")).config;
    let policy = ScalePolicy { acts: true, interval: Duration::from_secs(1), ..ScalePolicy::of(4) };
    config.clusters[0].pools[Role::Worker.index()].scale = Some(policy);
    let setup = Setup::new(config, TrustStore::default(), metrics);
    Arc::new(Registry::new(setup, metrics.clone(), Vec::new(), now, 1))
}

#[test]
fn samples_are_what_has_happened_between_two_looks() {
    let epoch = Instant::now();
    let look = |millis, in_flight, queued, finished, asked| Seen {
        at: epoch + Duration::from_millis(millis),
        in_flight,
        queued,
        finished,
        asked,
        node_load: None,
    };
    let rows = [
        // Five came and were finished; four more came and are here.
        (look(0, 0, 0, 10, 7), look(100, 3, 1, 15, 12), (9, 5, 0)),
        // One was finished, nobody came.
        (look(100, 3, 1, 15, 15), look(300, 3, 0, 16, 16), (0, 1, 600)),
        // A node was taken out with two requests on it.
        (look(100, 3, 0, 15, 15), look(200, 1, 0, 15, 15), (0, 0, 300)),
        // Four came and were refused, and one was finished by its node.
        (look(100, 3, 0, 15, 15), look(200, 2, 0, 20, 16), (4, 1, 300)),
    ];
    for (last, seen, (arrivals, completions, millis)) in rows {
        let sample = sample(&last, &seen, epoch);
        let expected = (arrivals, completions, Duration::from_millis(millis));
        assert_eq!((sample.arrivals, sample.completions, sample.time_on_nodes), expected, "{last:?} {seen:?}");
        assert_eq!((sample.at, sample.in_flight, sample.queued), (seen.at - epoch, seen.in_flight, seen.queued));
    }
}

/// All pools of a role count together.
#[test]
fn refused_requests_have_come_but_no_node_has_finished_them() {
    let (metrics, now) = (Arc::new(Metrics::new().unwrap()), Instant::now());
    let registry = registry(&metrics, now);
    let snapshot = registry.snapshot();
    let of_workers = || snapshot.pools().filter(|view| view.pool.role == Role::Worker);
    let look = || seen(of_workers(), registry.clock().at(now), now);
    let before = look();
    for (view, asked) in of_workers().zip([true, false]) {
        view.pool.metrics.finished(503, Duration::ZERO, false);
        view.pool.metrics.finished(200, Duration::ZERO, asked);
    }
    let sample = sample(&before, &look(), now);
    assert_eq!((sample.arrivals, sample.completions), (4, 1));
}

#[test]
fn a_node_counts_once_with_all_its_endpoints() {
    let (metrics, now) = (Arc::new(Metrics::new().unwrap()), Instant::now());
    let registry = registry(&metrics, now);
    let snapshot = registry.snapshot();
    let moment = registry.clock().at(now);
    let of_workers = || snapshot.pools().filter(|view| view.pool.role == Role::Worker);
    assert_eq!(of_workers().count(), 2, "two endpoints");
    let view = of_workers().next().unwrap();
    let node = &view.members()[0].node;
    let _held = Endpoint::ALL.map(|endpoint| node.gauge(endpoint).try_start(None, moment).unwrap());
    node.gauge(Endpoint::Servlet).report(0.5, moment);
    let seen = seen(of_workers(), moment, now);
    assert_eq!((seen.in_flight, seen.queued, seen.node_load), (2, 0, Some(0.5)));
}

#[tokio::test(start_paused = true)]
async fn load_is_sampled_and_decisions_are_posted() {
    let (metrics, now) = (Arc::new(Metrics::new().unwrap()), tokio::time::Instant::now().into_std());
    let (registry, board) = (registry(&metrics, now), Arc::new(Board::default()));
    let esb = registry.config().clusters[0].name.clone();
    assert!(board.read(&esb, Role::Worker).is_none());
    let service = Autoscaling::new(registry.clone(), metrics.clone(), board.clone(), Configured);
    tokio::spawn(async move { service.run().await });
    // Paused time: it passes at once.
    let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    wait(2).await;
    let idle = board.read(&esb, Role::Worker).expect("a decision each second");
    assert!(idle.acts && idle.decision.wanted <= 2, "{idle:?}");
    assert!(board.read(&esb, Role::Manager).is_none(), "no policy");

    // Sixteen requests at a time are four for each of four nodes.
    let gauge = registry.snapshot().pools().next().unwrap().members()[0].node.gauge(Endpoint::Servlet).clone();
    let held: Vec<_> = (0..16).map(|_| gauge.try_start(None, registry.clock().at(now)).unwrap()).collect();
    wait(70).await;
    let busy = board.read(&esb, Role::Worker).unwrap();
    assert!(busy.decision.wanted >= 4, "{busy:?}");
    assert!(busy.moment > idle.moment);
    let text = metrics.render().unwrap();
    let line = format!("carbon_elb_scale_wanted{{cluster=\"esb\",role=\"worker\"}} {}", busy.decision.wanted);
    assert!(
        text.contains(&line) && text.contains("carbon_elb_scale_ready{cluster=\"esb\",role=\"worker\"} 2"),
        "{text}"
    );
    drop(held);
    wait(600).await;
    assert_eq!(board.read(&esb, Role::Worker).unwrap().decision.wanted, 1);
}

#[test]
fn who_has_no_policy_any_more_is_not_shown() {
    let (metrics, now) = (Arc::new(Metrics::new().unwrap()), Instant::now());
    let registry = registry(&metrics, now);
    let mut autoscaler = Autoscaler {
        board: Arc::default(),
        metrics: metrics.clone(),
        acting: Configured,
        epoch: now,
        roles: BTreeMap::new(),
    };
    let mut config = Config::clone(&registry.config());
    autoscaler.follow(&config, now);
    let later = now + Duration::from_secs(1);
    assert!(!autoscaler.is_due(now) && autoscaler.is_due(later));
    autoscaler.decide(&registry.shown_pools(None, later), later);
    assert!(!autoscaler.is_due(later));
    assert_eq!(autoscaler.board.all().len(), 1);
    assert!(metrics.render().unwrap().contains("carbon_elb_scale_wanted{"));
    config.clusters[0].pools[Role::Worker.index()].scale = None;
    autoscaler.follow(&config, later);
    assert_eq!((autoscaler.board.all().len(), autoscaler.roles.len()), (0, 0));
    assert!(!metrics.render().unwrap().contains("carbon_elb_scale_wanted{"));
}
