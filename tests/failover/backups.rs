//! Backups are asked only while no other member can be, and left again.

use std::collections::BTreeSet;

use crate::operator::{self, set_state};
use crate::support::client::get;
use crate::support::elb::Elb;
use crate::support::topology::{HOST, Topology, ports};
use crate::worker::{Worker, topology, wait_until_up};

/// Two workers, and two that are their backups.
fn with_backups(workers: &[Worker]) -> Topology {
    let (others, backups) = workers.split_at(2);
    backups.iter().fold(topology(others), |topology, backup| {
        topology.node(&format!("id: {}, roles: [worker], backup: true, {}", backup.id(), ports(backup.address())))
    })
}

/// The workers that answer some requests in a row; each of those that are asked has its turn.
#[track_caller]
fn asked(elb: &Elb) -> BTreeSet<String> {
    (0..12).map(|_| get(elb.web(), HOST, "/services/echo").echo().node().to_owned()).collect()
}

#[track_caller]
fn assert_asked(elb: &Elb, expected: &[&str]) {
    assert_eq!(asked(elb), expected.iter().map(|&id| id.to_owned()).collect());
}

#[test]
fn backups_serve_while_an_operator_has_taken_out_all_others() {
    let workers = Worker::several(4);
    let elb = operator::start(with_backups(&workers));
    assert_asked(&elb, &["w1", "w2"]);
    set_state(&elb, "w1", "maintenance");
    assert_asked(&elb, &["w2"]);
    set_state(&elb, "w2", "draining");
    assert_asked(&elb, &["w3", "w4"]);
    set_state(&elb, "w3", "maintenance");
    assert_asked(&elb, &["w4"]);
    set_state(&elb, "w3", "ready");
    set_state(&elb, "w1", "ready");
    assert_asked(&elb, &["w1"]);
    set_state(&elb, "w2", "ready");
    assert_asked(&elb, &["w1", "w2"]);
}

#[test]
fn backups_serve_while_all_others_are_down() {
    let mut workers = Worker::several(4);
    let topology = with_backups(&workers)
        .servlet("scheme: http, health: tcp")
        .worker_pool("health: { interval: 300ms, timeout: 300ms, rise: 1, fall: 3 }, outliers: off");
    let elb = Elb::start(&topology);
    wait_until_up(&elb, &workers);
    assert_asked(&elb, &["w1", "w2"]);
    workers[0].kill();
    elb.wait_for_node("w1", "servlet", false);
    assert_asked(&elb, &["w2"]);
    workers[1].kill();
    elb.wait_for_node("w2", "servlet", false);
    assert_asked(&elb, &["w3", "w4"]);
    workers[0].start_again();
    elb.wait_for_node("w1", "servlet", true);
    assert_asked(&elb, &["w1"]);
    assert_eq!(elb.metrics().sum("carbon_elb_refused_total", &[]), 0.0);
}
