//! The share of a member that comes back grows, step by step, to what its weight says.

use crate::operator::{self, set_state};
use crate::support::client::Client;
use crate::support::elb::Elb;
use crate::support::topology::HOST;
use crate::support::wait_until;
use crate::worker::{Worker, topology};

/// Requests of a window. With turns, a member gets what its share says of so many, but for what the ends of the window
/// and of the steps within it cut off.
const WINDOW: usize = 110;

/// How many tenths a share grows in.
const STEPS: usize = 10;

/// Two workers of one weight that take turns; `w2` has just come back, and its share grows for so long.
#[track_caller]
fn come_back(workers: &[Worker], slow_start: &str) -> Elb {
    let elb = operator::start(topology(workers).worker_pool(&format!("slow_start: {slow_start}, outliers: off")));
    set_state(&elb, "w2", "maintenance");
    set_state(&elb, "w2", "ready");
    elb
}

/// How many requests of a window `w2` gets.
#[track_caller]
fn window(client: &mut Client) -> usize {
    (0..WINDOW).filter(|_| client.get(HOST, "/services/echo").echo().node() == "w2").count()
}

#[track_caller]
fn is_in_state(elb: &Elb, state: &str) -> bool {
    elb.metrics().sum("carbon_elb_member_state", &[("node", "w2"), ("endpoint", "servlet"), ("state", state)]) == 1.0
}

#[test]
fn a_member_that_came_back_begins_with_a_tenth_of_its_share() {
    let workers = Worker::several(2);
    // Its second step would come after more than two hours.
    let elb = come_back(&workers, "24h");
    let mut client = Client::connect(elb.web());
    for _ in 0..3 {
        assert!(is_in_state(&elb, "starting"));
        // A tenth of the other one's weight: of eleven requests one.
        let count = window(&mut client);
        assert!((9..=11).contains(&count), "{count} of {WINDOW}");
    }
}

#[test]
fn the_share_of_a_member_that_came_back_grows_until_it_has_all_of_it() {
    let workers = Worker::several(2);
    let elb = come_back(&workers, "3s");
    let mut client = Client::connect(elb.web());
    let mut counts = Vec::new();
    // However long a window takes, and however many steps are within it.
    wait_until("w2 has its half", || {
        counts.push(window(&mut client));
        counts.last().is_some_and(|count| count.abs_diff(WINDOW / 2) <= 1)
    });
    eprintln!("w2 got of each {WINDOW} requests: {counts:?}");
    for pair in counts.windows(2) {
        assert!(pair[1] + STEPS + 1 >= pair[0], "the share has shrunk: {counts:?}");
    }
    wait_until("it is ready", || is_in_state(&elb, "ready"));
    let count = window(&mut client);
    assert!(count.abs_diff(WINDOW / 2) <= 1, "{count} of {WINDOW} when it is ready");
}
