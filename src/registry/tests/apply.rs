//! One configuration after the other: what stays, what goes, and what those that wait get.

use std::time::Duration;

use super::*;
use crate::affinity::Found;
use crate::config::Affinity;
use crate::queue::{Queue, Try};

const SECOND: Duration = Duration::from_secs(1);

/// A configuration with these nodes and settings of the worker pool.
pub(super) fn with(nodes: &[&str], settings: &str) -> String {
    let nodes: String = nodes.iter().map(|node| format!("{{ {node} }}, ")).collect();
    format!(
        "
listeners: {{ web: {{ bind: ['127.0.0.1:0'], role: worker }} }}
clusters: {{ esb: {{ product: esb, hosts: {{ worker: ['*'] }}, nodes: [{nodes}],
  endpoints: {{ servlet: {{ scheme: http, health: tcp }} }},
  pools: {{ worker: {{ health: {{ rise: 1, fall: 1 }}, {settings} }} }} }} }}"
    )
}

pub(super) const ONE: &str = "id: wk-1, host: 192.0.2.1";
pub(super) const TWO: &str = "id: wk-2, host: 192.0.2.2";
pub(super) const THREE: &str = "id: wk-3, host: 192.0.2.3";

pub(super) fn apply(registry: &Registry, yaml: &str) -> Changes {
    registry.apply(Arc::new(config(yaml)), None, Instant::now())
}

pub(super) fn key(registry: &Registry, id: &str) -> NodeKey {
    let name = |text: &str| crate::ids::Name::parse(text).unwrap();
    registry.node(&name("esb"), &name(id)).unwrap_or_else(|| panic!("there is no {id}"))
}

pub(super) fn probe(registry: &Registry, id: &str, good: bool) {
    let key = key(registry, id);
    let config = registry.config();
    let node = config.clusters[0].nodes.iter().find(|node| node.id.as_str() == id).unwrap();
    let port = probed_port(&config.clusters[0], node, Endpoint::Servlet);
    let place = SocketAddr::new(registry.address(key).unwrap(), port);
    assert!(registry.record_probe(key, Endpoint::Servlet, place, good, Instant::now()).is_some(), "{id} {good}");
}

/// A registry with nodes that are up.
pub(super) fn up(nodes: &[&str], settings: &str) -> Registry {
    let registry = registry(&with(nodes, settings));
    registry.config().clusters[0].nodes.iter().for_each(|node| probe(&registry, node.id.as_str(), true));
    registry
}

pub(super) fn view(snapshot: &Snapshot) -> &PoolView {
    snapshot.pool(0, None, Role::Worker, Endpoint::Servlet).unwrap()
}

/// What is known of the members: `id standing`.
pub(super) fn standings(registry: &Registry) -> Vec<String> {
    let snapshot = registry.snapshot();
    let known = view(&snapshot).members().iter();
    known.map(|member| format!("{} {}", member.node.id(), member.standing.as_str())).collect()
}

fn workers(registry: &Registry) -> Vec<String> {
    picked(registry, Role::Worker, 20)
}

#[test]
fn nodes_that_stay_keep_all_that_is_known_of_them() {
    let registry = up(&[ONE, TWO, THREE], "affinity: route");
    let (one, two, three) = (key(&registry, "wk-1"), key(&registry, "wk-2"), key(&registry, "wk-3"));
    registry.set_admin_state(one, AdminState::Draining, Instant::now());
    probe(&registry, "wk-2", false);
    let before = registry.snapshot();
    let lease = view(&before).members()[2].node.gauge(Endpoint::Servlet).try_start(None, Default::default());
    assert_eq!(standings(&registry), ["wk-1 draining", "wk-2 down", "wk-3 ready"]);

    // Another order, another weight, one more and later one less.
    let changes = apply(&registry, &with(&[THREE, "id: wk-0, host: 192.0.2.9", ONE, TWO], "affinity: route"));
    assert_eq!(changes.joined.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["wk-0"]);
    assert!(changes.left.is_empty());
    assert_eq!(standings(&registry), ["wk-1 draining", "wk-2 down", "wk-3 ready", "wk-0 joining"]);
    assert_eq!([one, two, three], ["wk-1", "wk-2", "wk-3"].map(|id| key(&registry, id)));
    let changes = apply(&registry, &with(&["id: wk-3, host: 192.0.2.3, weight: 7", ONE], "affinity: route"));
    assert_eq!(changes.left.len(), 2);
    assert_eq!(standings(&registry), ["wk-1 draining", "wk-3 ready"]);
    let after = registry.snapshot();
    assert!(Arc::ptr_eq(&view(&before).members()[2].node, &view(&after).members()[1].node));
    assert_eq!((view(&after).members()[1].weight, view(&after).in_flight()), (700, 1));
    drop(lease);
    assert_eq!(view(&after).in_flight(), 0);

    // Whoever comes back is somebody else.
    apply(&registry, &with(&[ONE, TWO, THREE], "affinity: route"));
    assert!(key(&registry, "wk-2") != two && key(&registry, "wk-3") == three);
    let late = registry.record_probe(two, Endpoint::Servlet, "192.0.2.2:9763".parse().unwrap(), true, Instant::now());
    assert_eq!((late, registry.address(two)), (None, None), "nobody has the number any more");
}

#[test]
fn who_comes_waits_for_a_good_probe_and_then_starts_slowly() {
    let registry = up(&[ONE], "slow_start: 10s");
    apply(&registry, &with(&[ONE, TWO], "slow_start: 10s"));
    assert_eq!((workers(&registry), standings(&registry)[1].as_str()), (vec!["wk-1".to_owned()], "wk-2 joining"));
    probe(&registry, "wk-1", false);
    assert!(workers(&registry).is_empty(), "not even if nobody else is there");
    let snapshot = registry.snapshot();
    let ask = Ask { tried: &[], session: Session::None, again: None, key: 0, ticket: None };
    assert!(matches!(view(&snapshot).pick(&ask, Instant::now()), Choice::Full), "then requests wait for it");
    probe(&registry, "wk-2", false);
    let snapshot = registry.snapshot();
    assert!(matches!(view(&snapshot).pick(&ask, Instant::now()), Choice::Nobody), "but not if it is down");
    probe(&registry, "wk-1", true);
    probe(&registry, "wk-2", true);
    assert_eq!(standings(&registry)[1], "wk-2 starting");

    // A node at another place is as good as new, and one that is never probed needs no probe.
    apply(&registry, &with(&[ONE, "id: wk-2, host: 192.0.2.2, ports: { servlet: 1234 }"], "slow_start: 10s"));
    assert_eq!(standings(&registry)[1], "wk-2 joining");
    apply(&registry, &with(&[ONE, "id: wk-2, host: 192.0.2.77, ports: { servlet: 1234 }"], "slow_start: 10s"));
    assert_eq!(standings(&registry)[1], "wk-2 joining");
    assert_eq!(registry.address(key(&registry, "wk-2")), Some("192.0.2.77".parse().unwrap()));
    let unprobed = with(&[ONE, TWO, THREE], "slow_start: 10s").replace("health: tcp", "health: off");
    apply(&registry, &unprobed);
    assert_eq!(standings(&registry), ["wk-1 starting", "wk-2 starting", "wk-3 starting"]);
    apply(&registry, &with(&[ONE, TWO, THREE], "slow_start: off"));
    assert_eq!(workers(&registry), ["wk-1", "wk-2", "wk-3"], "they are up until a probe says otherwise");
}

#[test]
fn what_does_not_change_is_shared() {
    let registry = up(&[ONE, TWO], "balance: hash");
    let other = "  own: { product: esb, hosts: { worker: [own.test] }, nodes: [{ id: x, host: 192.0.2.50 }], \
                 endpoints: { servlet: { scheme: http } } } }";
    let two_clusters = |nodes: &[&str]| {
        let text = with(nodes, "balance: hash").replace("['*']", "[a.test]");
        let text = text.trim_end().strip_suffix('}').unwrap().trim_end().to_owned();
        format!("{text},\n{other}")
    };
    apply(&registry, &two_clusters(&[ONE, TWO]));
    let before = registry.snapshot();
    let pools = |snapshot: &Snapshot| -> Vec<*const PoolView> { snapshot.pools().map(std::ptr::from_ref).collect() };
    let same = |a: &Snapshot, b: &Snapshot| -> Vec<bool> {
        pools(a).iter().zip(pools(b)).map(|(a, b)| std::ptr::eq(*a, b)).collect()
    };
    apply(&registry, &two_clusters(&[ONE, TWO]));
    let after = registry.snapshot();
    assert_eq!(same(&before, &after), [true, true], "nothing has changed");
    assert!(Arc::ptr_eq(&before.setup.classifier, &after.setup.classifier));
    assert!(Arc::ptr_eq(&before.setup.throttle, &after.setup.throttle));
    apply(&registry, &two_clusters(&[ONE, TWO, THREE]));
    let more = registry.snapshot();
    assert_eq!(same(&after, &more), [false, true]);
    assert!(Arc::ptr_eq(&after.setup.classifier, &more.setup.classifier), "nodes do not matter to it");
    probe(&registry, "wk-3", true);
    let probed = registry.snapshot();
    assert_eq!(same(&more, &probed), [false, true]);
    apply(&registry, &two_clusters(&[ONE, TWO, THREE]).replace("own.test", "other.test"));
    let routed = registry.snapshot();
    assert_eq!(same(&probed, &routed), [true, true]);
    assert!(!Arc::ptr_eq(&probed.setup.classifier, &routed.setup.classifier));
}

#[test]
fn a_pool_goes_on_where_it_was() {
    let registry = up(&[ONE, TWO], "queue: { length: 3 }");
    let before = registry.snapshot();
    let (pool, queue) = (view(&before).pool.clone(), view(&before).members()[0].queue.clone());
    let next = |settings: &str, endpoint: &str| {
        let yaml = with(&[ONE, TWO, THREE], settings).replace("scheme: http,", endpoint);
        apply(&registry, &yaml);
        let snapshot = registry.snapshot();
        (view(&snapshot).pool.clone(), view(&snapshot).members()[0].queue.clone())
    };
    let (same, same_queue) = next("queue: { length: 3 }", "scheme: http,");
    assert!(Arc::ptr_eq(&same, &pool) && Arc::ptr_eq(&same_queue, &queue), "another member changes no setting");
    let (timeouts, same_queue) = next("queue: { length: 5, wait: 7s }, retry: { budget: 50% }", "scheme: http,");
    assert!(!Arc::ptr_eq(&timeouts, &pool));
    assert!(Arc::ptr_eq(&timeouts.queue, &pool.queue) && Arc::ptr_eq(&same_queue, &queue), "who waits, waits on");
    assert_eq!((queue.retry_after(), pool.queue.retry_after()), (7, 7), "by the new policy");
    assert_eq!(timeouts.key, pool.key, "idle connections can be used");
    let tls = "scheme: https, tls: { verify: false, server_name: a.test },";
    let (secure, _) = next("retry: { budget: 50% }", tls);
    assert_ne!(secure.key, timeouts.key, "these cannot");
    let (again, _) = next("retry: { budget: 50% }, panic: 10%", tls);
    assert_eq!(again.key, secure.key);
}

#[test]
fn ejections_outlive_a_change_of_the_members_but_not_one_of_the_policy() {
    let settings = "outliers: { consecutive: 1 }";
    let registry = up(&[ONE, TWO], settings);
    let snapshot = registry.snapshot();
    let recorder = view(&snapshot).members()[0].recorder.clone().unwrap();
    assert!(recorder.record(crate::health::passive::Outcome::GatewayError, Duration::ZERO));
    assert_eq!(registry.tick(Instant::now()).len(), 1);
    apply(&registry, &with(&[ONE, TWO, THREE], settings));
    assert_eq!(standings(&registry), ["wk-1 ejected", "wk-2 ready", "wk-3 joining"]);
    let snapshot = registry.snapshot();
    assert!(Arc::ptr_eq(&recorder, view(&snapshot).members()[0].recorder.as_ref().unwrap()));
    assert_eq!(registry.tick(Instant::now()).len(), 0);
    apply(&registry, &with(&[ONE], settings));
    assert_eq!(standings(&registry), ["wk-1 ready"], "nobody else is left");
    let told = registry.tick(Instant::now());
    assert_eq!(told.iter().map(|told| told.change.why.as_str()).collect::<Vec<_>>(), ["smaller_pool"]);
    apply(&registry, &with(&[ONE, TWO], settings));
    let snapshot = registry.snapshot();
    let recorder = view(&snapshot).members()[0].recorder.clone().unwrap();
    assert!(recorder.record(crate::health::passive::Outcome::GatewayError, Duration::ZERO));
    assert_eq!(registry.tick(Instant::now()).len(), 1);
    apply(&registry, &with(&[ONE, TWO], "outliers: { consecutive: 2 }"));
    assert_eq!(standings(&registry), ["wk-1 ready", "wk-2 joining"]);
    assert_eq!(registry.tick(Instant::now()).len(), 1, "and it is told");
}

/// Whoever waits for a member gets one of those that there are after the change.
#[tokio::test]
async fn who_waits_is_served_by_the_members_that_come() {
    let registry = Arc::new(up(&[ONE], "max_in_flight: 1"));
    let before = registry.snapshot();
    let busy = pick(view(&before)).unwrap();
    let waiting = {
        let registry = registry.clone();
        let queue = view(&before).pool.queue.clone();
        tokio::spawn(async move {
            let turn = |ticket| {
                let snapshot = registry.snapshot();
                let ask = Ask { tried: &[], session: Session::None, again: None, key: 0, ticket: Some(ticket) };
                match view(&snapshot).pick(&ask, Instant::now()) {
                    Choice::Picked(picked) => Try::Done((picked.member.node.id().to_string(), picked.lease)),
                    _ => Try::Again,
                }
            };
            queue.wait(30 * SECOND, turn).await.map(|(id, _)| id)
        })
    };
    while view(&before).pool.queue.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // The pool is another one, its queue the same; the new member is in it as soon as it is up.
    apply(&registry, &with(&[ONE, TWO], "max_in_flight: 1, panic: 10%, queue: { length: 9 }"));
    tokio::task::yield_now().await;
    assert_eq!(view(&registry.snapshot()).pool.queue.waiting(), 1);
    probe(&registry, "wk-2", true);
    assert_eq!(waiting.await.unwrap().unwrap(), "wk-2");
    drop(busy);
}

/// A limit is raised: nobody has to end for those that wait.
#[tokio::test]
async fn who_waits_is_told_of_other_limits_and_of_queues_that_are_gone() {
    let registry = up(&[ONE, TWO], "max_in_flight: 1");
    let before = registry.snapshot();
    let queues = || -> Vec<Arc<Queue>> {
        let view = view(&before);
        [&view.pool.queue, &view.members()[0].queue, &view.members()[1].queue].map(Arc::clone).to_vec()
    };
    let tries: Vec<_> = queues().iter().map(|_| Arc::new(std::sync::atomic::AtomicUsize::new(0))).collect();
    let waiters: Vec<_> = queues()
        .into_iter()
        .zip(tries.clone())
        .map(|(queue, tries)| {
            tokio::spawn(async move {
                let turn = |_| {
                    tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Try::<()>::Again
                };
                queue.wait(30 * SECOND, turn).await
            })
        })
        .collect();
    let count = || tries.iter().map(|tries| tries.load(std::sync::atomic::Ordering::Relaxed)).collect::<Vec<_>>();
    while count() != [1, 1, 1] {
        tokio::task::yield_now().await;
    }
    apply(&registry, &with(&[ONE, TWO], "max_in_flight: 2"));
    while count() != [2, 2, 2] {
        tokio::task::yield_now().await;
    }
    apply(&registry, &with(&[TWO], "max_in_flight: 2"));
    while count() != [3, 3, 3] {
        tokio::task::yield_now().await;
    }
    apply(&registry, &with(&[TWO], "max_in_flight: 2").replace("esb:", "other:"));
    // The session's queue of the node that left before is nobody's any more.
    while count() != [4, 3, 4] {
        tokio::task::yield_now().await;
    }
    waiters.iter().for_each(|waiter| waiter.abort());
}

#[test]
fn sessions_follow_their_member() {
    let registry = up(&[ONE, TWO, THREE], "affinity: route");
    let session = |snapshot: &Snapshot, route: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", format!("JSESSIONID=1.{route}").parse().unwrap());
        let source = crate::affinity::Source {
            client: "192.0.2.200".parse().unwrap(),
            headers: &headers,
            tenant: None,
            path: b"/",
        };
        view(snapshot).pool.sessions.find(&source, b"/")
    };
    let before = registry.snapshot();
    let found = session(&before, "wk-3");
    let (three, sessions) = (key(&registry, "wk-3"), &view(&before).pool.sessions);
    assert_eq!(sessions.node(found), Some(three.0));

    let moved = ["id: wk-3, host: 192.0.2.3, weight: 9", "id: wk-0, host: 192.0.2.9", ONE];
    apply(&registry, &with(&moved, "affinity: route"));
    let after = registry.snapshot();
    let translated = view(&after).pool.sessions.translate(found, sessions);
    assert_eq!(view(&after).pool.sessions.node(translated), Some(three.0), "a request that began before");
    assert_eq!(view(&after).pool.sessions.node(session(&after, "wk-3")), Some(three.0), "one that begins now");
    let gone = session(&before, "wk-2");
    assert_eq!(view(&after).pool.sessions.translate(gone, sessions), Session::Found(Found::Gone));
    assert_eq!(session(&after, "wk-2"), Session::Found(Found::Gone));
    assert_eq!(view(&after).pool.sessions.translate(Session::None, sessions), Session::None);

    // The node is called otherwise in session ids.
    apply(&registry, &with(&["id: wk-3, host: 192.0.2.3, route: three", ONE], "affinity: route"));
    let renamed = registry.snapshot();
    assert_eq!(session(&renamed, "wk-3"), Session::Found(Found::Gone));
    assert_eq!(view(&renamed).pool.sessions.node(session(&renamed, "three")), Some(three.0));
}

#[test]
fn cookies_are_made_with_the_newest_key_and_read_with_all() {
    let cookie = |registry: &Registry| {
        let snapshot = registry.snapshot();
        let member = &view(&snapshot).members()[0];
        let sessions = &view(&snapshot).pool.sessions;
        let value = sessions.set_cookie(Session::Found(Found::Absent), member.index, false).unwrap();
        value.to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let find = |registry: &Registry, cookie: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        let client = "192.0.2.200".parse().unwrap();
        let source = crate::affinity::Source { client, headers: &headers, tenant: None, path: b"/" };
        view(&registry.snapshot()).pool.sessions.find(&source, b"/")
    };
    let registry = up(&[ONE, TWO], "affinity: cookie");
    assert!(matches!(registry.config().clusters[0].pools[Role::Worker.index()].affinity, Affinity::Cookie(_)));
    let own = cookie(&registry);
    let with_keys = |keys: &[&str]| {
        let mut config = config(&with(&[ONE, TWO], "affinity: cookie"));
        config.affinity_keys = keys.iter().map(|key| Secret::new(key.as_bytes())).collect();
        registry.apply(Arc::new(config), None, Instant::now());
    };
    with_keys(&["the first key of all"]);
    let first = cookie(&registry);
    assert_ne!(first, own);
    assert_eq!(find(&registry, &own), Session::Found(Found::Forged));
    with_keys(&["the second key of all", "the first key of all"]);
    let second = cookie(&registry);
    assert_eq!(find(&registry, &first), Session::Found(Found::Known { position: 0, current: false }));
    assert_eq!(find(&registry, &second), Session::Found(Found::Known { position: 0, current: true }));
    with_keys(&[]);
    assert_eq!(cookie(&registry), own, "the process has its own key as before");
}

#[test]
fn what_is_shown_of_nodes_goes_with_them() {
    let registry = up(&[ONE, TWO], "outliers: { consecutive: 1 }");
    let snapshot = registry.snapshot();
    let recorder = view(&snapshot).members()[1].recorder.clone().unwrap();
    assert!(recorder.record(crate::health::passive::Outcome::GatewayError, Duration::ZERO));
    assert_eq!(registry.tick(Instant::now()).len(), 1);
    let lines = |id: &str| {
        let text = registry.metrics.render().unwrap();
        text.lines().filter(|line| line.contains(&format!("node=\"{id}\""))).count()
    };
    assert_eq!((lines("wk-1"), lines("wk-2")), (1, 2), "up, and ejected");
    apply(&registry, &with(&[ONE, THREE], "outliers: { consecutive: 1 }"));
    assert_eq!((lines("wk-1"), lines("wk-2"), lines("wk-3")), (1, 0, 1));
    apply(&registry, &with(&[ONE], "").replace("role: worker", "role: worker, endpoint: passthrough"));
    let text = registry.metrics.render().unwrap();
    assert!(text.contains("endpoint=\"passthrough\",node=\"wk-1\""), "{text}");
    assert!(!text.contains("endpoint=\"servlet\",node=\"wk-1\""), "nothing leads there any more: {text}");
}

#[test]
fn a_node_that_moves_drains_as_before_and_its_sessions_are_counted_anew() {
    let registry = registry(&with(&["id: wk-1, host: wk-1.test", TWO], "load: { agent: { port: 7777 } }"));
    let (one, now) = (key(&registry, "wk-1"), Instant::now());
    assert!(registry.record_address(one, "wk-1.test", "192.0.2.1".parse().unwrap(), now));
    let reply = crate::report::agent::parse(b"drain\n").unwrap();
    assert!(registry.record_agent(one, "192.0.2.1".parse().unwrap(), &reply, now).is_some());
    let left = |registry: &Registry| registry.shown_node(one).unwrap().node.sessions_left().left(now).is_some();
    assert!(left(&registry));
    assert!(registry.record_address(one, "wk-1.test", "192.0.2.111".parse().unwrap(), now));
    assert!(!left(&registry), "the agent that said so does not speak for it any more");
}

/// What is on its way while the configuration changes says nothing of where the node is after it.
#[test]
fn late_answers_about_another_place_do_not_count() {
    let named = "id: wk-1, host: wk1.example";
    let registry = registry(&with(&[named, TWO], ""));
    let (one, now) = (key(&registry, "wk-1"), Instant::now());
    let [old, new] = ["192.0.2.1", "10.0.0.9"].map(|address| address.parse::<IpAddr>().unwrap());
    assert!(registry.record_address(one, "wk1.example", old, now));
    apply(&registry, &with(&["id: wk-1, host: 10.0.0.9", TWO], ""));
    assert_eq!(key(&registry, "wk-1"), one);
    assert!(!registry.record_address(one, "wk1.example", old, now), "a look-up that ends late");
    assert_eq!(registry.address(one), Some(new));
    apply(&registry, &with(&["id: wk-1, host: other.example", TWO], ""));
    assert!(!registry.record_address(one, "wk1.example", old, now));
    assert_eq!(registry.address(one), None);
    assert!(registry.record_address(one, "other.example", new, now));

    let good = |port| registry.record_probe(one, Endpoint::Servlet, SocketAddr::new(new, port), true, now).is_some();
    apply(&registry, &with(&["id: wk-1, host: 10.0.0.9, ports: { servlet: 1234 }", TWO], ""));
    assert!(!good(9763) && standings(&registry)[0] == "wk-1 joining", "a probe of the port that it has left");
    assert!(good(1234) && standings(&registry)[0] != "wk-1 joining");
}

#[test]
fn requests_that_fail_where_a_node_was_eject_nobody() {
    let settings = "outliers: { consecutive: 1 }";
    let registry = up(&["id: wk-1, host: 192.0.2.1", TWO], settings);
    let recorder = || view(&registry.snapshot()).members()[0].recorder.clone().unwrap();
    let fails = |recorder: Arc<crate::health::passive::Recorder>| {
        assert!(recorder.record(crate::health::passive::Outcome::GatewayError, Duration::ZERO));
        registry.tick(Instant::now()).len()
    };
    let before = recorder();
    apply(&registry, &with(&["id: wk-1, host: 192.0.2.77", TWO], settings));
    probe(&registry, "wk-1", true);
    assert_eq!((fails(before), standings(&registry)[0].as_str()), (0, "wk-1 ready"));
    assert_eq!((fails(recorder()), standings(&registry)[0].as_str()), (1, "wk-1 ejected"), "those of the new place do");
}

#[test]
fn a_thousand_members_keep_their_numbers() {
    let nodes: Vec<String> = (0..1000).map(|i| format!("id: wk-{i}, host: 10.0.{}.{}", i / 250, i % 250 + 1)).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let registry = registry(&with(&nodes[..999], ""));
    let keys: Vec<_> = (0..999).map(|i| key(&registry, &format!("wk-{i}"))).collect();
    let (few, all) = (Arc::new(config(&with(&nodes[..999], ""))), Arc::new(config(&with(&nodes, ""))));
    for round in 0..10 {
        registry.apply(if round % 2 == 0 { all.clone() } else { few.clone() }, None, Instant::now());
    }
    assert_eq!((0..999).map(|i| key(&registry, &format!("wk-{i}"))).collect::<Vec<_>>(), keys);
    assert_eq!(view(&registry.snapshot()).members().len(), 999);
}

#[test]
fn who_is_leaving_is_drained_whatever_operators_want() {
    let registry = up(&[ONE, TWO], "");
    let leave = |leaving: bool| {
        let mut config = Config::clone(&registry.config());
        config.clusters[0].nodes[0].leaving = leaving;
        registry.apply(Arc::new(config), None, Instant::now());
    };
    let counts = || {
        let shown = registry.shown_node(key(&registry, "wk-1")).unwrap();
        shown.node.sessions_left().left(Instant::now()).is_some()
    };
    leave(true);
    assert_eq!((standings(&registry), counts()), (vec!["wk-1 draining".to_owned(), "wk-2 ready".to_owned()], true));
    assert_eq!(workers(&registry), ["wk-2"]);
    let one = key(&registry, "wk-1");
    registry.set_admin_state(one, AdminState::Maintenance, Instant::now());
    assert_eq!(standings(&registry)[0], "wk-1 maintenance");
    registry.set_admin_state(one, AdminState::Ready, Instant::now());
    assert_eq!(standings(&registry)[0], "wk-1 draining");
    leave(false);
    assert_eq!((standings(&registry)[0].as_str(), counts()), ("wk-1 ready", false));
    assert_eq!(workers(&registry), ["wk-1", "wk-2"]);
    assert_eq!(key(&registry, "wk-1"), one, "it is the same node all the time");
}
