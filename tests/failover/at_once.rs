//! A reload is one snapshot: who sees its routes finds its limits, too.

use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::StubNode;
use crate::support::topology::{HOST, Topology};

const RELOADS: usize = 60;

/// Far more than it takes until the file is read.
const MOST_LOOKS: usize = 100_000;

/// Paths, and how large the headers of the listener may be, take turns.
const PATHS: [&str; 2] = ["/even", "/odd"];
const HEADERS: [&str; 2] = ["16KiB", "4KiB"];

/// What becomes of a header between the two.
const STATUSES: [u16; 2] = [200, 431];

#[test]
fn connections_that_come_after_a_reloads_routes_are_under_its_limits() {
    let node = StubNode::worker("w1");
    let version = |number: usize| {
        let limits =
            format!("role: worker, endpoint: servlet, limits: {{ target: 1KiB, header: {} }}", HEADERS[number % 2]);
        let topology = Topology::workers(&[node.address()]).listener("web", &limits);
        topology.paths(&format!("service: [{}]", PATHS[number % 2])).to_yaml()
    };
    let elb = Elb::start_with(&version(0), &["web", "console"]);
    let large = "x".repeat(8 << 10);
    let mut looking = Client::connect(elb.web());
    let mut late = Vec::new();
    for number in 1..=RELOADS {
        elb.replace_config(&version(number));
        elb.hang_up();
        let path = PATHS[number % 2];
        let looks = (1..=MOST_LOOKS).find(|_| looking.get(HOST, path).status == 200);
        let looks = looks.unwrap_or_else(|| panic!("reload {number} has no effect"));
        let answer = Client::connect(elb.web()).try_request(&Request::get(HOST, path).header("X-Large", &large));
        let status = answer.expect("there is an answer").status;
        if status != STATUSES[number % 2] {
            late.push((number, looks, status));
        }
    }
    assert!(late.is_empty(), "reloads whose limits came after their routes, and what was answered: {late:?}");
}
