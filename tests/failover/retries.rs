//! Where a request goes whose member has failed while the others have no room.

use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::RawNode;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;
use crate::worker::{Worker, topology};

const POOL: &str = "max_in_flight: 1, outliers: off, queue: { length: 20, wait: 1m }";

#[track_caller]
fn send(elb: &Elb, id: &str) -> Client {
    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").header("X-Request-Id", id).to_bytes());
    client
}

#[track_caller]
fn wait_for(elb: &Elb, metric: &str, labels: &[(&str, &str)], count: f64) {
    wait_until(&format!("{metric}{labels:?} is {count}"), || elb.metrics().sum(metric, labels) == count);
}

#[test]
fn a_member_that_broke_off_is_better_than_a_long_wait_for_another_one() {
    let worker = Worker::start("w2", &[]);
    let (node, arriving) = RawNode::by_hand();
    let topology = Topology::new().worker("w1", node.address()).worker("w2", worker.address()).worker_pool(POOL);
    let elb = Elb::start(&topology);
    worker.freeze();
    // One of them goes to the worker that is frozen, and the other one to the node.
    let mut first = [send(&elb, "first"), send(&elb, "second")];
    let mut at_node = arriving.next();
    assert!(at_node.read_request().is_ok_and(|request| request.is_some()));
    wait_for(&elb, "carbon_elb_in_flight", &[("node", "w2")], 1.0);
    drop(at_node);

    let mut at_node = arriving.next();
    let again = at_node.read_request().expect("a connection for nothing").expect("a connection for nothing");
    assert!(["first", "second"].contains(&again.header("x-request-id").unwrap_or_default()), "{again:?}");
    wait_for(&elb, "carbon_elb_retries_total", &[], 1.0);
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nw1");
    let on_node = usize::from(again.header("x-request-id") == Some("second"));
    assert_eq!(first[on_node].answer().text(), "w1");
    worker.thaw();
    assert_eq!(first[1 - on_node].answer().echo().node(), "w2");
}

#[test]
fn who_waits_for_another_member_than_the_one_that_refused_holds_up_nobody() {
    let mut workers = Worker::several(2);
    let elb = Elb::start(&topology(&workers).worker_pool(POOL));
    workers[1].freeze();
    let mut busy = Vec::new();
    wait_until("w2 is full", || {
        busy.push(send(&elb, "busy"));
        wait_until("it is on a member, or answered", || {
            let metrics = elb.metrics();
            let on_first = metrics.sum("carbon_elb_in_flight", &[("node", "w1")]);
            on_first == 0.0 && metrics.sum("carbon_elb_queued", &[]) == 0.0
        });
        elb.metrics().sum("carbon_elb_in_flight", &[("node", "w2")]) == 1.0
    });
    workers[0].kill();
    let mut refused = send(&elb, "refused");
    wait_for(&elb, "carbon_elb_queued", &[], 1.0);
    workers[0].start_again();
    // It comes behind the one that waits, and does not wait with it.
    for id in ["behind-1", "behind-2"] {
        assert_eq!(send(&elb, id).answer().echo().node(), "w1");
    }
    wait_for(&elb, "carbon_elb_queued", &[], 1.0);
    workers[1].thaw();
    assert_eq!(refused.answer().echo().node(), "w2");
    assert!(!workers[0].arrived().contains(&"refused".to_owned()));
}
