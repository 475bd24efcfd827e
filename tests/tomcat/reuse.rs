//! Connections to Tomcat: used again as long as it allows, and never the client's trouble.

use std::time::Duration;

use crate::fleet::fleet;
use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::load::Load;
use crate::support::tomcat::Connector;
use crate::support::topology::HOST;

const CLIENTS: usize = 4;

/// Counts each request by the kind of its connection to the node.
const CONNECTIONS: &str = "carbon_elb_upstream_connections_total";

/// Sends `each` requests on each of [`CLIENTS`] connections; every one has to succeed.
fn run(elb: &Elb, listener: &str, each: usize) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(elb.address(listener));
                for i in 0..each {
                    // Every fourth has a body, which a broken connection could not simply be sent again.
                    let request = Request::get(HOST, "/services/echo");
                    let post = Request::new("POST", HOST, "/services/echo").body(b"12345678");
                    let response = client.request(if i % 4 == 3 { &post } else { &request });
                    assert_eq!(response.status, 200, "request {i}: {}", response.text());
                    assert!(!client.closed, "the client's connection was closed at request {i}");
                }
            });
        }
    });
}

/// Connections that requests used: new ones and used ones.
fn connections(elb: &Elb) -> [f64; 2] {
    let metrics = elb.metrics();
    ["new", "reused"].map(|kind| metrics.sum(CONNECTIONS, &[("kind", kind)]))
}

#[test]
fn steady_load_uses_connections_again_that_tomcat_keeps_for_ever() {
    const EACH: usize = 1_500;
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    let mut requests = 0;
    // Over TLS, where a new connection costs most, and in clear text.
    for listener in ["clear", "clear-api"] {
        // The connections of the beginning, which no load can do without.
        run(&elb, listener, 50);
        requests += CLIENTS * 50;
        elb.wait_for_count(CONNECTIONS, &[], requests as f64);
        let [new_before, reused_before] = connections(&elb);
        run(&elb, listener, EACH);
        requests += CLIENTS * EACH;
        // Every request is counted once.
        elb.wait_for_count(CONNECTIONS, &[], requests as f64);
        let [new, reused] = connections(&elb);
        let (new, reused) = (new - new_before, reused - reused_before);
        assert!(reused / (new + reused) >= 0.999, "{listener}: {new} new connections, {reused} used again");
    }
}

#[test]
fn no_request_fails_for_tomcats_own_limit_of_requests() {
    const EACH: usize = 1_000;
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.topology("separated", "manager", Connector::Plain));
    run(&elb, "clear-api", EACH);
    // Tomcat has closed a connection after each 100 requests, or this has tested nothing; and was not made to more often.
    let [new, reused] = connections(&elb);
    assert!(new >= (CLIENTS * EACH / 100) as f64, "{new} new connections, {reused} used again");
    assert!(reused / (new + reused) >= 0.95, "{new} new connections, {reused} used again");
}

#[test]
fn no_request_fails_for_a_connection_that_tomcat_closes_at_that_moment() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.topology("separated", "manager", Connector::Hasty));
    // The pause of a client is about as long as Tomcat keeps an idle connection (30 ms), so that many requests meet one
    // that is closed or just being closed.
    let load = Load::start(elb.address("clear-api"), HOST, "/services/echo", 8, Duration::from_millis(29));
    load.wait_for(1_000);
    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), samples.len());
    let [new, _] = connections(&elb);
    assert!(new >= 50.0, "only {new} connections were closed, so this has tested nothing");
}
