//! Connections of clients and to nodes: used again, closed when they should be, and free when somebody vanishes.

use std::io::Write;

use crate::support::client::{Client, Request, get};
use crate::support::elb::Elb;
use crate::support::metrics::Metrics;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    let requests: Vec<u8> = (0..10)
        .flat_map(|i| {
            let path = format!("/services/echo/{i}");
            // With a body in between, and one that is refused: its end must be found all the same.
            match i {
                3 => Request::new("POST", HOST, &path).body(b"GET /services/echo/body HTTP/1.1\r\n\r\n").to_bytes(),
                6 => Request::get(HOST, "/carbon/").to_bytes(),
                _ => Request::get(HOST, &path).to_bytes(),
            }
        })
        .collect();
    client.send(requests);
    for i in 0..10 {
        let response = client.answer();
        if i == 6 {
            assert_eq!(response.status, 404);
        } else {
            assert_eq!(response.echo().field("path"), format!("/services/echo/{i}"));
        }
        assert!(!client.closed, "closed after request {i}: {response:?}");
    }
}

#[test]
fn a_request_that_comes_in_pieces_is_put_together() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    for byte in Request::new("POST", HOST, "/services/echo").body(b"12345").to_bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().echo().body_length(), 5);
}

#[test]
fn the_client_may_ask_for_the_end_of_the_connection() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    let response = client.request(&Request::get(HOST, "/services/echo").header("Connection", "close"));
    assert_eq!(response.status, 200);
    assert!(client.closed, "not announced: {response:?}");
    assert!(client.is_ended());

    // HTTP/1.0 asks for it by saying nothing.
    let mut client = Client::connect(elb.web());
    client.send("GET /services/echo HTTP/1.0\r\nHost: esb.test\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert!(client.is_ended());
}

#[test]
fn an_idle_client_is_sent_away() {
    let node = StubNode::worker("w1");
    let topology = Topology::workers(&[node.address()])
        .listener("web", "role: worker, endpoint: servlet, timeouts: { idle: 1s, header: 1s, write: 10s }");
    let elb = Elb::start(&topology);
    // One that has sent nothing, one that has had an answer, one that has sent half a request.
    let mut silent = Client::connect(elb.web());
    let mut idle = Client::connect(elb.web());
    assert_eq!(idle.get(HOST, "/services/echo").status, 200);
    let mut half = Client::connect(elb.web());
    half.send("GET /services/echo HTTP/1.1\r\nHost: es");
    assert!(silent.is_ended());
    assert!(idle.is_ended());
    assert_eq!(half.answer().status, 408);
    assert!(half.is_ended());
}

#[test]
fn steady_load_uses_connections_to_nodes_again() {
    const CLIENTS: usize = 4;
    const EACH: usize = 5_000;
    let nodes = [StubNode::worker("w1"), StubNode::worker("w2")];
    let elb = Elb::start(&Topology::workers(&[nodes[0].address(), nodes[1].address()]));
    let run = |requests: usize| {
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::connect(elb.web());
                    for _ in 0..requests {
                        assert_eq!(client.get(HOST, "/services/echo").status, 200);
                        assert!(!client.closed, "the client's connection was closed");
                    }
                });
            }
        });
    };
    let count = |metrics: &Metrics, kind| metrics.sum("carbon_elb_upstream_connections_total", &[("kind", kind)]);
    // The connections of the beginning, which no load can do without.
    run(50);
    let all = "carbon_elb_upstream_connections_total";
    elb.wait_for_count(all, &[], (CLIENTS * 50) as f64);
    let before = elb.metrics();
    run(EACH);
    // Every request is counted once.
    elb.wait_for_count(all, &[], (CLIENTS * (50 + EACH)) as f64);
    let after = elb.metrics();
    let [new, reused] = ["new", "reused"].map(|kind| count(&after, kind) - count(&before, kind));
    assert!(reused / (new + reused) >= 0.999, "{new} new connections, {reused} used again");
}

/// The requests that nodes are busy with.
fn in_flight(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_in_flight", &[("node", "w1")])
}

#[test]
fn a_client_that_vanishes_frees_what_it_held() {
    let (node, connections) = RawNode::by_hand();
    let elb = Elb::start(&Topology::workers(&[node.address()]));

    // While it waits for the answer.
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo/waiting").to_bytes());
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    assert_eq!(in_flight(&elb), 1.0);
    drop(client);
    assert!(at_node.is_ended(), "the node works on for nobody");
    wait_until("the waiting request is counted off", || in_flight(&elb) == 0.0);

    // In the middle of its upload.
    let mut client = Client::connect(elb.web());
    client.send("POST /services/echo/upload HTTP/1.1\r\nHost: esb.test\r\nContent-Length: 100\r\n\r\nhalf of it");
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    at_node.read_bytes(&mut [0; 10]).unwrap();
    assert_eq!(in_flight(&elb), 1.0);
    drop(client);
    assert!(at_node.is_ended(), "the node waits for the rest for ever");
    wait_until("the upload is counted off", || in_flight(&elb) == 0.0);

    // In the middle of its download.
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo/download").to_bytes());
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    assert_eq!(client.read_head().unwrap().0, 200);
    drop(client);
    let piece = vec![b'x'; 65_536];
    while at_node.stream().write_all(&piece).is_ok() {}
    wait_until("the download is counted off", || in_flight(&elb) == 0.0);

    // Each has left its access line.
    for path in ["/services/echo/waiting", "/services/echo/upload", "/services/echo/download"] {
        let line = elb.access_line(path, |line| line["path"] == path);
        assert_eq!(line["node"], "w1", "{line}");
        assert!(line["reason"].is_string(), "the line does not tell that the client went: {line}");
    }
}

#[test]
fn a_client_that_vanishes_leaves_others_alone() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut steady = Client::connect(elb.web());
    for i in 0..50 {
        let mut vanishing = Client::connect(elb.web());
        vanishing.send(Request::get(HOST, "/services/echo").to_bytes());
        drop(vanishing);
        let path = format!("/services/echo/{i}");
        // A connection to the node on which an answer to nobody is left would give the wrong answer here.
        assert_eq!(steady.get(HOST, &path).echo().field("path"), path);
    }
    wait_until("all are counted off", || in_flight(&elb) == 0.0);
}

#[test]
fn a_flood_of_connections_is_turned_away_and_operators_still_get_in() {
    let node = StubNode::worker("w1");
    // 256 files are kept back and each request takes two: (1,256 - 256) / 2 connections.
    let elb = Elb::start_with_open_files(&Topology::workers(&[node.address()]), 1_256);
    let flood: Vec<_> =
        (0..900).map(|_| std::net::TcpStream::connect(elb.web()).expect("the kernel accepts")).collect();
    wait_until("the rest is turned away", || {
        elb.metrics().sum("carbon_elb_connections_refused_total", &[("reason", "too_many_connections_in_all")]) >= 400.0
    });
    assert!(elb.metrics().sum("carbon_elb_client_connections", &[]) <= 510.0);
    assert_eq!(elb.admin("/healthz").status, 200);
    drop(flood);
    wait_until("the flood is over", || elb.metrics().sum("carbon_elb_client_connections", &[]) <= 2.0);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);
}
