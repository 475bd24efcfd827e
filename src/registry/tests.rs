//! Members come and go; requests keep what they began with.

mod apply;
mod gone;
mod managers;

use std::path::Path;

use super::*;
use crate::pool::{Ask, Choice, Picked, PoolView, Session, Standing};
use crate::upstream::TrustStore;

const SEPARATED: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
  console: { bind: ['127.0.0.1:0'], role: manager }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'], manager: ['*'] }
    endpoints: { servlet: { scheme: http, health: tcp } }
    pools: { worker: { health: { rise: 1, fall: 2 } } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 192.0.2.11 }
      - { id: wk-2, host: wk-2.test }
";

fn config(yaml: &str) -> Config {
    crate::config::parse(yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}\n{yaml}")).config
}

fn registry(yaml: &str) -> Registry {
    let metrics = Arc::new(Metrics::new().unwrap());
    let setup = Setup::new(config(yaml), TrustStore::default(), &metrics);
    Registry::new(setup, metrics, vec![Secret::new(*b"a key of 16 byte")], Instant::now(), 1)
}

fn pick(view: &PoolView) -> Option<Picked<'_>> {
    let ask = Ask { tried: &[], session: Session::None, again: None, key: 0, ticket: None };
    match view.pick(&ask, Instant::now()) {
        Choice::Picked(picked) => Some(picked),
        Choice::Full | Choice::SessionFull(_) | Choice::Nobody => None,
    }
}

/// The ids of the members that `picks` requests in a row go to.
fn picked(registry: &Registry, role: Role, picks: usize) -> Vec<String> {
    let snapshot = registry.snapshot();
    let view = snapshot.pool(0, None, role, Endpoint::Servlet).unwrap();
    let ids = (0..picks).filter_map(|_| Some(pick(view)?.member.node.id().to_string()));
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Where a node is probed.
fn servlet(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 9763)
}

/// The node at a position of the first configuration.
fn node(position: usize) -> NodeKey {
    NodeKey(position + 1)
}

#[test]
fn members_come_and_go_with_probes_and_addresses() {
    let registry = registry(SEPARATED);
    let workers = |registry: &Registry| picked(registry, Role::Worker, 4);
    let address = |index| IpAddr::from([192, 0, 2, 10 + u8::try_from(index).unwrap()]);
    let probe = |index, good| {
        registry.record_probe(node(index), Endpoint::Servlet, servlet(address(index)), good, Instant::now())
    };

    assert_eq!(workers(&registry), ["wk-1"], "never probed, but nothing better is known; wk-2 has no address yet");
    assert!(registry.record_address(node(2), "wk-2.test", "192.0.2.12".parse().unwrap(), Instant::now()));
    assert!(
        !registry.record_address(node(2), "wk-2.test", "192.0.2.12".parse().unwrap(), Instant::now()),
        "the same again is no news"
    );
    assert_eq!(workers(&registry), ["wk-1", "wk-2"]);

    assert_eq!(probe(1, true).map(|change| change.to), Some(State::Up));
    assert_eq!(workers(&registry), ["wk-1"], "a member that was never probed waits while another one is up");
    assert!(probe(2, true).is_some());
    assert_eq!(workers(&registry), ["wk-1", "wk-2"]);

    assert!(probe(1, false).is_none(), "one failure is not enough");
    assert_eq!(workers(&registry), ["wk-1", "wk-2"]);
    assert!(probe(1, false).is_some());
    assert_eq!(workers(&registry), ["wk-2"]);
    assert!(probe(2, false).is_none() && probe(2, false).is_some());
    assert_eq!(workers(&registry), [""; 0], "all are down");
    assert!(registry.is_down(node(1)) && !registry.is_down(node(0)));

    assert!(registry.record_address(node(2), "wk-2.test", "192.0.2.99".parse().unwrap(), Instant::now()));
    assert_eq!(workers(&registry), ["wk-2"], "it moved: what was known of it is forgotten");
    assert!(probe(2, false).is_none(), "a late answer from where it was");
    assert_eq!(workers(&registry), ["wk-2"]);
    assert_eq!(picked(&registry, Role::Manager, 1), ["mgr-1"], "the other pool is not concerned");
}

#[test]
fn a_request_keeps_the_snapshot_that_it_began_with() {
    let registry = registry(SEPARATED);
    let before = registry.snapshot();
    registry.record_probe(node(1), Endpoint::Servlet, "192.0.2.11:9763".parse().unwrap(), false, Instant::now());
    let view = before.pool(0, None, Role::Worker, Endpoint::Servlet).unwrap();
    assert_eq!(view.ready(), 1);
    assert_eq!(registry.snapshot().pool(0, None, Role::Worker, Endpoint::Servlet).unwrap().ready(), 0);
    assert_eq!(registry.snapshot().generation, before.generation + 1);
}

#[test]
fn a_dual_node_is_one_node_in_two_pools() {
    let dual =
        SEPARATED.replace("product: esb", "product: esb\n    mode: dual").replace("[manager] }", "[worker, manager] }");
    let registry = registry(&dual);
    registry.record_address(node(2), "wk-2.test", "192.0.2.12".parse().unwrap(), Instant::now());
    assert_eq!(picked(&registry, Role::Worker, 6), ["mgr-1", "wk-1", "wk-2"]);
    assert_eq!(picked(&registry, Role::Manager, 6), ["mgr-1"]);

    let snapshot = registry.snapshot();
    let pools = Role::ALL.map(|role| snapshot.pool(0, None, role, Endpoint::Servlet).unwrap());
    let leases: Vec<_> = pools.iter().flat_map(|view| [pick(view), pick(view), pick(view)]).collect();
    let dual_node = &registry.nodes()[0];
    assert_eq!(dual_node.in_flight(), 4, "three console requests, and its third of the services");
    drop(leases);
    assert_eq!(dual_node.in_flight(), 0);
    assert_eq!(registry.used().1.iter().filter(|used| used.key == node(0)).count(), 1, "it is probed once");
}

#[test]
fn pools_exist_where_listeners_lead() {
    let registry = registry(&SEPARATED.replace("  console: { bind: ['127.0.0.1:0'], role: manager }\n", ""));
    let snapshot = registry.snapshot();
    assert!(snapshot.pool(0, None, Role::Manager, Endpoint::Servlet).is_none());
    assert!(snapshot.pool(0, None, Role::Worker, Endpoint::Passthrough).is_none());
    assert_eq!(snapshot.pools().count(), 1);
    assert!(snapshot.pool(1, None, Role::Worker, Endpoint::Servlet).is_none(), "no such cluster");
}

#[test]
fn a_member_that_fails_requests_is_ejected_until_a_probe_brings_it_back() {
    let registry = registry(&SEPARATED.replace("fall: 2 } }", "fall: 2 }, outliers: { consecutive: 3 } }"));
    registry.record_address(node(2), "wk-2.test", "192.0.2.12".parse().unwrap(), Instant::now());
    let probe = |good| {
        registry.record_probe(node(1), Endpoint::Servlet, "192.0.2.11:9763".parse().unwrap(), good, Instant::now());
    };
    let workers = || picked(&registry, Role::Worker, 4);
    let fail = || {
        let snapshot = registry.snapshot();
        let view = snapshot.pool(0, None, Role::Worker, Endpoint::Servlet).unwrap();
        let member = &view.members()[0];
        let recorder = member.recorder.as_ref().unwrap();
        let many = (0..3).any(|_| recorder.record(crate::health::passive::Outcome::GatewayError, Default::default()));
        assert!(many);
        registry.tick(Instant::now())
    };
    registry.record_probe(node(2), Endpoint::Servlet, "192.0.2.12:9763".parse().unwrap(), true, Instant::now());
    probe(true);
    assert_eq!(workers(), ["wk-1", "wk-2"]);
    assert_eq!(fail()[0].node.id().as_str(), "wk-1");
    assert_eq!(workers(), ["wk-2"]);
    probe(false);
    probe(false);
    assert_eq!(workers(), ["wk-2"], "it is down");
    probe(true);
    assert_eq!(workers(), ["wk-1", "wk-2"], "a probe found it well again");
    let told: Vec<_> = fail().iter().map(|told| told.change.why.as_str()).collect();
    assert_eq!(told, ["forgotten", "errors_in_a_row"], "what the probe has ended is told, too");
    assert_eq!(registry.tick(Instant::now() + std::time::Duration::from_secs(11)).len(), 1, "its time is over");
    assert_eq!(workers(), ["wk-1", "wk-2"], "one request may find out");
}

#[test]
fn operators_take_nodes_out_and_put_them_back() {
    let registry = registry(SEPARATED);
    let now = Instant::now();
    registry.record_address(node(2), "wk-2.test", "192.0.2.12".parse().unwrap(), now);
    for (wanted, expected) in [
        (AdminState::Draining, &["wk-2"][..]),
        (AdminState::Maintenance, &["wk-2"]),
        (AdminState::Ready, &["wk-1", "wk-2"]),
    ] {
        assert!(registry.set_admin_state(node(1), wanted, now).is_some());
        assert_eq!(picked(&registry, Role::Worker, 4), expected, "{wanted:?}");
        assert_eq!(registry.wanted(node(1)).unwrap().0, wanted);
    }
    let generation = registry.snapshot().generation;
    assert_eq!(registry.set_admin_state(node(1), AdminState::Ready, now), Some(AdminState::Ready));
    assert_eq!(registry.snapshot().generation, generation, "nothing has changed");
    assert_eq!(registry.set_admin_state(node(9), AdminState::Ready, now), None);
}

const AGENT: &str = "load: { agent: { port: 7777 } }";

fn with_agents_and_names() -> String {
    let agents = SEPARATED.replace("health: { rise", &format!("{AGENT}, health: {{ rise"));
    agents.replace("host: 192.0.2.11", "host: wk-1.test")
}

#[test]
fn what_a_nodes_agent_says_is_obeyed() {
    let registry = registry(&with_agents_and_names());
    let (home, elsewhere) = (IpAddr::from([192, 0, 2, 11]), IpAddr::from([192, 0, 2, 99]));
    registry.record_address(node(1), "wk-1.test", home, Instant::now());
    registry.record_address(node(2), "wk-2.test", IpAddr::from([192, 0, 2, 12]), Instant::now());
    let says = |address: IpAddr, line: &str| {
        let reply = crate::report::agent::parse(format!("{line}\n").as_bytes()).unwrap();
        registry.record_agent(node(1), address, &reply, Instant::now()).is_some()
    };
    let workers = || picked(&registry, Role::Worker, 4);
    assert_eq!(workers(), ["wk-1", "wk-2"]);
    for word in ["drain", "maint", "down", "0%"] {
        assert!(says(home, word) && !says(home, word), "{word}: told once");
        assert_eq!(workers(), ["wk-2"], "{word}");
        assert!(says(home, "ready up 100%"));
        assert_eq!(workers(), ["wk-1", "wk-2"], "{word}");
    }
    assert!(!says(elsewhere, "down"), "from where it is not");

    let member = |registry: &Registry| {
        let snapshot = registry.snapshot();
        let view = snapshot.pool(0, None, Role::Worker, Endpoint::Servlet).unwrap();
        let member = &view.members()[0];
        (member.weight, member.limit, member.standing)
    };
    assert!(says(home, "50% maxconn:3 drain"));
    assert_eq!(member(&registry), (50, Some(3), Standing::Draining));
    assert!(registry.record_silent_agent(node(1), Instant::now()).is_some());
    assert_eq!(member(&registry), (100, None, Standing::Draining), "what somebody decided stays");
    assert!(registry.record_silent_agent(node(1), Instant::now()).is_none(), "told once");
    registry.record_address(node(1), "wk-1.test", elsewhere, Instant::now());
    assert_eq!(member(&registry), (100, None, Standing::Unknown), "it moved: another agent speaks for it");
}

#[test]
fn a_drain_that_an_agent_wanted_ends_when_its_node_moves() {
    let registry = registry(&with_agents_and_names());
    let [home, elsewhere] = [11, 99].map(|host| IpAddr::from([192, 0, 2, host]));
    let drain = crate::report::agent::parse(b"drain\n").unwrap();
    let (begin, hour) = (Instant::now(), std::time::Duration::from_secs(3600));
    let left = |now| registry.shown_node(node(1)).unwrap().node.sessions_left().left(now);
    assert!(registry.record_address(node(1), "wk-1.test", home, begin));
    assert!(registry.record_agent(node(1), home, &drain, begin).is_some());
    assert!(left(begin).is_some_and(|left| left.at_least));
    assert!(registry.record_address(node(1), "wk-1.test", elsewhere, begin));
    assert_eq!(left(begin), None, "nobody wants that of the new one");
    // Sessions that came meanwhile were not seen.
    assert!(registry.record_agent(node(1), elsewhere, &drain, begin + hour).is_some());
    assert!(left(begin + hour).is_some_and(|left| left.at_least), "this drain has just begun");
    // What an operator wants stays, and the count begins anew.
    registry.set_admin_state(node(1), AdminState::Draining, begin + hour);
    assert!(registry.record_address(node(1), "wk-1.test", home, begin + 2 * hour));
    assert!(left(begin + 2 * hour).is_some_and(|left| left.at_least));
}

#[test]
fn a_node_has_one_agent() {
    let pools = |worker: &str, manager: &str| {
        let pools = format!("pools: {{ worker: {{ {worker} }}, manager: {{ {manager} }} }}");
        let dual = SEPARATED
            .replace("product: esb", "product: esb\n    mode: dual")
            .replace("[manager] }", "[worker, manager] }")
            .replace("pools: { worker: { health: { rise: 1, fall: 2 } } }", &pools);
        let agents = registry(&dual).agents().into_iter();
        agents.map(|(key, _, check)| (key.0 - 1, check.port)).collect::<Vec<_>>()
    };
    let other = AGENT.replace("7777", "8888");
    assert_eq!(pools("", ""), []);
    assert_eq!(pools(AGENT, &other), [(0, 7777), (1, 7777), (2, 7777)]);
    assert_eq!(pools("", &other), [(0, 8888)]);
    assert_eq!(pools(AGENT, ""), [(0, 7777), (1, 7777), (2, 7777)]);
}
