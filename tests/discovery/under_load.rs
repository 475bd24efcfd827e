//! Members that come and go with what sources say, while clients ask all the time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::dnsmasq::Dnsmasq;
use crate::support::elb::Elb;
use crate::support::load::Load;
use crate::support::topology::{HOST, Topology};
use crate::support::{TempDir, wait_until};
use crate::workers::Workers;

/// A cluster whose workers come from a source, found up by a probe each second.
fn topology(sources: &str) -> Topology {
    Topology::new()
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("allowed_networks: [127.0.0.0/8], health: { interval: 1s, timeout: 1s, rise: 1, fall: 2 }")
        .sources(sources)
        .without_access_log()
}

fn load(elb: &Elb) -> Load {
    Load::start(elb.web(), HOST, "/services/echo", 4, Duration::from_millis(2))
}

/// Waits until exactly these are members that may be asked.
#[track_caller]
fn wait_for_ready(elb: &Elb, ids: &[&str]) {
    let expected: BTreeSet<&str> = ids.iter().copied().collect();
    wait_until(&format!("the members are {ids:?}"), || {
        let metrics = elb.metrics();
        let state = |id: &str, state: &str| {
            metrics.sum("carbon_elb_member_state", &[("role", "worker"), ("node", id), ("state", state)])
        };
        let all = ["127-0-0-2", "127-0-0-3", "127-0-0-4", "a", "b", "c"];
        all.iter().all(|id| (state(id, "ready") == 1.0) == expected.contains(id))
            && all.iter().all(|id| expected.contains(id) || state(id, "draining") == 0.0)
    });
}

/// No request has failed, and all of `nodes` have answered some.
#[track_caller]
fn assert_all_answered(load: Load, nodes: &[&str]) {
    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter_map(|sample| sample.outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), &failed[..failed.len().min(5)]);
    let answered: BTreeSet<_> = samples.iter().filter_map(|sample| sample.outcome.as_deref().ok()).collect();
    assert_eq!(answered, nodes.iter().copied().collect(), "of {} requests", samples.len());
}

#[test]
fn members_follow_the_records_of_a_name_and_no_request_fails() {
    const NAME: &str = "all.wk.test";
    let mut workers = Workers::start(3);
    let mut server = Dnsmasq::start(1, &Workers::hosts(NAME, &[2, 3]), &[]);
    let port = workers.port;
    let elb = Elb::start(&topology(&format!(
        "dns: {{ dns: {NAME}, server: \"{}\", max_ttl: 1s, ports: {{ servlet: {port} }} }}",
        server.address()
    )));
    wait_for_ready(&elb, &["127-0-0-2", "127-0-0-3"]);
    let load = load(&elb);
    load.wait_for(50);
    // One joins, one leaves, and is ended when nobody asks it any more.
    server.set_hosts(&Workers::hosts(NAME, &[3, 4]));
    wait_for_ready(&elb, &["127-0-0-3", "127-0-0-4"]);
    workers.end(2);
    load.wait_for(50);
    // The name is gone, and then the server: nobody has left.
    let errors = || elb.metrics().sum("carbon_elb_source_errors_total", &[("source", "dns")]);
    server.set_hosts("");
    wait_until("the name is not found", || errors() >= 2.0);
    let before = errors();
    server.stop();
    wait_until("the server does not answer", || errors() > before);
    wait_for_ready(&elb, &["127-0-0-3", "127-0-0-4"]);
    load.wait_for(50);
    // It is back, and only one is left.
    server.set_hosts_for_next_start(&Workers::hosts(NAME, &[4]));
    server.restart(1, &[]);
    wait_for_ready(&elb, &["127-0-0-4"]);
    workers.end(3);
    load.wait_for(50);
    assert_all_answered(load, &["w2", "w3", "w4"]);
    assert_eq!(elb.metrics().sum("carbon_elb_source_members", &[("source", "dns")]), 1.0);
}

#[test]
fn members_follow_records_through_many_changes() {
    const NAME: &str = "all.wk.test";
    let workers = Workers::start(3);
    let server = Dnsmasq::start(0, &Workers::hosts(NAME, &[2]), &[]);
    let elb = Elb::start(&topology(&format!(
        "dns: {{ dns: {NAME}, server: \"{}\", min_ttl: 100ms, max_ttl: 100ms, ports: {{ servlet: {} }} }}",
        server.address(),
        workers.port
    )));
    wait_for_ready(&elb, &["127-0-0-2"]);
    let load = load(&elb);
    for _ in 0..4 {
        for (numbers, ids) in [
            ([2, 3], ["127-0-0-2", "127-0-0-3"]),
            ([3, 4], ["127-0-0-3", "127-0-0-4"]),
            ([4, 2], ["127-0-0-4", "127-0-0-2"]),
        ] {
            server.set_hosts(&Workers::hosts(NAME, &numbers));
            wait_for_ready(&elb, &ids);
        }
    }
    load.wait_for(20);
    assert_all_answered(load, &["w2", "w3", "w4"]);
}

#[test]
fn several_sources_feed_one_pool() {
    let workers = Workers::start(3);
    let server = Dnsmasq::start(1, &Workers::hosts("all.wk.test", &[2]), &[]);
    let folder = TempDir::new("members");
    let list = folder.write("members.yaml", "nodes: []\n");
    let port = workers.port;
    let elb = Elb::start(&topology(&format!(
        "dns: {{ dns: all.wk.test, server: \"{}\", max_ttl: 1s, ports: {{ servlet: {port} }} }}, \
         list: {{ file: {}, every: 100ms }}",
        server.address(),
        list.display()
    )));
    wait_for_ready(&elb, &["127-0-0-2"]);
    let load = load(&elb);
    let replace = |nodes: &str| {
        let new = folder.write("new", &format!("nodes: [{nodes}]\n"));
        std::fs::rename(new, &list).expect("the file can be replaced");
    };
    let node = |id: &str, number: u8| format!("{{ id: {id}, host: 127.0.0.{number}, ports: {{ servlet: {port} }} }}");
    replace(&format!("{}, {}", node("a", 3), node("b", 4)));
    wait_for_ready(&elb, &["127-0-0-2", "a", "b"]);
    load.wait_for(20);
    // A mistake takes nobody away; somebody outside of the allowed networks is left out alone.
    replace("{ id: a, host: 127.0.0.3 ");
    wait_until("the mistake is found", || {
        elb.metrics().sum("carbon_elb_source_errors_total", &[("source", "list")]) >= 1.0
    });
    wait_for_ready(&elb, &["127-0-0-2", "a", "b"]);
    replace(&format!("{}, {{ id: c, host: 192.0.2.1 }}", node("b", 4)));
    wait_for_ready(&elb, &["127-0-0-2", "b"]);
    elb.wait_for_log("esb/c of source list is left out");
    load.wait_for(20);
    // The other source goes on by itself.
    server.set_hosts(&Workers::hosts("all.wk.test", &[3]));
    wait_for_ready(&elb, &["127-0-0-3", "b"]);
    replace("");
    wait_for_ready(&elb, &["127-0-0-3"]);
    load.wait_for(20);
    assert_all_answered(load, &["w2", "w3", "w4"]);
}
