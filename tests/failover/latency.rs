//! A worker that answers far later than the others is ejected for it, and comes back.

use crate::support::elb::Elb;
use crate::support::wait_until;
use crate::traffic::Traffic;
use crate::worker::{Worker, topology, wait_until_up};

const CLIENTS: usize = 8;

/// Two workers, and `w3`, which takes 25 times as long: far beyond the five times that are allowed, so that a busy
/// machine makes no difference.
fn with_a_slow_one() -> Vec<Worker> {
    let delays = [("w1", "20ms"), ("w2", "20ms"), ("w3", "500ms")];
    delays.into_iter().map(|(id, delay)| Worker::start(id, &["--delay", delay])).collect()
}

/// Probes need an answer of the system only, which a slow worker gives as fast as others. Of two members at least one
/// stays whatever is measured, so the slow one is never asked for want of others.
#[track_caller]
fn start(workers: &[Worker], eject_for: &str) -> Elb {
    let outliers = "consecutive: off, latency: 500%, requests: 3, interval: 500ms, max_ejected: 100%";
    let topology = topology(workers).servlet("scheme: http, health: tcp").worker_pool(&format!(
        "health: {{ interval: 300ms, timeout: 300ms, rise: 1, fall: 3 }}, \
         outliers: {{ {outliers}, eject_for: {eject_for}, eject_at_most: {eject_for} }}"
    ));
    let elb = Elb::start(&topology);
    wait_until_up(&elb, workers);
    elb
}

#[track_caller]
fn ejections(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_ejections_total", &[("node", "w3"), ("reason", "slow")])
}

#[test]
fn a_slow_worker_is_not_asked_until_a_probe_finds_it_started_again() {
    let mut workers = with_a_slow_one();
    let elb = start(&workers, "1h");
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET"]);
    wait_until("w3 is ejected", || ejections(&elb) == 1.0);
    wait_until("nothing is in flight on it", || elb.metrics().sum("carbon_elb_in_flight", &[("node", "w3")]) == 0.0);
    // What was chosen before the ejection is on it by now.
    traffic.wait_for(2 * CLIENTS);
    let arrived = workers[2].arrived().len();
    traffic.wait_for(100);
    assert_eq!(workers[2].arrived().len(), arrived, "it is ejected and asked");

    workers[2].stop();
    elb.wait_for_node("w3", "servlet", false);
    workers[2].start_again_with(&["--delay", "20ms"]);
    elb.wait_for_node("w3", "servlet", true);
    workers[2].wait_for_more();
    traffic.wait_for(100);
    let sents = traffic.finish();
    sents.reconcile("a slow worker", &elb, &workers);
    let failed = sents.failed();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

#[test]
fn a_slow_worker_is_tried_again_and_ejected_again_while_it_is_slow() {
    let workers = with_a_slow_one();
    let elb = start(&workers, "300ms");
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET"]);
    wait_until("w3 is ejected", || ejections(&elb) >= 1.0);
    // Late is an answer, too.
    elb.wait_for_log("w3 servlet: active, was half_open: trial_good");
    workers[2].wait_for_more();
    wait_until("w3 is ejected again", || ejections(&elb) >= 2.0);
    let sents = traffic.finish();
    sents.reconcile("a worker that stays slow", &elb, &workers);
    let failed = sents.failed();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}
