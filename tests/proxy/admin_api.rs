//! The API on the admin listener: what operators set is obeyed, and nobody else can set it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::TempDir;
use crate::support::client::{Client, Request, Response};
use crate::support::elb::Elb;
use crate::support::node::StubNode;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

const BEARER: &str = "Bearer the-token-of-the-tests";
const W1: &str = "/api/v1/clusters/esb/nodes/w1";
const W1_STATE: &str = "/api/v1/clusters/esb/nodes/w1/state";

/// Starts a balancer whose operators have a token.
#[track_caller]
fn start(topology: &Topology) -> (Elb, TempDir) {
    let dir = TempDir::new("token");
    let file = dir.write("tokens", "# of the tests\nanother-token-of-the-tests\nthe-token-of-the-tests\n");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is our file");
    let yaml = topology.to_yaml().replace("admin: { ", &format!("admin: {{ token_file: {}, ", file.display()));
    (Elb::start_with(&yaml, &topology.listener_names()), dir)
}

#[track_caller]
fn show(elb: &Elb, path: &str) -> Value {
    let response = Request::get("localhost", path).header("Authorization", BEARER).send(elb.address("admin"));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()
}

fn put<'a>(body: &'a [u8], headers: &[(&'a str, &'a str)]) -> Request<'a> {
    let request = Request::new("PUT", "localhost", W1_STATE).header("Content-Type", "application/json");
    headers.iter().fold(request, |request, (name, value)| request.header(name, value)).body(body)
}

#[track_caller]
fn set(elb: &Elb, state: &str) -> Value {
    let body = json!({ "state": state }).to_string();
    let response = put(body.as_bytes(), &[("Authorization", BEARER)]).send(elb.address("admin"));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// All cookies that an answer sets, as a client sends them.
fn cookies(response: &Response) -> String {
    let set = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs: Vec<_> = set.filter_map(|(_, cookie)| cookie.split(';').next()).collect();
    pairs.join("; ")
}

/// The nodes that requests without a session go to.
#[track_caller]
fn nodes_of_new(elb: &Elb) -> BTreeSet<String> {
    let ask = |_| Request::get(HOST, "/services/echo").send(elb.web()).echo().node().to_owned();
    (0..10).map(ask).collect()
}

#[test]
fn what_operators_want_is_obeyed_and_sessions_stay_as_long_as_they_may() {
    for affinity in ["route", "cookie"] {
        let (one, two) = (StubNode::worker("w1"), StubNode::worker("w2"));
        let topology = Topology::workers(&[one.address(), two.address()]);
        let (elb, _dir) = start(&topology.worker_pool(&format!("affinity: {affinity}")));
        let request = Request::get(HOST, "/services/echo");
        let session = (0..10).map(|_| request.send(elb.web())).find(|answer| answer.echo().node() == "w1");
        let cookies = cookies(&session.expect("w1 gets its share"));
        let node_of_session = || request.clone().header("Cookie", &cookies).send(elb.web()).echo().node().to_owned();
        assert_eq!(node_of_session(), "w1", "{affinity}");
        let state = |state| {
            let labels = [("cluster", "esb"), ("node", "w1"), ("endpoint", "servlet"), ("state", state)];
            elb.metrics().sum("carbon_elb_member_state", &labels)
        };
        assert_eq!((state("ready"), state("draining")), (1.0, 0.0));

        let changed = set(&elb, "draining");
        let states = ["before", "after"].map(|when| &changed[when]["admin_state"]);
        assert_eq!(states, ["ready", "draining"], "{changed}");
        assert_eq!(show(&elb, W1)["sessions"], json!({ "left": 0, "at_least": true }), "none was seen yet");
        assert_eq!(nodes_of_new(&elb), ["w2".to_owned()].into(), "{affinity}");
        for _ in 0..3 {
            assert_eq!(node_of_session(), "w1", "{affinity}: it keeps its sessions");
        }
        assert_eq!(show(&elb, W1)["sessions"], json!({ "left": 1, "at_least": true }));
        let left = |node| elb.metrics().sum("carbon_elb_draining_sessions", &[("cluster", "esb"), ("node", node)]);
        assert_eq!((left("w1"), left("w2")), (1.0, 0.0));
        assert_eq!((state("ready"), state("draining")), (0.0, 1.0));

        set(&elb, "maintenance");
        assert_eq!(node_of_session(), "w2", "{affinity}: its sessions move");
        assert_eq!(nodes_of_new(&elb), ["w2".to_owned()].into());
        assert_eq!(show(&elb, W1)["sessions"], Value::Null);

        set(&elb, "ready");
        assert_eq!(nodes_of_new(&elb), ["w1".to_owned(), "w2".to_owned()].into());
        for state in ["ready", "draining", "maintenance"] {
            elb.wait_for_count("carbon_elb_admin_changes_total", &[("state", state)], 1.0);
        }
    }
}

#[test]
fn a_request_in_flight_is_shown_and_finishes_on_a_node_in_maintenance() {
    let slow = StubNode::start("w1", "worker", &["--delay", "1s"]);
    let (elb, _dir) = start(&Topology::workers(&[slow.address()]));
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").to_bytes());
    wait_until("the request is in flight", || show(&elb, W1)["in_flight"] == 1);
    assert_eq!(show(&elb, W1)["members"][0]["in_flight"], 1);
    set(&elb, "maintenance");
    assert_eq!(client.answer().echo().node(), "w1");
    assert_eq!(Request::get(HOST, "/services/echo").send(elb.web()).status, 503, "nobody is left");
    let all = show(&elb, "/api/v1/members");
    let pools = all["clusters"][0]["pools"].as_array().expect("a list");
    let members: Vec<_> = pools.iter().flat_map(|pool| pool["members"].as_array().expect("a list")).collect();
    let standing = |id| members.iter().find(|member| member["id"] == id).map(|member| &member["standing"]);
    assert_eq!(standing("w1"), Some(&"maintenance".into()), "{all}");
    assert!(standing("nobody").is_some(), "the manager is a member, too: {all}");
}

#[test]
fn only_who_has_a_token_may_ask() {
    let node = StubNode::worker("w1");
    let topology = Topology::workers(&[node.address()]);
    let (elb, _dir) = start(&topology);
    let admin = elb.address("admin");
    let good = br#"{"state": "draining"}"#;
    for (authorization, reason) in [
        (None, "missing"),
        (Some("Basic dGhlLXRva2VuLW9mLXRoZS10ZXN0cw=="), "malformed"),
        (Some("Bearer the-token-of-the-test"), "wrong"),
        (Some("Bearer # of the tests"), "malformed"),
    ] {
        let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        let get = headers.iter().fold(Request::get("localhost", "/api/v1/members"), |r, (n, v)| r.header(n, v));
        for request in [get, put(good, &headers)] {
            let response = request.send(admin);
            assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")), "{request:?}");
            assert_eq!(response.header("content-type"), Some("application/problem+json"));
            assert_eq!(response.json()["type"], "urn:carbon-elb:problem:unauthorized");
        }
        assert!(elb.metrics().sum("carbon_elb_admin_refused_total", &[("reason", reason)]) >= 2.0, "{reason}");
    }
    for (name, value) in [("Origin", "http://evil.test"), ("Sec-Fetch-Site", "cross-site")] {
        let response = put(good, &[("Authorization", BEARER), (name, value)]).send(admin);
        assert_eq!((response.status, &response.json()["type"]), (403, &"urn:carbon-elb:problem:cross-site".into()));
    }
    assert_eq!(show(&elb, W1)["admin_state"], "ready", "none of them has changed anything");
    let other = Request::get("localhost", W1).header("Authorization", "bearer another-token-of-the-tests");
    assert_eq!(other.send(admin).status, 200);
    let own =
        put(good, &[("Authorization", BEARER), ("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")]);
    assert_eq!(own.send(admin).status, 200, "a page of the admin listener itself");

    let closed = Elb::start(&topology);
    let response = put(good, &[("Authorization", BEARER)]).send(closed.address("admin"));
    assert_eq!(response.status, 403);
    assert!(response.text().contains("admin.token_file"), "it says what to do: {}", response.text());
}

#[test]
fn what_is_wrong_is_told() {
    let node = StubNode::worker("w1");
    let (elb, _dir) = start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.address("admin"));
    let large = [b"{\"state\": \"".as_slice(), &vec![b'x'; 70_000], b"\"}"].concat();
    let fits = [b"{\"state\": \"draining\"".as_slice(), &vec![b' '; 60_000], b"}"].concat();
    for (body, status, kind) in [
        (b"{\"state\": draining}".as_slice(), 400, "not-json"),
        (b"{\"state\": \"draining\", \"for\": 5}", 400, "body-not-as-expected"),
        (b"{\"state\": \"drain\"}", 400, "body-not-as-expected"),
    ] {
        let response = client.request(&put(body, &[("Authorization", BEARER)]));
        let problem = response.json();
        assert_eq!((response.status, &problem["status"]), (status, &status.into()), "{problem}");
        assert_eq!(problem["type"], format!("urn:carbon-elb:problem:{kind}"), "{problem}");
    }
    // The connection went on so far. It ends with a body that is not read, but not before the answer is there.
    let response = client.request(&put(&large, &[("Authorization", BEARER)]));
    assert_eq!((response.status, &response.json()["type"]), (413, &"urn:carbon-elb:problem:body-too-large".into()));
    assert!(client.closed);
    // Without a length the limit is found while reading.
    let mut client = Client::connect(elb.address("admin"));
    let head = format!("PUT {W1_STATE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    client.send(format!("{head}Authorization: {BEARER}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", large.len()));
    client.send(&large);
    client.send("\r\n0\r\n\r\n");
    assert_eq!((client.answer().status, client.closed), (413, true));
    let mut client = Client::connect(elb.address("admin"));
    assert_eq!(show(&elb, W1)["admin_state"], "ready");
    // A client that asks whether it may send.
    client.send(format!(
        "{head}Authorization: {BEARER}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        fits.len()
    ));
    let (interim, _) = client.read_head().expect("100 Continue");
    assert_eq!(interim, 100);
    client.send(&fits);
    assert_eq!((client.answer().status, client.closed), (200, true));

    let mut client = Client::connect(elb.address("admin"));
    let get = |path| Request::get("localhost", path).header("Authorization", BEARER);
    let response = client.request(&get(W1_STATE));
    assert_eq!((response.status, response.header("allow")), (405, Some("PUT")));
    let response = client.request(&get("/api/v1/clusters/esb/nodes/w9"));
    assert_eq!((response.status, &response.json()["allowed"][0]), (404, &"w1".into()), "{}", response.text());
    let response = client.request(&Request::new("HEAD", "localhost", W1).header("Authorization", BEARER));
    assert_eq!((response.status, response.body.len()), (200, 0));
    let response = client.request(&get("/api/v1/openapi"));
    assert!(response.text().starts_with("openapi: 3.1"), "{}", response.text());
}
