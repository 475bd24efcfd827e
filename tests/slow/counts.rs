//! How much one client, and all together, may have at a time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::connections;
use crate::support::TempDir;
use crate::support::certs::Certificate;
use crate::support::client::{Client, Request, Response, get};
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::process::run;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

fn start(node: SocketAddr, limits: &str) -> Elb {
    let settings = format!("role: worker, endpoint: servlet, limits: {{ {limits} }}");
    Elb::start(&Topology::workers(&[node]).listener("web", &settings))
}

/// A connection from another address than 127.0.0.1; all of 127.0.0.0/8 is this machine.
fn connect_from(client: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(IpAddr::from(client), 0).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("the kernel accepts");
    Client::over(socket.into()).expect("a connected socket")
}

/// An ordinary request over `client`. An error says that the connection was closed instead of an answer.
fn ask(client: &mut Client) -> io::Result<Response> {
    client.try_request(&Request::get(HOST, "/services/echo"))
}

/// Whether the connection was let in. One that is not is closed, or told so.
#[track_caller]
fn is_let_in(client: &mut Client) -> bool {
    match ask(client) {
        Ok(answer) if answer.status == 200 => true,
        Ok(answer) => {
            assert!(matches!(answer.status, 429 | 503), "{answer:?}");
            assert!(client.closed && client.is_ended(), "turned away, and the connection stays open");
            false
        }
        Err(e) => {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            assert!(matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof), "{e}");
            false
        }
    }
}

/// Connections that were closed for that reason.
fn turned_away(elb: &Elb, reason: &str) -> f64 {
    elb.metrics().sum("carbon_elb_connections_refused_total", &[("reason", reason)])
}

#[test]
fn one_client_has_only_so_many_connections() {
    let node = StubNode::worker("w1");
    let elb = start(node.address(), "connections_per_client: 5");
    let mut first: Vec<Client> = (0..5).map(|_| Client::connect(elb.web())).collect();
    assert!(first.iter_mut().all(is_let_in));
    for _ in 0..3 {
        assert!(!is_let_in(&mut Client::connect(elb.web())), "a sixth connection is let in");
    }
    wait_until("they are counted", || turned_away(&elb, "too_many_connections_of_client") == 3.0);
    // Others do not suffer, and neither do the five.
    let mut other = connect_from([127, 0, 0, 2], elb.web());
    assert!(is_let_in(&mut other));
    assert!(first.iter_mut().all(is_let_in));
    // One goes, another may come.
    drop(first.pop());
    wait_until("the place is free again", || is_let_in(&mut Client::connect(elb.web())));
}

#[test]
fn a_listener_has_only_so_many_connections() {
    let node = StubNode::worker("w1");
    let elb = start(node.address(), "connections: 5");
    let mut first: Vec<Client> = (1..=5).map(|i| connect_from([127, 0, 0, i], elb.web())).collect();
    assert!(first.iter_mut().all(is_let_in));
    for i in 6..9 {
        assert!(!is_let_in(&mut connect_from([127, 0, 0, i], elb.web())), "connection {i} is let in");
    }
    wait_until("they are counted", || turned_away(&elb, "too_many_connections") == 3.0);
    assert_eq!(elb.admin("/healthz").status, 200, "operators get in");
    assert!(first.iter_mut().all(is_let_in));
    drop(first);
    wait_until("all places are free again", || {
        let mut again: Vec<Client> = (0..5).map(|_| Client::connect(elb.web())).collect();
        again.iter_mut().all(is_let_in)
    });
}

#[test]
fn a_connection_has_only_so_many_requests() {
    let node = StubNode::worker("w1");
    let elb = start(node.address(), "requests_per_connection: 3");
    for _ in 0..2 {
        let mut client = Client::connect(elb.web());
        for i in 1..=3 {
            assert_eq!(ask(&mut client).unwrap().status, 200);
            assert_eq!(client.closed, i == 3, "after request {i}");
        }
        assert!(client.is_ended());
    }
    // A client that has sent more of them already gets three answers, and knows that the others are not served.
    let requests: Vec<u8> =
        (0..6).flat_map(|i| Request::get(HOST, &format!("/services/echo/{i}")).to_bytes()).collect();
    let mut client = Client::connect(elb.web());
    client.send(requests);
    for i in 0..3 {
        assert_eq!(client.answer().echo().field("path"), format!("/services/echo/{i}"));
    }
    assert!(client.closed && client.is_ended());
    // Refusals count as well: they cost the same.
    let mut client = Client::connect(elb.web());
    for i in 1..=3 {
        assert_eq!(client.get(HOST, "/carbon/").status, 404);
        assert_eq!(client.closed, i == 3, "after refusal {i}");
    }
    assert!(client.is_ended());
}

#[test]
fn a_listener_has_only_so_many_requests_in_flight() {
    let (node, arriving) = RawNode::by_hand();
    let elb = start(node.address(), "requests: 2");
    let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(elb.web())).collect();
    let mut at_node: Vec<Client> = waiting
        .iter_mut()
        .map(|client| {
            client.send(Request::get(HOST, "/services/echo").to_bytes());
            let mut connection = arriving.next();
            assert!(connection.read_request().unwrap().is_some());
            connection
        })
        .collect();

    let mut third = Client::connect(elb.web());
    let answer = ask(&mut third).unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    let line = elb.access_line("the third request", |line| line["status"] == 503);
    let reason = line["reason"].as_str().unwrap_or_else(|| panic!("no reason in {line}"));
    assert_eq!(line["node"], serde_json::Value::Null, "{line}");
    wait_until("it is counted", || elb.metrics().sum("carbon_elb_refused_total", &[("reason", reason)]) == 1.0);
    assert!(arriving.none_waiting(), "a node was asked");

    for (node, client) in at_node.iter_mut().zip(&mut waiting) {
        node.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
    // A client that goes before its answer frees its place too.
    for _ in 0..4 {
        let mut client = Client::connect(elb.web());
        client.send(Request::get(HOST, "/services/echo").to_bytes());
        // Over an idle connection or a new one; either way a node has it.
        wait_until("a node is asked", || elb.metrics().sum("carbon_elb_in_flight", &[]) >= 1.0);
        drop(client);
        wait_until("its place is free", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
    }
    let mut last = Client::connect(elb.web());
    last.send(Request::get(HOST, "/services/echo").to_bytes());
    wait_until("a node is asked again", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 1.0);
}

#[test]
fn the_admin_listener_has_no_such_limits() {
    let node = StubNode::worker("w1");
    let elb =
        start(node.address(), "connections: 1, connections_per_client: 1, requests: 1, requests_per_connection: 1");
    let _held = Client::connect(elb.web());
    wait_until("it is let in", || connections(&elb) == 1.0);
    let mut operator = Client::connect(elb.address("admin"));
    for _ in 0..5 {
        assert_eq!(operator.get("localhost", "/healthz").status, 200);
    }
    assert_eq!(get(elb.address("admin"), "localhost", "/readyz").status, 200);
}

#[test]
fn an_http2_connection_has_only_so_many_streams() {
    let node = StubNode::worker("w1");
    let dir = TempDir::new("h2");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let files = format!("certificate: {}, key: {}", edge.certificate.display(), edge.key.display());
    let settings = format!("role: worker, endpoint: servlet, tls: {{ {files} }}, limits: {{ streams: 7 }}");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", &settings));
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-nvy", "-H", ":authority: esb.test", &format!("https://{}/services/echo", elb.web())]);
    let output = run(&mut nghttp, "install it: apt-get install nghttp2-client");
    assert!(output.contains("SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7"), "{output}");
    assert!(output.contains(":status: 200"), "{output}");
}
