//! Workers that are killed with SIGKILL, one after the other and all at once.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::support::client::{Client, Response, get};
use crate::support::elb::Elb;
use crate::support::topology::HOST;
use crate::support::{PATIENCE, poll};
use crate::traffic::{Sent, Traffic};
use crate::worker::{Worker, topology, wait_until_up};

const CLIENTS: usize = 8;
const KILLS: usize = 21;

const HEALTH: &str = "scheme: http, health: { path: /services/Version }";

/// When a worker was killed, and when it was gone.
struct Kill<'a> {
    worker: &'a str,
    begun: Instant,
    gone: Instant,
}

impl Kill<'_> {
    /// Whether a request was under way when the worker went.
    fn cut(&self, sent: &Sent) -> bool {
        sent.started < self.gone && sent.ended > self.begun
    }
}

/// With `attempts: 3` a GET survives a worker that dies with it, and one more; `budget: 100%` because all that is in
/// flight may be on the worker that dies. `panic` and the short ejections are for a test machine that is so busy that
/// workers seem to be down which are not.
#[test]
fn workers_that_are_killed_under_load_cost_no_get_and_no_post_is_done_twice() {
    let mut workers = Worker::several(3);
    let topology = topology(&workers).servlet(HEALTH).worker_pool(
        "health: { interval: 100ms, timeout: 100ms, rise: 1, fall: 3 }, panic: 50%, \
         outliers: { eject_for: 100ms, eject_at_most: 100ms }, retry: { attempts: 3, budget: 100% }",
    );
    let elb = Elb::start(&topology);
    wait_until_up(&elb, &workers);
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET", "POST", "GET"]);
    traffic.wait_for(200);

    let mut kills = Vec::new();
    for number in 0..KILLS {
        let worker = &mut workers[number % 3];
        let (begun, gone) = worker.kill();
        kills.push(Kill { worker: ["w1", "w2", "w3"][number % 3], begun, gone });
        // Every other time it is back before the probes have found out.
        if number % 2 == 0 {
            elb.wait_for_node(worker.id(), "servlet", false);
        } else {
            traffic.wait_for(30);
        }
        worker.start_again();
        worker.wait_for_more();
        elb.wait_for_node(worker.id(), "servlet", true);
    }
    traffic.wait_for(100);
    let sents = traffic.finish();
    sents.reconcile(&format!("{KILLS} kills"), &elb, &workers);

    let metrics = elb.metrics();
    assert!(metrics.sum("carbon_elb_retries_total", &[]) > 0.0, "no kill has hit anything");
    let failed = sents.failed();
    for sent in &failed {
        assert_eq!(sent.method, "POST", "it can be sent again: {sent:?}");
        let cut: Vec<_> = kills.iter().filter(|kill| kill.cut(sent)).collect();
        assert!(!cut.is_empty(), "nobody was killed then: {sent:?}");
        assert_eq!(sent.outcome, Err("502 Bad Gateway".to_owned()), "{sent:?}");
        for worker in &workers {
            let elsewhere = !cut.iter().any(|kill| kill.worker == worker.id());
            assert!(!(elsewhere && worker.arrived().contains(&sent.id)), "{} has got {sent:?}", worker.id());
        }
        if metrics.sum("carbon_elb_access_lines_lost_total", &[]) == 0.0 {
            let path = format!("/services/echo/{}", sent.id);
            let line = elb.access_line("the failed request", |line| line["path"] == path.as_str());
            assert!(cut.iter().any(|kill| line["node"] == kill.worker), "it was on another node: {line}");
            assert_eq!(line["reason"], "node_answer_broken", "{line}");
        }
    }
    for kill in &kills {
        let cut = failed.iter().filter(|sent| kill.cut(sent)).count();
        assert!(cut <= CLIENTS, "{cut} failed, but a client has one request under way");
    }
    let most = kills.iter().map(|kill| failed.iter().filter(|sent| kill.cut(sent)).count()).max();
    eprintln!("{} POST failed in {KILLS} kills, {} at most in one", failed.len(), most.unwrap_or(0));
}

#[track_caller]
fn assert_unavailable(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{response:?}");
}

#[test]
fn when_all_workers_were_down_the_first_that_is_up_is_asked_again() {
    let mut workers = Worker::several(2);
    let topology =
        topology(&workers).servlet(HEALTH).worker_pool("health: { interval: 200ms, timeout: 200ms, rise: 1, fall: 2 }");
    let elb = Elb::start(&topology);
    wait_until_up(&elb, &workers);
    let mut client = Client::connect(elb.web());
    assert_eq!(client.get(HOST, "/services/echo").status, 200);

    workers.iter_mut().for_each(|worker| _ = worker.kill());
    // Before the probes have found out, as after that.
    assert_unavailable(&get(elb.web(), HOST, "/services/echo"));
    workers.iter().for_each(|worker| elb.wait_for_node(worker.id(), "servlet", false));
    elb.wait_for_count("carbon_elb_requests_total", &[("code", "5xx")], 1.0);
    let refused = || elb.metrics().sum("carbon_elb_refused_total", &[("reason", "no_ready_node")]);
    let before = refused(); // 1 if the probes were the first to find out, as then no worker was asked
    assert!(before <= 1.0, "{before}");
    for _ in 0..10 {
        assert_unavailable(&get(elb.web(), HOST, "/services/echo"));
    }
    elb.wait_for_count("carbon_elb_refused_total", &[], before + 10.0);
    assert_eq!(refused(), before + 10.0);
    elb.access_line("why", |line| line["reason"] == "no_ready_node" && line["status"] == 503);

    workers.iter_mut().for_each(Worker::start_again);
    let up = Instant::now();
    let answered = poll(PATIENCE, || (get(elb.web(), HOST, "/services/echo").status == 200).then(|| up.elapsed()));
    eprintln!("all down and up again: answered after {:.0?}, probes come every 200ms", answered.expect("no recovery"));
    wait_until_up(&elb, &workers);
    for _ in 0..10 {
        assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);
    }
    workers.iter().for_each(|worker| elb.wait_for_node(worker.id(), "servlet", true));
}

#[test]
fn without_probes_too_workers_are_asked_again_that_were_all_down() {
    let mut workers = Worker::several(2);
    // They are ejected for longer than the test lasts: with nobody else, an ejected worker is asked all the same.
    let topology = topology(&workers)
        .worker_pool("outliers: { consecutive: 1, eject_for: 1h, eject_at_most: 1h, max_ejected: 100% }");
    let elb = Elb::start(&topology);
    workers.iter_mut().for_each(|worker| _ = worker.kill());
    for _ in 0..10 {
        assert_unavailable(&get(elb.web(), HOST, "/services/echo"));
    }
    assert_eq!(elb.metrics().sum("carbon_elb_ejections_total", &[]), 2.0);
    workers.iter_mut().for_each(Worker::start_again);
    let ask = |_| get(elb.web(), HOST, "/services/echo").echo().node().to_owned();
    let asked: BTreeSet<String> = (0..10).map(ask).collect();
    assert_eq!(asked.len(), 2, "only {asked:?}");
}
