//! Nodes that are taken out and put back while requests are on them.

use super::apply::{ONE, TWO, apply, probe, up, view, with};
use super::*;
use crate::member::Lease;

/// A request on wk-2.
fn lease(registry: &Registry) -> Lease {
    let snapshot = registry.snapshot();
    let member = view(&snapshot).members().iter().find(|member| member.node.id().as_str() == "wk-2").unwrap();
    let in_flight = member.node.gauge(Endpoint::Servlet).try_start(None, Default::default()).unwrap();
    Lease::new(member.node.clone(), Endpoint::Servlet, in_flight)
}

#[test]
fn who_comes_back_is_as_busy_as_it_was() {
    let (both, one) = (with(&[ONE, TWO], "max_in_flight: 2"), with(&[ONE], "max_in_flight: 2"));
    let registry = up(&[ONE, TWO], "max_in_flight: 2");
    let in_flight = || view(&registry.snapshot()).in_flight();
    let leases = [lease(&registry), lease(&registry)];
    apply(&registry, &one);
    assert_eq!(in_flight(), 0, "it is no member");
    apply(&registry, &both);
    assert_eq!(in_flight(), 2);
    assert_eq!(super::apply::standings(&registry), ["wk-1 ready", "wk-2 joining"], "whether it serves is not known");
    probe(&registry, "wk-2", true);
    assert_eq!(picked(&registry, Role::Worker, 6), ["wk-1"], "the other one is full");
    drop(leases);
    assert_eq!((in_flight(), picked(&registry, Role::Worker, 6).len()), (0, 2), "its room is had again");

    // The same with all of the cluster.
    let lease = lease(&registry);
    apply(&registry, &both.replace("esb: {", "other: {"));
    apply(&registry, &both);
    assert_eq!(in_flight(), 1);
    drop(lease);
    assert_eq!(in_flight(), 0);
}

#[test]
fn who_comes_back_at_another_place_or_after_its_last_request_is_new() {
    let registry = up(&[ONE, TWO], "");
    let in_flight = || view(&registry.snapshot()).in_flight();
    let before = Arc::downgrade(lease(&registry).node());
    apply(&registry, &with(&[ONE], ""));
    assert!(before.upgrade().is_none(), "nothing is kept of it");
    apply(&registry, &with(&[ONE, TWO], ""));
    for elsewhere in [TWO.replace("192.0.2.2", "192.0.2.9"), format!("{TWO}, ports: {{ servlet: 1234 }}")] {
        let _lease = lease(&registry);
        apply(&registry, &with(&[ONE], ""));
        apply(&registry, &with(&[ONE, &elsewhere], ""));
        assert_eq!(in_flight(), 0, "{elsewhere}");
        apply(&registry, &with(&[ONE], ""));
        apply(&registry, &with(&[ONE, TWO], ""));
        assert_eq!(in_flight(), 0, "the one of before was another one");
    }
}

#[test]
fn a_drain_of_before_does_not_go_on() {
    let registry = up(&[ONE, TWO], "");
    let now = Instant::now();
    let lease = lease(&registry);
    registry.set_admin_state(super::apply::key(&registry, "wk-2"), AdminState::Draining, now);
    assert!(lease.node().sessions_left().left(now).is_some());
    apply(&registry, &with(&[ONE], ""));
    apply(&registry, &with(&[ONE, TWO], ""));
    assert!(lease.node().sessions_left().left(now).is_none(), "nobody wants that of the one that came");
}
