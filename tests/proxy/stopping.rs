//! SIGTERM: what is under way is finished, nothing new begins.

use std::time::{Duration, Instant};

use crate::support::TempDir;
use crate::support::certs::Certificate;
use crate::support::client::{Client, Request};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};

/// Stopping without anything to wait for takes less, on a machine that is busy too; with something, 10 s.
const AT_ONCE: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn an_idle_balancer_ends_at_once() {
    let node = StubNode::worker("w1");
    let mut elb = Elb::start(&Topology::workers(&[node.address()]));
    // Connections that wait for their next or first request hold nothing up, and are closed.
    let mut used = Client::connect(elb.web());
    assert_eq!(used.get(HOST, "/services/echo").status, 200);
    let mut fresh = Client::connect(elb.web());
    let start = Instant::now();
    elb.terminate();
    let (status, _) = elb.wait(PATIENCE);
    let took = start.elapsed();
    assert!(status.success(), "{status}");
    assert!(took < AT_ONCE, "stopping an idle balancer took {took:?}");
    assert!(used.is_ended());
    assert!(fresh.is_ended());
}

#[test]
fn an_unused_balancer_ends_at_once_too() {
    let node = StubNode::worker("w1");
    let topology = Topology::workers(&[node.address()])
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("health: { interval: 60s, timeout: 60s, rise: 1, fall: 1 }");
    let mut elb = Elb::start(&topology);
    let start = Instant::now();
    elb.terminate();
    assert!(elb.wait(PATIENCE).0.success());
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_request_in_flight_is_finished_and_nothing_new_begins() {
    let (node, connections) = RawNode::by_hand();
    let mut elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").to_bytes());
    let mut at_node = connections.next();
    at_node.read_request().unwrap();

    elb.begin_to_stop();
    assert!(!elb.has_ended(), "it did not wait for the request in flight");
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    let (status, _) = client.read_head().unwrap();
    assert_eq!(status, 200);
    at_node.send("full");
    let mut body = [0; 8];
    client.read_bytes(&mut body).unwrap();
    assert_eq!(&body, b"halffull");
    assert!(client.is_ended(), "the connection is kept for another request");
    let (status, took) = elb.wait(PATIENCE);
    assert!(status.success(), "{status}");
    assert!(took < AT_ONCE, "it waited {took:?} for nothing");
    assert!(connections.none_waiting());
    let lines = elb.access_lines();
    assert_eq!(lines.len(), 1, "the last access line is not lost: {lines:?}");
    assert_eq!(lines[0]["status"], 200);
}

#[test]
fn a_pipelined_request_in_flight_is_finished() {
    let (node, connections) = RawNode::by_hand();
    let mut elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    // The second request comes with the first, so nothing of it is read when its turn has come.
    client.send("GET /services/echo/1 HTTP/1.1\r\nHost: esb.test\r\n\r\n".repeat(2));
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfirst");
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    assert_eq!(client.answer().text(), "first");

    elb.begin_to_stop();
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
    assert_eq!(client.answer().text(), "second");
    assert!(elb.wait(PATIENCE).0.success());
}

#[test]
fn a_half_sent_request_is_finished() {
    let node = StubNode::worker("w1");
    let mut elb = Elb::start(&Topology::workers(&[node.address()]));
    // Half a first request, half a second one, half a body.
    let mut first = Client::connect(elb.web());
    first.send("GET /services/echo/first HTTP/1.1\r\nHost: es");
    let mut second = Client::connect(elb.web());
    assert_eq!(second.get(HOST, "/services/echo").status, 200);
    second.send("GET /services/echo/second HTTP/1.1\r\nHost: es");
    let mut body = Client::connect(elb.web());
    body.send("POST /services/echo/body HTTP/1.1\r\nHost: esb.test\r\nContent-Length: 10\r\n\r\n01234");
    // All three are seen by the balancer, as a later request on another connection is answered.
    assert_eq!(Client::connect(elb.web()).get(HOST, "/services/echo").status, 200);

    elb.begin_to_stop();
    assert!(!elb.has_ended(), "it did not wait for half-sent requests");
    for client in [&mut first, &mut second] {
        client.send("b.test\r\n\r\n");
    }
    body.send("56789");
    for (client, path) in [(&mut first, "first"), (&mut second, "second"), (&mut body, "body")] {
        let response = client.answer();
        assert_eq!(response.echo().field("path"), format!("/services/echo/{path}"));
        assert!(client.closed, "the end of the connection is not announced: {response:?}");
        assert!(client.is_ended());
    }
    assert!(elb.wait(AT_ONCE).0.success());
}

#[test]
fn the_grace_period_bounds_it() {
    let (node, connections) = RawNode::by_hand();
    let mut elb = Elb::start(&Topology::workers(&[node.address()]).server("grace: 1s"));
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").to_bytes());
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    let start = Instant::now();
    elb.terminate();
    // The node never answers.
    elb.wait(PATIENCE);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "given up after {took:?}");
    assert!(took < Duration::from_secs(3), "a grace period of 1 s took {took:?}");
}

#[test]
fn an_http2_request_in_flight_is_finished() {
    let dir = TempDir::new("tls");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let (certificate, key) = (edge.certificate.display(), edge.key.display());
    let (node, connections) = RawNode::by_hand();
    let topology = Topology::workers(&[node.address()]).listener(
        "web",
        &format!("role: worker, endpoint: servlet, tls: {{ certificate: {certificate}, key: {key} }}"),
    );
    let mut elb = Elb::start(&topology);
    let address = elb.web();
    std::thread::scope(|scope| {
        let curl = Curl { address, ca: &edge.certificate, version: "--http2" };
        let asking = scope.spawn(move || curl.get(HOST, "/services/echo", &[]));
        let mut at_node = connections.next();
        at_node.read_request().unwrap();
        elb.begin_to_stop();
        assert!(!elb.has_ended(), "it did not wait for the request in flight");
        at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        let answer = asking.join().unwrap();
        assert_eq!((answer.version.as_str(), answer.response.text().as_str()), ("2", "done"));
    });
    let (status, took) = elb.wait(PATIENCE);
    assert!(status.success(), "{status}");
    assert!(took < AT_ONCE, "it waited {took:?} for nothing");
}

#[test]
fn no_request_is_lost_when_it_stops_under_load() {
    let node = StubNode::worker("w1");
    let mut elb = Elb::start(&Topology::workers(&[node.address()]));
    let address = elb.web();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut answered = 0;
                    // Until the balancer ends the connection, which it may only do where the client can tell that
                    // its request was not begun: with the answer before it, or before its first byte was read.
                    loop {
                        match client.try_request(&Request::get(HOST, "/services/echo")) {
                            Ok(response) => assert_eq!(response.status, 200),
                            Err(e) => return (answered, client.closed, e.to_string()),
                        }
                        answered += 1;
                        if client.closed {
                            return (answered, true, String::new());
                        }
                    }
                })
            })
            .collect();
        let metric = || elb.metrics().sum("carbon_elb_requests_total", &[("code", "2xx")]);
        crate::support::wait_until("the load runs", || metric() > 200.0);
        elb.terminate();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let answered: usize = ended.iter().map(|(answered, ..)| answered).sum();
        assert!(elb.wait(PATIENCE).0.success());
        let lines = elb.access_lines();
        let good = lines.iter().filter(|line| line["status"] == 200).count();
        // A request that the balancer has taken up is answered: it has no line of which no client knows.
        assert_eq!((lines.len(), good), (answered, answered), "{ended:?}");
    });
}
