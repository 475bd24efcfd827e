//! What an operator sees: access lines, metrics, health of the balancer itself.

use serde_json::Value;

use crate::support::client::{Client, Request, get};
use crate::support::elb::Elb;
use crate::support::node::{ClosedPort, StubNode};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology};
use crate::support::wait_until;

#[test]
fn every_request_leaves_a_line() {
    let (worker, manager) = (StubNode::worker("w1"), StubNode::manager("m1"));
    let elb = Elb::start(&Topology::workers(&[worker.address()]).manager("m1", manager.address()));
    let mut client = Client::connect(elb.web());
    let request = Request::new("POST", "esb.test:8080", "/services/echo/op?password=secret").body(b"12345");
    let bytes = client.request(&request).body.len();
    let line = elb.access_line("the request", |line| line["path"] == "/services/echo/op");
    for (key, expected) in [
        ("method", Value::from("POST")),
        ("host", "esb.test:8080".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", bytes.into()),
        ("received", 5.into()),
        ("listener", "web".into()),
        ("cluster", "esb".into()),
        ("role", "worker".into()),
        ("node", "w1".into()),
        ("client", client.local_address().to_string().into()),
        ("reason", Value::Null),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert!(line["total_ms"].as_f64().is_some_and(|time| time > 0.0), "{line}");
    assert!(line["first_byte_ms"].as_f64() <= line["total_ms"].as_f64(), "{line}");
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    assert!(!line.to_string().contains("secret"), "the query is in the log: {line}");
}

#[test]
fn a_refused_request_leaves_a_line_with_the_reason_and_is_counted() {
    let (worker, closed) = (StubNode::worker("w1"), ClosedPort::new());
    let elb = Elb::start(&Topology::workers(&[worker.address()]).manager("m1", closed.address()));
    let mut reasons = Vec::new();
    for (listener, host, path, status) in [
        ("web", "nobody.test", "/services/echo/a", 421),
        ("web", HOST, "/carbon/b", 404),
        ("web", HOST, "/unknown/c", 404),
        ("console", CONSOLE_HOST, "/services/echo/d", 404),
    ] {
        assert_eq!(get(elb.address(listener), host, path).status, status, "{host}{path}");
        let line = elb.access_line(path, |line| line["path"] == path);
        assert_eq!((&line["status"], &line["listener"]), (&status.into(), &listener.into()), "{line}");
        assert_eq!(line["node"], Value::Null, "{line}");
        let reason = line["reason"].as_str().unwrap_or_else(|| panic!("no reason in {line}")).to_owned();
        let refused = || elb.metrics().sum("carbon_elb_refused_total", &[("reason", &reason)]);
        wait_until(&format!("a refusal for {reason} is counted"), || refused() >= 1.0);
        reasons.push(reason);
    }
    assert!(reasons[0] != reasons[1] && reasons[1] != reasons[2], "reasons are not told apart: {reasons:?}");
    assert_eq!(elb.metrics().sum("carbon_elb_refused_total", &[]), 4.0);
    // A request that could not be connected is the pool's, not the classifier's.
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/e").status, 503);
    let line = elb.access_line("the unlucky request", |line| line["path"] == "/carbon/e");
    assert!(line["reason"].is_string(), "{line}");
    assert_eq!((&line["role"], &line["cluster"]), (&"manager".into(), &"esb".into()), "{line}");
}

#[test]
fn metrics_tell_requests_by_role_and_class() {
    let (worker, manager) = (StubNode::worker("w1"), StubNode::manager("m1"));
    let failing = StubNode::start("w2", "worker", &["--status", "503"]);
    let topology = Topology::workers(&[worker.address(), failing.address()]).manager("m1", manager.address());
    let elb = Elb::start(&topology);
    for _ in 0..10 {
        get(elb.web(), HOST, "/services/echo");
    }
    for _ in 0..3 {
        assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/").status, 200);
    }
    let of = |role, code| [("cluster", "esb"), ("role", role), ("code", code)];
    // A request is counted after its answer has been sent.
    wait_until("all are counted", || elb.metrics().sum("carbon_elb_requests_total", &[]) >= 13.0);
    let metrics = elb.metrics();
    for (role, code, expected) in [("worker", "2xx", 5.0), ("worker", "5xx", 5.0), ("manager", "2xx", 3.0)] {
        assert_eq!(metrics.sum("carbon_elb_requests_total", &of(role, code)), expected, "{role} {code}");
    }
    for (role, expected) in [("worker", 10.0), ("manager", 3.0)] {
        assert_eq!(metrics.sum("carbon_elb_request_seconds_count", &[("role", role)]), expected, "{role}");
        let infinite = [("role", role), ("le", "+Inf")];
        assert_eq!(metrics.sum("carbon_elb_request_seconds_bucket", &infinite), expected, "{role}");
        assert!(metrics.sum("carbon_elb_request_seconds_sum", &[("role", role)]) > 0.0);
    }
    assert_eq!(metrics.sum("carbon_elb_in_flight", &[]), 0.0);
    for node in ["w1", "w2", "m1"] {
        assert_eq!(metrics.sum("carbon_elb_node_up", &[("node", node), ("endpoint", "servlet")]), 1.0, "{node}");
    }
}

#[test]
fn the_admin_listener_tells_of_itself_only() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    assert_eq!(elb.admin("/healthz").status, 200);
    assert_eq!(elb.admin("/readyz").status, 200, "with health checks off, nodes count as up");
    let metrics = elb.admin("/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{metrics:?}");
    for path in ["/", "/services/echo", "/carbon/", "/metricsx"] {
        assert_eq!(elb.admin(path).status, 404, "{path}");
    }
    // And what is the admin listener's is not the public's.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(elb.web(), HOST, path).status, 404, "{path}");
    }
}
