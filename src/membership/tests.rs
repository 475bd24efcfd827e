//! Members that come and go: tables, a model, and the task that publishes.

mod model;
mod places;
mod publishing;
mod speaking;

use std::path::Path;

use super::*;
use crate::config::{self, NodeHost};

pub(super) const CLUSTERS: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
  console: { bind: ['127.0.0.1:0'], role: manager }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'], manager: [mgt.test] }
    max_dynamic: 4
    endpoints: { servlet: { scheme: http, port: 9763, health: off }, passthrough: { port: 8280, health: off } }
    pools: { worker: { allowed_networks: [10.0.0.0/8, 'fd00::/8'], affinity: route } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 10.0.0.1, weight: 2 }
  dual:
    product: carbon
    mode: dual
    hosts: { worker: [dual.test], manager: [dual-mgt.test] }
    endpoints: { servlet: { scheme: http, health: off } }
    pools: { worker: { allowed_networks: [0.0.0.0/0] }, manager: { allowed_networks: [10.1.0.0/16] } }
    nodes: [{ id: dual-1, host: 192.0.2.20, roles: [worker, manager] }]
  tls:
    product: is
    hosts: { worker: [tls.test], manager: [tls-mgt.test] }
    pools: { worker: { allowed_networks: [10.0.0.0/8] }, manager: { allowed_networks: [10.1.0.0/16] } }
    nodes: [{ id: a, host: a.test }, { id: m, host: m.test, roles: [manager] }]
";

pub(super) fn config(yaml: &str) -> Arc<Config> {
    Arc::new(config::parse(yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}")).config)
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn at(address: &str) -> Registration {
    Registration {
        address: address.parse().unwrap(),
        roles: Vec::new(),
        weight: 1,
        ports: [None; 2],
        backup: false,
        max_in_flight: None,
        route: None,
        lease: Duration::from_secs(30),
    }
}

fn node(id: &str, address: &str) -> Node {
    static OWN: std::sync::LazyLock<Node> = std::sync::LazyLock::new(|| config(CLUSTERS).clusters[0].nodes[1].clone());
    let mut node = OWN.clone();
    (node.id, node.host, node.route) = (name(id), NodeHost::Address(address.parse().unwrap()), id.to_owned());
    node
}

/// The nodes of a cluster, each with its address, its weight, and `leaving`.
pub(super) fn nodes(config: &Config, cluster: &str) -> Vec<String> {
    let cluster = config.clusters.iter().find(|known| known.name.as_str() == cluster).unwrap();
    let text = |node: &Node| {
        let leaving = if node.leaving { " leaving" } else { "" };
        format!("{} {} x{}{leaving}", node.id, node.host.to_text(), node.weight)
    };
    cluster.nodes.iter().map(text).collect()
}

fn happened(members: &mut Members) -> Vec<String> {
    members.take_happened().iter().map(|happened| format!("{} {}", happened.id, happened.event.as_str())).collect()
}

/// Whoever it is may speak for any member.
pub(super) fn anybody(_: &[Role]) -> Result<(), std::convert::Infallible> {
    Ok(())
}

/// Nobody is busy.
pub(super) fn idle(_: &ClusterName, _: &NodeId) -> usize {
    0
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lease_is_a_member_until_it_ends_and_its_drain_is_over() {
    let (base, begin) = (config(CLUSTERS), Instant::now());
    let mut members = Members::new(base.clone());
    let (esb, id) = (name("esb"), name("wk-7"));
    assert!(Arc::ptr_eq(&members.effective(), &base), "nothing is copied while there is nobody");

    let registered = members.register(&esb, &id, &at("10.0.0.7"), begin).unwrap();
    assert_eq!((registered.new, registered.shown.lease), (true, Some((30 * SECOND, 30 * SECOND))));
    assert!(members.take_news());
    assert_eq!(happened(&mut members), ["wk-7 joined"]);
    let file = ["mgr-1 192.0.2.10 x1", "wk-1 10.0.0.1 x2"];
    assert_eq!(nodes(&members.effective(), "esb"), [&file[..], &["wk-7 10.0.0.7 x1"]].concat());

    // Both ways to renew, and neither changes anything.
    let later = begin + 20 * SECOND;
    assert!(!members.register(&esb, &id, &at("10.0.0.7"), later).unwrap().new);
    let shown = members.renew(&esb, &id, None, later + SECOND).unwrap();
    assert_eq!(shown.lease, Some((30 * SECOND, 30 * SECOND)));
    let shown = members.renew(&esb, &id, Some(5 * SECOND), later + SECOND).unwrap();
    assert_eq!(shown.lease, Some((5 * SECOND, 5 * SECOND)));
    assert!(!members.take_news(), "a renewal is nothing to publish");
    assert_eq!(happened(&mut members), ["wk-7 renewed"; 3]);

    let end = later + 6 * SECOND;
    members.expire(end - SECOND / 10, &idle);
    assert!(!members.take_news());
    members.expire(end, &|_, _| 1);
    assert!(members.take_news());
    assert_eq!(nodes(&members.effective(), "esb")[2], "wk-7 10.0.0.7 x1 leaving");
    assert_eq!(members.leaving(), [(esb.clone(), id.clone())]);
    assert_eq!(members.renew(&esb, &id, None, end), Err(Refusal::UnknownMember), "who forgot has to register");

    // It comes back.
    assert!(members.register(&esb, &id, &at("10.0.0.7"), end).unwrap().new);
    assert_eq!(nodes(&members.effective(), "esb")[2], "wk-7 10.0.0.7 x1");
    assert_eq!(members.leaving(), []);
    members.deregister(&esb, &id, end).unwrap();
    assert!(members.deregister(&esb, &id, end).unwrap().node.leaving, "twice is once");
    assert_eq!(happened(&mut members), ["wk-7 expired", "wk-7 back", "wk-7 deregistered"]);

    // It goes when it has nothing to do, but not at once.
    members.expire(end + SHORTEST_DRAIN / 2, &idle);
    members.expire(end + SHORTEST_DRAIN, &|_, _| 1);
    assert_eq!(nodes(&members.effective(), "esb").len(), 3);
    members.expire(end + SHORTEST_DRAIN, &idle);
    assert_eq!((nodes(&members.effective(), "esb"), members.is_waiting()), (file.map(str::to_owned).to_vec(), false));
    assert_eq!(happened(&mut members), ["wk-7 removed"]);
    assert_eq!(members.deregister(&esb, &id, end), Err(Refusal::UnknownMember));

    // However long what it has to do takes.
    members.register(&esb, &id, &at("10.0.0.7"), end).unwrap();
    members.deregister(&esb, &id, end).unwrap();
    members.expire(end + LONGEST_DRAIN - SECOND, &|_, _| 1);
    assert_eq!(nodes(&members.effective(), "esb").len(), 3);
    members.expire(end + LONGEST_DRAIN, &|_, _| 1);
    assert_eq!(nodes(&members.effective(), "esb").len(), 2);
}

#[test]
fn who_may_not_be_a_member_is_told_why() {
    let malformed = |key, part: &str| format!("{key}: {part}");
    let cases: Vec<(&str, &str, Registration, String)> = vec![
        ("esb", "wk-7", at("10.255.0.1"), String::new()),
        ("esb", "wk-7", at("fd00::1"), String::new()),
        // An IPv4 address in other clothes.
        ("esb", "wk-7", at("::ffff:10.0.0.1"), "wk-1 has this address and port".into()),
        ("esb", "wk-7", at("10.0.0.1"), "wk-1 has this address and port".into()),
        ("esb", "wk-7", Registration { ports: [Some(1), Some(2)], ..at("10.0.0.1") }, String::new()),
        // One of the ports of another node, under whichever name, and nodes of other clusters.
        ("esb", "wk-7", Registration { ports: [Some(1), Some(9763)], ..at("10.0.0.1") }, String::new()),
        (
            "dual",
            "wk-7",
            Registration { ports: [Some(1), Some(9763)], ..at("192.0.2.10") },
            "mgr-1 has this address and port".into(),
        ),
        ("dual", "wk-7", Registration { ports: [Some(9763), None], ..at("10.0.0.1") }, "wk-1 has this address".into()),
        ("dual", "wk-7", at("127.0.0.1"), "127.0.0.1 is in none of the allowed_networks of the worker pool".into()),
        ("dual", "wk-7", at("169.254.169.254"), "169.254.169.254 is in none of the allowed_networks".into()),
        ("dual", "wk-7", at("255.255.255.255"), "255.255.255.255 is in none of the allowed_networks".into()),
        ("esb", "wk-7", at("192.0.2.7"), "192.0.2.7 is in none of the allowed_networks of the worker pool".into()),
        ("esb", "wk-1", at("10.0.0.7"), "the id is taken (the configuration file)".into()),
        ("none", "wk-7", at("10.0.0.7"), "there is no such cluster".into()),
        (
            "esb",
            "wk-7",
            Registration { roles: vec![Role::Manager], ..at("10.0.0.7") },
            "the manager pool has members of the file only: its allowed_networks is empty".into(),
        ),
        (
            "esb",
            "wk-7",
            Registration { roles: vec![Role::Manager, Role::Worker], ..at("10.0.0.7") },
            malformed("roles", "more than one role in a separated cluster; allowed: [worker] or [manager]"),
        ),
        (
            "dual",
            "wk-7",
            Registration { roles: vec![Role::Worker, Role::Manager], ..at("10.1.0.7") },
            malformed("roles", "the manager of a dual cluster is the one in the file; allowed: [worker]"),
        ),
        (
            "dual",
            "wk-7",
            Registration { roles: vec![Role::Manager], ..at("10.1.0.7") },
            malformed("roles", "the manager of a dual cluster is the one in the file; allowed: [worker]"),
        ),
        ("dual", "wk-7", at("0.0.0.0"), "0.0.0.0 is in none of the allowed_networks of the worker pool".into()),
        ("dual", "wk-7", at("224.0.0.1"), "224.0.0.1 is in none of the allowed_networks of the worker pool".into()),
        ("dual", "wk-7", at("::1"), "::1 is in none of the allowed_networks of the worker pool".into()),
        (
            "tls",
            "b",
            at("10.0.0.7"),
            "its certificate cannot be verified by an address: endpoints.servlet.tls has no server_name".into(),
        ),
        (
            "esb",
            "wk-7",
            Registration { weight: 257, ..at("10.0.0.7") },
            malformed("weight", "257 is out of range; allowed: 1 to 256"),
        ),
        (
            "esb",
            "wk-7",
            Registration { ports: [None, Some(0)], ..at("10.0.0.7") },
            malformed("ports", "0 is out of range; allowed: 1 to 65535"),
        ),
        (
            "esb",
            "wk-7",
            Registration { max_in_flight: Some(0), ..at("10.0.0.7") },
            malformed("max_in_flight", "0 is out of range; allowed: 1 to 1000000"),
        ),
        ("esb", "wk-7", Registration { route: Some("wk-1".into()), ..at("10.0.0.7") }, "wk-1 has this route".into()),
        ("esb", "wk.7", at("10.0.0.7"), malformed("route", "\"wk.7\" can't be a route")),
        ("dual", "wk.7", at("10.0.0.7"), String::new()), // sessions are not found by it
    ];
    for (cluster, id, registration, expected) in cases {
        let mut members = Members::new(config(CLUSTERS));
        let refused = members.register(&name(cluster), &name(id), &registration, Instant::now()).err();
        let text = refused.as_ref().map(Refusal::to_string).unwrap_or_default();
        assert!(text.contains(&expected) && text.is_empty() == expected.is_empty(), "{registration:?}: {text:?}");
        assert_eq!(members.take_news(), refused.is_none(), "{registration:?}");
    }
}

#[test]
fn members_do_not_get_in_each_others_way() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let esb = name("esb");
    members.register(&esb, &name("wk-7"), &at("10.0.0.7"), now).unwrap();
    let same_route = Registration { route: Some("wk-7".into()), ..at("10.0.0.8") };
    assert_eq!(
        members.register(&esb, &name("wk-8"), &same_route, now),
        Err(Refusal::RouteTaken(name("wk-7"))),
        "a session would be found in two places"
    );
    // A container was started again under another name: what was there before is not there any more.
    members.register(&esb, &name("wk-8"), &at("10.0.0.7"), now).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[2..], ["wk-7 10.0.0.7 x1 leaving", "wk-8 10.0.0.7 x1"]);
    assert_eq!(happened(&mut members), ["wk-7 joined", "wk-7 superseded", "wk-8 joined"]);
    // It says something else of itself.
    let heavier = Registration { weight: 9, ..at("10.0.0.9") };
    assert!(!members.register(&esb, &name("wk-8"), &heavier, now).unwrap().new);
    assert_eq!(nodes(&members.effective(), "esb")[3], "wk-8 10.0.0.9 x9");
    assert_eq!(happened(&mut members), ["wk-8 changed"]);
    // Those that leave do not count.
    for address in ["10.0.1.1", "10.0.1.2", "10.0.1.3"] {
        let id = name(&format!("n{}", &address[7..]));
        members.register(&esb, &id, &at(address), now).unwrap();
    }
    assert_eq!(members.register(&esb, &name("n9"), &at("10.0.1.9"), now), Err(Refusal::TooMany(4)));
    members.deregister(&esb, &name("n1"), now).unwrap();
    members.register(&esb, &name("n9"), &at("10.0.1.9"), now).unwrap();
}

#[test]
fn a_source_tells_the_whole_set() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, a, b) = (name("esb"), Source::Configured(name("a")), Source::Configured(name("b")));
    let mut named = node("wk-4", "10.0.0.4");
    named.host = NodeHost::Name("wk-4.test".to_owned());
    let found = vec![
        node("wk-3", "10.0.0.3"),
        node("wk-2", "::ffff:10.0.0.2"),
        named,
        node("wk-1", "10.0.0.9"),
        node("wk-2", "10.0.0.22"),
        node("wk-5", "192.0.2.5"),
    ];
    let report = members.update(&esb, &a, found, now).unwrap();
    let left_out: Vec<_> = report.left_out.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    assert_eq!(
        left_out,
        [
            "wk-2: the id is taken (the same source, earlier)",
            "wk-4: it has a host name in place of an address",
            "wk-1: the id is taken (the configuration file)",
            "wk-5: 192.0.2.5 is in none of the allowed_networks of the worker pool",
        ]
    );
    assert_eq!(report.members, 2);
    assert_eq!(nodes(&members.effective(), "esb")[2..], ["wk-2 10.0.0.2 x2", "wk-3 10.0.0.3 x2"]);

    // Who comes second waits.
    let report = members.update(&esb, &b, vec![node("wk-3", "10.0.0.33"), node("wk-6", "10.0.0.6")], now).unwrap();
    assert_eq!(report.left_out, [(name("wk-3"), Refusal::Taken("source a".into()))]);
    assert_eq!(
        members.register(&esb, &name("wk-6"), &at("10.0.0.66"), now),
        Err(Refusal::Taken("source b".into())),
        "registering does not help"
    );
    assert_eq!(members.renew(&esb, &name("wk-6"), None, now), Err(Refusal::Taken("source b".into())));
    assert_eq!(members.deregister(&esb, &name("wk-6"), now), Err(Refusal::Taken("source b".into())));
    assert!(members.take_news());
    happened(&mut members);
    members.update(&esb, &a, vec![node("wk-2", "10.0.0.2")], now).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[3], "wk-3 10.0.0.33 x2", "the other one has it now");
    assert_eq!(happened(&mut members), ["wk-3 changed"]);
    assert!(members.take_news());
    members.update(&esb, &a, vec![node("wk-2", "10.0.0.2")], now).unwrap();
    assert!(!members.take_news(), "the same again");
    members.update(&esb, &a, Vec::new(), now).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[2], "wk-2 10.0.0.2 x2 leaving");
    assert_eq!(happened(&mut members), ["wk-2 left"]);

    // More than there may be: those that do not fit come in when there is room.
    let many = (10..16).map(|i| node(&format!("n{i}"), &format!("10.0.1.{i}"))).collect();
    let report = members.update(&esb, &a, many, now).unwrap();
    assert_eq!((report.members, report.left_out[0].1.clone()), (2, Refusal::TooMany(4)));
    members.update(&esb, &b, Vec::new(), now).unwrap();
    assert_eq!(members.leaving().len(), 3);
    members.expire(now + SHORTEST_DRAIN, &idle);
    let ids: Vec<_> = nodes(&members.effective(), "esb")[2..].iter().map(|text| text[..3].to_owned()).collect();
    assert_eq!(ids, ["n10", "n11", "n12", "n13"]);
    assert_eq!(members.update(&name("none"), &a, Vec::new(), now), Err(Refusal::UnknownCluster));
}

#[test]
fn an_answer_of_which_nothing_may_be_takes_nobody_away() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, a) = (name("esb"), Source::Configured(name("a")));
    members.update(&esb, &a, vec![node("wk-2", "10.0.0.2"), node("wk-3", "10.0.0.3")], now).unwrap();
    let before = members.effective();
    let wrong = vec![node("x", "198.51.100.1"), node("y", "198.51.100.2")];
    let report = members.update(&esb, &a, wrong, now).unwrap();
    assert_eq!((report.members, report.left_out.len()), (0, 2));
    assert!(report.left_out.iter().all(|(_, why)| matches!(why, Refusal::Outside(..))), "{report:?}");
    assert_eq!(members.effective(), before);
    // With one that may be a member it counts.
    let report = members.update(&esb, &a, vec![node("x", "198.51.100.1"), node("wk-2", "10.0.0.2")], now).unwrap();
    assert_eq!((report.members, report.left_out.len()), (1, 1));
    assert_eq!(nodes(&members.effective(), "esb")[2..], ["wk-2 10.0.0.2 x2", "wk-3 10.0.0.3 x2 leaving"]);
}

#[test]
fn weights_are_the_operators_until_they_are_given_back() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, own, other) = (name("esb"), name("wk-1"), name("wk-7"));
    let weights = |weight, configured| Weights { weight, configured };
    assert_eq!(members.set_weight(&esb, &other, Some(5)), Err(Refusal::UnknownMember));
    assert!(members.set_weight(&esb, &own, Some(0)).is_err() && members.set_weight(&esb, &own, Some(257)).is_err());
    assert!(!members.take_news());
    assert_eq!(members.set_weight(&esb, &own, Some(5)), Ok((weights(2, 2), weights(5, 2))));
    members.register(&esb, &other, &at("10.0.0.7"), now).unwrap();
    members.set_weight(&esb, &other, Some(7)).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[1..], ["wk-1 10.0.0.1 x5", "wk-7 10.0.0.7 x7"]);
    // What it says of itself does not count, whatever it says.
    members.register(&esb, &other, &Registration { weight: 3, ..at("10.0.0.7") }, now).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[2], "wk-7 10.0.0.7 x7");
    assert_eq!(members.set_weight(&esb, &other, None), Ok((weights(7, 3), weights(3, 3))));
    members.take_news();
    assert_eq!(members.set_weight(&esb, &other, None), Ok((weights(3, 3), weights(3, 3))));
    assert!(!members.take_news());
    members.set_weight(&esb, &other, Some(9)).unwrap();
    // It goes with its node.
    members.deregister(&esb, &other, now).unwrap();
    members.expire(now + SHORTEST_DRAIN, &idle);
    members.register(&esb, &other, &at("10.0.0.7"), now).unwrap();
    assert_eq!(nodes(&members.effective(), "esb")[1..], ["wk-1 10.0.0.1 x5", "wk-7 10.0.0.7 x1"]);
    let without =
        CLUSTERS.replace("      - { id: wk-1, host: 10.0.0.1, weight: 2 }\n", "      - { id: wk-2, host: 10.0.0.2 }\n");
    members.set_base(config(&without), now);
    members.set_base(config(CLUSTERS), now);
    assert_eq!(nodes(&members.effective(), "esb")[1], "wk-1 10.0.0.1 x2");
}

#[test]
fn a_new_file_keeps_those_that_it_allows() {
    let now = Instant::now();
    let mut members = Members::new(config(CLUSTERS));
    let (esb, source) = (name("esb"), Source::Configured(name("a")));
    members.register(&esb, &name("wk-7"), &at("10.0.0.7"), now).unwrap();
    members.register(&esb, &name("wk-8"), &at("fd00::8"), now).unwrap();
    members.update(&esb, &source, vec![node("wk-9", "fd00::9")], now).unwrap();
    happened(&mut members);
    // Without IPv6, and with wk-7 in the file.
    let narrower = CLUSTERS.replace("[10.0.0.0/8, 'fd00::/8']", "[10.0.0.0/8]").replace("id: wk-1,", "id: wk-7,");
    members.set_base(config(&narrower), now);
    assert_eq!(nodes(&members.effective(), "esb"), ["mgr-1 192.0.2.10 x1", "wk-7 10.0.0.1 x2"]);
    assert_eq!(happened(&mut members), ["wk-7 forbidden", "wk-8 forbidden", "wk-9 forbidden"]);
    assert_eq!(members.renew(&esb, &name("wk-7"), None, now), Err(Refusal::Taken("the configuration file".into())));
    // What sources found comes back, they are not asked again. Who registered has to register again.
    members.set_base(config(CLUSTERS), now);
    assert_eq!(nodes(&members.effective(), "esb")[2..], ["wk-9 fd00::9 x2"]);
    assert_eq!(members.renew(&esb, &name("wk-8"), None, now), Err(Refusal::UnknownMember));
    // The cluster is gone, and another one of its name comes later.
    members.set_base(config(&CLUSTERS.replace("  esb:\n", "  mi:\n")), now);
    assert!(members.take_news() && members.leaving().is_empty());
    members.set_base(config(CLUSTERS), now);
    assert_eq!(nodes(&members.effective(), "esb").len(), 2);
}

#[test]
fn what_is_registered_is_what_the_file_would_say() {
    let mut members = Members::new(config(CLUSTERS));
    let full = Registration {
        roles: vec![Role::Worker],
        weight: 3,
        ports: [Some(9444), None],
        backup: true,
        max_in_flight: Some(9),
        route: Some("r7".into()),
        ..at("10.0.0.7")
    };
    members.register(&name("esb"), &name("wk-7"), &full, Instant::now()).unwrap();
    let line = "      - { id: wk-7, host: 10.0.0.7, roles: [worker], weight: 3, ports: { servlet: 9444 }, backup: true, \
                max_in_flight: 9, route: r7 }\n  dual:\n";
    let mut written = Config::clone(&config(&CLUSTERS.replace("  dual:\n", line)));
    written.clusters[0].nodes[2].dynamic = true;
    assert_eq!(members.effective().clusters[0], written.clusters[0]);
    assert_eq!(members.effective().clusters[1..], written.clusters[1..]);
}

#[test]
fn everything_is_counted_and_a_report_is_logged_once() {
    let (metrics, now) = (Arc::new(Metrics::new().unwrap()), Instant::now());
    let membership = Membership::new(config(CLUSTERS), metrics.clone());
    let (esb, id) = (name("esb"), name("wk-7"));
    membership.register(&esb, &id, &at("10.0.0.7"), now, anybody).unwrap();
    membership.register(&esb, &id, &at("10.0.0.7"), now, anybody).unwrap();
    membership.renew(&esb, &id, None, now, anybody).unwrap();
    membership.deregister(&esb, &id, now, anybody).unwrap();
    let text = metrics.render().unwrap();
    for (event, times) in [("joined", 1), ("renewed", 2), ("deregistered", 1)] {
        let line =
            format!("carbon_elb_member_events_total{{cluster=\"esb\",event=\"{event}\",role=\"worker\"}} {times}\n");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let source = Source::Configured(name("a"));
    let report = membership.update(&esb, &source, vec![node("wk-1", "10.0.0.9")], now).unwrap();
    assert_eq!(report.left_out.len(), 1);
    assert_eq!(membership.reported.lock()[&(esb, source)], report);
}
