//! Which requests reach which nodes, and which reach none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::{Client, Request, get};
use crate::support::elb::Elb;
use crate::support::load::count_by_node;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology, ports};

/// A node that counts what reaches it, whatever it is.
fn counting_node() -> (RawNode, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let node = RawNode::start(move |mut connection| {
        while connection.read_request()?.is_some() {
            counter.fetch_add(1, Ordering::AcqRel);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        Ok(())
    });
    (node, count)
}

#[test]
fn each_listener_leads_to_its_role_only() {
    let (manager, worker) = (StubNode::manager("m1"), StubNode::worker("w1"));
    let elb = Elb::start(&Topology::new().manager("m1", manager.address()).worker("w1", worker.address()));
    for path in
        ["/services/echo", "/services/echo/op", "/services/echo.echoHttpsSoap12Endpoint", "/t/a.test/services/echo"]
    {
        let echo = get(elb.web(), HOST, path).echo();
        assert_eq!((echo.node(), echo.role(), echo.field("path")), ("w1", "worker", path));
    }
    for path in ["/carbon/", "/carbon/admin/login.jsp", "/t/a.test/carbon/", "/services/UserAdmin"] {
        let echo = get(elb.console(), CONSOLE_HOST, path).echo();
        assert_eq!((echo.node(), echo.role()), ("m1", "manager"), "{path}");
        assert_eq!(get(elb.web(), HOST, path).status, 404, "{path} on the public listener");
    }
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/services/echo").status, 404, "a worker's service at the console");
    // What both roles need follows the listener.
    assert_eq!(get(elb.web(), HOST, "/oauth2/token").echo().node(), "w1");
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/oauth2/token").echo().node(), "m1");
}

#[test]
fn what_is_refused_reaches_no_node() {
    let (worker, at_worker) = counting_node();
    let (manager, at_manager) = counting_node();
    let elb = Elb::start(&Topology::new().manager("m1", manager.address()).worker("w1", worker.address()));
    let cases = [
        // hosts that are nobody's: nothing matches by suffix or prefix
        ("nobody.test", "/services/echo", 421),
        ("xesb.test", "/services/echo", 421),
        ("a.esb.test", "/services/echo", 421),
        ("esb.test.evil.test", "/services/echo", 421),
        // paths that no role serves on a servlet port
        (HOST, "/other", 404),
        (HOST, "/services/unlisted", 404),
        // management on the public listener
        (HOST, "/carbon", 404),
        (HOST, "/carbon/admin/index.jsp", 404),
        (HOST, "/t/a.test/carbon/admin/index.jsp", 404),
        (HOST, "/services/UserAdmin", 404),
        (HOST, "/services/UserAdmin.UserAdminHttpsSoap12Endpoint", 404),
        (HOST, "/services/RemoteUserStoreManagerService", 404),
        (HOST, "/t/a.test/services/UserAdmin", 404),
        (HOST, "/services/t/a.test/UserAdmin", 404),
        (HOST, "/fileupload/resource", 404),
    ];
    for (host, path, status) in cases {
        let response = get(elb.web(), host, path);
        assert_eq!(response.status, status, "{host}{path}");
        assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
    }
    // Ways to write /carbon that Tomcat understands (reference, "How Tomcat reads a path"). Refused as what they are,
    // or as malformed; but never sent on.
    for path in [
        "//carbon/",
        "/./carbon/",
        "/x/../carbon/",
        "/services/echo/../../carbon/",
        "/services/..;/carbon/",
        "/services/echo/..;/..;/carbon/",
        "/services/%2e%2e/carbon/",
        "/%63arbon/",
        "/;x/carbon/",
        "/carbon;x/",
        "/services/echo/%2e%2e;x/%2e%2e/carbon/",
    ] {
        let status = get(elb.web(), HOST, path).status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(at_worker.load(Ordering::Acquire), 0, "a refused request reached a worker");
    assert_eq!(at_manager.load(Ordering::Acquire), 0, "a public request reached the manager");
    // The nodes do count: these two arrive.
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/").status, 200);
    assert_eq!((at_worker.load(Ordering::Acquire), at_manager.load(Ordering::Acquire)), (1, 1));
}

#[test]
fn on_a_pass_through_port_everything_but_management_is_served() {
    let worker = StubNode::worker("w1");
    let topology = Topology::workers(&[worker.address()]).listener("api", "role: worker, endpoint: passthrough");
    let elb = Elb::start(&topology);
    let api = elb.address("api");
    for path in ["/pizza/1.0/menu", "/", "/services/echo", "/pizza/1.0/a%20b/~x?y=%2F;z"] {
        let echo = get(api, HOST, path).echo();
        // The raw target counts there: API contexts are arbitrary.
        assert_eq!((echo.node(), echo.field("path")), ("w1", path));
    }
    for path in ["/carbon/", "/services/UserAdmin", "/t/a.test/carbon", "/admin"] {
        assert_eq!(get(api, HOST, path).status, 404, "{path}");
    }
}

#[test]
fn a_listener_for_both_roles_tells_them_apart_by_path() {
    let (manager, worker) = (StubNode::manager("m1"), StubNode::worker("w1"));
    let topology = Topology::new()
        .listener("web", "role: both, endpoint: servlet, exposes_management: true")
        .manager("m1", manager.address())
        .worker("w1", worker.address());
    let elb = Elb::start(&topology);
    assert_eq!(get(elb.web(), HOST, "/services/echo").echo().node(), "w1");
    assert_eq!(get(elb.web(), CONSOLE_HOST, "/carbon/").echo().node(), "m1");
}

#[test]
fn an_address_list_keeps_others_out() {
    let (manager, worker) = (StubNode::manager("m1"), StubNode::worker("w1"));
    let topology = Topology::new().manager("m1", manager.address()).worker("w1", worker.address());
    let closed = topology.clone().listener("console", "role: manager, endpoint: servlet, allow: [192.0.2.0/24]");
    let elb = Elb::start(&closed);
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/").status, 403);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200, "the list is one listener's");
    let open = topology.listener("console", "role: manager, endpoint: servlet, allow: [192.0.2.0/24, 127.0.0.0/8]");
    let elb = Elb::start(&open);
    assert_eq!(get(elb.console(), CONSOLE_HOST, "/carbon/").status, 200);
}

#[test]
fn load_is_spread_as_the_weights_say_and_evenly_interleaved() {
    let nodes: Vec<_> = ["w1", "w2", "w3"].map(StubNode::worker).into();
    let mut topology = Topology::workers(&[]);
    for (i, (node, weight)) in nodes.iter().zip([3, 2, 1]).enumerate() {
        let (id, ports) = (i + 1, ports(node.address()));
        topology = topology.node(&format!("id: w{id}, roles: [worker], weight: {weight}, {ports}"));
    }
    let elb = Elb::start(&topology);
    let mut client = Client::connect(elb.web());
    let answered: Vec<String> = (0..600).map(|_| client.get(HOST, "/services/echo").echo().node().to_owned()).collect();
    let counts = count_by_node(answered.iter().map(String::as_str));
    for (node, expected) in [("w1", 300_usize), ("w2", 200), ("w3", 100)] {
        let count = counts.get(node).copied().unwrap_or(0);
        // One cycle is six requests, of which a node gets at most three.
        assert!(count.abs_diff(expected) <= 3, "{counts:?}");
    }
    // Smooth: with weights 3, 2, 1 nobody is asked three times in a row.
    assert!(answered.windows(3).all(|three| three.iter().any(|node| *node != three[0])), "{answered:?}");
}

#[test]
fn a_request_that_names_no_host_or_another_in_its_target_is_refused_or_judged_by_the_target() {
    let (worker, at_worker) = counting_node();
    let elb = Elb::start(&Topology::workers(&[worker.address()]));
    let mut client = Client::connect(elb.web());
    client.send("GET /services/echo HTTP/1.1\r\n\r\n");
    let status = client.answer().status;
    assert!(matches!(status, 400 | 421), "no Host: {status}");
    // RFC 9112, 3.2.2: the host of an absolute target counts, not the header.
    let response = Request::get(HOST, "http://nobody.test/services/echo").send(elb.web());
    assert!(matches!(response.status, 400 | 404 | 421), "another host in the target: {}", response.status);
    assert_eq!(at_worker.load(Ordering::Acquire), 0);
}

#[test]
fn soap_needs_a_path_that_says_what_it_is_for() {
    let node = StubNode::worker("w1");
    let topology = Topology::workers(&[node.address()])
        .listener("api", "role: worker, endpoint: passthrough")
        .services("[echo]")
        .passthrough("scheme: http, health: off");
    let elb = Elb::start(&topology);
    for (listener, path, content_type, expected) in [
        ("api", "/pizza/1.0", "application/json", 200),
        ("api", "/pizza/1.0", "text/xml", 404),
        ("api", "/services/echo", "text/xml", 200),
        ("api", "/services/other", "text/xml", 404),
        ("web", "/services/echo", "application/soap+xml; action=\"urn:x\"", 200),
        ("web", "/services/echo;jsessionid=1", "application/soap+xml", 404),
        ("web", "/oauth2/token", "application/x-www-form-urlencoded", 200),
    ] {
        let request = Request::new("POST", HOST, path).header("Content-Type", content_type).body(b"<x/>");
        assert_eq!(request.send(elb.address(listener)).status, expected, "{path} as {content_type}");
    }
    let request = Request::get(HOST, "/pizza/1.0").header("SOAPAction", "");
    assert_eq!(request.send(elb.address("api")).status, 404);
    elb.wait_for_count("carbon_elb_refused_total", &[("reason", "soap_path_not_listed")], 3.0);
}

#[test]
fn ambiguous_paths_can_be_rewritten_instead() {
    let nodes = [StubNode::worker("w1"), StubNode::manager("m1")];
    let topology = Topology::workers(&[nodes[0].address()])
        .manager("m1", nodes[1].address())
        .listener("web", "role: worker, endpoint: servlet, paths: canonicalize")
        .listener("console", "role: manager, endpoint: servlet, paths: canonicalize");
    let elb = Elb::start(&topology);
    for (host, sent, seen) in [
        (HOST, "/services/./echo//a;x=1/%62?q=/../", Some("/services/echo/a/b?q=/../")),
        (HOST, "/x/../services/echo", Some("/services/echo")),
        (HOST, "/services/echo/J%c3%bcrgen%20x", Some("/services/echo/J%c3%bcrgen%20x")),
        (HOST, "/services/echo/..;/..;/carbon/", None),
        (HOST, "/services/echo%2f..", None),
        (CONSOLE_HOST, "/x/..;/%63arbon/a", Some("/carbon/a")),
    ] {
        let address = if host == HOST { elb.web() } else { elb.console() };
        let answer = get(address, host, sent);
        assert_eq!(answer.status == 200, seen.is_some(), "{sent}: {}", answer.status);
        if let Some(seen) = seen {
            assert_eq!(answer.echo().field("path"), seen, "{sent}");
        }
    }
}
