//! `slowhttptest` against a balancer with short limits: each attack holds 1,000 connections as long as it can, while
//! somebody else asks for ordinary things.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::connections;
use crate::support::elb::Elb;
use crate::support::load::Load;
use crate::support::node::StubNode;
use crate::support::process::Process;
use crate::support::topology::{HOST, Topology};
use crate::support::{poll, wait_until};

/// What the attacker may have at once.
const CONNECTIONS: usize = 1_000;
/// Within this time, from its beginning on, an attack is over. It takes 15 seconds at most where there is room: three for
/// the attacker to connect, and ten in which no rate is asked of a body.
const BOUND: Duration = Duration::from_secs(45);
const SETTINGS: &str = "role: worker, endpoint: servlet, timeouts: { idle: 4s, header: 4s, read: 4s, write: 2s }, \
    limits: { body_rate: 240B }";

/// Runs the attack against `path`.
fn attack(mode: &[&str], path: &str) {
    let node = StubNode::worker("w1");
    // The attacker can only name what it can resolve.
    let yaml = Topology::workers(&[node.address()]).listener("web", SETTINGS).to_yaml();
    let host = format!("worker: [{HOST}");
    assert!(yaml.contains(&host), "{yaml}");
    let elb = Elb::start_with(&yaml.replace(&host, &format!("{host}, 127.0.0.1")), &["web"]);
    let load = Load::start(elb.web(), HOST, "/services/echo", 2, Duration::from_millis(20));
    load.wait_for(10);

    let mut command = Command::new("slowhttptest");
    let (count, url) = (CONNECTIONS.to_string(), format!("http://{}{path}", elb.web()));
    command.args(mode).args(["-c", &count, "-r", &count, "-l", "60", "-p", "5", "-u", &url]).stdin(Stdio::null());
    let began = Instant::now();
    let mut attacker = Process::start("slowhttptest", &mut command);
    // The first have to go before the last have come if the machine is slow.
    let mut most: f64 = 0.0;
    wait_until("the attack is under way", || {
        most = most.max(connections(&elb));
        most >= CONNECTIONS as f64 / 2.0
    });
    // Nothing but the clients of the load, and what the attacker asks to see whether there still is an answer.
    let over = poll(BOUND.saturating_sub(began.elapsed()), || (connections(&elb) <= 10.0).then_some(()));
    let left = connections(&elb);
    attacker.kill();
    assert!(over.is_some(), "{mode:?}: after {:?}, {left} of {most} connections are there", began.elapsed());

    load.wait_for(10);
    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter_map(|sample| sample.outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{mode:?}: {} of {} ordinary requests failed: {failed:?}", failed.len(), samples.len());
    assert!(samples.len() >= 50, "{mode:?}: only {} ordinary requests were answered", samples.len());
    wait_until("no node is busy", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
}

/// One after another, since two at a time would measure the machine; and in one test, so that none of the other tests waits
/// for them.
#[test]
fn others_are_served_while_clients_are_slow() {
    let (path, large) = ("/services/echo", "/services/echo?bytes=5000000");
    attack(&["-H", "-i", "1", "-x", "10"], path);
    attack(&["-B", "-i", "1", "-x", "10", "-s", "100000"], path);
    attack(&["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "1"], large);
}
