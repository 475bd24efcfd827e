//! Malformed requests: alone, behind a good one, and in two pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::recorder::Record;
use super::stage::{Case, Failures, Stage, push, refusal};
use super::{chunks, fields, start_line};
use crate::support::client::{Client, Request};
use crate::support::topology::HOST;
use crate::support::wait_until;

/// Everything whose mistake shows before a node is asked.
fn all() -> Vec<Case> {
    [start_line::cases(), fields::cases(), chunks::at_once()].concat()
}

/// Only these and the canaries may be in `record`, and nothing that is not complete.
fn only_expected(record: &Record, expected: &BTreeSet<String>, failures: &mut Failures) {
    for seen in &record.complete {
        let target = seen.target();
        let known = expected.contains(target) || target.starts_with("/services/echo/canary-");
        failures.check(known && seen.line().starts_with("GET "), seen.line(), || "has reached the node".into());
        failures.check(seen.body.is_empty(), seen.line(), || "has reached the node with a body".into());
    }
    for rest in record.incomplete() {
        failures.add(rest, "has reached the node and is not complete");
    }
}

#[test]
fn the_tables_are_large_and_without_repetition() {
    let cases = all();
    let different: BTreeSet<&[u8]> = cases.iter().map(|case| &case.bytes[..]).collect();
    assert!(different.len() == cases.len() && cases.len() >= 200, "{} of {}", different.len(), cases.len());
}

#[test]
fn a_malformed_request_is_refused_counted_and_logged_and_reaches_no_node() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    let mut refused: BTreeMap<SocketAddr, (Case, u16)> = BTreeMap::new();
    let mut other = Client::connect(stage.elb.web());
    for (i, case) in all().into_iter().enumerate() {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &case.bytes);
        match refusal(&mut client, case.status) {
            Ok(answer) => drop(refused.insert(client.local_address(), (case.clone(), answer.status))),
            Err(e) => failures.add(&case, e),
        }
        // Somebody else's connection, and with it the one to the node, is what it was.
        if let Err(e) = Stage::canary(&mut other, i) {
            failures.add(&case, e);
            other = Client::connect(stage.elb.web());
        }
    }

    let lines = stage.refusals(refused.len());
    let mut reasons: BTreeMap<String, f64> = BTreeMap::new();
    for (client, (case, status)) in &refused {
        let Some(line) = lines.get(client) else {
            failures.add(case, "has no access line");
            continue;
        };
        failures.check(line["status"] == *status, case, || format!("was answered {status}, and its line is {line}"));
        failures.check(line["listener"] == "web", case, || format!("is of no listener: {line}"));
        match line["reason"].as_str() {
            Some(reason) => *reasons.entry(reason.to_owned()).or_default() += 1.0,
            None => failures.add(case, format!("has no reason: {line}")),
        }
    }
    let counted = |reason| stage.elb.metrics().sum("carbon_elb_refused_total", &[("reason", reason)]);
    for (reason, count) in &reasons {
        // A request is counted when all is over with it.
        if counted(reason) != *count {
            failures.add(reason, format!("is in {count} access lines and is counted {} times", counted(reason)));
        }
    }
    failures.check(reasons.len() >= 15, format!("{reasons:?}"), || "reasons are not told apart".into());
    only_expected(&stage.end(), &BTreeSet::new(), &mut failures);
    failures.report();
}

#[test]
fn behind_a_good_request_a_malformed_one_is_refused_and_nothing_behind_it_is_served() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    let mut expected = BTreeSet::new();
    for (i, case) in all().iter().enumerate() {
        let good = format!("/services/echo/good-{i}");
        let mut client = Client::connect(stage.elb.web());
        let behind = Request::get(HOST, "/services/echo/behind").to_bytes();
        push(&client, &[&Request::get(HOST, &good).to_bytes(), &case.bytes[..], &behind].concat());
        match client.read("GET") {
            Ok(answer) if answer.status == 200 && answer.text() == good => {}
            other => failures.add(case, format!("the request before it gets {other:?}")),
        }
        if let Err(e) = refusal(&mut client, case.status) {
            failures.add(case, e);
        }
        expected.insert(good);
    }
    let record = stage.end();
    only_expected(&record, &expected, &mut failures);
    let served: BTreeSet<&str> = record.targets().into_iter().collect();
    failures.check(served.len() == expected.len() && served.len() == record.complete.len(), "good requests", || {
        format!("{} of {} were served, {} times", served.len(), expected.len(), record.complete.len())
    });
    failures.report();
}

/// What attacks are made of.
fn dangerous() -> Vec<Case> {
    let bare = [
        "a bare LF at the end of the line",
        "bare LF at the end of every line",
        "a NUL in the target",
        "a bare CR in the target",
        "another host",
        "user information",
        "two empty lines in front",
        "a space before the colon",
        "a NUL in the name",
        "a NUL in the value",
        "a bare CR in the value",
        "a bare LF between two fields",
        "a bare LF at the end of the header",
        "a folded line",
        "two Hosts",
        "two lengths",
        "two equal lengths",
        "a list of equal lengths",
        "a plus",
        "2^64 + 5",
        "length, then chunked",
        "chunked, then length",
        "chunked twice",
        "an unknown coding that ends in chunked",
        "chunked, then identity",
        "a folded coding",
        "a coding behind a bare LF",
        "a coding behind a bare CR",
        "chunked in HTTP/1.0",
        "hexadecimal with a prefix",
        "no size",
        "a space behind the size",
        "a bare LF behind the size",
        "a bare CR behind the size",
        "a NUL in an extension",
        "a bare LF in an extension",
        "a bare CR in an extension",
        "a line end in a quoted extension",
    ];
    let cases: Vec<Case> = all().into_iter().filter(|case| bare.contains(&case.what)).collect();
    assert!(cases.len() >= bare.len(), "a name is not in the tables");
    cases
}

/// Data of `clients` that the balancer's process has not read, in bytes: the receive queues of the sockets whose peer is
/// one of them. Data that was sent over loopback is in the queue when `write` returns.
fn unread(balancer: SocketAddr, clients: &BTreeSet<u16>) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or_default(), 16).ok();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_balancer = rows.filter(|row| {
        let ends = (row.get(1).and_then(|end| port(end)), row.get(2).and_then(|end| port(end)));
        matches!(ends, (Some(here), Some(there)) if here == balancer.port() && clients.contains(&there))
    });
    let queue = |row: Vec<&str>| row.get(4).and_then(|queues| u64::from_str_radix(queues.rsplit(':').next()?, 16).ok());
    of_balancer.filter_map(queue).sum()
}

#[test]
fn in_two_pieces_a_dangerous_request_is_refused_as_well() {
    let stage = Stage::set("timeouts: { idle: 20s }");
    let mut failures = Failures::default();
    for case in dangerous() {
        // All places at once: then the first pieces are waited for once.
        let mut clients: Vec<_> = (1..case.bytes.len()).map(|at| (at, Client::connect(stage.elb.web()))).collect();
        for (at, client) in &clients {
            push(client, &case.bytes[..*at]);
        }
        let ports = clients.iter().map(|(_, client)| client.local_address().port()).collect();
        wait_until("the first pieces are read", || unread(stage.elb.web(), &ports) == 0);
        for (at, client) in &clients {
            push(client, &case.bytes[*at..]);
        }
        for (at, client) in &mut clients {
            if let Err(e) = refusal(client, case.status) {
                let (first, second) = case.bytes.split_at(*at);
                failures.add(&case, format!("as {} | {}: {e}", first.escape_ascii(), second.escape_ascii()));
                break;
            }
        }
    }
    only_expected(&stage.end(), &BTreeSet::new(), &mut failures);
    failures.report();
}

#[test]
fn a_refusal_tells_nothing_but_its_status() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    for case in all() {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &case.bytes);
        let Ok(answer) = client.read("GET") else {
            failures.add(&case, "no answer");
            continue;
        };
        let text = format!("{:?} {}", answer.headers, answer.text()).to_ascii_lowercase();
        for told in ["pingora", "carbon-elb", "server", "127.0.0.1", "src/", "panick", "services/echo"] {
            failures.check(!text.contains(told), &case, || format!("the answer has {told}: {text}"));
        }
    }
    failures.report();
}
