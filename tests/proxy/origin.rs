//! For whom a request is, who may ask, and how often.

use crate::support::TempDir;
use crate::support::certs::Certificate;
use crate::support::client::{Client, Request, get};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology};
use crate::support::wait_until;

const PLAIN: &str = "role: worker, endpoint: servlet";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 for a client at 192.0.2.7.
fn version_2() -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 80]].concat()
}

#[test]
fn the_proxy_protocol_tells_the_client() {
    let node = StubNode::worker("w1");
    let listener = format!("{PLAIN}, proxy_protocol: [127.0.0.0/8]");
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", &listener));
    let request = Request::get(HOST, "/services/echo").header("X-Forwarded-For", "203.0.113.66");
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(), "192.0.2.7"),
    ] {
        // In one piece with the request, and byte by byte.
        for pieces in [1, 0] {
            let mut connection = Client::connect(elb.web());
            let bytes = [&header[..], &request.to_bytes()].concat();
            match pieces {
                1 => connection.send(&bytes),
                _ => bytes.iter().for_each(|byte| connection.send([*byte])),
            }
            assert_eq!(connection.answer().echo().received("x-forwarded-for"), [client], "{header:?}");
            // The header is for the connection, not for each request.
            assert_eq!(connection.request(&request).echo().received("x-forwarded-for"), [client]);
        }
    }
    let line = elb.access_line("the client's", |line| line["client"] == "192.0.2.7:12345");
    assert_eq!(line["status"], 200);
}

#[test]
fn who_does_not_speak_the_proxy_protocol_is_turned_away() {
    let node = StubNode::worker("w1");
    let required = format!("{PLAIN}, proxy_protocol: [127.0.0.0/8], timeouts: {{ handshake: 1s }}");
    let others = format!("{PLAIN}, proxy_protocol: [10.0.0.0/8]");
    let topology = Topology::workers(&[node.address()]).listener("web", &required).listener("others", &others);
    let elb = Elb::start(&topology);
    let good = [&b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    for (listener, bytes, reason) in [
        ("web", &b"GET /services/echo HTTP/1.1\r\nHost: esb.test\r\n\r\n"[..], "proxy_protocol_invalid"),
        ("web", b"PROXY TCP4 192.0.2.7 127.0.0.1\r\n", "proxy_protocol_invalid"),
        ("web", b"PROXY TCP4 192.0", "proxy_protocol_too_slow"),
        ("others", &good, "proxy_protocol_sender_unknown"),
    ] {
        let count = || elb.metrics().sum("carbon_elb_connections_refused_total", &[("reason", reason)]);
        let before = count();
        let mut connection = Client::connect(elb.address(listener));
        connection.send(bytes);
        assert!(connection.is_ended(), "{reason}");
        wait_until("it is counted", || count() == before + 1.0);
    }
}

#[test]
fn only_trusted_proxies_speak_for_others() {
    let node = StubNode::worker("w1");
    let trusting = |more: &str| format!("{PLAIN}, trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]{more}");
    let topology = Topology::workers(&[node.address()])
        .listener("web", &trusting(""))
        .listener("forwarded", &trusting(", client_address: forwarded"))
        .listener("picky", &trusting(", deny: [203.0.113.0/24]"));
    let elb = Elb::start(&topology);
    let request = Request::get(HOST, "/services/echo")
        .header("X-Forwarded-For", "203.0.113.1, 10.0.0.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "public.test")
        .header("Forwarded", "for=198.51.100.1")
        .header("X-SSL-Client-DN", "CN=somebody");
    let echo = request.send(elb.web()).echo();
    for (name, expected) in [
        ("x-forwarded-for", vec!["203.0.113.1, 10.0.0.9, 127.0.0.1"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-host", vec!["public.test"]),
        ("x-ssl-client-dn", vec!["CN=somebody"]),
        ("forwarded", vec![]), // this proxy is not known to set it
    ] {
        assert_eq!(echo.received(name), expected, "{name}");
    }
    let line = elb.access_line("the first", |line| line["listener"] == "web");
    assert_eq!((line["client"].as_str(), line["via"].as_str()), (Some("203.0.113.1"), Some("127.0.0.1")));

    let echo = request.send(elb.address("forwarded")).echo();
    assert_eq!(echo.received("forwarded"), ["for=198.51.100.1, for=127.0.0.1"]);
    assert_eq!(echo.received("x-forwarded-for"), ["198.51.100.1"]);
    let unreadable = Request::get(HOST, "/services/echo").header("Forwarded", "for=unknown");
    assert_eq!(unreadable.send(elb.address("forwarded")).status, 400);

    assert_eq!(request.send(elb.address("picky")).status, 403);
    assert_eq!(get(elb.address("picky"), HOST, "/services/echo").status, 200, "the proxy itself");
}

#[test]
fn a_cluster_says_who_may_reach_it() {
    let nodes = [StubNode::worker("w1"), StubNode::manager("m1")];
    let topology = Topology::workers(&[nodes[0].address()])
        .manager("m1", nodes[1].address())
        .access("manager: { allow: [10.0.0.0/8] }, worker: { deny: [10.0.0.0/8] }");
    let elb = Elb::start(&topology);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/").status, 403);
    let line = elb.access_line("the refused", |line| line["status"] == 403);
    assert_eq!(
        (line["reason"].as_str(), line["cluster"].as_str()),
        (Some("client_not_allowed_in_cluster"), Some("esb"))
    );
}

#[test]
fn more_requests_than_a_rule_allows_come_too_early() {
    let node = StubNode::worker("w1");
    let rules = "few: { path: /services/echo/few, rate: 3/h }, tenants: { role: worker, rate: 2/h, per: tenant }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).rules(rules));
    let mut client = Client::connect(elb.web());
    for expected in [200, 200, 200, 429, 429] {
        let answer = client.get(HOST, "/services/echo/few/x");
        assert_eq!(answer.status, expected);
        let retry_after = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
        assert_eq!(retry_after.is_some_and(|seconds| (1..=7200).contains(&seconds)), expected == 429);
    }
    assert_eq!(client.get(HOST, "/services/echo/f%65w").status, 429, "another spelling is the same path");
    assert_eq!(client.get(HOST, "/services/echo/many").status, 200);
    for (tenant, expected) in [("a", [200, 200, 429]), ("b", [200, 200, 429])] {
        let path = format!("/t/{tenant}/services/echo");
        assert_eq!([(); 3].map(|()| client.get(HOST, &path).status), expected);
    }
    elb.wait_for_count("carbon_elb_refused_total", &[("reason", "rate_limited")], 5.0);
}

#[test]
fn bodies_are_as_large_as_their_path_allows() {
    let node = StubNode::worker("w1");
    let rules = "big: { path: /services/echo/big, body: 100KiB }, any: { path: /services/echo/any, body: off }";
    let listener = format!("{PLAIN}, limits: {{ body: 1KiB }}");
    let elb = Elb::start(&Topology::workers(&[node.address()]).rules(rules).listener("web", &listener));
    for (path, length, expected) in [
        ("/services/echo", 1024, 200),
        ("/services/echo", 1025, 413),
        ("/services/echo/big", 100 << 10, 200),
        ("/services/echo/big/x", (100 << 10) + 1, 413),
        ("/services/echo/any", 1 << 20, 200),
    ] {
        let body = vec![b'x'; length];
        let answer = Request::new("POST", HOST, path).body(&body).send(elb.web());
        assert_eq!(answer.status, expected, "{length} bytes to {path}");
        // Without an announced length it shows on the way.
        let chunked = [
            format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n")
                .as_bytes(),
            &body,
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        let mut client = Client::connect(elb.web());
        client.send(chunked);
        assert_eq!(client.answer().status, expected, "{length} bytes in chunks to {path}");
    }
    elb.wait_for_count("carbon_elb_refused_total", &[("reason", "body_too_large")], 4.0);
}

#[test]
fn answers_are_hardened_where_the_client_came_over_tls() {
    let dir = TempDir::new("tls");
    let edge = Certificate::self_signed(dir.path(), "edge", &format!("DNS:{CONSOLE_HOST}"));
    let tls = format!("tls: {{ certificate: {}, key: {} }}", edge.certificate.display(), edge.key.display());
    let response = "response: { hsts: 365d, nosniff: true, frame_options: deny, hide: [Server], \
                    cookies: { secure: true, same_site: lax } }";
    let node = RawNode::start(|mut connection| {
        while connection.read_request()?.is_some() {
            connection.send("HTTP/1.1 200 OK\r\nServer: Secret/1.0\r\nSet-Cookie: JSESSIONID=1; Path=/\r\nContent-Length: 2\r\n\r\nok");
        }
        Ok(())
    });
    let topology = Topology::new()
        .manager("m1", node.address())
        .worker("w1", node.address())
        .listener("console", &format!("role: manager, endpoint: servlet, {tls}, {response}"));
    let yaml = topology.to_yaml().replacen("id: w1, roles: [worker], host: 127.0.0.1", "id: w1, host: 127.0.0.2", 1);
    let elb = Elb::start_with(&yaml, &topology.listener_names());
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { address: elb.console(), ca: &edge.certificate, version };
        let answer = curl.get(CONSOLE_HOST, "/carbon/", &[]).response;
        for (name, expected) in [
            ("strict-transport-security", Some("max-age=31536000")),
            ("x-content-type-options", Some("nosniff")),
            ("x-frame-options", Some("DENY")),
            ("set-cookie", Some("JSESSIONID=1; Path=/; Secure; SameSite=Lax")),
            ("server", None),
        ] {
            assert_eq!(answer.header(name), expected, "{name} over {version}");
        }
        let refused = curl.get(CONSOLE_HOST, "/services/echo", &[]).response;
        assert_eq!(refused.status, 404);
        assert_eq!(refused.header("strict-transport-security"), Some("max-age=31536000"));
        assert_eq!(refused.header("server"), None);
    }
}
