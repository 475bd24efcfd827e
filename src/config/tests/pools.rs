//! Balancing, affinity and protection of members: what they mean, and mistakes in them.

use super::refused::{GOOD, one_problem};
use super::*;

/// The pool of workers of [`GOOD`] with these settings.
fn pool(settings: &str) -> PoolSettings {
    let loaded = accepted(&GOOD.replace("{ balance: round_robin }", &format!("{{ {settings} }}")));
    assert_eq!(loaded.warnings, [], "{settings}");
    let again = accepted(&effective(&loaded.config));
    assert_eq!(again.config, loaded.config, "{settings}");
    loaded.config.clusters[0].pools[Role::Worker.index()].clone()
}

#[test]
fn a_section_that_says_nothing_gets_the_defaults() {
    for settings in ["", "outliers: {}, retry: {}, queue: {}, load: {}"] {
        assert_eq!(pool(settings), PoolSettings::of(Role::Worker), "{settings}");
    }
    let cookie = pool("affinity: cookie").affinity;
    assert_eq!(cookie, Affinity::Cookie(AffinityCookie::of(Role::Worker)));
    assert_eq!(pool("affinity: { cookie: {} }").affinity, cookie);
}

#[test]
fn each_word_has_its_meaning() {
    for algorithm in Algorithm::ALL {
        let word = algorithm.as_str();
        assert_eq!(serde_json::to_value(algorithm).unwrap(), word);
        // Without reports, `load_aware` would be warned of.
        assert_eq!(pool(&format!("balance: {word}, load: {{ orca: true }}")).balance, algorithm);
    }
    let keys = [
        ("client", HashKey::Client),
        ("tenant", HashKey::Tenant),
        ("{ header: X-API-Key }", HashKey::Header("x-api-key".into())),
        ("{ cookie: JSESSIONID }", HashKey::Cookie("JSESSIONID".into())),
        ("{ path_segment: 3 }", HashKey::PathSegment(3)),
    ];
    for (text, key) in keys {
        assert_eq!(pool(&format!("balance: hash, hash: {{ by: {text} }}")).hash.by, key);
        assert_eq!(pool(&format!("affinity: {{ hash: {text} }}")).affinity, Affinity::Hash(key));
    }
    assert_eq!(pool("affinity: off").affinity, Affinity::Off);
    let route = |cookie: &str| Affinity::Route { cookie: cookie.to_owned() };
    assert_eq!(pool("affinity: route").affinity, route("JSESSIONID"));
    assert_eq!(pool("affinity: { route: {} }").affinity, route("JSESSIONID"));
    assert_eq!(pool("affinity: { route: { cookie: SID } }").affinity, route("SID"));
    let cookie = "{ name: a, path: /b, secure: never, same_site: off, lifetime: 1h }";
    let Affinity::Cookie(cookie) = pool(&format!("affinity: {{ cookie: {cookie} }}")).affinity else { panic!() };
    assert_eq!((cookie.name.as_str(), cookie.path.as_str(), cookie.secure), ("a", "/b", Secure::Never));
    assert_eq!((cookie.same_site, cookie.lifetime), (None, Some(Duration::from_secs(3600))));
}

#[test]
fn off_means_none() {
    let off = pool("outliers: off, retry: off, queue: off, max_in_flight: off, slow_start: off, load: { agent: off }");
    assert_eq!(off.outliers, None);
    assert_eq!(off.retry.attempts, 1);
    assert_eq!(off.queue.length, 0);
    assert_eq!((off.max_in_flight, off.slow_start, off.load.agent), (None, Duration::ZERO, None));
    let outliers = pool("outliers: { consecutive: off, error_rate: 5% }").outliers.unwrap();
    assert_eq!((outliers.consecutive, outliers.error_percent, outliers.latency_percent), (0, 5, 0));
    assert_eq!(pool("retry: { try_timeout: off }").retry, PoolSettings::of(Role::Worker).retry);
}

#[test]
fn members_may_register_where_a_pool_allows_them() {
    let networks = pool("allowed_networks: [10.1.2.3/16, 192.0.2.7, 'fd00::/8']").allowed_networks;
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.1.0.0/16", "192.0.2.7/32", "fd00::/8"]
    );
    assert!(pool("allowed_networks: []").allowed_networks.is_empty());
    let most = |text: &str| accepted(text).config.clusters[0].max_dynamic;
    assert_eq!((most(GOOD), most(&GOOD.replace("    pools:", "    max_dynamic: 5\n    pools:"))), (1000, 5));
    one_problem(
        "    pools:",
        "    max_dynamic: 0\n    pools:",
        23,
        "max_dynamic: 0 is out of range; allowed: 1 to",
        Severity::Error,
    );
}

#[test]
fn nodes_have_settings_of_their_own() {
    let text = GOOD.replace("host: 10.0.0.11 }", "host: 10.0.0.11, backup: true, max_in_flight: 7, route: r1 }");
    let nodes = accepted(&text).config.clusters.remove(0).nodes;
    assert_eq!((nodes[1].backup, nodes[1].max_in_flight, nodes[1].route.as_str()), (true, Some(7), "r1"));
    assert_eq!((nodes[2].backup, nodes[2].max_in_flight, nodes[2].route.as_str()), (false, None, "wk-2"));
    // An id with a dot is no route; who does not use routes need not care.
    let config = accepted(&GOOD.replace("id: wk-1", "id: wk.1")).config;
    assert_eq!(config.clusters[0].nodes[1].route, "wk.1");
    assert_eq!(accepted(&effective(&config)).config, config);
}

#[test]
fn mistakes_in_pools() {
    let rows = [
        ("hash: { by: host }", "hash.by: found \"host\"; allowed: client, tenant, { header: NAME }"),
        ("hash: { by: {} }", "hash.by: found an empty map; allowed: client, tenant"),
        ("hash: { by: { header: a, cookie: b } }", "hash.by: found a map with more than one key; allowed: client"),
        ("hash: { by: { header: 'a b' } }", "by.header: \"a b\" is not the name of a header"),
        ("hash: { by: { cookie: 'a;' } }", "by.cookie: \"a;\" is not the name of a cookie; allowed: the name of a coo"),
        ("hash: { by: { path_segment: 0 } }", "path_segment: 0 is out of range; allowed: 1 to 32"),
        ("hash: { by: { query: q } }", "by.query: unknown key; allowed: header, cookie, path_segment"),
        ("hash: { bound: 100% }", "bound: \"100%\" is out of range; allowed: a percentage from 101% to 1000%"),
        ("hash: { bound: 1.25 }", "bound: \"1.25\" does not end with '%'"),
        (
            "affinity: on",
            "affinity: found \"on\"; allowed: off, cookie, route, or a map with one of cookie, route, hash",
        ),
        ("affinity: [cookie]", "affinity: found a list; allowed: off, cookie, route"),
        ("affinity: {}", "affinity: found an empty map"),
        ("affinity: { cookie: {}, route: {} }", "affinity: found a map with more than one key"),
        ("affinity: { cookie: 5 }", "affinity.cookie: found \"5\"; allowed: a map"),
        ("affinity: { cokie: {} }", "cokie: unknown key (did you mean \"cookie\"?)"),
        ("affinity: { cookie: { name: 'a b' } }", "cookie.name: \"a b\" is not the name of a cookie"),
        (
            "affinity: { cookie: { name: JSessionID } }",
            "name: JSESSIONID is the nodes' own cookie; allowed: a name that no node uses; to follow the nodes' own \
             cookie, affinity: route",
        ),
        ("affinity: { cookie: { name: __Secure-a } }", "without Secure; allowed: only with secure: always"),
        ("affinity: { cookie: { name: __host-a, secure: always, path: /a } }", "another path than /; allowed: only"),
        ("affinity: { cookie: { path: a } }", "cookie.path: \"a\" does not begin with '/'; allowed: a path"),
        ("affinity: { cookie: { path: '/a; Domain=b' } }", "cookie.path: \"/a; Domain=b\" contains ';'"),
        ("affinity: { cookie: { secure: yes } }", "secure: \"yes\" is not known; allowed: auto, always, never"),
        ("affinity: { cookie: { same_site: no } }", "same_site: \"no\" is not known; allowed: lax, strict, none"),
        (
            "affinity: { cookie: { same_site: none, secure: never } }",
            "same_site: browsers drop such a cookie without Secure; allowed: none only with secure: always",
        ),
        ("affinity: { cookie: { lifetime: 0s } }", "lifetime: \"0s\" is out of range"),
        ("affinity: { cookie: { lifetime: 2y } }", "lifetime: \"2y\" is out of range"),
        ("affinity: { route: { cookie: '' } }", "route.cookie: \"\" is not the name of a cookie"),
        ("affinity: { hash: all }", "affinity.hash: found \"all\"; allowed: client"),
        ("outliers: on", "outliers: found \"on\"; allowed: off, or a map"),
        ("outliers: { consecutive: 0 }", "consecutive: 0 is out of range; allowed: 1 to 10000"),
        ("outliers: { consecutive: off }", "outliers: nothing gets a member ejected; allowed: outliers: off, or at"),
        // All may be errors: nothing would be ejected.
        (
            "outliers: { error_rate: 100% }",
            "error_rate: \"100%\" is out of range; allowed: a percentage from 1% to 99%",
        ),
        ("outliers: { error_rate: 0.5 }", "error_rate: \"0.5\" does not end with '%'"),
        ("outliers: { latency: 100% }", "latency: \"100%\" is out of range"),
        ("outliers: { eject_for: 6m }", "eject_for: the first ejection lasts 6m, and none longer than 5m"),
        ("outliers: { eject_for: 2s, eject_at_most: 1s }", "eject_at_most: the first ejection lasts 2s"),
        ("outliers: { max_ejected: 0% }", "max_ejected: \"0%\" is out of range"),
        ("panic: 101%", "panic: \"101%\" is out of range; allowed: a percentage from 0% to 100%"),
        ("panic: off", "panic: \"off\" does not end with '%'"),
        ("retry: 3", "retry: found \"3\"; allowed: off, or a map"),
        ("retry: { attempts: 0 }", "attempts: 0 is out of range; allowed: 1 to 16"),
        ("retry: { attempts: 17 }", "attempts: 17 is out of range"),
        ("retry: { try_timeout: 1 }", "try_timeout: \"1\" has no unit"),
        ("retry: { budget: 20 }", "budget: \"20\" does not end with '%'"),
        ("max_in_flight: 0", "max_in_flight: 0 is out of range"),
        ("max_in_flight: none", "max_in_flight: \"none\" is not a whole number"),
        ("queue: { length: 0 }", "queue.length: 0 is out of range; allowed: 1 to 100000"),
        ("queue: { wait: 0s }", "queue.wait: \"0s\" is out of range"),
        ("slow_start: 0s", "slow_start: \"0s\" is out of range"),
        ("load: { orca: 1 }", "orca: \"1\" is not a boolean"),
        ("allowed_networks: 10.0.0.0/8", "allowed_networks: found \"10.0.0.0/8\"; allowed: a list of networks"),
        ("allowed_networks: [10.0.0.0/33]", "allowed_networks[0]: \"10.0.0.0/33\" is not a network"),
        ("load: { agent: {} }", "load.agent.port: is missing; allowed: 1 to 65535"),
        ("load: { agent: 7777 }", "load.agent: found \"7777\"; allowed: off, or a map"),
        ("load: { agent: { port: 1, interval: 1s } }", "interval: a probe may take 2s, but they begin every 1s"),
    ];
    for (settings, fragment) in rows {
        // Without it, `hash` would be warned of, too.
        let balance = if settings.starts_with("hash") { "balance: hash, " } else { "" };
        let settings = format!("{balance}{settings}");
        one_problem("balance: round_robin", &settings, 24, fragment, Severity::Error);
    }
}

#[test]
fn mistakes_in_nodes() {
    let rows = [
        ("backup: yes", "backup: \"yes\" is not a boolean"),
        ("max_in_flight: off", "nodes[1].max_in_flight: \"off\" is not a whole number; allowed: 1 to 1000000"),
        ("route: wk.1", "nodes[1].route: \"wk.1\" can't be a route; allowed: 1 to 64 ASCII letters"),
    ];
    for (key, fragment) in rows {
        one_problem("host: 10.0.0.11 }", &format!("host: 10.0.0.11, {key} }}"), 21, fragment, Severity::Error);
    }
}

#[test]
fn routes_lead_to_one_node_where_they_are_used() {
    let rows = [
        ("route: wk-2 }", "line 22: clusters.esb.nodes[2].id: the same route as that of the node on line 21"),
        ("route: mgr-1 }", "line 21: clusters.esb.nodes[1].route: the same route as that of the node on line 20"),
    ];
    for (route, expected) in rows {
        let text = GOOD.replace("host: 10.0.0.11 }", &format!("host: 10.0.0.11, {route}"));
        assert_eq!(accepted(&text).warnings, [], "routes that nobody uses");
        let problems = parse_text(&text.replace("balance: round_robin", "affinity: route")).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().starts_with(expected), "{problems}");
    }
    let dotted = GOOD.replace("id: wk-1", "id: wk.1").replace("balance: round_robin", "affinity: route");
    let problems = parse_text(&dotted).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    assert!(problems.to_string().contains("line 21: clusters.esb.nodes[1].id: an id with a dot"), "{problems}");
    assert_eq!(accepted(&dotted.replace("id: wk.1", "route: wk-1, id: wk.1")).warnings, []);
}

#[test]
fn the_cookies_of_both_roles_do_not_meet() {
    let with = |worker: &str, manager: &str, rest: &str| {
        let pool = |cookie: &str| format!("{{ affinity: {{ cookie: {{ {cookie} }} }} }}");
        let manager = if manager.is_empty() { String::new() } else { format!("\n      manager: {}", pool(manager)) };
        GOOD.replace("{ balance: round_robin }", &format!("{}{manager}{rest}", pool(worker)))
    };
    let gold = "\n    tenants: { partitions: [{ name: gold, tenants: [gold.example], nodes: [wk-1, mgr-1] }] }";
    for (worker, manager, rest) in [
        ("name: S", "name: s", ""), // letters of cookies have a case
        ("name: S, path: /a", "name: S, path: /b", ""),
        ("name: S, path: /a", "name: S, path: /ab", ""),
        ("name: S.gold", "name: S", ""),
        ("name: CARBON_ELB_WORKER", "", gold),
    ] {
        let loaded = accepted(&with(worker, manager, rest));
        assert!(
            !loaded.warnings.iter().any(|warning| warning.path.contains("affinity")),
            "{worker}: {:?}",
            loaded.warnings
        );
    }
    // Nobody gets to the managers' pool without a host of theirs.
    let alone = with("name: CARBON_ELB", "", "").replace("      manager: [mgt.example.com]\n", "");
    let alone = alone.replace("  console:\n    bind: [\"127.0.0.1:9443\"]\n    role: manager\n", "");
    accepted(&alone);

    let allowed = ": browsers keep one of them only; allowed: another name (the cookie of a tenant partition is NAME.";
    for (worker, manager, rest, expected) in [
        (
            "name: CARBON_ELB",
            "",
            "",
            "line 24: clusters.esb.pools.worker.affinity.cookie.name: CARBON_ELB is a cookie of the manager pool, too \
             (which is its default)",
        ),
        (
            "name: S",
            "name: S",
            "",
            "line 25: clusters.esb.pools.manager.affinity.cookie.name: S is a cookie of the worker pool, too \
             (see line 24)",
        ),
        ("path: /a", "name: CARBON_ELB_WORKER", "", "line 25: clusters.esb.pools.manager.affinity.cookie.name: CARBON"),
        ("name: S, path: /a/", "name: S, path: /a", "", "line 25: "),
        ("name: S, path: /a", "name: S, path: /a/b", "", "line 25: "),
        ("name: S.gold", "name: S", gold, "line 25: clusters.esb.pools.manager.affinity.cookie.name: S.gold is a cook"),
        ("name: S", "name: S.gold", gold, "line 25: clusters.esb.pools.manager.affinity.cookie.name: S.gold is a cook"),
    ] {
        let problems = parse_text(&with(worker, manager, rest)).unwrap_err();
        let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{problems}");
        let error = errors[0].to_string();
        assert!(error.starts_with(expected) && error.contains(allowed), "{error}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let rows = [
        ("hash: { by: tenant }", "pools.worker.hash: has no effect without balance: hash"),
        ("balance: random, hash: {}", "pools.worker.hash: has no effect without balance: hash"),
        ("balance: load_aware", "pools.worker.balance: no node tells its load: set load.orca or load.agent"),
        ("balance: load_aware, load: { agent: off }", "balance: no node tells its load"),
        (
            "affinity: { cookie: { same_site: none } }",
            "same_site: browsers drop such a cookie without Secure: it holds",
        ),
    ];
    for (settings, fragment) in rows {
        one_problem("balance: round_robin", settings, 24, fragment, Severity::Warning);
    }
}

#[test]
fn one_mistake_is_one_problem() {
    let rows = [
        ("balance: hsh, hash: {}", "balance: \"hsh\" is not known (did you mean \"hash\"?)"),
        ("balance: load_aware, load: { orca: 1 }", "orca: \"1\" is not a boolean"),
        ("balance: load_aware, load: { agent: {} }", "port: is missing"),
        ("outliers: { consecutive: off, error_rate: x }", "error_rate: \"x\" does not end with '%'"),
        ("affinity: { cookie: { same_site: none, secure: x } }", "secure: \"x\" is not known"),
        ("affinity: { cookie: { name: __Host-a, secure: x } }", "secure: \"x\" is not known"),
        ("outliers: { eject_for: 6m, eject_at_most: x }", "eject_at_most: \"x\""),
    ];
    for (settings, fragment) in rows {
        one_problem("balance: round_robin", settings, 24, fragment, Severity::Error);
    }
}
