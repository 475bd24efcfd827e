//! Workers that hang: the system takes connections for them, and nobody answers.

use std::time::Instant;

use crate::support::elb::Elb;
use crate::support::wait_until;
use crate::traffic::{Sents, Traffic};
use crate::worker::{Worker, topology, wait_until_up};

const CLIENTS: usize = 4;

/// The ids of requests that were sent between two points in time and have arrived at a worker. One that was sent while
/// it hung has arrived when it went on, as the bytes were waiting for it.
fn arrived_between(worker: &Worker, sents: &Sents, from: Instant, to: Instant) -> Vec<String> {
    let arrived = worker.arrived();
    let between = sents.all.iter().filter(|sent| sent.started > from && sent.started < to);
    between.map(|sent| sent.id.clone()).filter(|id| arrived.contains(id)).collect()
}

#[track_caller]
fn assert_all_answered(sents: &Sents) {
    let failed = sents.failed();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

#[test]
fn a_worker_that_hangs_is_found_by_its_probes_and_costs_nothing() {
    let workers = Worker::several(2);
    let topology = topology(&workers).servlet("scheme: http, health: { path: /services/Version }").worker_pool(
        "health: { interval: 500ms, timeout: 500ms, rise: 1, fall: 2 }, outliers: off, \
         retry: { attempts: 3, try_timeout: 500ms, budget: 100% }",
    );
    let elb = Elb::start(&topology);
    wait_until_up(&elb, &workers);
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET"]);
    traffic.wait_for(100);

    workers[1].freeze();
    let frozen = Instant::now();
    elb.wait_for_node("w2", "servlet", false);
    let out = Instant::now();
    // Each client may have one request under way that was sent before.
    traffic.wait_for(200);
    let before = Instant::now();
    workers[1].thaw();
    elb.wait_for_node("w2", "servlet", true);
    workers[1].wait_for_more();
    traffic.wait_for(100);

    let sents = traffic.finish();
    sents.reconcile("hanging, found by probes", &elb, &workers);
    eprintln!("out after {:.0?}, bound: 2 × 500ms + 500ms", out - frozen);
    assert_all_answered(&sents);
    let late = arrived_between(&workers[1], &sents, out, before);
    assert!(late.is_empty(), "a worker that was down was asked: {late:?}");
}

#[test]
fn a_worker_that_hangs_is_found_by_its_requests_and_comes_back_by_one_of_them() {
    let workers = Worker::several(2);
    let topology = topology(&workers).worker_pool(
        "timeouts: { read: 1s }, outliers: { consecutive: 3, eject_for: 1s, eject_at_most: 1s }, \
         retry: { attempts: 2, budget: 100% }",
    );
    let elb = Elb::start(&topology);
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET"]);
    traffic.wait_for(100);

    workers[1].freeze();
    let ejections = |reason| elb.metrics().sum("carbon_elb_ejections_total", &[("node", "w2"), ("reason", reason)]);
    wait_until("w2 is ejected", || ejections("errors_in_a_row") == 1.0);
    let out = Instant::now();
    traffic.wait_for(200);
    wait_until("it was tried once", || ejections("trial_failed") >= 1.0);
    traffic.wait_for(200);
    let (before, trials) = (Instant::now(), ejections("trial_failed"));
    workers[1].thaw();
    let line = "w2 servlet: active, was half_open: trial_good";
    elb.wait_for_log(line);
    workers[1].wait_for_more();
    traffic.wait_for(100);

    let sents = traffic.finish();
    sents.reconcile("hanging, found by requests", &elb, &workers);
    assert_all_answered(&sents);
    let late = arrived_between(&workers[1], &sents, out, before);
    // The last trial may be under way still.
    assert!(late.len() as f64 <= trials + 1.0, "{late:?} were sent to a worker that was ejected, trials: {trials}");
    assert_eq!(ejections("errors_in_a_row"), 1.0, "it was ejected once");
}
