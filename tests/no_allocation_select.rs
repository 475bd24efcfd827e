//! Finding a session's member, picking a member, counting a request on it and taking in its answer allocate nothing.
//!
//! One test in a file of its own: the counter is the whole process's.

#[path = "support/allocations.rs"]
mod allocations;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use allocations::{allocations, assert_counted};
use carbon_elb::affinity::{Found, OwnCookies, Source};
use carbon_elb::config::{self, Algorithm, PoolSettings, Secret};
use carbon_elb::ids::Role;
use carbon_elb::pool::{Session, Sessions};
use carbon_elb::select::{Candidate, Clock, Draws, Gauge, Pick, Selector};
use http::HeaderMap;
use http::header::COOKIE;

#[test]
fn a_request_allocates_nothing() {
    let (clock, now, turn, draws) = (Clock::new(Instant::now()), Instant::now(), AtomicUsize::new(0), Draws::new(1));
    for balance in Algorithm::ALL {
        for members in [1, 3, 1_000] {
            let gauges: Vec<_> = (0..members).map(|_| Arc::new(Gauge::new())).collect();
            let candidates = (0..).zip(&gauges).map(|(identity, gauge)| Candidate { weight: 3, gauge, identity });
            let mut settings = PoolSettings::of(Role::Worker);
            settings.balance = balance;
            let selector = Selector::new(&settings, &candidates.collect::<Vec<_>>());
            let mut key = 0;
            // Also if hardly any is usable.
            for usable in [|_| true, |position| position != 0, |position| position == 0, |_| false] {
                let run = || {
                    key += 1;
                    let request = Pick { now: clock.at(now), turn: &turn, draws: &draws, key };
                    let Some(position) = black_box(selector.pick(&request, usable)) else { return };
                    let gauge = &gauges[position];
                    if let Some(mut in_flight) = gauge.try_start(Some(1), request.now) {
                        in_flight.answered(clock.at(now + Duration::from_millis(key)));
                        gauge.report(0.5, request.now);
                    }
                };
                assert_eq!(allocations(run), 0, "{balance:?}, {members}");
            }
        }
    }

    sessions_allocate_nothing();

    assert_counted();
}

/// What a request costs for its session in a pool with affinity cookies, beside tenant partitions with theirs.
fn sessions_allocate_nothing() {
    const CONFIG: &str = r#"
listeners: { web: { bind: ["127.0.0.1:0"], role: worker } }
clusters:
  esb:
    product: esb
    hosts: { worker: [esb.example.com] }
    endpoints: { servlet: { scheme: http } }
    nodes: [{ id: wk-1, host: 192.0.2.1 }, { id: wk-2, host: 192.0.2.2 }, { id: gold-1, host: 192.0.2.3 }]
    pools: { worker: { affinity: cookie } }
    tenants: { partitions: [{ name: gold, tenants: [gold.example], nodes: [gold-1] }] }
"#;
    let loaded = config::parse(CONFIG, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    let cluster = &loaded.config.clusters[0];
    let (keys, own) = ([Secret::new(*b"key")], Arc::new(OwnCookies::of(cluster)));
    let affinity = &cluster.pools[Role::Worker.index()].affinity;
    let nodes: Vec<_> = cluster.nodes.iter().take(2).enumerate().collect();
    let sessions = Sessions::new(affinity, &keys, (&cluster.name, Role::Worker, None), &nodes, own);
    let none = "JSESSIONID=0123456789ABCDEF.wk-2; theme=dark";
    let sent = sessions.set_cookie(Session::Found(Found::Absent), 1, false).expect("a member has a cookie");
    let sent = sent.to_str().expect("it is text").split(';').next().unwrap_or_default();
    let with_it = format!("{none}; {sent}");
    for (cookies, known) in [(none, false), (&with_it, true)] {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().expect("it is a value"));
        let source = Source { client: [192, 0, 2, 7].into(), headers: &headers, tenant: None, path: b"/" };
        let find = || sessions.find(black_box(&source), b"/");
        assert_eq!(sessions.node(find()), known.then_some(1));
        assert_eq!(sessions.set_cookie(find(), 1, true).is_none(), known);
        let run = || {
            let session = black_box(find());
            let _ = black_box(sessions.node(session));
            let _ = black_box(sessions.set_cookie(session, 1, true));
        };
        assert_eq!(allocations(run), 0, "{cookies}");
        assert_eq!(sessions.strip(&headers).is_some(), known);
        let stripped = allocations(|| drop(black_box(sessions.strip(black_box(&headers)))));
        // What is left without our cookie is written to a buffer of the thread, which the call above has made.
        assert_eq!(stripped, 0, "{cookies}");
    }
}
