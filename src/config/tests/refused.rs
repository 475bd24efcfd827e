//! A table of mistakes: each is one problem, with its line.

use super::*;

/// A file without mistakes; the lines are numbered by what follows them.
pub(super) const GOOD: &str = r#"listeners:
  api:
    bind: ["127.0.0.1:8280"]
    role: worker
    endpoint: passthrough
  console:
    bind: ["127.0.0.1:9443"]
    role: manager
clusters:
  esb:
    product: esb
    mode: separated
    hosts:
      worker: [esb.example.com]
      manager: [mgt.example.com]
    services: [echo]
    endpoints:
      servlet: { tls: { server_name: localhost } }
    nodes:
      - { id: mgr-1, host: 10.0.0.10, roles: [manager] }
      - { id: wk-1, host: 10.0.0.11 }
      - { id: wk-2, host: wk-2.internal }
    pools:
      worker: { balance: round_robin }
admin: { bind: "127.0.0.1:9601" }
server: { grace: 30s }
"#;

/// `(replace, by, line, fragment of the problem)`.
type Row = (&'static str, &'static str, usize, &'static str);

/// Replaces in [`GOOD`] and expects one problem.
pub(super) fn one_problem(replace: &str, by: &str, line: usize, fragment: &str, expected: Severity) {
    assert_eq!(GOOD.matches(replace).count(), 1, "{replace:?} is not unique");
    let text = GOOD.replace(replace, by);
    let problems: Vec<Problem> = match parse_text(&text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems.into_iter().collect(),
    };
    let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{by:?}: {shown:#?}");
    assert_eq!(problems[0].line, Some(line), "{by:?}: {shown:#?}");
    assert!(shown[0].contains(fragment), "{by:?}: {shown:#?}");
    assert_eq!(problems[0].severity, expected, "{by:?}: {shown:#?}");
}

fn each_one_problem(rows: &[Row], expected: Severity) {
    for (replace, by, line, fragment) in rows {
        one_problem(replace, by, *line, fragment, expected);
    }
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(accepted(GOOD).warnings, []);
}

#[test]
fn wrong_shapes() {
    let rows = [
        ("role: worker\n", "role: wrker\n", 4, "listeners.api.role: \"wrker\" is not known (did you mean \"worker\"?)"),
        ("role: worker\n", "role: [worker]\n", 4, "found a list; allowed: worker, manager, both"),
        ("    role: worker\n", "    rolle: worker\n", 4, "listeners.api.rolle: unknown key (did you mean \"role\"?)"),
        ("    role: worker\n", "", 2, "listeners.api.role: is missing; allowed: worker, manager, both"),
        ("role: worker\n", "role:\n", 4, "has no value"),
        (
            "    endpoint: pass",
            "    colour: red\n    endpoint: pass",
            5,
            "unknown key; allowed: bind, role, endpoint, tls",
        ),
        ("    endpoint: pass", "    role: both\n    endpoint: pass", 5, "duplicate key, first given on line 4"),
        ("    endpoint: pass", "    exposes_management: yes\n    endpoint: pass", 5, "\"yes\" is not a boolean"),
        (
            "    endpoint: pass",
            "    allow: [10.0.0.0/99]\n    endpoint: pass",
            5,
            "allow[0]: \"10.0.0.0/99\" is not a network",
        ),
        ("    endpoint: pass", "    allow: 10.0.0.0/8\n    endpoint: pass", 5, "found \"10.0.0.0/8\"; allowed: a list"),
        (
            "    endpoint: pass",
            "    timeouts: { idle: 500ms }\n    endpoint: pass",
            5,
            "idle: \"500ms\" is out of range",
        ),
        ("    endpoint: pass", "    timeouts: { read: 60 }\n    endpoint: pass", 5, "read: \"60\" has no unit"),
        (
            "    endpoint: pass",
            "    tls: { certificate: no.crt, key: /etc/passwd }\n    endpoint: pass",
            5,
            "no.crt can't be read",
        ),
        ("    endpoint: pass", "    tls: { key: /etc/passwd }\n    endpoint: pass", 5, "tls.certificate: is missing"),
        (
            "    endpoint: pass",
            "    tls: { certificate: /etc, key: /etc/passwd }\n    endpoint: pass",
            5,
            "/etc is not a file",
        ),
        ("[\"127.0.0.1:8280\"]", "[\"localhost:8280\"]", 3, "bind[0]: \"localhost:8280\" is not an address"),
        ("[\"127.0.0.1:8280\"]", "[]", 3, "no addresses"),
        ("  api:\n", "  a/b:\n", 2, "listeners.\"a/b\": is not a name"),
        ("product: esb", "product: [esb]", 11, "found a list; allowed: esb, mi, is"),
        ("product: esb", "product: eeb", 11, "did you mean \"esb\"?"),
        ("mode: separated", "mode: seperated", 12, "did you mean \"separated\"?"),
        (
            "host: 10.0.0.11 }",
            "host: 10.0.0.11, weight: 0 }",
            21,
            "esb.nodes[1].weight: 0 is out of range; allowed: 1 to 256",
        ),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, weight: 257 }", 21, "257 is out of range"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, weight: \"2\" }", 21, "\"2\" is not a whole number"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, weight: -1 }", 21, "\"-1\" is not a whole number"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, wieght: 2 }", 21, "wieght: unknown key (did you mean \"weight\"?)"),
        (
            "host: 10.0.0.11 }",
            "host: 10.0.0.11, ports: { servlet: 0 } }",
            21,
            "servlet: 0 is out of range; allowed: 1 to 65535",
        ),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, ports: { servlet: 99999999999999999999999 } }", 21, "is out of range"),
        (
            "host: 10.0.0.11 }",
            "host: 10.0.0.11, ports: { management: 1 } }",
            21,
            "unknown key; allowed: servlet, passthrough",
        ),
        ("host: 10.0.0.11 }", "host: \"10.0.0.11:9443\" }", 21, "has a port"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, roles: worker }", 21, "found \"worker\"; allowed: a list"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, roles: [woker] }", 21, "roles[0]: \"woker\" is not known"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, roles: [worker, worker] }", 21, "is in the list twice"),
        ("host: 10.0.0.11 }", "host: \"${NONE}\" }", 21, "nodes[1].host: the environment variable NONE is not defined"),
        ("id: wk-1, ", "", 21, "nodes[1].id: is missing"),
        ("[esb.example.com]", "esb.example.com", 14, "found \"esb.example.com\"; allowed: a list of host names"),
        ("[esb.example.com]", "[\"esb.example.com:443\"]", 14, "hosts.worker[0]: \"esb.example.com:443\" has a port"),
        ("[esb.example.com]", "[\"*esb.example.com\"]", 14, "has a wildcard"),
        ("[echo]", "[e/cho]", 16, "services[0]: \"e/cho\" is not the name of a service"),
        ("[echo]", "all", 16, "found \"all\"; allowed: a list of names of services, or any-but-admin"),
        ("[echo]", "[echo, echo]", 16, "services[1]: is in the list twice"),
        ("balance: round_robin", "balance: fastest", 24, "\"fastest\" is not known; allowed: round_robin, random, "),
        ("balance: round_robin", "health: { rise: 101 }", 24, "101 is out of range; allowed: 1 to 100"),
        ("balance: round_robin", "keepalive: { idle: 0s }", 24, "\"0s\" is out of range"),
        ("balance: round_robin", "timeouts: { conect: 1s }", 24, "did you mean \"connect\"?"),
        (
            "grace: 30s",
            "grace: 30",
            26,
            "server.grace: \"30\" has no unit; allowed: a duration with a unit, such as 500ms, 15s, 5m",
        ),
        ("grace: 30s", "threads: 0", 26, "0 is out of range; allowed: 1 to 1024"),
        ("grace: 30s", "access_log: ''", 26, "is empty"),
        (
            "server: {",
            "sever: {",
            26,
            "sever: unknown key (did you mean \"server\"?); allowed: listeners, clusters, rules, affinity, admin, server",
        ),
        ("server: { grace: 30s }", "server: 5", 26, "found \"5\"; allowed: a map"),
    ];
    each_one_problem(&rows, Severity::Error);
}

#[test]
fn things_that_do_not_fit_together() {
    let rows = [
        // Listeners.
        ("role: worker\n", "role: both\n", 4, "role both only with exposes_management: true"),
        ("    endpoint: pass", "    exposes_management: true\n    endpoint: pass", 5, "has no effect with role worker"),
        ("[\"127.0.0.1:9443\"]", "[\"127.0.0.1:8280\"]", 7, "127.0.0.1:8280 overlaps 127.0.0.1:8280 on line 3"),
        (
            "[\"127.0.0.1:9443\"]",
            "[\"127.0.0.1:9601\"]",
            25,
            "admin.bind: 127.0.0.1:9601 overlaps 127.0.0.1:9601 on line 7",
        ),
        (
            "[\"127.0.0.1:8280\"]",
            "[\"[::]:81\", \"0.0.0.0:81\"]",
            3,
            "api.bind[1]: 0.0.0.0:81 overlaps [::]:81 on line 3",
        ),
        // Hosts.
        (
            "worker: [esb.example.com]",
            "worker: [a.b, \"*.b\", \"*.B\"]",
            14,
            "worker[2]: the same worker host as in cluster esb on line 14",
        ),
        // Services and paths.
        ("[echo]", "[echo, UserAdmin]", 16, "services[1]: UserAdmin is an admin service of Carbon"),
        ("[echo]", "[echo]\n    admin_services: [echo]", 16, "echo is also under admin_services"),
        (
            "[echo]",
            "[echo]\n    paths: { service: [/a, /b], shared: [/b] }",
            17,
            "paths.shared[0]: the same path as on line 17",
        ),
        ("[echo]", "[echo]\n    paths: { service: [/a/] }", 17, "paths.service[0]: \"/a/\" ends with '/'"),
        // Endpoints.
        (
            "{ tls: { server_name: localhost } }",
            "{ scheme: http, tls: { server_name: localhost } }",
            18,
            "servlet.tls: has no effect",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ port: 9443 }",
            20,
            "endpoints.servlet.tls.server_name: is missing: the node on line 20",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { ca: /etc/passwd } }",
            18,
            "server_name: is missing: the node on line 20",
        ),
        ("{ tls: { server_name: localhost } }", "{ tls: { server_name: 10.0.0.1 } }", 18, "\"10.0.0.1\" is neither"),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { server_name: a }, health: { path: /, scheme: http } }",
            18,
            "the probed port speaks https",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ scheme: http, health: { path: /, scheme: https, port: 1 } }",
            18,
            "without TLS settings",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { server_name: a }, health: { path: /, expect: [] } }",
            18,
            "no status codes",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { server_name: a }, health: { path: /, expect: [99] } }",
            18,
            "expect[0]: 99 is out of range",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { server_name: a }, health: { port: 1 } }",
            18,
            "health.path: is missing",
        ),
        (
            "{ tls: { server_name: localhost } }",
            "{ tls: { server_name: a }, health: on }",
            18,
            "found \"on\"; allowed: off, tcp",
        ),
        // Nodes.
        ("id: wk-1,", "id: wk-2,", 22, "nodes[2].id: the same id as on line 21"),
        ("wk-2.internal", "10.0.0.11", 22, "nodes[2].host: the same host and servlet port 9443 as the node on line 21"),
        ("wk-2.internal }", "10.0.0.11, ports: { servlet: 1 } }", 22, "the same host and passthrough port 8280"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, roles: [] }", 21, "no roles"),
        ("host: 10.0.0.11 }", "host: 10.0.0.11, roles: [worker, manager] }", 21, "mode: dual"),
        ("[manager] }", "[worker] }", 15, "hosts.manager: hosts for managers, but no node has this role"),
        ("mode: separated", "mode: dual", 20, "manager but not worker in a dual cluster"),
        // Pools.
        (
            "balance: round_robin",
            "health: { timeout: 6s }",
            24,
            "health.timeout: a probe may take 6s, but they begin every 5s",
        ),
        (
            "balance: round_robin",
            "health: { interval: 1s }",
            24,
            "health.interval: a probe may take 2s, but they begin every 1s",
        ),
    ];
    each_one_problem(&rows, Severity::Error);
}

#[test]
fn dual_clusters() {
    let with = |nodes: &str| {
        let nodes = format!("mode: dual\n    nodes: {nodes}\n");
        let text = GOOD.replace("mode: separated\n", &nodes);
        let written = text.find("    nodes:\n").unwrap();
        let pools = text.find("    pools:\n").unwrap();
        parse_text(&format!("{}{}", &text[..written], &text[pools..]))
    };
    assert_eq!(with("[{ id: d, host: d, roles: [worker, manager] }, { id: w, host: w }]").unwrap().warnings, []);
    let cases = [
        ("[{ id: w, host: w }]", "a dual cluster without a dual node"),
        (
            "[{ id: a, host: a, roles: [worker, manager] }, { id: b, host: b, roles: [manager, worker] }]",
            "a second node",
        ),
        (
            "[{ id: a, host: a, roles: [worker, manager] }, { id: b, host: b, roles: [manager] }]",
            "manager but not worker",
        ),
        ("[]", "no nodes"),
    ];
    for (nodes, fragment) in cases {
        let problems = with(nodes).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().starts_with("line 13:"), "{problems}");
        assert!(problems.to_string().contains(fragment), "{problems}");
    }
}

#[test]
fn products_without_a_pass_through_port() {
    let is = GOOD.replace("product: esb", "product: is");
    let problems = parse_text(&is).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    assert!(problems.to_string().starts_with("line 5: listeners.api.endpoint: no cluster behind"), "{problems}");
    let servlet = is.replace("endpoint: passthrough", "endpoint: servlet");
    assert_eq!(accepted(&servlet).warnings, []);
    let cases = [
        (
            "      servlet: {",
            "      passthrough: { port: 1 }\n      servlet: {",
            "line 18: clusters.esb.endpoints.passthrough",
        ),
        (
            "host: 10.0.0.11 }",
            "host: 10.0.0.11, ports: { passthrough: 1 } }",
            "line 21: clusters.esb.nodes[1].ports.pass",
        ),
    ];
    for (replace, by, expected) in cases {
        let problems = parse_text(&servlet.replace(replace, by)).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().starts_with(expected), "{problems}");
    }
}

#[test]
fn sections_that_must_not_be_empty() {
    let cases = [
        ("clusters: {}\nlisteners: {}\n", "line 1: clusters: no clusters|line 2: listeners: no listeners"),
        ("admin: {}\n", "line 1: listeners: is missing|line 1: clusters: is missing"),
        ("[]", "line 1: found a list; allowed: a map"),
        ("~", "line 1: has no value; allowed: a map"),
        (
            "listeners: { a: { bind: '127.0.0.1:1', role: worker } }\nclusters: { x: { product: esb, hosts: {}, nodes: [] } }\n",
            "line 1: listeners.a.role: no cluster has hosts|line 2: clusters.x.hosts: no hosts at all|line 2: clusters.x.nodes: no nodes",
        ),
    ];
    for (text, expected) in cases {
        let problems = parse_text(text).unwrap_err();
        let expected: Vec<_> = expected.split('|').collect();
        assert_eq!(problems.len(), expected.len(), "{text}: {problems}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.to_string().starts_with(expected), "{text}: {problems}");
        }
    }
}

#[test]
fn warnings_do_not_refuse() {
    let rows = [
        ("{ bind: \"127.0.0.1:9601\" }", "{ bind: \"10.0.0.1:9601\" }", 25, "warning: admin.bind: without allow, "),
        ("server_name: localhost", "verify: false", 18, "servlet.tls.verify: whoever answers"),
        (
            "[\"127.0.0.1:9443\"]",
            "[\"10.0.0.1:9443\"]\n    allow: [10.0.0.0/8]",
            6,
            "in clear text at 10.0.0.1:9443: no tls",
        ),
    ];
    each_one_problem(&rows, Severity::Warning);
}

/// What to replace, and by what.
type Change = (&'static str, &'static str);

/// Changes to [`GOOD`] that have more than one consequence.
#[test]
fn several_problems_of_one_change() {
    let cases: &[(&[Change], &[&str])] = &[
        (
            &[("[\"127.0.0.1:9443\"]", "[\"0.0.0.0:9443\"]")],
            &[
                "line 6: warning: listeners.console: management is open to everybody who reaches 0.0.0.0:9443",
                "line 6: warning: listeners.console: management passwords cross the network in clear text",
            ],
        ),
        (
            &[("      manager: [mgt.example.com]\n", "")],
            &[
                "line 8: listeners.console.role: no cluster has hosts for this role",
                "line 18: warning: clusters.esb.nodes: nodes with role manager, but no hosts for it",
            ],
        ),
        (
            &[("{ tls: { server_name: localhost } }", "{ port: 9763, tls: { server_name: a } }")],
            &["line 18: warning: clusters.esb.endpoints.servlet.port: 9763 is the usual port for http"],
        ),
        // A node of a role that no listener serves is not connected to, and so needs no name to verify.
        (
            &[
                ("  console:\n    bind: [\"127.0.0.1:9443\"]\n    role: manager\n", ""),
                ("{ tls: { server_name: localhost } }", "{}"),
                ("10.0.0.11", "wk-1"),
            ],
            &[],
        ),
        (
            &[
                ("  console:\n    bind: [\"127.0.0.1:9443\"]\n    role: manager\n", ""),
                ("{ tls: { server_name: localhost } }", "{}\n      passthrough: { health: tcp }"),
            ],
            &[],
        ),
        // A part that could not be read is one problem: no host, no role, no port is missed in it.
        (&[("roles: [manager] }", "roles: [manger] }")], &["line 20: clusters.esb.nodes[0].roles[0]: \"manger\""]),
        (&[("[mgt.example.com]", "[mgt.example.com:1]")], &["line 15: clusters.esb.hosts.manager[0]"]),
        (
            &[("      - { id: mgr-1, host: 10.0.0.10, roles: [manager] }\n", "      - mgr-1\n")],
            &["line 20: clusters.esb.nodes[0]: found \"mgr-1\""],
        ),
        (
            &[("{ tls: { server_name: localhost } }", "{ scheme: htps }")],
            &["line 18: clusters.esb.endpoints.servlet.scheme"],
        ),
        (
            &[("  esb:\n", "  esb: 5\n  \"\":\n")],
            &["line 10: clusters.esb: found \"5\"", "line 11: clusters.\"\": is not a name"],
        ),
    ];
    for (changes, expected) in cases {
        let text = changes.iter().fold(GOOD.to_owned(), |text, (replace, by)| {
            assert_eq!(text.matches(replace).count(), 1, "{replace:?} is not unique");
            text.replace(replace, by)
        });
        let problems: Vec<Problem> = match parse_text(&text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.into_iter().collect(),
        };
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), expected.len(), "{changes:?}: {shown:#?}");
        for (shown, expected) in shown.iter().zip(*expected) {
            assert!(shown.starts_with(expected), "{changes:?}: {shown}");
        }
    }
}

#[test]
fn ten_faults_are_ten_problems() {
    let text = r#"listeners:
  api: { bind: ["127.0.0.1:8280"], role: worker, endpoint: [passthrough] }
  web: { bind: ["127.0.0.1:8280"], role: worker }
  console: { bind: ["127.0.0.1:9443"], role: both }
clusters:
  esb:
    product: esb
    colour: blue
    hosts:
      worker: [esb.example.com, ESB.example.com]
      manager: [mgt.example.com]
    services: [FileUploadService]
    nodes:
      - { id: mgr-1, host: mgr-1, roles: [manager], weight: 0 }
      - { id: wk-1, host: wk-1, weight: two }
      - id: wk-1
        host: wk-2
        host: wk-3
    pools:
      worker: { health: { interval: 15s } }
"#;
    let problems = parse_text(text).unwrap_err();
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 4, 8, 10, 12, 14, 15, 16, 18], "{problems}");
}

#[test]
fn the_same_host_in_two_clusters() {
    let text = "listeners: { a: { bind: '127.0.0.1:1', role: worker } }\nclusters:\n  \
                x: { product: is, hosts: { worker: ['*'] }, nodes: [{ id: a, host: a }] }\n  \
                y: { product: as, hosts: { worker: ['*'] }, nodes: [{ id: a, host: a }] }\n";
    let problems = parse_text(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    assert!(
        problems
            .to_string()
            .starts_with("line 4: clusters.y.hosts.worker[0]: the same worker host as in cluster x on line 3")
    );
}
