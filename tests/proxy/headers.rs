//! What a node gets to see of a request, and a client of an answer.

use crate::support::TempDir;
use crate::support::certs::Certificate;
use crate::support::client::{Client, Request};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};

#[test]
fn the_host_stays_and_forwarding_headers_are_the_balancers_own() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let request = Request::get("esb.test:8080", "/services/echo?symbol=A%20B")
        .header("X-Forwarded-For", "192.0.2.66")
        .header("x-forwarded-for", "192.0.2.67")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Port", "1")
        .header("Forwarded", "for=192.0.2.66;proto=https;host=evil.test")
        .header("X-Own", "kept");
    let echo = request.send(elb.web()).echo();
    assert_eq!(echo.field("method"), "GET");
    assert_eq!(echo.field("path"), "/services/echo?symbol=A%20B");
    for (name, expected) in [
        ("host", vec!["esb.test:8080"]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-forwarded-host", vec!["esb.test:8080"]),
        ("x-forwarded-port", vec!["8080"]),
        ("forwarded", vec![]),
        ("x-own", vec!["kept"]),
    ] {
        assert_eq!(echo.received(name), expected, "{name}");
    }
}

#[test]
fn behind_tls_the_node_learns_that_the_client_used_it() {
    let dir = TempDir::new("tls");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let (certificate, key) = (edge.certificate.display(), edge.key.display());
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener(
        "web",
        &format!("role: worker, endpoint: servlet, tls: {{ certificate: {certificate}, key: {key} }}"),
    ));
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { address: elb.web(), ca: &edge.certificate, version };
        // Two cookies, which HTTP/2 clients may send as two fields and HTTP/1 nodes take as one only.
        let options = ["-H", "X-Forwarded-Proto: http", "-H", "X-Forwarded-For: 192.0.2.66", "-H", "Cookie: a=1; b=2"];
        let answer = curl.get(HOST, "/services/echo", &options);
        assert_eq!(answer.version, version.trim_start_matches("--http"));
        let echo = answer.response.echo();
        let authority = format!("{HOST}:{}", elb.web().port());
        assert_eq!(echo.received("host"), [authority.as_str()], "{version}");
        assert_eq!(echo.received("x-forwarded-host"), [authority.as_str()], "{version}");
        assert_eq!(echo.received("x-forwarded-proto"), ["https"], "{version}");
        assert_eq!(echo.received("x-forwarded-for"), ["127.0.0.1"], "{version}");
        assert_eq!(echo.received("cookie"), ["a=1; b=2"], "{version}");
    }
}

#[test]
fn hop_by_hop_headers_of_the_client_end_at_the_balancer() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let request = Request::get(HOST, "/services/echo")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "named by Connection")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic c2VjcmV0")
        .header("TE", "trailers")
        .header("Trailer", "X-Sum")
        .header("X-End-To-End", "kept");
    let echo = request.send(elb.web()).echo();
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer"] {
        assert_eq!(echo.received(name), Vec::<&str>::new(), "{name}");
    }
    assert!(echo.received("connection").iter().all(|value| !value.to_lowercase().contains("x-hop")));
    assert_eq!(echo.received("x-end-to-end"), ["kept"]);
}

#[test]
fn a_connection_header_cannot_remove_what_the_balancer_sets() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    for named in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Host"] {
        let connection = format!("close, {named}");
        let response = Request::get(HOST, "/services/echo").header("Connection", &connection).send(elb.web());
        if response.status == 400 {
            // Nobody has a reason to name these; to refuse the request is as good.
            continue;
        }
        let echo = response.echo();
        assert_eq!(echo.received("x-forwarded-for"), ["127.0.0.1"], "{connection}");
        assert_eq!(echo.received("x-forwarded-proto"), ["http"], "{connection}");
        assert_eq!(echo.received("x-forwarded-host"), [HOST], "{connection}");
        assert_eq!(echo.received("x-forwarded-port"), ["80"], "{connection}");
        assert_eq!(echo.received("host"), [HOST], "{connection}");
    }
}

#[test]
fn hop_by_hop_headers_of_the_node_end_at_the_balancer() {
    let node = RawNode::start(|mut connection| {
        while connection.read_request()?.is_some() {
            connection.send(
                "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=7\r\n\
                 Proxy-Connection: close\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
            );
        }
        Ok(())
    });
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    let response = client.get(HOST, "/services/echo");
    assert_eq!(response.text(), "ok");
    assert_eq!(response.header("x-hop"), None, "{response:?}");
    // The balancer may say how long it keeps its own connection; what the node says is not for the client.
    assert_ne!(response.header("keep-alive"), Some("timeout=7"), "{response:?}");
    assert_eq!(response.header("proxy-connection"), None, "{response:?}");
    let cookies: Vec<_> = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).collect();
    assert_eq!(cookies.len(), 2, "end-to-end headers stay, repeated ones too: {response:?}");
    assert!(!client.closed);
    assert_eq!(client.get(HOST, "/services/echo").status, 200, "the connection lives on");
}

#[test]
fn a_redirect_to_the_node_becomes_one_to_the_balancer() {
    let (node, connections) = RawNode::by_hand();
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    client.send(Request::get("esb.test:8080", "/services/echo").to_bytes());
    let mut at_node = connections.next();
    for (location, expected) in [
        (format!("http://{}/services/echo/?a=b#c", node.address()), "http://esb.test:8080/services/echo/?a=b#c"),
        ("/services/echo/".to_owned(), "/services/echo/"),
        (
            "https://login.example.org/?next=http://127.0.0.1/".to_owned(),
            "https://login.example.org/?next=http://127.0.0.1/",
        ),
    ] {
        at_node.read_request().unwrap();
        at_node.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        let response = client.answer();
        assert_eq!(response.header("location"), Some(expected));
        client.send(Request::get("esb.test:8080", "/services/echo").to_bytes());
    }
}

#[test]
fn methods_and_bodies_arrive_as_sent() {
    let node = StubNode::worker("w1");
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let body = if method == "GET" { None } else { Some(&b"12345"[..]) };
        let request = Request::new(method, HOST, "/services/echo/operation");
        let echo = client.request(&body.map_or(request.clone(), |body| request.body(body))).echo();
        assert_eq!(echo.field("method"), method);
        assert_eq!(echo.body_length(), body.map_or(0, |body| body.len() as u64), "{method}");
    }
    // The answer to HEAD has the length of a body and no body; the next answer must not be mistaken for it.
    let head = client.request(&Request::new("HEAD", HOST, "/services/echo"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client.get(HOST, "/services/echo").echo().field("method"), "GET");
    // A chunked body, with a chunk extension as any client may add.
    client.send("POST /services/echo HTTP/1.1\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(client.answer().echo().body_length(), 7);
}

#[test]
fn a_client_that_waits_for_a_go_ahead_gets_the_nodes() {
    let (node, connections) = RawNode::by_hand();
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    client.send("POST /services/echo HTTP/1.1\r\nHost: esb.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let mut at_node = connections.next();
    let request = at_node.read_request().unwrap().unwrap();
    assert_eq!(request.header("expect"), Some("100-continue"));
    at_node.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.read_head().unwrap().0, 100);
    client.send("body");
    let mut body = [0; 4];
    at_node.read_bytes(&mut body).unwrap();
    assert_eq!(&body, b"body");
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    // The balancer may end the connection, as the answer began before the request was complete, but has to say so.
    if !client.closed {
        client.send(Request::get(HOST, "/services/echo").header("Connection", "close").to_bytes());
        let mut at_node = connections.next();
        at_node.read_request().unwrap();
        at_node.send("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.answer().status, 204);
    }
    assert!(client.is_ended());
}
