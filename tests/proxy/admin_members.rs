//! Members that register over the API: they join by their health check, and leave without a failed request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::health::{HEALTH, Patient};
use crate::support::client::{Client, Request, Response};
use crate::support::elb::Elb;
use crate::support::load::{Load, count_by_node};
use crate::support::node::StubNode;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

const ALL: &str = "a-token-for-everything";
const WORKERS: &str = "a-token-that-registers-workers";
const READER: &str = "a-token-that-reads-workers";
const W2: &str = "/api/v1/clusters/esb/members/w2";
const RENEW: &str = "/api/v1/clusters/esb/members/w2/renew";
const STATE: &str = "/api/v1/clusters/esb/nodes/w1/state";
const WEIGHT: &str = "/api/v1/clusters/esb/nodes/w1/weight";

#[track_caller]
fn start(topology: Topology) -> Elb {
    let scoped = "{ token: '${WORKERS}', may: [register], pools: [esb/worker] }, { token: '${READER}', may: [read] }";
    let topology = topology.admin(&format!("tokens: ['${{ALL}}', {scoped}]"));
    Elb::start_in(&topology, &[("ALL", ALL), ("WORKERS", WORKERS), ("READER", READER)])
}

/// Workers on loopback may register.
fn topology(steady: &StubNode, settings: &str) -> Topology {
    Topology::workers(&[steady.address()]).worker_pool(&format!("allowed_networks: [127.0.0.0/8], {settings}"))
}

#[track_caller]
fn send(elb: &Elb, token: &str, method: &str, path: &str, body: &Value) -> Response {
    let (bearer, body) = (format!("Bearer {token}"), body.to_string());
    let request = Request::new(method, "localhost", path).header("Authorization", &bearer);
    match method {
        "GET" | "DELETE" => request.send(elb.address("admin")),
        _ => request.header("Content-Type", "application/json").body(body.as_bytes()).send(elb.address("admin")),
    }
}

/// What is said of a node at an address, with ports both at its port.
fn at(address: SocketAddr, lease: u64) -> Value {
    let port = address.port();
    json!({ "address": address.ip(), "ports": { "servlet": port, "passthrough": port }, "lease": lease })
}

#[track_caller]
fn show(elb: &Elb, path: &str) -> (u16, Value) {
    let response = send(elb, ALL, "GET", path, &Value::Null);
    (response.status, response.json())
}

#[test]
fn a_member_joins_by_its_health_check_and_is_drained_when_it_falls_silent() {
    let steady = StubNode::worker("w1");
    let patient = Arc::new(Patient::default());
    let node = patient.node();
    let health = "health: { interval: 200ms, timeout: 200ms, rise: 2, fall: 3 }";
    let elb = start(topology(&steady, health).servlet(HEALTH));
    elb.wait_for_node("w1", "servlet", true);
    let load = Load::start(elb.web(), HOST, "/services/echo", 3, Duration::from_millis(2));
    load.wait_for(20);

    let response = send(&elb, WORKERS, "PUT", W2, &at(node.address(), 60));
    assert_eq!((response.status, &response.json()["lease"]["seconds"]), (201, &json!(60)), "{}", response.text());
    wait_until("it is probed", || patient.probes.load(Ordering::Acquire) >= 5);
    load.wait_for(50);
    assert_eq!(patient.requests.load(Ordering::Acquire), 0, "it is asked before its health check has passed");
    patient.set(true);
    elb.wait_for_node("w2", "servlet", true);
    load.wait_for(50);
    assert!(patient.requests.load(Ordering::Acquire) > 10, "it gets its share");

    // Its last lease is a short one.
    assert_eq!(send(&elb, WORKERS, "POST", RENEW, &json!({ "lease": 1 })).status, 200);
    wait_until("it is leaving", || show(&elb, W2).1["leaving"] == true);
    wait_until("it is gone", || show(&elb, W2).0 == 404);
    wait_until("nobody knows it", || show(&elb, "/api/v1/clusters/esb/nodes/w2").0 == 404);
    // Each client may have one request under way that was sent before.
    load.wait_for(6);
    let before = patient.requests.load(Ordering::Acquire);
    load.wait_for(50);
    assert_eq!(patient.requests.load(Ordering::Acquire), before, "it is asked after it has left");
    assert!(!elb.metrics().has("carbon_elb_node_up", &[("node", "w2")]), "nothing is shown of it any more");
    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "members that come and go cost requests: {failed:?}");
    for event in ["joined", "renewed", "expired", "removed"] {
        elb.wait_for_count("carbon_elb_member_events_total", &[("cluster", "esb"), ("event", event)], 1.0);
    }
}

#[test]
fn what_is_in_flight_on_a_member_that_is_deregistered_finishes() {
    let steady = StubNode::worker("w1");
    let slow = StubNode::start("w2", "worker", &["--delay", "1500ms"]);
    let elb = start(topology(&steady, ""));
    assert_eq!(send(&elb, WORKERS, "PUT", W2, &at(slow.address(), 60)).status, 201);
    wait_until("it is published", || show(&elb, "/api/v1/clusters/esb/nodes/w2").0 == 200);
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(elb.web())).collect();
    clients.iter_mut().for_each(|client| client.send(Request::get(HOST, "/services/echo").to_bytes()));
    wait_until("it is busy", || show(&elb, "/api/v1/clusters/esb/nodes/w2").1["in_flight"] == 1);
    for _ in 0..2 {
        let response = send(&elb, WORKERS, "DELETE", W2, &Value::Null);
        assert_eq!((response.status, &response.json()["leaving"]), (202, &json!(true)), "{}", response.text());
    }
    wait_until("it is drained", || {
        show(&elb, "/api/v1/clusters/esb/nodes/w2").1["members"][0]["standing"] == "draining"
    });
    for _ in 0..6 {
        assert_eq!(Request::get(HOST, "/services/echo").send(elb.web()).echo().node(), "w1");
    }
    let answers: Vec<Response> = clients.iter_mut().map(Client::answer).collect();
    let nodes: Vec<String> = answers.iter().map(|answer| answer.echo().node().to_owned()).collect();
    assert_eq!(count_by_node(nodes.iter().map(String::as_str)), BTreeMap::from([("w1", 1), ("w2", 1)]));
    wait_until("it is gone", || show(&elb, W2).0 == 404);
    assert_eq!(send(&elb, WORKERS, "DELETE", W2, &Value::Null).status, 404);
}

#[test]
fn renewals_are_nothing_to_requests_and_weights_are() {
    let (one, two) = (StubNode::worker("w1"), StubNode::worker("w2"));
    let elb = start(topology(&one, ""));
    assert_eq!(send(&elb, WORKERS, "PUT", W2, &at(two.address(), 60)).status, 201);
    wait_until("it is published", || show(&elb, "/api/v1/clusters/esb/nodes/w2").0 == 200);
    let generation = || elb.metrics().sum("carbon_elb_snapshot_generation", &[]);
    let before = generation();
    for _ in 0..50 {
        assert_eq!(send(&elb, WORKERS, "PUT", W2, &at(two.address(), 60)).status, 200);
        assert_eq!(send(&elb, WORKERS, "POST", RENEW, &json!({})).status, 200);
    }
    elb.wait_for_count("carbon_elb_member_events_total", &[("event", "renewed")], 100.0);
    assert_eq!(generation(), before, "each snapshot costs something");

    let counts = || -> BTreeMap<String, usize> {
        let ask = |_| Request::get(HOST, "/services/echo").send(elb.web()).echo().node().to_owned();
        let nodes: Vec<String> = (0..20).map(ask).collect();
        count_by_node(nodes.iter().map(String::as_str)).into_iter().map(|(id, count)| (id.to_owned(), count)).collect()
    };
    assert_eq!(counts(), BTreeMap::from([("w1".to_owned(), 10), ("w2".to_owned(), 10)]));
    let response = send(&elb, ALL, "PUT", WEIGHT, &json!({ "weight": 9 }));
    assert_eq!((response.status, &response.json()["after"]["weight"]), (200, &json!(9)), "{}", response.text());
    wait_until("it is published", || show(&elb, "/api/v1/clusters/esb/nodes/w1").1["members"][0]["weight"] == 9.0);
    assert_eq!(counts(), BTreeMap::from([("w1".to_owned(), 18), ("w2".to_owned(), 2)]));
}

#[test]
fn who_may_not_register_is_refused_and_nothing_changes() {
    let steady = StubNode::worker("w1");
    let elb = start(topology(&steady, ""));
    let (admin, member) = (elb.address("admin"), at(steady.address(), 60));
    let good = member.to_string();
    let large = json!({ "address": "x".repeat(70_000) }).to_string();
    for (method, path, body) in
        [("PUT", W2, good.as_str()), ("POST", RENEW, "{}"), ("DELETE", W2, ""), ("PUT", WEIGHT, "{\"weight\": 5}")]
    {
        let plain = |headers: &[(&'static str, &'static str)], body: &str| {
            let request = Request::new(method, "localhost", path);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            let request = if method == "DELETE" { request } else { request.body(body.as_bytes()) };
            let response = request.send(admin);
            let kind = response.json()["type"].as_str().unwrap_or_default().replace("urn:carbon-elb:problem:", "");
            (response.status, kind)
        };
        const JSON: (&str, &str) = ("Content-Type", "application/json");
        const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
        const BEARER: (&str, &str) = ("Authorization", "Bearer a-token-for-everything");
        const READS: (&str, &str) = ("Authorization", "Bearer a-token-that-reads-workers");
        let what = |expected: &str| format!("{method} {path}: {expected}");
        assert_eq!(plain(&[JSON], body), (401, "unauthorized".into()), "{}", what("no token"));
        let wrong = ("Authorization", "Bearer a-token-for-everythinG");
        assert_eq!(plain(&[JSON, wrong], body), (401, "unauthorized".into()), "{}", what("a wrong token"));
        assert_eq!(plain(&[JSON, READS], body), (403, "out-of-scope".into()), "{}", what("a token for others"));
        for site in [("Origin", "http://evil.test"), ("Sec-Fetch-Site", "cross-site")] {
            assert_eq!(plain(&[FORM, BEARER, site], body), (403, "cross-site".into()), "{}", what("a form"));
            assert_eq!(plain(&[JSON, BEARER, site], body), (403, "cross-site".into()), "{}", what("a script"));
        }
        if method != "DELETE" {
            assert_eq!(plain(&[FORM, BEARER], body).0, 415, "{}", what("a form of nobody"));
            assert_eq!(plain(&[JSON, BEARER], &large), (413, "body-too-large".into()), "{}", what("too large"));
        }
    }
    for (token, method, path, body, status, kind) in [
        (ALL, "POST", RENEW, json!({}), 404, "unknown-member"),
        (ALL, "DELETE", W2, Value::Null, 404, "unknown-member"),
        (ALL, "PUT", "/api/v1/clusters/esb/nodes/w9/weight", json!({ "weight": 1 }), 404, "unknown-node"),
        (ALL, "PUT", "/api/v1/clusters/is/members/w2", member.clone(), 404, "unknown-cluster"),
        (ALL, "PUT", "/api/v1/clusters/esb/members/w1", member.clone(), 409, "id-taken"),
        (ALL, "PUT", W2, member.clone(), 409, "address-taken"),
        (ALL, "PUT", W2, json!({ "address": "192.0.2.1" }), 403, "address-not-allowed"),
        (WORKERS, "PUT", W2, json!({ "address": "127.0.0.9", "roles": ["manager"] }), 403, "out-of-scope"),
        (ALL, "PUT", W2, json!({ "address": "127.0.0.9", "roles": ["manager"] }), 403, "no-dynamic-members"),
        (WORKERS, "PUT", STATE, json!({ "state": "maintenance" }), 403, "out-of-scope"),
        (WORKERS, "GET", "/api/v1/members", Value::Null, 403, "out-of-scope"),
        (READER, "GET", "/api/v1/clusters/esb/nodes/nobody", Value::Null, 403, "out-of-scope"),
    ] {
        let response = send(&elb, token, method, path, &body);
        let problem = response.json();
        assert_eq!(response.status, status, "{method} {path} {body}: {problem}");
        assert_eq!(problem["type"], format!("urn:carbon-elb:problem:{kind}"), "{method} {path} {body}");
    }
    assert_eq!(show(&elb, W2).0, 404);
    let (_, w1) = show(&elb, "/api/v1/clusters/esb/nodes/w1");
    assert_eq!((&w1["admin_state"], &w1["members"][0]["weight"]), (&json!("ready"), &json!(1.0)));
    let all = send(&elb, READER, "GET", "/api/v1/members", &Value::Null).json();
    let pools = all["clusters"][0]["pools"].as_array().expect("a list");
    assert!(pools.iter().all(|pool| pool["role"] == "worker"), "it is told of managers: {all}");
    assert!(elb.metrics().sum("carbon_elb_admin_refused_total", &[("reason", "out_of_scope")]) >= 8.0);
}
