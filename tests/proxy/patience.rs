//! How long the balancer waits for clients, and how often it asks nodes.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::TempDir;
use crate::support::certs::{Certificate, openssl_client};
use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

const IMPATIENT: &str = "role: worker, endpoint: servlet, timeouts: { idle: 60s, header: 1s, read: 1s, write: 1s }";

/// Connections of clients, without the one that asks for the metrics.
fn connections(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_client_connections", &[]) - 1.0
}

#[test]
fn a_header_that_does_not_end_ends_the_connection() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", IMPATIENT));
    for used_before in [false, true] {
        let mut client = Client::connect(elb.web());
        if used_before {
            assert_eq!(client.get(HOST, "/services/echo").status, 200);
        }
        client.send("GET /services/echo HTTP/1.1\r\nHost: es");
        // The limit of a whole header is 1 s; an idle connection could stay for a minute.
        assert_eq!(client.answer().status, 408, "used before: {used_before}");
        assert!(client.is_ended(), "used before: {used_before}");
    }
}

#[test]
fn a_client_that_takes_no_answers_is_given_up() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", IMPATIENT));
    let client = Client::connect(elb.web());
    let mut stream = client.stream().try_clone().expect("a socket can be cloned");
    stream.set_nonblocking(true).expect("a socket can be made non-blocking");
    // Short answers, for which the framework has no time limit. More and more of them, until neither side can write.
    let requests = b"GET /nothing HTTP/1.1\r\nHost: esb.test\r\n\r\n".repeat(1_000);
    let mut sent = 0;
    wait_until("the connection is given up", || {
        // From where the last write ended, so that the requests stay whole.
        let from = sent % requests.len();
        sent += stream.write(&requests[from..]).unwrap_or(0);
        connections(&elb) == 0.0
    });
    assert_eq!(elb.metrics().sum("carbon_elb_in_flight", &[]), 0.0, "after {sent} bytes");
}

#[test]
fn http2_connections_without_requests_end() {
    let node = StubNode::worker("w1");
    let dir = TempDir::new("h2");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let tls = format!("tls: {{ certificate: {}, key: {} }}", edge.certificate.display(), edge.key.display());
    let listener = format!("role: worker, endpoint: servlet, {tls}, timeouts: {{ handshake: 1s }}");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", &listener));
    // It agrees on HTTP/2 and then says nothing, not even the preface.
    let mut silent = openssl_client(elb.web());
    wait_until("the silent client is let in and turned out", || {
        matches!(silent.try_wait(), Ok(Some(_))) && connections(&elb) == 0.0
    });
}

#[test]
fn a_request_that_breaks_nodes_is_not_sent_for_ever() {
    for method in ["GET", "PUT", "POST"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        // Connections serve well and stay open; only the deadly request breaks them.
        let node = move || {
            let counter = Arc::clone(&counter);
            RawNode::start(move |mut connection| {
                while let Some(request) = connection.read_request()? {
                    if request.line.contains("deadly") {
                        counter.fetch_add(1, Ordering::AcqRel);
                        return Ok(());
                    }
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
                Ok(())
            })
        };
        let nodes = [node(), node()];
        let elb = Elb::start(&Topology::workers(&[nodes[0].address(), nodes[1].address()]));
        let mut client = Client::connect(elb.web());
        for _ in 0..4 {
            assert_eq!(client.get(HOST, "/services/echo").status, 200);
        }
        let answer = client.request(&Request::new(method, HOST, "/services/echo/deadly"));
        assert_eq!(answer.status, 502);
        // Once more as the first connection had been idle, and once more as the policy allows two attempts.
        let most = if method == "POST" { 1 } else { 3 };
        assert_eq!(asked.load(Ordering::Acquire), most, "{method}");
    }
}

#[test]
fn a_failure_after_an_interim_answer_is_told() {
    let node = RawNode::start(|mut connection| {
        connection.read_request()?;
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        Ok(())
    });
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    client.send("POST /services/echo HTTP/1.1\r\nHost: esb.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.answer().status, 502);
}
