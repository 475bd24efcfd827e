//! The separated pattern: workers and the manager are different nodes.

use serde_json::Value;

use crate::fleet::fleet;
use crate::support::client::{Client, Request, get};
use crate::support::curl::Curl;
use crate::support::elb::Elb;
use crate::support::load::count_by_node;
use crate::support::topology::{CONSOLE_HOST, HOST};
use crate::support::wait_until;
use crate::support::websocket::{CLOSE, TEXT, WebSocket};

const CONSOLE: &str = "/carbon/admin/index.jsp";
const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

#[test]
fn console_requests_reach_the_manager_only_and_through_its_listener_only() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    for (option, version) in VERSIONS {
        let curl = |listener| Curl { address: elb.address(listener), ca: &fleet.edge.certificate, version: option };
        for answer in curl("console").get_all(CONSOLE_HOST, &[CONSOLE; 30], &[]) {
            assert_eq!(answer.version, version);
            assert_eq!(answer.response.echo().node(), "m1");
        }
        // Every worker has the same page, so a request that came through would be answered.
        for listener in ["web", "api"] {
            for path in [CONSOLE, "/carbon/", "/t/a.test/carbon/admin/index.jsp", "/services/UserAdmin"] {
                let answer = curl(listener).get(HOST, path, &[]);
                assert_eq!(answer.response.status, 404, "{path} on {listener}: {answer:?}");
            }
            // The console's name does not help at the public door.
            let answer = curl(listener).get(CONSOLE_HOST, CONSOLE, &[]);
            assert!(matches!(answer.response.status, 404 | 421), "on {listener}: {answer:?}");
        }
    }
    // Ways to write it that Tomcat takes for /carbon; curl would tidy them up.
    for path in [
        "//carbon/admin/index.jsp",
        "/x/../carbon/admin/index.jsp",
        "/services/..;/carbon/admin/index.jsp",
        "/%63arbon/admin/index.jsp",
    ] {
        // Tomcat does take it for that: else this would show nothing.
        let direct = get(fleet.nodes[1].address(crate::support::tomcat::Connector::Http), HOST, path);
        assert_eq!(direct.echo().node(), "w1", "{path}");
        for listener in ["clear", "clear-api"] {
            let status = get(elb.address(listener), HOST, path).status;
            assert!(matches!(status, 400 | 404), "{path} on {listener}: {status}");
        }
    }
    // No more than these: the manager was asked for nothing else.
    elb.wait_for_count("carbon_elb_requests_total", &[("role", "manager")], 60.0);
}

#[test]
fn services_are_spread_as_the_weights_say() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    for (option, version) in VERSIONS {
        for listener in ["web", "api"] {
            let curl = Curl { address: elb.address(listener), ca: &fleet.edge.certificate, version: option };
            let answers = curl.get_all(HOST, &["/services/echo"; 90], &[]);
            assert!(answers.iter().all(|answer| answer.version == version));
            let echoes: Vec<_> = answers.iter().map(|answer| answer.response.echo()).collect();
            let counts = count_by_node(echoes.iter().map(|echo| echo.node()));
            // Weights 2 and 1; one cycle is three requests.
            let off = |node, expected: usize| counts.get(node).copied().unwrap_or(0).abs_diff(expected);
            assert!(off("w1", 60) <= 2 && off("w2", 30) <= 1, "{listener} over {version}: {counts:?}");
            assert_eq!(counts.len(), 2, "{counts:?}");
            let scheme = if listener == "web" { "https" } else { "http" };
            assert!(echoes.iter().all(|echo| echo.field("scheme") == scheme), "{listener} leads to another port");
        }
    }
}

#[test]
fn a_node_sees_who_asked_and_how() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    let body = "x".repeat(100_000);
    for (option, version) in VERSIONS {
        let curl = Curl { address: elb.address("web"), ca: &fleet.edge.certificate, version: option };
        let options = ["--data-raw", &body, "-H", "X-Forwarded-For: 192.0.2.66", "-H", "Forwarded: for=192.0.2.66"];
        let echo = curl.get(HOST, "/services/echo/op?a=%20b&c", &options).response.echo();
        assert_eq!((echo.field("method"), echo.field("path")), ("POST", "/services/echo/op?a=%20b&c"), "{version}");
        assert_eq!(echo.body_length(), body.len() as u64, "{version}");
        assert_eq!(echo.received("host"), [format!("{HOST}:{}", curl.address.port())], "{version}");
        assert_eq!(echo.received("x-forwarded-for"), ["127.0.0.1"], "{version}");
        assert_eq!(echo.received("x-forwarded-proto"), ["https"], "{version}");
        assert_eq!(echo.received("x-forwarded-port"), [curl.address.port().to_string()], "{version}");
        assert!(echo.received("forwarded").is_empty(), "{version}");
    }
}

#[test]
fn a_session_of_the_console_goes_on() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    let mut client = Client::connect(elb.address("clear-console"));
    let first = client.get(CONSOLE_HOST, CONSOLE);
    let cookie = first.cookie().expect("the console begins a session").to_owned();
    assert_eq!(first.json()["visits"], 1);
    for visit in 2..=10 {
        let request = Request::get(CONSOLE_HOST, CONSOLE).header("Cookie", &cookie);
        assert_eq!(client.request(&request).json()["visits"], visit);
    }
    // The same session over HTTP/2 and TLS, each time on a new connection.
    for visit in 11..=13 {
        let curl = Curl { address: elb.console(), ca: &fleet.edge.certificate, version: "--http2" };
        let answer = curl.get(CONSOLE_HOST, CONSOLE, &["-H", &format!("Cookie: {cookie}")]);
        assert_eq!(answer.response.json()["visits"], visit);
    }
}

#[test]
fn redirects_that_name_the_node_name_the_balancer_to_the_client() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    let node = fleet.nodes[0].address(crate::support::tomcat::Connector::Https);
    for (option, version) in VERSIONS {
        let curl = Curl { address: elb.console(), ca: &fleet.edge.certificate, version: option };
        let response = curl.get(CONSOLE_HOST, "/carbon/admin/login.jsp", &[]).response;
        assert_eq!(response.status, 302);
        let expected = format!("https://{CONSOLE_HOST}:{}{CONSOLE}?from=m1", curl.address.port());
        assert_eq!(response.header("location"), Some(expected.as_str()), "{version}");
        assert!(!format!("{response:?}").contains(&node.port().to_string()), "the node's port is told: {response:?}");
    }
    let response = get(elb.address("clear-console"), "mgt.esb.test:8080", "/carbon/admin/login.jsp");
    let expected = format!("http://mgt.esb.test:8080{CONSOLE}?from=m1");
    assert_eq!(response.header("location"), Some(expected.as_str()));
}

#[test]
fn web_sockets_pass() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    for listener in ["clear", "clear-api"] {
        let mut socket = WebSocket::open(elb.address(listener), HOST, "/services/chat");
        let mut nodes = Vec::new();
        for i in 0..20 {
            let text = format!("message {i}");
            socket.send(TEXT, text.as_bytes());
            let (kind, payload) = socket.receive();
            let answer = String::from_utf8(payload).unwrap();
            let (node, echoed) = answer.split_once(": ").unwrap();
            assert_eq!((kind, echoed), (TEXT, text.as_str()));
            nodes.push(node.to_owned());
        }
        assert!(nodes.iter().all(|node| *node == nodes[0] && node.starts_with('w')), "{nodes:?}");
        let in_flight = || elb.metrics().sum("carbon_elb_in_flight", &[("node", &nodes[0])]);
        assert_eq!(in_flight(), 1.0, "an open WebSocket is a request in flight");
        socket.send(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(socket.receive(), (CLOSE, 1000_u16.to_be_bytes().to_vec()));
        assert!(socket.is_ended());
        wait_until("the WebSocket is counted off", || in_flight() == 0.0);
    }
}

#[test]
fn a_node_with_a_certificate_of_another_is_not_believed() {
    let fleet = fleet();
    // The edge's certificate has signed none of the nodes'.
    let wrong = fleet.edge.certificate.display();
    for (what, tls) in [
        ("signed by nobody known", format!("ca: {wrong}, server_name: localhost")),
        ("made out to another name", format!("ca: {}, server_name: other.test", fleet.authorities().display())),
    ] {
        let elb = Elb::start(&fleet.separated().servlet(&format!("scheme: https, tls: {{ {tls} }}, health: off")));
        let response = get(elb.address("clear"), HOST, "/services/echo");
        assert!(matches!(response.status, 502 | 503), "{what}: {response:?}");
        assert_eq!(elb.access_line(what, |line| line["status"] != 200)["path"], "/services/echo");
    }
    let elb = Elb::start(&fleet.separated().servlet("scheme: https, tls: { verify: false }, health: off"));
    assert_eq!(get(elb.address("clear"), HOST, "/services/echo").status, 200, "unless the operator says so");
}

#[test]
fn access_lines_tell_the_protocol_and_the_node() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    for (option, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let curl = Curl { address: elb.address("web"), ca: &fleet.edge.certificate, version: option };
        let echo = curl.get(HOST, "/services/echo", &[]).response.echo();
        let line = elb.access_line(protocol, |line| line["protocol"] == protocol);
        let authority = format!("{HOST}:{}", curl.address.port());
        for (key, expected) in [
            ("node", Value::from(echo.node())),
            ("status", 200.into()),
            ("listener", "web".into()),
            ("host", authority.into()),
        ] {
            assert_eq!(line[key], expected, "{key} in {line}");
        }
    }
}
