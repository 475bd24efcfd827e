//! Tenants: what entries mean, and mistakes in them.

use super::refused::{GOOD, one_problem};
use super::*;

const PLACE: &str = "    services: [echo]\n";

/// [`GOOD`] with `tenants` on line 17.
fn with(tenants: &str) -> String {
    GOOD.replace(PLACE, &format!("{PLACE}    tenants: {{ {tenants} }}\n"))
}

#[test]
fn partitions_are_kept_in_order() {
    let text = with(
        "max_in_flight: 200, partitions: [{ name: gold, tenants: [Example.COM, '*.example.com', gold-*, 1-10, 7], \
         nodes: [wk-2] }, { name: rest, tenants: ['*'], nodes: [wk-1, mgr-1] }]",
    );
    let loaded = accepted(&text);
    let tenants = &loaded.config.clusters[0].tenants;
    assert_eq!(tenants.max_in_flight, Some(200));
    let shown: Vec<_> =
        tenants.partitions.iter().map(|p| format!("{}: {:?} {:?}", p.name, p.tenants, p.nodes)).collect();
    assert_eq!(
        shown,
        [
            "gold: [Exact(\"example.com\"), Suffix(\".example.com\"), Prefix(\"gold-\"), Range(1, 10), Range(7, 7)] \
             [\"wk-2\"]",
            "rest: [Any] [\"wk-1\", \"mgr-1\"]",
        ]
    );
    assert_eq!(accepted(&effective(&loaded.config)).config, loaded.config);
    // 7 is in 1-10, and every manager is in a partition, but one of them takes the rest.
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert_eq!(accepted(GOOD).config.clusters[0].tenants, Tenants::default());
}

#[test]
fn mistakes_in_tenants() {
    let rows = [
        ("hosts: [apps.example.com]", "tenants.hosts[0]: \"apps.example.com\" has no \"*.\" in place of the tenant"),
        ("hosts: ['*']", "hosts[0]: \"*\" has no \"*.\" in place of the tenant; allowed: \"*.\" and a host name"),
        ("hosts: ['*.a:1']", "hosts[0]: \"a:1\" has a port"),
        ("max_in_flight: 0", "tenants.max_in_flight: 0 is out of range"),
        ("partitions: { gold: {} }", "partitions: found a map; allowed: a list of partitions"),
        ("partitions: [{ tenants: [a], nodes: [wk-1] }]", "partitions[0].name: is missing"),
        ("partitions: [{ name: p, nodes: [wk-1] }]", "partitions[0].tenants: is missing"),
        ("partitions: [{ name: p, tenants: [a] }]", "partitions[0].nodes: is missing"),
        ("partitions: [{ name: p, tenants: [], nodes: [wk-1] }]", "tenants: no tenants; allowed: at least one tenant"),
        ("partitions: [{ name: p, tenants: [a], nodes: [] }]", "partitions[0].nodes: no nodes; allowed: at least one"),
        ("partitions: [{ name: p, tenants: [a*b], nodes: [wk-1] }]", "tenants[0]: \"a*b\" has a '*'"),
        ("partitions: [{ name: p, tenants: [9-1], nodes: [wk-1] }]", "tenants[0]: \"9-1\" ends before it begins"),
        (
            "partitions: [{ name: p, tenants: [a], nodes: [wk-3] }]",
            "nodes[0]: there is no node wk-3; allowed: mgr-1, wk-1, wk-2",
        ),
        ("partitions: [{ name: p, tenants: [a], nodes: [wk-1, wk-1] }]", "nodes[1]: is in the list twice"),
        (
            "partitions: [{ name: p, tenants: [a], nodes: [wk-1] }, { name: q, tenants: [b], nodes: [wk-1] }]",
            "partitions[1].nodes[0]: node wk-1 is also in the partition on line 17; allowed: each node in one",
        ),
        (
            "partitions: [{ name: p, tenants: [a], nodes: [wk-1] }, { name: p, tenants: ['*'], nodes: [wk-2] }]",
            "partitions[1].name: the same name as on line 17",
        ),
        (
            "partitions: [{ name: p, tenants: ['*'], nodes: [mgr-1] }]",
            "partitions[0].nodes: none of these nodes is a worker; allowed: at least one worker in each partition",
        ),
    ];
    for (tenants, fragment) in rows {
        let by = format!("{PLACE}    tenants: {{ {tenants} }}\n");
        one_problem(PLACE, &by, 17, fragment, Severity::Error);
    }
    let many: String = (0..=4096).map(|tenant| format!("t{tenant},")).collect();
    let by = format!("{PLACE}    tenants: {{ partitions: [{{ name: p, tenants: [{many}], nodes: [wk-1] }}] }}\n");
    one_problem(PLACE, &by, 17, "4097 entries for tenants; allowed: at most 4096", Severity::Error);
}

#[test]
fn warnings_of_tenants() {
    let rows = [
        ("hosts: ['*.apps.test']", "tenants.hosts[0]: the cluster has no host below apps.test"),
        (
            "partitions: [{ name: p, tenants: [a], nodes: [wk-1] }, { name: q, tenants: [b], nodes: [wk-2] }]",
            "tenants.partitions: every worker is in a partition, and none takes \"*\": other tenants get 503",
        ),
        (
            "partitions: [{ name: p, tenants: [a], nodes: [wk-1, mgr-1] }]",
            "tenants.partitions: every manager is in a partition",
        ),
        (
            "partitions: [{ name: p, tenants: ['*'], nodes: [wk-1] }, { name: q, tenants: [b], nodes: [wk-2] }]",
            "partitions[1].tenants[0]: never matches: the entry on line 17 takes all of these first",
        ),
    ];
    for (tenants, fragment) in rows {
        let by = format!("{PLACE}    tenants: {{ {tenants} }}\n");
        one_problem(PLACE, &by, 17, fragment, Severity::Warning);
    }
}

#[test]
fn entries_that_never_match() {
    let cases = [
        ("a, a", 1),
        ("a, b", 0),
        ("'*', a, '*.a', a*, 1-2", 4),
        ("'*.a', b.a, '*.b.a', a, b", 2),
        ("'*.b.a', '*.a'", 0),
        ("'*.a', .a", 0),
        ("a*, ab, ab*, a, b", 3),
        ("ab*, a*", 0),
        ("1-10, 1-5, 7, 10-11", 2),
        ("A, a", 1),
    ];
    for (tenants, expected) in cases {
        let loaded = accepted(&with(&format!("partitions: [{{ name: p, tenants: [{tenants}], nodes: [wk-1] }}]")));
        assert_eq!(loaded.warnings.len(), expected, "{tenants}: {:?}", loaded.warnings);
    }
}

#[test]
fn hosts_of_tenants_are_hosts_of_the_cluster() {
    for (hosts, meets) in [
        ("'*'", true),
        ("'*.apps.test'", true),
        ("'*.test'", true),
        ("'*.a.apps.test'", true),
        ("x.apps.test", true),
        ("apps.test", false),
        ("'*.myapps.test'", false),
        ("x.test", false),
    ] {
        let text = with("hosts: ['*.Apps.test']").replace("worker: [esb.example.com]", &format!("worker: [{hosts}]"));
        let loaded = accepted(&text);
        assert_eq!(loaded.warnings.is_empty(), meets, "{hosts}: {:?}", loaded.warnings);
        assert_eq!(loaded.config.clusters[0].tenants.hosts, ["apps.test"]);
    }
}

#[test]
fn a_part_that_could_not_be_read_is_one_problem() {
    let partition = "partitions: [{ name: p, tenants: [a], nodes: [wk-1] }, { name: q, tenants: [b], nodes: [wk-2] }]";
    for (replace, by, expected) in [
        ("host: 10.0.0.11 }", "host: 10.0.0.11, id: 5 }", "line 22: clusters.esb.nodes[1].id: duplicate key"),
        ("id: wk-1, ", "id: a/b, ", "line 22: clusters.esb.nodes[1].id: \"a/b\""),
        ("tenants: [b]", "tenants: [b**]", "line 17: clusters.esb.tenants.partitions[1].tenants[0]"),
        ("nodes: [wk-2]", "nodes: [w/2]", "line 17: clusters.esb.tenants.partitions[1].nodes[0]"),
        ("name: q, ", "name: q/, ", "line 17: clusters.esb.tenants.partitions[1].name"),
    ] {
        let text = with(partition).replace(replace, by);
        let problems = parse_text(&text).unwrap_err();
        let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{by}: {problems}");
        assert!(errors[0].to_string().starts_with(expected), "{by}: {problems}");
    }
}
