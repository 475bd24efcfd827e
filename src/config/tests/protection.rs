//! Mistakes in what protects a listener: who may use it, how much, how fast.

use super::refused::one_problem;
use super::*;

#[test]
fn of_listeners() {
    let rows = [
        ("limits: { target: 8 }", "limits.target: \"8\" has no unit; allowed: a size with a unit"),
        ("limits: { target: 8kb }", "\"8kb\" has an unknown unit"),
        ("limits: { target: 255B }", "\"255B\" is out of range"),
        ("limits: { target: 60KiB, header: 60KiB }", "a target of that size fits into no header"),
        ("limits: { header: 8KiB }", "a target of that size fits into no header"),
        ("limits: { fields: 201 }", "201 is out of range; allowed: 8 to 200"),
        ("limits: { body: none }", "\"none\" is not a size"),
        ("limits: { connections: 0 }", "connections: 0 is out of range"),
        ("limits: { requets: 5 }", "requets: unknown key (did you mean \"requests\"?)"),
        ("timeouts: { header: 0s }", "header: \"0s\" is out of range"),
        ("paths: lenient", "paths: \"lenient\" is not known; allowed: strict, canonicalize"),
        ("deny: [everybody]", "deny[0]: \"everybody\" is not a network"),
        ("proxy_protocol: true", "proxy_protocol: found \"true\"; allowed: a list of networks"),
        ("client_address: forwarded", "has no effect without trusted_proxies"),
        ("client_address: x-real-ip", "client_address: \"x-real-ip\" is not known"),
        ("response: { hsts: 3y }", "hsts: \"3y\" is out of range"),
        ("response: { hsts: 1y }", "response.hsts: has no effect on clear text; allowed: only on a listener with tls"),
        ("response: { cookies: { secure: true } }", "cookies.secure: has no effect on clear text"),
        ("response: { cookies: { same_site: lax } }", "cookies.same_site: has no effect on clear text"),
        ("response: { cookies: { same_site: no } }", "same_site: \"no\" is not known"),
        ("response: { frame_options: allow }", "frame_options: \"allow\" is not known; allowed: deny, sameorigin"),
        ("response: { hide: [\"a b\"] }", "hide[0]: \"a b\" is not the name of a header"),
        ("response: { hide: [Content-Length] }", "hide[0]: \"Content-Length\" is needed to understand the answer"),
        ("response: { hide: [Server, server] }", "hide[1]: is in the list twice"),
    ];
    for (key, fragment) in rows {
        let by = format!("    {key}\n    endpoint: pass");
        one_problem("    endpoint: pass", &by, 5, fragment, Severity::Error);
    }
}

#[test]
fn of_rules_and_access() {
    let rows = [
        ("rules: { a: {} }", "rules.a: limits nothing; allowed: body or rate"),
        ("rules: { a: { path: /x } }", "rules.a: limits nothing"),
        ("rules: { a: { body: 1KiB, per: client } }", "per: has no effect without rate"),
        ("rules: { a: { rate: 5 } }", "rate: \"5\" has no unit of time; allowed: requests in a second"),
        ("rules: { a: { rate: 0/s } }", "rate: \"0/s\" is out of range"),
        ("rules: { a: { rate: 5/s, per: host } }", "per: found \"host\"; allowed: client, tenant, all"),
        ("rules: { a: { rate: 5/s, per: { header: \"a b\" } } }", "per.header: \"a b\" is not the name of a header"),
        ("rules: { a: { rate: 5/s, per: {} } }", "per.header: is missing"),
        ("rules: { a: { rate: 5/s, listener: apis } }", "there is no listener apis; allowed: api, console"),
        ("rules: { a: { rate: 5/s, cluster: esp } }", "there is no cluster esp; allowed: esb"),
        ("rules: { a: { rate: 5/s, listener: api, role: manager } }", "listener api does not serve manager"),
        ("rules: { a: { rate: 5/s, path: x } }", "path: \"x\" does not begin with '/'"),
        ("rules: { a/b: { rate: 5/s } }", "is not a name"),
    ];
    for (rules, fragment) in rows {
        one_problem("server: { grace", &format!("{rules}\nserver: {{ grace"), 26, fragment, Severity::Error);
    }
    let many: String = (0..65).map(|i| format!("r{i}: {{ rate: 5/s }}, ")).collect();
    let many = format!("rules: {{ {many} }}\nserver: {{ grace");
    one_problem("server: { grace", &many, 26, "65 rules; allowed: at most 64 rules", Severity::Error);
    let access = "services: [echo]\n    access: { manager: { allow: [x] } }";
    one_problem("services: [echo]", access, 17, "access.manager.allow[0]: \"x\" is not a network", Severity::Error);
}

#[test]
fn whoever_trusts_everybody_is_warned() {
    for (key, fragment) in [
        ("trusted_proxies: [10.0.0.1, 0.0.0.0/0]", "trusted_proxies[1]: everybody can speak for any client"),
        ("proxy_protocol: ['::/0']", "proxy_protocol[0]: everybody can say to be any client: ::/0 is every address"),
    ] {
        let by = format!("    {key}\n    endpoint: pass");
        one_problem("    endpoint: pass", &by, 5, fragment, Severity::Warning);
    }
}
