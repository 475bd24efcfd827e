//! Sources of members, and what their files may hold.

use super::refused::{GOOD, one_problem};
use super::*;

/// [`GOOD`], with pools that members may come to.
fn open() -> String {
    const WORKERS: &str = "      worker: { balance: round_robin }\n";
    let both = format!("{WORKERS}{}", WORKERS.replace("worker", "manager"));
    GOOD.replace(WORKERS, &both.replace("round_robin", "round_robin, allowed_networks: [10.0.0.0/8]"))
}

/// [`open`] with these sources, on line 23.
fn text(sources: &str) -> String {
    open().replace("    pools:\n", &format!("    sources: {{ {sources} }}\n    pools:\n"))
}

#[test]
fn defaults_are_filled_in() {
    let loaded = accepted(&text(
        "a: { dns: Wk.internal }, s: { dns: _esb._tcp.internal, type: srv }, six: { dns: w, type: aaaa }",
    ));
    assert_eq!(loaded.warnings, []);
    let sources = &loaded.config.clusters[0].sources;
    let SourceKind::Dns(a) = &sources[0].kind else { panic!() };
    assert_eq!((a.name.as_str(), a.records, a.server), ("wk.internal", Records::A, None));
    assert_eq!((a.min_ttl, a.max_ttl), (Duration::from_secs(1), Duration::from_secs(300)));
    let expected =
        Template { roles: vec![Role::Worker], weight: 1, backup: false, max_in_flight: None, ports: [9443, 8280] };
    assert_eq!(a.template, expected);
    let SourceKind::Dns(srv) = &sources[1].kind else { panic!() };
    assert_eq!(srv.records, Records::Srv(Endpoint::Passthrough));
    let SourceKind::Dns(six) = &sources[2].kind else { panic!() };
    assert_eq!(six.records, Records::Aaaa);
    let again = accepted(&effective(&loaded.config));
    assert_eq!(again.config, loaded.config);
}

#[test]
fn a_cluster_may_have_sources_instead_of_nodes() {
    let open = open();
    let start = open.find("    nodes:").unwrap();
    let end = open.find("    pools:").unwrap();
    let without = |sources: &str| format!("{}{sources}{}", &open[..start], &open[end..]);
    let loaded = accepted(&without("    sources: { all: { file: /nowhere/at/all } }\n"));
    assert_eq!((loaded.config.clusters[0].nodes.len(), loaded.warnings.len()), (0, 1));
    // Nobody yet, but pools that members may register for.
    assert_eq!(accepted(&without("    nodes: []\n")).warnings, []);
    let closed = |sources: &str| without(sources).replace(", allowed_networks: [10.0.0.0/8]", "");
    let rows = [
        ("", 10, "esb.nodes: is missing"),
        ("    sources: {}\n", 19, "sources: neither nodes nor sources; allowed: at least one node or one source"),
        ("    nodes: []\n", 19, "nodes: no nodes; allowed: at least one node"),
        ("    nodes: []\n    sources: {}\n", 19, "nodes: no nodes; allowed: at least one node"),
    ];
    for (by, line, fragment) in rows {
        let problems = parse_text(&closed(by)).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{by}: {shown:?}");
        assert!(shown[0].contains(fragment) && shown[0].starts_with(&format!("line {line}:")), "{by}: {shown:?}");
    }
    // Workers can come, but who should be the manager?
    let one_closed = |sources: &str| {
        let manager = "manager: { balance: round_robin, allowed_networks: [10.0.0.0/8] }";
        without(&format!("    nodes: [{{ id: a, host: a }}]\n{sources}")).replace(manager, "manager: {}")
    };
    for sources in ["", "    sources: { a: { dns: wk } }\n"] {
        let problems = parse_text(&one_closed(sources)).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().contains("hosts for managers, but no node has this role"), "{problems}");
    }
    accepted(&without("    nodes: [{ id: a, host: a }]\n"));
    accepted(&without("    sources: { a: { dns: wk }, b: { dns: m, roles: [manager] } }\n"));
    // The dual node is nobody's to come and go.
    let dual = without("    sources: { a: { dns: wk } }\n").replace("mode: separated", "mode: dual");
    let problems = parse_text(&dual).unwrap_err();
    assert!(problems.to_string().contains("sources: a dual cluster without a dual node"), "{problems}");
}

#[test]
fn each_mistake_is_one_problem() {
    let rows = [
        ("a: wk.internal", "sources.a: found \"wk.internal\"; allowed: a map with the key file or dns"),
        ("a: {}", "sources.a: neither file nor dns"),
        ("a: { file: f, dns: d }", "sources.a: more than one of file, dns and docker"),
        ("a: { docker: /var/run/docker.sock }", "run carbon-elb docker-source beside it"),
        ("a/b: { dns: wk }", "sources.\"a/b\": is not a name"),
        ("a: { file: f, every: 10ms }", "every: \"10ms\" is out of range"),
        ("a: { file: f, evry: 1s }", "evry: unknown key (did you mean \"every\"?)"),
        ("a: { file: f, type: a }", "type: unknown key; allowed: file, every"),
        ("a: { dns: 10.0.0.1 }", "dns: \"10.0.0.1\" is neither a host name nor an address"),
        ("a: { dns: wk, type: mx }", "type: \"mx\" is not known; allowed: a, aaaa, srv"),
        ("a: { dns: wk, server: ns }", "server: \"ns\" is not the address of a name server"),
        ("a: { dns: wk, min_ttl: 10m }", "min_ttl: the longest time is shorter than the shortest"),
        ("a: { dns: wk, max_ttl: 500ms }", "max_ttl: the longest time is shorter than the shortest"),
        ("a: { dns: wk, roles: [] }", "roles: no roles"),
        ("a: { dns: wk, roles: [worker, manager] }", "roles: worker and manager at once in a separated cluster"),
        ("a: { dns: wk, weight: 0 }", "weight: 0 is out of range"),
        ("a: { dns: wk, endpoint: servlet }", "endpoint: addresses have no ports; allowed: only with type: srv"),
        ("a: { dns: wk, type: srv, weight: 2 }", "weight: SRV records have their own weights and priorities"),
        ("a: { dns: wk, type: srv, backup: true }", "backup: SRV records have their own weights and priorities"),
        ("a: { dns: wk, type: srv, ports: { passthrough: 5 } }", "ports.passthrough: SRV records have this port"),
        ("a: { dns: wk, ports: { passthrough: 0 } }", "ports.passthrough: 0 is out of range"),
    ];
    for (source, fragment) in rows {
        let problems = parse_text(&text(source)).unwrap_err();
        assert_eq!(problems.len(), 1, "{source}: {problems}");
        let shown = problems.to_string();
        assert!(shown.starts_with("line 23: clusters.esb.sources") && shown.contains(fragment), "{source}: {shown}");
    }
    // Nobody may come to the pools of the good file.
    let closed = [
        ("a: { dns: wk }", "sources.a: brings no members: allowed_networks is empty for worker"),
        ("a: { file: f }", "sources.a: brings no members: allowed_networks is empty for manager and worker"),
    ];
    for (source, fragment) in closed {
        let by = format!("    sources: {{ {source} }}\n    pools:\n");
        one_problem("    pools:\n", &by, 23, fragment, Severity::Error);
    }
    let verified = "servlet: {}\n    sources: { a: { dns: wk } }";
    let good = open().replace("host: 10.0.0.11", "host: w").replace("host: 10.0.0.10", "host: m");
    let problems = parse_text(&good.replace("servlet: { tls: { server_name: localhost } }", verified)).unwrap_err();
    assert!(problems.to_string().contains("sources.a: a finds addresses, which the nodes' certificates do not name"));
    assert_eq!(problems.len(), 1, "{problems}");
    // Dual: only the configured node is a manager. No pass-through port: none to give.
    let dual = open().replace("mode: separated", "mode: dual").replace("roles: [manager]", "roles: [manager, worker]");
    let dual = dual.replace("    pools:\n", "    sources: { a: { dns: wk, roles: [manager] } }\n    pools:\n");
    let problems = parse_text(&dual).unwrap_err();
    assert!(problems.to_string().contains("a manager that comes and goes in a dual cluster"), "{problems}");
    let is = "listeners: { web: { bind: '127.0.0.1:0', role: worker } }\nclusters:\n  x:\n    product: is\n    \
              endpoints: { servlet: { tls: { server_name: x } } }\n    hosts: { worker: ['*'] }\n    sources:\n      \
              a: { dns: wk, type: srv, endpoint: passthrough }\n      b: { dns: wk, ports: { passthrough: 1 } }\n      \
              c: { dns: wk, type: srv }\n    pools: { worker: { allowed_networks: [10.0.0.0/8] } }\n";
    let problems: Vec<String> = parse_text(is).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("line 8: clusters.x.sources.a.endpoint: product is has no passthrough endpoint"));
    assert!(problems[1].starts_with("line 9: clusters.x.sources.b.ports.passthrough: product is has no passthrough"));
}

#[test]
fn a_file_that_brings_nobody_is_warned_of() {
    let folder = Folder::new();
    let check = |held: &str| {
        folder.write("members.yaml", held, 0o644);
        parse_in(&text("a: { file: members.yaml }"), &folder.0)
            .unwrap()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(check("nodes: [{ id: wk-9, host: 10.0.0.9 }]"), [] as [&str; 0]);
    let warnings = check("nodes:\n  - { id: wk-9 }\n  - { host: 10.0.0.9 }\n");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("line 23: warning: clusters.esb.sources.a.file: brings no members now: /"));
    assert!(warnings[0].contains("members.yaml: line 2: nodes[0].host: is missing"), "{warnings:?}");
    assert!(warnings[0].ends_with(", and 1 more"), "{warnings:?}");
}

fn rules(change: impl Fn(&mut MemberRules)) -> MemberRules {
    let config = accepted(GOOD).config;
    let mut rules = config.member_rules(&config.clusters[0]);
    change(&mut rules);
    rules
}

#[test]
fn files_of_members_are_read_as_the_configuration_is() {
    let plain = rules(|_| {});
    let read = |text: &str| members(text.as_bytes(), &plain).unwrap_or_else(|problems| panic!("{problems}"));
    let yaml = read(
        "nodes:\n  - { id: wk-8, host: 10.0.0.8, weight: 5, backup: true, max_in_flight: 3, route: r8 }\n  \
         - { id: mgr-2, host: '[fd00::2]', roles: [manager], ports: { servlet: 9444 } }\n",
    );
    assert_eq!(yaml[0].ports, [9443, 8280]);
    assert_eq!(
        (yaml[0].weight, yaml[0].backup, yaml[0].max_in_flight, yaml[0].route.as_str()),
        (5, true, Some(3), "r8")
    );
    assert_eq!((yaml[1].roles.as_slice(), yaml[1].ports), ([Role::Manager].as_slice(), [9444, 8280]));
    let json = r#"{
	"nodes": [
		{"id":"wk-8","host":"10.0.0.8","roles":["worker"],"weight":5,"backup":true,"max_in_flight":3,"route":"r8"},
		{ "id" : "mgr-2", "host" : "[fd00::2]", "roles" : [ "manager" ], "ports" : { "servlet" : 9444 } }
	]
}"#;
    assert_eq!(read(json), yaml);
    assert_eq!(read("nodes: []"), []);
}

#[test]
fn mistakes_in_files_of_members() {
    let plain = rules(|_| {});
    let by_name = rules(|rules| rules.by_name = [false, true]);
    let by_route = rules(|rules| rules.by_route = true);
    let dual = rules(|rules| rules.mode = Mode::Dual);
    let rows = [
        ("", &plain, "the file is empty"),
        ("nodes", &plain, "line 1: found \"nodes\"; allowed: a map"),
        ("[]", &plain, "line 1: found a list; allowed: a map"),
        ("{}", &plain, "line 1: nodes: is missing; allowed: a list of nodes"),
        ("nodes:", &plain, "line 1: nodes: has no value"),
        ("nodes: []\nclusters: {}", &plain, "line 2: clusters: unknown key; allowed: nodes"),
        ("nodes: [", &plain, "not YAML"),
        (
            "nodes:\n- { id: a, host: 10.0.0.1, wieght: 2 }",
            &plain,
            "line 2: nodes[0].wieght: unknown key (did you mean",
        ),
        ("nodes:\n- { id: a, host: 10.0.0.1, weight: 257 }", &plain, "line 2: nodes[0].weight: 257 is out of range"),
        (
            "nodes:\n- { id: a, host: '::1' }\n- { id: a, host: '::2' }",
            &plain,
            "line 3: nodes[1].id: the same id as on line 2",
        ),
        (
            "nodes:\n- { id: a, host: '::1' }\n- { id: b, host: '::1' }",
            &plain,
            "nodes[1].host: the same host and servlet port 9443",
        ),
        ("nodes: [{ id: a, host: '::1', roles: [] }]", &plain, "nodes[0].roles: no roles"),
        ("nodes: [{ id: a, host: '::1', roles: [worker, manager] }]", &plain, "worker and manager at once"),
        ("nodes: [{ id: a, host: '::1', roles: [manager] }]", &dual, "a manager that comes and goes in a dual cluster"),
        ("nodes: [{ id: a, host: 10.0.0.1 }]", &by_name, "nodes[0].host: an address, which the node's certificate"),
        ("nodes: [{ id: a.b, host: '::1' }]", &by_route, "an id with a dot can't be the node's route"),
        (
            "nodes:\n- { id: a, host: '::1' }\n- { id: b, host: '::2', route: a }",
            &by_route,
            "the same route as that of the node on line 2",
        ),
        (
            "nodes: [{ id: a, host: wk.internal }]",
            &plain,
            "nodes[0].host: a host name; allowed: the address of the node",
        ),
        // No variable of the balancer's environment is for whoever writes the file.
        ("nodes: [{ id: a, host: '${KEY}' }]", &plain, "nodes[0].host: \"${KEY}\" is not a host name"),
    ];
    for (text, rules, fragment) in rows {
        let problems = members(text.as_bytes(), rules).unwrap_err();
        assert_eq!(problems.len(), 1, "{text:?}: {problems}");
        assert!(problems.to_string().contains(fragment), "{text:?}: {problems}");
    }
    assert!(members(b"nodes: []\n\xff", &plain).unwrap_err().to_string().contains("line 2: is not UTF-8"));
    // All of them at once.
    let two = members(b"nodes:\n- { id: a }\n- { host: '::2', weight: 0 }\n", &plain).unwrap_err();
    assert_eq!(two.len(), 3, "{two}");
    // Managers may have addresses where only workers are verified by name.
    assert!(members(b"nodes: [{ id: a, host: 10.0.0.1, roles: [manager] }]", &by_name).is_ok());
}
