//! What counts as the time that a node takes to answer.

use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::StubNode;
use crate::support::topology::{HOST, Topology};

/// Sends all of an upload but its end. The stub node answers when the body is complete.
fn begin_upload(elb: &Elb) -> Client {
    let mut client = Client::connect(elb.web());
    let head = format!("PUT /services/echo HTTP/1.1\r\nHost: {HOST}\r\nCookie: JSESSIONID=a.w1\r\n");
    client.send(format!("{head}Content-Length: 5\r\n\r\n1234"));
    client
}

/// Whoever uploads slowly must not make a member look slow. The one that is ejected is the slower node, though all of its
/// answers come while the uploads to the other one are on their way.
#[test]
fn a_slow_upload_is_not_its_members_fault() {
    let (quick, slow) = (StubNode::worker("w1"), StubNode::start("w2", "worker", &["--delay", "300ms"]));
    let pool = "affinity: route, outliers: { consecutive: off, latency: 200%, requests: 1, interval: 5s }";
    let elb = Elb::start(&Topology::workers(&[quick.address(), slow.address()]).worker_pool(pool));
    let ejected = |node| elb.metrics().sum("carbon_elb_ejections_total", &[("node", node), ("reason", "slow")]);
    // An interval may end between the two, which compares nobody. Then once more.
    let found = (0..12).find(|_| {
        let mut uploads = [begin_upload(&elb), begin_upload(&elb)];
        let of_slow = Request::get(HOST, "/services/echo").header("Cookie", "JSESSIONID=a.w2");
        for _ in 0..4 {
            assert_eq!(of_slow.send(elb.web()).echo().node(), "w2");
        }
        for upload in &mut uploads {
            upload.send("5");
            assert_eq!(upload.answer().echo().node(), "w1");
        }
        ejected("w1") + ejected("w2") > 0.0
    });
    assert!(found.is_some(), "nobody was compared");
    assert_eq!((ejected("w1"), ejected("w2")), (0.0, 1.0));
}
