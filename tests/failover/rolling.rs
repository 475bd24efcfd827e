//! A rolling restart as an operator does it: drain, wait, stop, start, put back.

use crate::operator::{self, set_state};
use crate::support::wait_until;
use crate::traffic::Traffic;
use crate::worker::{Worker, topology, wait_until_up};

const CLIENTS: usize = 8;
const ROUNDS: usize = 3;

/// With `retry: off`: nothing of this may rest on a second try.
#[test]
fn a_rolling_restart_costs_no_request() {
    let mut workers = Worker::several(3);
    let topology = topology(&workers).servlet("scheme: http, health: { path: /services/Version }").worker_pool(
        "health: { interval: 100ms, timeout: 100ms, rise: 1, fall: 3 }, panic: 50%, outliers: off, retry: off",
    );
    let elb = operator::start(topology);
    wait_until_up(&elb, &workers);
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET", "POST", "GET"]);
    traffic.wait_for(200);

    for number in 0..3 * ROUNDS {
        let worker = &mut workers[number % 3];
        set_state(&elb, worker.id(), "draining");
        wait_until("nothing is in flight on it", || {
            elb.metrics().sum("carbon_elb_in_flight", &[("node", worker.id())]) == 0.0
        });
        // What was chosen before the change is on it by now.
        traffic.wait_for(2 * CLIENTS);
        let arrived = worker.arrived().len();
        traffic.wait_for(50);
        assert_eq!(worker.arrived().len(), arrived, "{} drains and is asked", worker.id());
        worker.stop();
        traffic.wait_for(20);
        worker.start_again();
        elb.wait_for_node(worker.id(), "servlet", true);
        set_state(&elb, worker.id(), "ready");
        worker.wait_for_more();
    }
    traffic.wait_for(100);
    let sents = traffic.finish();
    sents.reconcile(&format!("rolling restart, {ROUNDS} rounds"), &elb, &workers);
    let failed = sents.failed();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    assert_eq!(elb.metrics().sum("carbon_elb_retries_total", &[]), 0.0);
    let arrivals: usize = workers.iter().map(|worker| worker.arrived().len()).sum();
    assert_eq!(arrivals, sents.all.len(), "each request arrives once");
}
