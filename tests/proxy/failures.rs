//! Nodes that fail: what the client is told, and when somebody else is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::certs::Certificate;
use crate::support::client::{Client, Request, Response, get};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::node::{ClosedPort, RawNode, StubNode};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology};
use crate::support::{TempDir, wait_until};

/// An answer of the balancer itself is short and does not tell who stands behind it.
#[track_caller]
fn assert_reveals_nothing(response: &Response, node: std::net::SocketAddr) {
    let head = response.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    let all = head.collect::<String>() + &response.text();
    for secret in ["127.0.0.1", &node.port().to_string(), "w1", "pingora", "Pingora"] {
        assert!(!all.contains(secret), "{secret} is in the answer:\n{all}");
    }
    assert!(response.body.len() < 200, "not short: {}", response.text());
}

#[test]
fn a_node_that_breaks_off_is_a_502() {
    for (what, answer) in [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("no HTTP", "220 smtp.example.org ESMTP\r\n\r\n"),
    ] {
        let node = RawNode::start(move |mut connection| {
            connection.read_request()?;
            connection.send(answer);
            Ok(())
        });
        let elb = Elb::start(&Topology::workers(&[node.address()]));
        let response = Request::new("POST", HOST, "/services/echo").body(b"x").send(elb.web());
        assert_eq!(response.status, 502, "{what}");
        assert_eq!(response.header("retry-after"), None, "{what}");
        assert_reveals_nothing(&response, node.address());
    }
}

#[test]
fn a_node_that_does_not_answer_in_time_is_a_504() {
    let (node, _connections) = RawNode::by_hand();
    let topology =
        Topology::workers(&[node.address()]).worker_pool("timeouts: { connect: 2s, read: 300ms, write: 10s }");
    let elb = Elb::start(&topology);
    let start = Instant::now();
    let response = get(elb.web(), HOST, "/services/echo");
    assert_eq!(response.status, 504);
    assert_eq!(response.header("retry-after"), None);
    assert_reveals_nothing(&response, node.address());
    assert!(start.elapsed() >= Duration::from_millis(300), "too early: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "the timeout was not kept: {:?}", start.elapsed());
}

#[test]
fn no_node_to_ask_is_a_503_with_a_time_to_come_again() {
    let port = ClosedPort::new();
    let topology = Topology::workers(&[port.address()]);
    // Nobody has probed it: it is asked, and cannot be connected to.
    let elb = Elb::start(&topology);
    let response = get(elb.web(), HOST, "/services/echo");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{response:?}");
    assert_reveals_nothing(&response, port.address());

    // The probe has found out that it is down: nobody is asked.
    let manager = StubNode::manager("m1");
    let topology = topology
        .manager("m1", manager.address())
        .servlet("scheme: http, health: tcp")
        .worker_pool("health: { interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }");
    let elb = Elb::start(&topology);
    elb.wait_for_fall("w1", "servlet");
    elb.wait_for_node("m1", "servlet", true);
    let response = get(elb.web(), HOST, "/services/echo");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{response:?}");
    assert_reveals_nothing(&response, port.address());
    let ready = elb.admin("/readyz");
    assert_eq!(ready.status, 200, "the manager is served");
    assert!(ready.text().contains("esb/worker servlet: no ready node"), "{}", ready.text());
    assert_eq!(elb.admin("/healthz").status, 200, "the balancer itself is well");
}

#[test]
fn without_a_node_head_over_http2_is_answered_too() {
    let (closed, dir) = (ClosedPort::new(), TempDir::new("head"));
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let tls = format!("tls: {{ certificate: {}, key: {} }}", edge.certificate.display(), edge.key.display());
    let listener = format!("role: worker, endpoint: servlet, {tls}");
    let elb = Elb::start(&Topology::workers(&[closed.address()]).listener("web", &listener));
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { address: elb.web(), ca: &edge.certificate, version };
        // Refused before a node is asked, and when none can be connected to.
        for (path, status) in [("/services/UserAdmin", 404), ("/services/echo", 503)] {
            assert_eq!(curl.get(HOST, path, &["--head"]).response.status, status, "{version} {path}");
        }
    }
}

#[test]
fn who_cannot_be_connected_to_is_passed_over_whatever_the_method() {
    let (closed, node) = (ClosedPort::new(), StubNode::worker("w2"));
    let elb = Elb::start(&Topology::workers(&[closed.address(), node.address()]));
    let mut client = Client::connect(elb.web());
    let body = vec![b'x'; 100_000];
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/services/echo").echo().node(), "w2");
        // Nothing of the request was sent yet, so a POST may go to another member as well.
        let echo = client.request(&Request::new("POST", HOST, "/services/echo").body(&body)).echo();
        assert_eq!((echo.node(), echo.body_length()), ("w2", body.len() as u64));
    }
}

#[test]
fn a_post_that_a_node_has_read_is_not_sent_again() {
    let received = Arc::new(AtomicUsize::new(0));
    let breaking_node = || {
        let received = Arc::clone(&received);
        RawNode::start(move |mut connection| {
            connection.read_request()?;
            received.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
    };
    let nodes = [breaking_node(), breaking_node()];
    let elb = Elb::start(&Topology::workers(&[nodes[0].address(), nodes[1].address()]));
    let response = Request::new("POST", HOST, "/services/echo").body(b"order").send(elb.web());
    assert_eq!(response.status, 502);
    assert_eq!(received.load(Ordering::Acquire), 1, "two nodes have got the order");
}

#[test]
fn when_every_member_has_failed_the_next_round_begins() {
    let asked = Arc::new(AtomicUsize::new(0));
    let breaking_node = || {
        let asked = Arc::clone(&asked);
        RawNode::start(move |mut connection| {
            connection.read_request()?;
            asked.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
    };
    let nodes = [breaking_node(), breaking_node()];
    let topology = Topology::workers(&[nodes[0].address(), nodes[1].address()]);
    let elb = Elb::start(&topology.worker_pool("retry: { attempts: 5, budget: 100% }, outliers: off"));
    let response = get(elb.web(), HOST, "/services/echo");
    assert_eq!(response.status, 502, "{}", response.text());
    assert_eq!(asked.load(Ordering::Acquire), 5, "as often as the policy says");
}

#[test]
fn a_connection_that_the_node_has_just_closed_is_not_the_clients_trouble() {
    // Answers one request on each connection without saying that it is the last, and closes at the second: what a
    // client meets whose request crosses the node's timeout.
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let node = RawNode::start(move |mut connection| {
        counter.fetch_add(1, Ordering::AcqRel);
        connection.read_request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        connection.read_request().map(drop)
    });
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    for i in 0..10 {
        let response = client.get(HOST, "/services/echo");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "request {i}");
    }
    assert_eq!(connections.load(Ordering::Acquire), 10, "the test did not test what it should");
}

#[test]
fn an_answer_of_the_balancer_tells_whether_the_connection_goes_on() {
    let (node, closed) = (RawNode::start(|mut connection| connection.read_request().map(drop)), ClosedPort::new());
    let topology = Topology::workers(&[node.address()]).manager("m1", closed.address());
    let elb = Elb::start(&topology);
    let body = vec![b'x'; 1_000_000];
    let requests = [
        (404, "web", Request::get(HOST, "/carbon/")),
        (404, "web", Request::new("POST", HOST, "/carbon/").body(b"short")),
        (404, "web", Request::new("POST", HOST, "/carbon/").body(&body)),
        (421, "web", Request::get("nobody.test", "/services/echo")),
        (502, "web", Request::get(HOST, "/services/echo")),
        (502, "web", Request::new("POST", HOST, "/services/echo").body(b"short")),
        (503, "console", Request::get(CONSOLE_HOST, "/carbon/")),
        (503, "console", Request::new("POST", CONSOLE_HOST, "/carbon/").body(b"short")),
    ];
    for (status, listener, request) in requests {
        let mut client = Client::connect(elb.address(listener));
        let response = client.request(&request);
        assert_eq!(response.status, status);
        if client.closed {
            assert!(client.is_ended(), "{status} announces an end that does not come");
        } else {
            // A client sends its next request here. If the balancer closes instead, one failure becomes two.
            let next = client.try_request(&Request::get("nobody.test", "/"));
            let next = next.map(|next| next.status).map_err(|e| e.to_string());
            assert_eq!(next, Ok(421), "after {status} {:?}", response.headers);
        }
    }
}

#[test]
fn an_answer_that_is_cut_off_does_not_look_whole() {
    for head in ["Content-Length: 100\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"] {
        let node = RawNode::start(move |mut connection| {
            connection.read_request()?;
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}"));
            Ok(())
        });
        let elb = Elb::start(&Topology::workers(&[node.address()]));
        let answer = Client::connect(elb.web()).try_request(&Request::get(HOST, "/services/echo"));
        assert!(answer.is_err(), "the client takes this for the whole answer: {answer:?}");
        let line = elb.access_line("the request", |line| line["path"] == "/services/echo");
        assert!(line["reason"].is_string(), "the access line does not tell that it failed: {line}");
    }
}

#[test]
fn who_was_never_probed_waits_while_somebody_is_ready() {
    let (ready, manager) = (StubNode::worker("w1"), StubNode::manager("m1"));
    // Takes the probe and keeps it waiting for longer than the test lasts.
    let (unknown, probes) = RawNode::by_hand();
    let topology = Topology::workers(&[ready.address(), unknown.address()])
        .manager("m1", manager.address())
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("health: { interval: 60s, timeout: 60s, rise: 1, fall: 1 }");
    let elb = Elb::start(&topology);
    elb.wait_for_node("w1", "servlet", true);
    let _probe = probes.next();
    let mut client = Client::connect(elb.web());
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/services/echo").echo().node(), "w1");
    }
    assert!(probes.none_waiting(), "a node that was never probed got a request");

    // With nobody ready, it is better than nothing.
    let topology = Topology::workers(&[unknown.address()])
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("health: { interval: 60s, timeout: 60s, rise: 1, fall: 1 }");
    let elb = Elb::start(&topology);
    let _probe = probes.next();
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").to_bytes());
    let mut at_node = probes.next();
    let request = at_node.read_request().unwrap().unwrap();
    assert_eq!(request.line, "GET /services/echo HTTP/1.1");
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    wait_until("the request is counted off", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
}

#[test]
fn what_a_node_answers_is_passed_on_even_if_it_is_a_failure() {
    let node = StubNode::start("w1", "worker", &["--status", "503"]);
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let response = get(elb.web(), HOST, "/services/echo");
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["node"], "w1", "the answer is the node's own");
}
