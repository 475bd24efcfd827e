//! A worker goes and comes back under steady load.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, fleet};
use crate::support::elb::Elb;
use crate::support::load::{Load, Sample, count_by_node};
use crate::support::tomcat::Tomcat;
use crate::support::topology::HOST;

const CLIENTS: usize = 4;

/// What the clients saw of an outage.
struct Outage {
    samples: Vec<Sample>,
    /// When the node began to go.
    begun: Instant,
    /// When its process was gone.
    gone: Instant,
}

/// Lets `w2` go by `end` and come back, under load on `listener`.
fn outage(fleet: &mut Fleet, listener: &str, end: fn(&mut Tomcat)) -> Outage {
    let elb = Elb::start_ready(&fleet.separated());
    let endpoint = if listener == "clear" { "servlet" } else { "passthrough" };
    let load = Load::start(elb.address(listener), HOST, "/services/echo", CLIENTS, Duration::from_millis(2));
    load.wait_for(200);

    let begun = Instant::now();
    end(fleet.node("w2"));
    let gone = Instant::now();
    elb.wait_for_fall("w2", endpoint);
    load.wait_for(200);

    fleet.node("w2").start_again();
    elb.wait_for_node("w2", endpoint, true);
    load.wait_for(200);
    Outage { samples: load.finish(), begun, gone }
}

/// Not more than the requests in flight on the node may fail: those that it had been sent and had not answered when it
/// went. Everything before and after must succeed. Returns how many failed.
fn assert_only_in_flight_failed(outage: &Outage) -> usize {
    let Outage { samples, begun, gone } = outage;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    // Times from the beginning of the end, for whoever has to find out why.
    let since = |then: Instant| then.saturating_duration_since(*begun);
    let told: Vec<_> =
        failed.iter().map(|sample| (since(sample.started), since(sample.ended), &sample.outcome)).collect();
    let told = format!("{} of {} failed (gone after {:?}): {told:#?}", failed.len(), samples.len(), since(*gone));
    for sample in &failed {
        // In flight on it: sent while its process lived, known to have failed after it began to go.
        assert!(sample.started < *gone && sample.ended > *begun, "outside of the outage: {told}");
    }

    let nodes_of = |from: Instant, to: Option<Instant>| {
        let within =
            samples.iter().filter(move |sample| sample.started > from && to.is_none_or(|to| sample.started < to));
        count_by_node(within.filter_map(|sample| sample.outcome.as_deref().ok()))
    };
    assert!(nodes_of(samples[0].started, Some(*begun)).contains_key("w2"), "it was not asked before");
    assert!(nodes_of(*gone, None).contains_key("w2"), "it was not asked after it came back");
    failed.len()
}

#[test]
fn a_worker_that_crashes_costs_only_what_was_in_flight_on_it() {
    let mut fleet = fleet();
    for listener in ["clear", "clear-api"] {
        let failed = assert_only_in_flight_failed(&outage(&mut fleet, listener, Tomcat::crash));
        // A client has one request under way at a time, so no more than that was in flight at the instant of the crash.
        assert!(failed <= CLIENTS, "{failed} failed");
    }
}

#[test]
fn a_worker_that_is_stopped_costs_only_what_was_in_flight_on_it() {
    let mut fleet = fleet();
    for listener in ["clear", "clear-api"] {
        // A stop takes its time, in which Tomcat still takes connections and then closes them, or answers 400 by itself: a
        // client can meet that more than once.
        assert_only_in_flight_failed(&outage(&mut fleet, listener, Tomcat::stop));
    }
}

#[test]
fn without_its_manager_the_cluster_serves_on() {
    let mut fleet = fleet();
    let elb = Elb::start_ready(&fleet.separated());
    fleet.node("m1").crash();
    elb.wait_for_fall("m1", "servlet");
    let ready = elb.admin("/readyz");
    assert_eq!(ready.status, 200, "the workers are served");
    assert!(ready.text().contains("esb/manager servlet: no ready node"), "{}", ready.text());
    let get = |listener, host, path| crate::support::client::get(elb.address(listener), host, path);
    let console = get("clear-console", crate::support::topology::CONSOLE_HOST, "/carbon/admin/index.jsp");
    // Not by a worker, though each has the page.
    assert_eq!(console.status, 503, "{}", console.text());
    assert!(console.header("retry-after").is_some());
    for _ in 0..10 {
        assert_eq!(get("clear", HOST, "/services/echo").echo().role(), "worker");
    }
    fleet.node("m1").start_again();
    elb.wait_for_node("m1", "servlet", true);
    let console = get("clear-console", crate::support::topology::CONSOLE_HOST, "/carbon/admin/index.jsp");
    assert_eq!(console.echo().node(), "m1");
}
