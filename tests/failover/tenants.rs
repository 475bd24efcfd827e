//! Tenants with nodes of their own, and how many requests of one may be in flight.

use std::collections::BTreeSet;

use crate::support::client::{Client, Request, get};
use crate::support::elb::Elb;
use crate::support::topology::HOST;
use crate::support::wait_until;
use crate::worker::{Worker, topology, wait_until_up};

const GOLD: &str = "/t/gold.example/services/echo";
const SILVER: &str = "/t/silver.example/services/echo";
const NOBODY: &str = "/services/echo";

fn with_partition(workers: &[Worker], cap: &str) -> Elb {
    let topology = topology(workers)
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("health: { interval: 300ms, timeout: 300ms, rise: 1, fall: 3 }, outliers: off")
        .tenants(&format!(
            "max_in_flight: {cap}, partitions: [{{ name: gold, tenants: [gold.example], nodes: [w3] }}]"
        ));
    let elb = Elb::start(&topology);
    wait_until_up(&elb, workers);
    elb
}

fn nodes(elb: &Elb, path: &str) -> BTreeSet<String> {
    (0..10).map(|_| get(elb.web(), HOST, path).echo().node().to_owned()).collect()
}

#[test]
fn a_partition_has_its_nodes_and_nobody_elses_trouble() {
    let mut workers = Worker::several(3);
    let elb = with_partition(&workers, "off");
    let set = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<BTreeSet<String>>();
    for (path, expected) in [(GOLD, &["w3"][..]), (SILVER, &["w1", "w2"]), (NOBODY, &["w1", "w2"])] {
        assert_eq!(nodes(&elb, path), set(expected), "{path}");
    }

    workers[2].kill();
    assert_eq!(get(elb.web(), HOST, GOLD).status, 503, "it is not served by the nodes of others");
    assert_eq!(nodes(&elb, SILVER), set(&["w1", "w2"]));
    elb.wait_for_node("w3", "servlet", false);
    assert_eq!(get(elb.web(), HOST, GOLD).status, 503);
    workers[2].start_again();
    elb.wait_for_node("w3", "servlet", true);
    workers[..2].iter_mut().for_each(|worker| _ = worker.kill());
    assert_eq!(nodes(&elb, GOLD), set(&["w3"]));
    assert_eq!(get(elb.web(), HOST, SILVER).status, 503);
    assert_eq!(get(elb.web(), HOST, NOBODY).status, 503);
}

#[test]
fn a_tenant_that_has_enough_in_flight_gets_503_and_others_are_served() {
    let workers = Worker::several(3);
    let elb = with_partition(&workers, "2");
    workers[2].freeze();
    let mut busy: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::connect(elb.web());
            client.send(Request::get(HOST, GOLD).to_bytes());
            client
        })
        .collect();
    wait_until("two are in flight", || elb.metrics().sum("carbon_elb_in_flight", &[("node", "w3")]) == 2.0);

    for request in [Request::get(HOST, GOLD), Request::new("POST", HOST, GOLD).body(b"x")] {
        let refused = request.send(elb.web());
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused:?}");
    }
    elb.wait_for_count("carbon_elb_refused_total", &[("reason", "too_many_requests_of_tenant")], 2.0);
    elb.access_line("why", |line| line["reason"] == "too_many_requests_of_tenant" && line["status"] == 503);
    for path in [SILVER, NOBODY] {
        assert_eq!(nodes(&elb, path).len(), 2, "{path}");
    }

    workers[2].thaw();
    busy.iter_mut().for_each(|client| assert_eq!(client.answer().echo().node(), "w3"));
    // Counted off after the answer.
    wait_until("it has room again", || get(elb.web(), HOST, GOLD).status == 200);
}
