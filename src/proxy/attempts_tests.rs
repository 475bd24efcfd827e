//! Attempts while the configuration changes, without sockets.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::Method;

use super::*;
use crate::classify::{Class, Decision as Classified};
use crate::config::{self, Config};
use crate::ids::{Endpoint, Role};
use crate::observe::metrics::Metrics;
use crate::registry::Setup;
use crate::upstream::TrustStore;

const NODE: &str = "{ id: wk-1, host: 192.0.2.1 }";
const OTHER: &str = "{ id: wk-2, host: 192.0.2.2 }";

/// Workers with room for one request each.
fn config(nodes: &[&str], more: &str) -> Config {
    let yaml = format!(
        "listeners: {{ web: {{ bind: ['127.0.0.1:0'], role: worker, endpoint: servlet }} }}
clusters:
  esb:
    product: esb
    hosts: {{ worker: ['*'] }}
    endpoints: {{ servlet: {{ scheme: http, health: off }} }}
    pools: {{ worker: {{ max_in_flight: 1, affinity: route }} }}
    nodes: [{}]
    {more}
",
        nodes.join(", ")
    );
    config::parse(&yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn registry(config: Config, metrics: &Arc<Metrics>) -> Registry {
    let setup = Setup::new(config, TrustStore::default(), metrics);
    Registry::new(setup, metrics.clone(), Vec::new(), Instant::now(), 1)
}

/// A request of a tenant; `session`: the route of the member that has its session.
fn request(registry: &Registry, session: Option<&str>) -> (Route, RequestHeader) {
    let mut header = RequestHeader::build(Method::GET, b"/", None).unwrap();
    if let Some(route) = session {
        header.insert_header("cookie", format!("JSESSIONID=x.{route}")).unwrap();
    }
    let tenant = Some("gold.test".into());
    let decision = Classified { cluster: 0, role: Role::Worker, class: Class::Service, tenant, forward: None };
    let mut route = Route::new(registry.snapshot(), decision, Endpoint::Servlet);
    route.find_tenant(None);
    route.find_session("127.0.0.1".parse().unwrap(), &header);
    (route, header)
}

/// Where a request has to wait.
fn stand(attempts: &Attempts, route: &Route) -> Stand {
    attempts.choose_now(route, Instant::now()).unwrap().err().expect("all are full")
}

/// Takes a member, and returns what counts a request on it.
fn lease(registry: &Registry, node: &str) -> Lease {
    let (route, _) = request(registry, Some(node));
    Attempts::default().choose_now(&route, Instant::now()).unwrap().expect("it has room").lease
}

/// Whether a request has a member now.
fn has_member(waits: std::pin::Pin<&mut impl Future<Output = Result<Chosen, NoMember>>>) -> bool {
    match waits.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map(drop).is_ok(),
        Poll::Pending => false,
    }
}

/// A place is kept free for a request of a session. If that leaves in place of taking it, those get it that were kept back,
/// also where the request was not at first.
#[tokio::test]
async fn whoever_waits_no_more_tells_the_pool_that_it_is_in_by_now() {
    let limit = Duration::from_secs(60);
    for moves in [false, true] {
        let registry = registry(config(&[NODE, OTHER], ""), &Arc::new(Metrics::new().unwrap()));
        let (busy, _also) = (lease(&registry, "wk-1"), lease(&registry, "wk-2"));
        let (route, _) = request(&registry, Some("wk-1"));
        let attempts = Attempts::default();
        let mut first = Box::pin(attempts.wait_in(stand(&attempts, &route), limit, &route, &registry));
        assert!(!has_member(first.as_mut()));
        // From now on a pool without the other node has the tenant.
        let partition = "tenants: { partitions: [{ name: gold, tenants: [gold.test], nodes: [wk-1] }] }";
        if moves {
            registry.apply(Arc::new(config(&[NODE, OTHER], partition)), None, Instant::now());
            assert!(!has_member(first.as_mut()), "it waits there");
        }
        let (route, _) = request(&registry, None);
        let mut second = pin!(attempts.wait_in(stand(&attempts, &route), limit, &route, &registry));
        assert!(!has_member(second.as_mut()));
        drop(busy);
        assert!(!has_member(second.as_mut()), "the place is the first one's: {moves}");
        drop(first);
        assert!(has_member(second.as_mut()), "moves: {moves}");
    }
}

/// The member of a session goes after its request has failed there: the session has moved when another one is asked, once.
#[test]
fn a_session_whose_member_is_removed_between_two_tries_is_gone() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let registry = registry(config(&[NODE, OTHER], ""), &metrics);
    let (mut route, header) = request(&registry, Some("wk-1"));
    let mut attempts = Attempts::default();
    let mut try_once = || {
        attempts.begin(&mut route, &registry);
        let now = Instant::now();
        let chosen = attempts.choose_now(&route, now).unwrap().expect("one has room");
        attempts.take(chosen, &mut route, &header, now).unwrap();
        let node = attempts.lease().unwrap().node().id().to_string();
        let text = metrics.render().unwrap();
        let moved = text.lines().filter(|line| line.starts_with("carbon_elb_sessions_moved_total{"));
        (node, moved.map(str::to_owned).collect::<Vec<_>>(), attempts.away_once())
    };
    assert_eq!(try_once(), ("wk-1".to_owned(), vec![], false));
    registry.apply(Arc::new(config(&[OTHER, "{ id: wk-3, host: 192.0.2.3 }"], "")), None, Instant::now());
    let gone = "carbon_elb_sessions_moved_total{cluster=\"esb\",reason=\"gone\",role=\"worker\"} 1";
    for _ in 0..2 {
        let (node, moved, away_once) = try_once();
        assert!(["wk-2", "wk-3"].contains(&node.as_str()), "{node}");
        assert_eq!((moved, away_once), (vec![gone.to_owned()], false));
    }
}
