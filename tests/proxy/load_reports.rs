//! What nodes report of their load: through an agent, and in headers of answers.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::support::client::{Client, Request, Response, get};
use crate::support::elb::Elb;
use crate::support::load::count_by_node;
use crate::support::node::RawNode;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;

const HEADER: &str = "endpoint-load-metrics";
const UNREADABLE: &str = "carbon_elb_load_reports_unreadable_total";
const POOL: [(&str, &str); 2] = [("cluster", "esb"), ("role", "worker")];

/// Answers every request of a connection as the node `id`, with these header lines. Before an answer it calls `wait`
/// with the line of the request.
fn serve(mut connection: Client, id: &str, headers: &str, wait: impl Fn(&str)) -> std::io::Result<()> {
    while let Some(request) = connection.read_request()? {
        wait(&request.line);
        let body = format!(r#"{{"node":"{id}"}}"#);
        let length = body.len();
        connection
            .stream()
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n{body}").as_bytes())?;
    }
    Ok(())
}

/// A node that sends these values of the header with every answer.
fn reporting(id: &'static str, reports: &[&str]) -> RawNode {
    let headers: String = reports.iter().map(|report| format!("{HEADER}: {report}\r\n")).collect();
    RawNode::start(move |connection| serve(connection, id, &headers, |_| ()))
}

/// How many of so many requests, one after the other and none of a session, `w1` and `w2` answer.
fn answered(elb: &Elb, requests: usize) -> [usize; 2] {
    let nodes: Vec<String> =
        (0..requests).map(|_| get(elb.web(), HOST, "/services/echo").echo().node().to_owned()).collect();
    let counts = count_by_node(nodes.iter().map(String::as_str));
    ["w1", "w2"].map(|node| counts.get(node).copied().unwrap_or(0))
}

/// The agent of `w1`. That of `w2`, at the same port of another address, is not there.
struct Agent {
    line: Arc<Mutex<String>>,
    node: RawNode,
}

impl Agent {
    fn start(line: &str) -> Agent {
        let line = Arc::new(Mutex::new(format!("{line}\n")));
        let said = Arc::clone(&line);
        let node = RawNode::start(move |connection| {
            let line = said.lock().expect("no thread panics with it").clone();
            connection.stream().write_all(line.as_bytes())
        });
        Agent { line, node }
    }

    fn says(&self, line: &str) {
        *self.line.lock().expect("no thread panics with it") = format!("{line}\n");
    }
}

/// Two workers that take turns, and the balancer, which asks their agents often.
fn with_agent(agent: &Agent, wait: impl Fn(&str) + Send + Sync + 'static) -> (Elb, [RawNode; 2]) {
    let w1 = RawNode::start(move |connection| serve(connection, "w1", "", &wait));
    let w2 = RawNode::start_at(Ipv4Addr::new(127, 0, 0, 2), |connection| serve(connection, "w2", "", |_| ()));
    let port = agent.node.address().port();
    let settings = format!("affinity: cookie, load: {{ agent: {{ port: {port}, interval: 200ms, timeout: 200ms }} }}");
    let topology = Topology::workers(&[w1.address(), w2.address()]).worker_pool(&settings);
    (Elb::start(&topology), [w1, w2])
}

/// Waits until `w1` and `w2` answer so many of six requests, and asserts that it stays so.
#[track_caller]
fn wait_for_shares(elb: &Elb, why: &str, shares: [usize; 2]) {
    wait_until(&format!("w1 and w2 answer {shares:?} requests after {why}"), || answered(elb, 6) == shares);
    assert_eq!(answered(elb, 12), shares.map(|share| 2 * share), "{why}");
}

#[test]
fn a_node_is_asked_as_its_agent_says() {
    let agent = Agent::start("up ready 100%");
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let (elb, _nodes) = with_agent(&agent, move |line| {
        if line.contains("?hold") {
            // An error means that the test has dropped the other end: go on.
            let _ = held.lock().expect("no thread panics with it").recv();
        }
    });
    wait_for_shares(&elb, "the start", [3, 3]);
    let mut cookie = None;
    wait_until("w1 gives a session", || {
        let answer = get(elb.web(), HOST, "/services/echo");
        cookie = answer.cookie().filter(|_| answer.echo().node() == "w1").map(str::to_owned);
        cookie.is_some()
    });
    let cookie = cookie.expect("it was waited for");
    let session = || Request::get(HOST, "/services/echo").header("Cookie", &cookie).send(elb.web()).echo();

    for (line, shares, of_session) in [
        ("drain", [0, 6], "w1"),
        ("ready", [3, 3], "w1"),
        ("maint", [0, 6], "w2"),
        ("ready", [3, 3], "w1"),
        ("down # the test says so", [0, 6], "w2"),
        ("up", [3, 3], "w1"),
        ("50%", [2, 4], "w1"),
        ("200%", [4, 2], "w1"),
        ("0%", [0, 6], "w1"),
        ("100%", [3, 3], "w1"),
    ] {
        agent.says(line);
        wait_for_shares(&elb, line, shares);
        assert_eq!(session().node(), of_session, "{line}");
    }

    let mut holder = Client::connect(elb.web());
    holder.send(Request::get(HOST, "/services/echo?hold").header("Cookie", &cookie).to_bytes());
    let busy = [("node", "w1")];
    wait_until("w1 has a request", || elb.metrics().sum("carbon_elb_in_flight", &busy) == 1.0);
    agent.says("maxconn:1");
    wait_for_shares(&elb, "maxconn:1", [0, 6]);
    drop(release);
    assert_eq!(holder.answer().echo().node(), "w1");
    wait_for_shares(&elb, "the end of the request", [3, 3]);
}

#[test]
fn the_weight_that_an_agent_gave_is_forgotten_when_it_falls_silent() {
    let agent = Agent::start("0%");
    let (elb, _nodes) = with_agent(&agent, |_| ());
    wait_for_shares(&elb, "0%", [0, 6]);
    drop(agent);
    wait_for_shares(&elb, "its silence", [3, 3]);
}

#[test]
fn load_in_answers_leads_requests_elsewhere() {
    let idle = r#"JSON {"cpu_utilization":0.1}"#;
    for (busy, idle, unreadable) in [
        (&["TEXT application_utilization=0.9, cpu_utilization=0.2"][..], idle, false),
        (&[r#"JSON {"application_utilization":0.9}"#], "TEXT cpu_utilization=0.1", false),
        // The first one that can be read.
        (&["BIN CZqZmZmZmdk/", "cpu_utilization=0.9", "TEXT cpu_utilization=0.1"], idle, true),
    ] {
        let nodes = [reporting("w1", busy), reporting("w2", &[idle])];
        let topology = Topology::workers(&[nodes[0].address(), nodes[1].address()])
            .worker_pool("balance: load_aware, load: { orca: true, fade: 60s }");
        let elb = Elb::start(&topology);
        // Before they have reported they take turns.
        assert_eq!(answered(&elb, 2), [1, 1], "{busy:?}");
        let [of_busy, _] = answered(&elb, 60);
        // Each turn of its own is taken with a chance of less than 1 in 2000.
        assert!(of_busy <= 3, "{of_busy} of 60 requests went to the busy node: {busy:?}");
        let answer = get(elb.web(), HOST, "/services/echo");
        assert_eq!((answer.status, answer.header(HEADER)), (200, None), "{busy:?}");
        assert_eq!(elb.metrics().sum(UNREADABLE, &POOL) > 0.0, unreadable, "{busy:?}");
    }
}

#[test]
fn reports_that_cannot_be_read_are_counted() {
    let node = reporting("w1", &["BIN CZqZmZmZmdk/", "TEXT cpu_utilization=-1"]);
    let topology = Topology::workers(&[node.address()]).worker_pool("load: { orca: true }");
    let elb = Elb::start(&topology);
    elb.wait_for_count(UNREADABLE, &POOL, 0.0);
    for _ in 0..3 {
        let answer = get(elb.web(), HOST, "/services/echo");
        assert_eq!((answer.status, answer.header(HEADER)), (200, None));
    }
    elb.wait_for_count(UNREADABLE, &POOL, 6.0);
}

#[test]
fn reports_that_nobody_asked_for_are_passed_on() {
    let reports = ["BIN CZqZmZmZmdk/", "TEXT cpu_utilization=0.3"];
    let node = reporting("w1", &reports);
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let Response { status, headers, .. } = get(elb.web(), HOST, "/services/echo");
    let passed: Vec<_> = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(HEADER)).collect();
    assert_eq!((status, passed.len()), (200, 2));
    assert!(passed.iter().zip(reports).all(|((_, value), sent)| value == sent), "{passed:?}");
    assert_eq!(elb.metrics().sum(UNREADABLE, &POOL), 0.0);
}
