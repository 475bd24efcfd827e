//! Who is picked: by weight, by what is known of members, by sessions, and within limits.

mod model;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::ids::NodeId;
use crate::observe::metrics::Metrics;
use crate::retry::Others;

/// What keeps the sessions of a pool whose members are these, by route.
fn sessions_of(members: &[(&str, u32, Standing)]) -> Sessions {
    let (config, _) = config("affinity: route", members);
    workers(&config.clusters[0])
}

fn workers(cluster: &crate::config::Cluster) -> Sessions {
    let affinity = &cluster.pools[Role::Worker.index()].affinity;
    let nodes: Vec<_> = cluster.nodes.iter().enumerate().collect();
    Sessions::new(affinity, &[], (&cluster.name, Role::Worker, None), &nodes, Arc::default())
}

fn config(settings: &str, members: &[(&str, u32, Standing)]) -> (crate::config::Config, Metrics) {
    let nodes: String = members.iter().map(|(id, ..)| format!("{{ id: {id}, host: {id} }}, ")).collect();
    let yaml = format!(
        "
listeners: {{ web: {{ bind: ['127.0.0.1:0'], role: worker }} }}
clusters: {{ esb: {{ product: esb, hosts: {{ worker: ['*'] }}, nodes: [{nodes}],
  endpoints: {{ servlet: {{ scheme: http }} }}, pools: {{ worker: {{ {settings} }} }} }} }}"
    );
    let config = crate::config::parse(&yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}")).config;
    (config, Metrics::new().unwrap())
}

/// A pool with these settings, and members `(id, weight, standing)`.
fn view(settings: &str, members: &[(&str, u32, Standing)]) -> PoolView {
    let (config, metrics) = config(settings, members);
    let cluster = &config.clusters[0];
    let settings = cluster.pools[Role::Worker.index()].clone();
    let pool = Arc::new(Pool::new(PoolParts {
        cluster: cluster.name.clone(),
        role: Role::Worker,
        endpoint: Endpoint::Servlet,
        partition: None,
        sessions: workers(cluster),
        settings: settings.clone(),
        upstream: cluster.endpoints[Endpoint::Servlet.index()].clone(),
        key: 0,
        metrics: metrics.pool(&cluster.name, Role::Worker),
        clock: Clock::new(Instant::now()),
        seed: 1,
    }));
    let member = |(index, &(id, weight, standing)): (usize, &(&str, u32, Standing))| Member {
        node: Arc::new(Node::new(cluster.name.clone(), NodeId::parse(id).unwrap())),
        index,
        host: NodeHost::Name(id.to_owned()),
        address: SocketAddr::from(([192, 0, 2, 1], 9763)),
        ports: [9763, 8280],
        standing,
        draining: standing == Standing::Draining,
        backup: false,
        weight,
        limit: settings.max_in_flight,
        recorder: None,
        queue: Arc::new(Queue::new(settings.queue)),
        identity: crate::affinity::member_identity(&cluster.name, &cluster.nodes[index].id),
    };
    PoolView::new(pool, members.iter().enumerate().map(member).collect())
}

const READY: [(&str, u32, Standing); 3] =
    [("wk-1", 2, Standing::Ready), ("wk-2", 1, Standing::Ready), ("wk-3", 1, Standing::Ready)];

const NEW: Ask<'_> = Ask { tried: &[], session: Session::None, again: None, key: 0, ticket: None };

fn pick<'v>(view: &'v PoolView, ask: &Ask<'_>) -> Option<Picked<'v>> {
    match view.pick(ask, Instant::now()) {
        Choice::Picked(picked) => Some(picked),
        Choice::Full | Choice::SessionFull(_) | Choice::Nobody => None,
    }
}

fn in_flight(view: &PoolView) -> Vec<usize> {
    view.members().iter().map(|member| member.node.in_flight()).collect()
}

#[test]
fn requests_are_spread_by_weight_and_counted() {
    let view = view("", &READY);
    let picked: Vec<_> = (0..8).map(|_| pick(&view, &NEW).unwrap()).collect();
    assert_eq!(in_flight(&view), [4, 2, 2]);
    assert_eq!(view.in_flight(), 8);
    drop(picked);
    assert_eq!(in_flight(&view), [0, 0, 0]);
}

#[test]
fn a_member_that_was_tried_is_not_picked_again() {
    let view = view("", &READY);
    let mut tried = Vec::new();
    while let Some(picked) = pick(&view, &Ask { tried: &tried, ..NEW }) {
        tried.push(picked.member.index);
    }
    assert!(matches!(view.pick(&Ask { tried: &tried, ..NEW }, Instant::now()), Choice::Nobody));
    tried.sort_unstable();
    assert_eq!(tried, [0, 1, 2]);
    assert_eq!(view.others(&[0], 0), Others::Untried);
    assert_eq!(view.others(&[0, 1, 2], 0), Others::Tried);
}

/// The scaler sees who waits, and starts a node for them.
#[test]
fn without_a_member_requests_wait_if_the_pool_is_scaled_to_zero() {
    let scaled = "affinity: route, scale: { target: 4, scale_to_zero: 1m }";
    let choice = |settings: &str, members: &[(&str, u32, Standing)], tried: &[usize]| {
        let view = view(settings, members);
        match view.pick(&Ask { tried, ..NEW }, Instant::now()) {
            Choice::Picked(_) => "picked",
            Choice::Full => "full",
            Choice::SessionFull(_) => "session full",
            Choice::Nobody => "nobody",
        }
    };
    let (draining, down) = (("wk-1", 1, Standing::Draining), ("wk-2", 1, Standing::Down));
    for (settings, expected) in
        [(scaled, "full"), ("scale: { target: 4, scale_to_zero: off }", "nobody"), ("", "nobody")]
    {
        // The last one is stopped, the first one starts.
        assert_eq!(choice(settings, &[draining], &[]), expected, "{settings}");
        assert_eq!(choice(settings, &[draining, down], &[]), expected, "{settings}");
    }
    let empty = |settings: &str| {
        let some = view(settings, &[draining]);
        let empty = PoolView::new(some.pool.clone(), Vec::new());
        matches!(empty.pick(&NEW, Instant::now()), Choice::Full)
    };
    assert!(empty(scaled) && !empty(""));
    // Whoever was there and has failed is no reason to wait for another node.
    assert_eq!(choice(scaled, &[("wk-1", 1, Standing::Ready)], &[]), "picked");
    assert_eq!(choice(scaled, &[("wk-1", 1, Standing::Ready)], &[0]), "nobody");
}

#[test]
fn members_that_are_draining_or_worse_get_nothing_new() {
    let bad = [Standing::Draining, Standing::Down, Standing::Maintenance, Standing::Ejected];
    for standing in bad {
        let view = view("", &[("wk-1", 1, standing), ("wk-2", 1, Standing::Ready)]);
        let picked: Vec<_> = (0..4).map(|_| pick(&view, &NEW).unwrap()).collect();
        assert_eq!(in_flight(&view), [0, 4], "{standing:?}");
        drop(picked);
        assert_eq!((view.ready(), view.others(&[1], 1)), (1, Others::None));
    }
}

#[test]
fn sessions_follow_their_member_until_it_is_down_or_in_maintenance() {
    let headers = |route: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::COOKIE, format!("JSESSIONID=1234.{route}").parse().unwrap());
        headers
    };
    for (standing, kept) in [
        (Standing::Ready, true),
        (Standing::Starting(Duration::ZERO), true),
        (Standing::Draining, true),
        (Standing::Ejected, true),
        (Standing::Trial, true),
        (Standing::Down, false),
        (Standing::Maintenance, false),
    ] {
        let view = view("affinity: route", &[("wk-1", 1, Standing::Ready), ("wk-2", 1, standing)]);
        let headers = headers("wk-2");
        let client = "192.0.2.7".parse().unwrap();
        let source = crate::affinity::Source { client, headers: &headers, tenant: None, path: b"/" };
        let session = view.pool.sessions.find(&source, b"/");
        assert_eq!(view.pool.sessions.node(session), Some(1));
        for _ in 0..5 {
            let picked = pick(&view, &Ask { session, ..NEW }).unwrap();
            assert_eq!(picked.member.index, usize::from(kept), "{standing:?}");
        }
        let elsewhere = pick(&view, &Ask { session, tried: &[1], ..NEW }).unwrap();
        assert_eq!(elsewhere.member.index, 0, "it failed there");
    }
}

#[test]
fn a_hash_keeps_sessions_whatever_the_algorithm() {
    let view = view("affinity: { hash: client }", &READY);
    let chosen = |key| pick(&view, &Ask { session: Session::Hash(key), ..NEW }).unwrap().member.index;
    let draws = Draws::new(7);
    let keys: Vec<u64> = (0..300).map(|_| draws.draw()).collect();
    let all = || keys.iter().map(|&key| chosen(key)).collect::<Vec<_>>();
    let of_keys = all();
    assert_eq!(of_keys, all());
    let counts = [0, 1, 2].map(|index| of_keys.iter().filter(|&&chosen| chosen == index).count());
    assert!(counts[0] > 110 && counts.iter().all(|&count| count > 40), "{counts:?}");
}

#[test]
fn nobody_gets_more_than_the_limit() {
    let view = view("max_in_flight: 2, affinity: route", &READY);
    let held: Vec<_> = (0..6).map(|_| pick(&view, &NEW).unwrap()).collect();
    assert_eq!(in_flight(&view), [2, 2, 2]);
    assert!(matches!(view.pick(&NEW, Instant::now()), Choice::Full));
    let again = Ask { again: Some(1), ..NEW };
    assert!(matches!(view.pick(&again, Instant::now()), Choice::SessionFull(member) if member.index == 1));
    drop(held);
    assert_eq!(pick(&view, &again).unwrap().member.index, 1);
}
