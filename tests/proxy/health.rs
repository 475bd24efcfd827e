//! Health checks: who is asked, and when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::get;
use crate::support::elb::Elb;
use crate::support::load::Load;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};

pub(super) const HEALTH: &str = "scheme: http, health: { path: /services/Version, expect: [200] }";

/// A node whose health the test sets, and what it was asked.
#[derive(Default)]
pub(super) struct Patient {
    well: AtomicBool,
    /// Probes since the test last changed `well`.
    pub(super) probes: AtomicUsize,
    pub(super) requests: AtomicUsize,
}

impl Patient {
    pub(super) fn node(self: &Arc<Self>) -> RawNode {
        let patient = Arc::clone(self);
        RawNode::start(move |mut connection| {
            while let Some(request) = connection.read_request()? {
                let status = if request.line.contains("/services/Version") {
                    // Counted with the answer that belongs to it, or a probe under way would be counted as a new one.
                    let well = patient.well.load(Ordering::Acquire);
                    patient.probes.fetch_add(1, Ordering::AcqRel);
                    if well { "200 OK" } else { "503 Service Unavailable" }
                } else {
                    patient.requests.fetch_add(1, Ordering::AcqRel);
                    "200 OK"
                };
                let body = r#"{"node":"w2"}"#;
                connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
            Ok(())
        })
    }

    pub(super) fn set(&self, well: bool) {
        self.well.store(well, Ordering::Release);
        self.probes.store(0, Ordering::Release);
    }
}

#[test]
fn a_node_goes_down_after_fall_probes_and_comes_back_after_rise() {
    let (steady, manager) = (StubNode::worker("w1"), StubNode::manager("m1"));
    let patient = Arc::new(Patient::default());
    patient.set(true);
    let node = patient.node();
    let topology = Topology::workers(&[steady.address(), node.address()])
        .manager("m1", manager.address())
        .servlet(HEALTH)
        .worker_pool("health: { interval: 200ms, timeout: 200ms, rise: 2, fall: 3 }");
    let elb = Elb::start_ready(&topology);
    elb.wait_for_node("w2", "servlet", true);
    let load = Load::start(elb.web(), HOST, "/services/echo", 2, Duration::from_millis(2));
    load.wait_for(20);
    assert!(patient.requests.load(Ordering::Acquire) > 0, "a node that is up is not asked");

    patient.set(false);
    elb.wait_for_node("w2", "servlet", false);
    let failing = patient.probes.load(Ordering::Acquire);
    // One probe more may have been under way when the test looked.
    assert!((3..=4).contains(&failing), "down after {failing} failing probes, not 3");
    // Each client may have one request under way that was sent before.
    load.wait_for(4);
    let before = patient.requests.load(Ordering::Acquire);
    load.wait_for(50);
    assert_eq!(patient.requests.load(Ordering::Acquire), before, "a node that is down is asked");

    patient.set(true);
    elb.wait_for_node("w2", "servlet", true);
    let good = patient.probes.load(Ordering::Acquire);
    assert!((2..=3).contains(&good), "up after {good} good probes, not 2");
    load.wait_for(20);
    assert!(patient.requests.load(Ordering::Acquire) > before, "a node that came back is not asked");

    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "the change of health cost requests: {failed:?}");
}

#[test]
fn a_node_that_takes_the_probe_and_never_answers_is_down() {
    let (node, probes) = RawNode::by_hand();
    let topology = Topology::workers(&[node.address()])
        .servlet(HEALTH)
        .worker_pool("health: { interval: 200ms, timeout: 100ms, rise: 1, fall: 2 }");
    let elb = Elb::start(&topology);
    let mut first = probes.next();
    first.read_request().unwrap();
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    elb.wait_for_node("w1", "servlet", true);
    // Two more are left without an answer.
    elb.wait_for_fall("w1", "servlet");
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 503);
}

#[test]
fn a_probe_says_what_the_configuration_says() {
    let (node, probes) = RawNode::by_hand();
    let topology = Topology::workers(&[node.address()])
        .servlet("scheme: http, health: { path: \"/services/Version?x=1\", host: probe.test, expect: [405] }")
        .worker_pool("health: { interval: 60s, timeout: 30s, rise: 1, fall: 1 }");
    let elb = Elb::start(&topology);
    let mut probe = probes.next();
    let request = probe.read_request().unwrap().unwrap();
    assert_eq!(request.line, "GET /services/Version?x=1 HTTP/1.1");
    assert_eq!(request.header("host"), Some("probe.test"));
    probe.send("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    elb.wait_for_node("w1", "servlet", true);
}
