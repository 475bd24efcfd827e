//! One process that is named twice is one member.

use super::*;

fn source(text: &str) -> Source {
    Source::Configured(name(text))
}

/// The members that are not the file's.
fn others(members: &Members) -> Vec<String> {
    nodes(&members.effective(), "esb")[2..].to_vec()
}

#[test]
fn the_first_at_a_place_has_it_and_the_next_takes_over() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, a, b) = (name("esb"), source("a"), source("b"));
    members.update(&esb, &b, vec![node("b-1", "10.0.0.7"), node("b-2", "10.0.0.8")], now).unwrap();
    happened(&mut members);
    let found = || vec![node("a-1", "10.0.0.7"), node("a-3", "10.0.0.9")];
    let report = members.update(&esb, &a, found(), now).unwrap();
    assert_eq!((report.members, report.left_out), (1, vec![(name("a-1"), Refusal::AddressTaken(name("b-1")))]));
    assert_eq!(others(&members), ["a-3 10.0.0.9 x2", "b-1 10.0.0.7 x2", "b-2 10.0.0.8 x2"]);
    assert_eq!(happened(&mut members), ["a-3 joined"]);

    // However often it is said.
    members.update(&esb, &b, vec![node("b-1", "10.0.0.7"), node("b-2", "10.0.0.8")], now).unwrap();
    assert_eq!(members.update(&esb, &a, found(), now).unwrap().members, 1);
    assert_eq!(happened(&mut members), [] as [&str; 0]);

    members.update(&esb, &b, vec![node("b-2", "10.0.0.8")], now).unwrap();
    assert_eq!(happened(&mut members), ["b-1 left", "a-1 joined"]);
    assert_eq!(members.update(&esb, &a, found(), now).unwrap().members, 2);
    // It is drained, and found again while it is: the place is another one's now.
    let report = members.update(&esb, &b, vec![node("b-1", "10.0.0.7")], now).unwrap();
    assert_eq!((report.members, report.left_out), (0, vec![(name("b-1"), Refusal::AddressTaken(name("a-1")))]));
    members.expire(now + SHORTEST_DRAIN, &idle);
    assert_eq!(others(&members), ["a-1 10.0.0.7 x2", "a-3 10.0.0.9 x2"]);
}

#[test]
fn places_of_a_source_that_change_hands_at_once() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, a) = (name("esb"), source("a"));
    let report = members.update(&esb, &a, vec![node("n2", "10.0.0.7"), node("n1", "10.0.0.7")], now).unwrap();
    assert_eq!(report.left_out, [(name("n1"), Refusal::AddressTaken(name("n2")))], "the one named first");
    members.update(&esb, &a, vec![node("n1", "10.0.0.8"), node("n2", "10.0.0.7")], now).unwrap();
    assert_eq!(others(&members), ["n1 10.0.0.8 x2", "n2 10.0.0.7 x2"]);
    members.update(&esb, &a, vec![node("n1", "10.0.0.7"), node("n2", "10.0.0.8")], now).unwrap();
    assert_eq!(others(&members), ["n1 10.0.0.7 x2", "n2 10.0.0.8 x2"], "they have changed places");
    // Another port is another place; what no listener leads to is none.
    let port = |id, ports| Node { ports, ..node(id, "10.0.0.7") };
    let (other_servlet, other_passthrough) = (port("n3", [1234, 8280]), port("n4", [9763, 1234]));
    let report = members.update(&esb, &a, vec![port("n1", [9763, 8280]), other_servlet, other_passthrough], now);
    assert_eq!(report.unwrap().left_out, [(name("n4"), Refusal::AddressTaken(name("n1")))]);
}

#[test]
fn who_registers_takes_the_place_of_who_registered_but_not_of_who_is_found() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, a) = (name("esb"), source("a"));
    members.update(&esb, &a, vec![node("found", "10.0.0.7")], now).unwrap();
    let taken = |other| Err(Refusal::AddressTaken(name(other)));
    assert_eq!(members.register(&esb, &name("wk-7"), &at("10.0.0.7"), now), taken("found"));
    members.register(&esb, &name("wk-8"), &at("10.0.0.8"), now).unwrap();
    assert_eq!(members.register(&esb, &name("wk-8"), &at("10.0.0.7"), now), taken("found"), "nor by moving there");

    // Found where it had registered, it goes on; the next one that registers there does not get its place.
    let report = members.update(&esb, &a, vec![node("found", "10.0.0.8"), node("wk-8", "10.0.0.8")], now).unwrap();
    assert_eq!(report.left_out.len(), 2, "{report:?}");
    assert_eq!(members.register(&esb, &name("wk-9"), &at("10.0.0.8"), now), taken("wk-8"));
    assert_eq!(others(&members), ["found 10.0.0.7 x2 leaving", "wk-8 10.0.0.8 x1"]);
    members.update(&esb, &a, vec![node("found", "10.0.0.8")], now).unwrap();
    members.register(&esb, &name("wk-9"), &at("10.0.0.8"), now).unwrap();
    members.deregister(&esb, &name("wk-9"), now).unwrap();
    assert_eq!(others(&members)[0], "found 10.0.0.8 x2", "it was held and takes over");
}
