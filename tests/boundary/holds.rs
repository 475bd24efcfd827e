//! The boundary holds, in both deployment patterns, on both endpoints, over both versions of HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::fleet::{Fleet, SMALLEST, fleet};
use crate::support::boundary::{Answer, send_all};
use crate::support::corpus::bases;
use crate::support::corpus::ordinary::ordinary;
use crate::support::elb::Elb;
use crate::support::tomcat::Connector;
use crate::support::topology::{HOST, Topology};
use crate::support::{http1, http2};

/// Clients at a time.
const CLIENTS: usize = 4;

type Sender = fn(SocketAddr, &str, &[&[u8]]) -> Vec<Answer>;

/// A listener for workers, and how to speak to it.
type Way = (&'static str, Sender);

/// Both endpoints, each over both versions.
const ALL: &[Way] = &[("web", http1::send), ("api", http1::send), ("web-tls", http2::send), ("api-tls", http2::send)];

/// Both endpoints and both versions once.
const ACROSS: &[Way] = &[("api", http1::send), ("web-tls", http2::send)];

fn send<T: AsRef<[u8]> + Sync>(address: SocketAddr, by: Sender, targets: &[T]) -> Vec<Answer> {
    send_all(targets, CLIENTS, |share| by(address, HOST, share))
}

/// How many answers there are of each status, for the report.
fn by_status(answers: &[Answer]) -> String {
    let mut counts = BTreeMap::<u16, usize>::new();
    answers.iter().for_each(|answer| *counts.entry(answer.status).or_default() += 1);
    counts.iter().map(|(status, count)| format!(" {status}: {count}")).collect()
}

/// A balancer for which the dual node is the only ready worker.
#[track_caller]
fn start_dual(topology: &Topology) -> Elb {
    let elb = Elb::start(topology);
    for endpoint in ["servlet", "passthrough"] {
        elb.wait_for_node("m1", endpoint, true);
        elb.wait_for_fall("w1", endpoint);
    }
    elb
}

/// [`ALL`] with a large corpus; `make test` has time for [`ACROSS`] where others have sent the same to both.
fn ways(fleet: &Fleet) -> &'static [Way] {
    if fleet.corpus.len() > SMALLEST { ALL } else { ACROSS }
}

/// Sends the corpus: nothing may be reached, on any node.
#[track_caller]
fn assert_nothing_is_reached(what: &str, fleet: &Fleet, elb: &Elb, ways: &[Way]) {
    for &(listener, by) in ways {
        let answers = send(elb.address(listener), by, &fleet.corpus);
        let reached = fleet.reached();
        let (sent, statuses) = (answers.len(), by_status(&answers));
        println!("{what}, {listener}: of {sent} targets {} reached management;{statuses}", reached.total());
        assert_eq!(reached.total(), 0, "{what}, {listener}: {reached:#?}");
        // Else nothing would have been shown. HTTP/2 has no answer to what is no text: the connection ends.
        let answered = answers.iter().filter(|answer| answer.status > 0).count();
        assert!(answered > sent * 3 / 4, "{what}, {listener}: only {answered} of {sent} were answered");
        let bases = send(elb.address(listener), by, &bases());
        assert!(bases.iter().all(|answer| answer.status == 404), "{what}, {listener}:{}", by_status(&bases));
        assert_eq!(fleet.reached().total(), 0, "{what}, {listener}, not mutated: {:#?}", fleet.reached());
    }
}

/// Sends the ordinary URLs: each arrives as it was sent.
#[track_caller]
fn assert_ordinary_urls_pass(what: &str, fleet: &Fleet, elb: &Elb, ways: &[Way]) {
    let urls = ordinary();
    for &(listener, by) in ways {
        assert_all_echoed(&format!("{what}, {listener}"), &urls, &send(elb.address(listener), by, &urls));
    }
    assert_eq!(fleet.reached().total(), 0, "an ordinary URL is none: {:#?}", fleet.reached());
}

#[track_caller]
fn assert_all_echoed(what: &str, urls: &[String], answers: &[Answer]) {
    let wrong = urls.iter().zip(answers).filter(|(url, answer)| answer.status != 200 || answer.body != url.as_bytes());
    let wrong: Vec<String> = wrong
        .map(|(url, answer)| format!("{url} -> {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        .collect();
    let first = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{what}: {} of {} are refused or changed, such as {first:#?}", wrong.len(), urls.len());
}

#[test]
fn the_corpus_reaches_management_without_a_balancer() {
    let fleet = fleet();
    let node = fleet.worker.address(Connector::Http);
    let answers = send(node, http1::send, &fleet.corpus);
    let reached = fleet.reached();
    let (sent, total) = (answers.len(), reached.total());
    println!("straight at Tomcat: of {sent} targets {total} reached management;{}", by_status(&answers));
    println!("{:#?}", reached.by_target);
    // One in six; with fewer the corpus would show little.
    assert!(total > 1_000 && total > sent as u64 / 6, "only {total} of {sent} reached anything: {reached:#?}");
    let targets = reached.by_target.len();
    assert!(targets >= 30, "only {targets} kinds of management were reached: {:?}", reached.by_target.keys());

    fleet.reset();
    let bases = bases();
    send(node, http1::send, &bases);
    assert_eq!(fleet.reached().total(), bases.len() as u64, "each is management before it is mutated");

    fleet.reset();
    let urls = ordinary();
    assert_all_echoed("straight at Tomcat", &urls, &send(node, http1::send, &urls));
    assert_eq!(fleet.reached().total(), 0, "an ordinary URL is none: {:#?}", fleet.reached());
}

#[test]
fn dual_mode() {
    let fleet = fleet();
    let elb = start_dual(&fleet.dual());
    assert_nothing_is_reached("dual", &fleet, &elb, ALL);
    assert_ordinary_urls_pass("dual", &fleet, &elb, ALL);
}

#[test]
fn separated_mode() {
    let fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    assert_nothing_is_reached("separated", &fleet, &elb, ALL);
    assert_ordinary_urls_pass("separated", &fleet, &elb, ways(&fleet));
}

#[test]
fn paths_that_are_rewritten() {
    let fleet = fleet();
    let elb = start_dual(&fleet.dual_with("canonicalize"));
    assert_nothing_is_reached("canonicalize", &fleet, &elb, ways(&fleet));
    assert_ordinary_urls_pass("canonicalize", &fleet, &elb, ways(&fleet));
}

#[test]
fn any_service_but_admin() {
    let fleet = fleet();
    let elb = start_dual(&fleet.dual().services("any-but-admin"));
    assert_nothing_is_reached("any-but-admin", &fleet, &elb, ways(&fleet));
}

/// The test above all others: what the tests above look for, they find.
#[test]
fn without_the_classifier_management_is_reached() {
    let fleet = fleet();
    let elb = Elb::start_unclassified(&fleet.dual());
    for &(listener, by) in ways(&fleet) {
        fleet.reset();
        // The begin shows enough, whatever the size.
        let answers = send(elb.address(listener), by, &fleet.corpus[..SMALLEST]);
        let (sent, reached) = (answers.len(), fleet.reached().total());
        println!("unclassified, {listener}: of {sent} targets {reached} reached management;{}", by_status(&answers));
        assert!(reached > 1_000, "only {reached} of {sent} over {listener}: the tests would not notice much");
    }
}
