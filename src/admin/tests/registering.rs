//! Members that register, weights, and what tokens are good for.

use super::*;
use crate::membership::{Source, USUAL_LEASE_SECONDS};

/// Tokens by what they are good for. The first is good for everything.
const TOKENS: [(&str, &str); 6] = [
    ("a-token-for-everything", ""),
    ("a-token-that-may-read-workers", "may: [read]"),
    ("a-token-that-may-operate-workers", "may: [operate], pools: ['esb/worker']"),
    ("a-token-that-may-register-workers", "may: [register], pools: ['esb/worker']"),
    ("a-token-that-may-do-all-in-another", "may: [read, operate, register], pools: ['is/*']"),
    ("a-token-for-managers-of-the-esb", "may: [read, operate, register], pools: ['esb/manager']"),
];

const CLUSTERS: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
  console: { bind: ['127.0.0.1:0'], role: manager }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'], manager: [mgt.test] }
    max_dynamic: 2
    endpoints: { servlet: { scheme: http, health: off } }
    pools: { worker: { allowed_networks: [10.0.0.0/8] }, manager: { allowed_networks: [10.9.0.0/16] } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 192.0.2.11, weight: 2 }
  is:
    product: is
    hosts: { worker: [is.test] }
    endpoints: { servlet: { scheme: http, health: off } }
    nodes: [{ id: is-1, host: 192.0.2.20 }]
";

fn api() -> Api {
    let variable = |index: usize| format!("${{{}}}", names()[index]);
    let written = |(index, (_, scope)): (usize, &(&str, &str))| match *scope {
        "" => format!("'{}'", variable(index)),
        scope => format!("{{ token: '{}', {scope} }}", variable(index)),
    };
    let tokens: Vec<String> = TOKENS.iter().enumerate().map(written).collect();
    let environment = |name: &str| {
        let index = names().iter().position(|known| known == name)?;
        Some(TOKENS[index].0.to_owned())
    };
    let yaml = format!("{CLUSTERS}admin: {{ tokens: [{}] }}\n", tokens.join(", "));
    let config = crate::config::parse_in_environment(&yaml, Path::new("."), &environment);
    build(config.unwrap_or_else(|problems| panic!("{problems}")).config)
}

fn names() -> [String; TOKENS.len()] {
    std::array::from_fn(|index| format!("TOKEN_{index}"))
}

/// A request with one of [`TOKENS`].
fn with(token: &str, method: &str, path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = request(method, path, headers);
    request.insert_header("authorization", format!("Bearer {token}")).unwrap();
    request
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const MEMBER: &str = "/api/v1/clusters/esb/members/wk-7";

/// As whoever may do everything.
fn send(api: &Api, method: &str, path: &str, body: &str) -> (u16, Value) {
    ask(api, &with(TOKENS[0].0, method, path, &JSON), body)
}

fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:carbon-elb:problem:")
}

#[test]
fn a_member_registers_renews_and_leaves() {
    let api = api();
    let (status, first) = send(&api, "PUT", MEMBER, r#"{"address": "10.0.0.7"}"#);
    assert_eq!((status, &first["leaving"], &first["source"]), (201, &json!(false), &json!("api")), "{first}");
    assert_eq!(first["lease"]["seconds"], USUAL_LEASE_SECONDS);
    assert!(humantime::parse_rfc3339(first["lease"]["ends"].as_str().unwrap()).is_ok(), "{first}");
    assert_eq!(first["ports"], json!({ "servlet": 9763, "passthrough": 8280 }), "those of the cluster");
    assert_eq!((&first["roles"], &first["route"], &first["weight"]), (&json!(["worker"]), &json!("wk-7"), &json!(1)));
    let full = json!({
        "address": "10.0.0.7", "roles": ["worker"], "weight": 3, "ports": { "servlet": 9444 }, "backup": true,
        "max_in_flight": 9, "route": "r7", "lease": 5,
    });
    let (status, second) = send(&api, "PUT", MEMBER, &full.to_string());
    assert_eq!((status, &second["lease"]["seconds"], &second["max_in_flight"]), (200, &json!(5), &json!(9)));
    assert_eq!(second["ports"], json!({ "servlet": 9444, "passthrough": 8280 }));
    for (body, seconds) in [("{}", 5), ("", 5), (r#"{"lease": 60}"#, 60), ("{}", 60)] {
        let (status, renewed) = send(&api, "POST", &format!("{MEMBER}/renew"), body);
        assert_eq!((status, &renewed["lease"]["seconds"]), (200, &json!(seconds)), "{body:?}: {renewed}");
    }
    let (status, shown) = send(&api, "GET", MEMBER, "");
    assert_eq!((status, &shown["route"]), (200, &json!("r7")));
    let delete = with(TOKENS[0].0, "DELETE", MEMBER, &[]);
    for _ in 0..2 {
        let (status, leaving) = ask(&api, &delete, "");
        assert_eq!((status, &leaving["leaving"], &leaving["lease"]), (202, &json!(true), &Value::Null), "{leaving}");
    }
    let (status, problem) = send(&api, "POST", &format!("{MEMBER}/renew"), "{}");
    assert_eq!((status, kind(&problem)), (404, "unknown-member"), "{problem}");
    assert_eq!(send(&api, "PUT", MEMBER, r#"{"address": "10.0.0.7"}"#).0, 201, "it is back");
    let text = api.metrics.render().unwrap();
    for (event, times) in [("joined", 1), ("changed", 1), ("renewed", 4), ("deregistered", 1), ("back", 1)] {
        let line =
            format!("carbon_elb_member_events_total{{cluster=\"esb\",event=\"{event}\",role=\"worker\"}} {times}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn a_weight_is_set_and_given_back() {
    let api = api();
    let path = "/api/v1/clusters/esb/nodes/wk-1/weight";
    let (status, changed) = send(&api, "PUT", path, r#"{"weight": 5}"#);
    let expected = json!({ "before": { "weight": 2, "configured": 2 }, "after": { "weight": 5, "configured": 2 } });
    assert_eq!((status, changed), (200, expected));
    assert_eq!(api.membership.effective().clusters[0].nodes[1].weight, 5);
    let (status, changed) = send(&api, "PUT", path, r#"{"weight": null}"#);
    assert_eq!((status, &changed["after"]["weight"]), (200, &json!(2)));
    send(&api, "PUT", MEMBER, r#"{"address": "10.0.0.7"}"#);
    let (status, changed) = send(&api, "PUT", "/api/v1/clusters/esb/nodes/wk-7/weight", r#"{"weight": 9}"#);
    assert_eq!((status, &changed["after"]["weight"]), (200, &json!(9)), "of members that come and go, too");
}

#[test]
fn what_is_not_as_it_should_be_is_told() {
    let api = api();
    let renew = &format!("{MEMBER}/renew");
    let weight = "/api/v1/clusters/esb/nodes/wk-1/weight";
    let source = Source::Configured(crate::ids::Name::parse("found").unwrap());
    let mut found = api.registry.config().clusters[0].nodes[1].clone();
    found.id = crate::ids::Name::parse("wk-9").unwrap();
    found.host = crate::config::NodeHost::Address([10, 0, 0, 9].into());
    api.membership.update(&api.registry.config().clusters[0].name, &source, vec![found], Instant::now()).unwrap();
    for (method, path, body, status, expected, says) in [
        (
            "PUT",
            MEMBER,
            r#"{"address": "10.0.0.7", "lease": 0}"#,
            400,
            "body-not-as-expected",
            "lease: 0 is out of range",
        ),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "lease": 3601}"#, 400, "body-not-as-expected", "lease: 3601"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "weight": 0}"#, 400, "body-not-as-expected", "weight: 0 is out"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "weight": 99999}"#, 400, "body-not-as-expected", "weight: 99999"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "ports": {"servlet": 0}}"#, 400, "body-not-as-expected", "ports: 0"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "ports": {"http": 1}}"#, 400, "body-not-as-expected", "http"),
        (
            "PUT",
            MEMBER,
            r#"{"address": "10.0.0.7", "roles": ["boss"]}"#,
            400,
            "body-not-as-expected",
            "no role \"boss\"",
        ),
        (
            "PUT",
            MEMBER,
            r#"{"address": "10.0.0.7", "roles": ["worker", "manager"]}"#,
            400,
            "body-not-as-expected",
            "more than one role",
        ),
        ("PUT", MEMBER, r#"{"address": "wk-7.test"}"#, 400, "body-not-as-expected", "is not an IP address"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7:80"}"#, 400, "body-not-as-expected", "is not an IP address"),
        ("PUT", MEMBER, r#"{"address": "10.0.0.7", "route": "a.b"}"#, 400, "body-not-as-expected", "can't be a route"),
        ("PUT", MEMBER, r#"{"weight": 1}"#, 400, "body-not-as-expected", "missing field `address`"),
        ("PUT", MEMBER, "", 400, "not-json", "EOF"),
        ("PUT", "/api/v1/clusters/esb/members/-7", r#"{"address": "10.0.0.7"}"#, 400, "body-not-as-expected", "no id"),
        ("PUT", MEMBER, r#"{"address": "192.0.2.7"}"#, 403, "address-not-allowed", "192.0.2.7 is in none"),
        (
            "PUT",
            MEMBER,
            r#"{"address": "10.0.0.7", "roles": ["manager"]}"#,
            403,
            "address-not-allowed",
            "allowed_networks of the manager pool",
        ),
        (
            "PUT",
            "/api/v1/clusters/is/members/is-7",
            r#"{"address": "10.0.0.7"}"#,
            403,
            "no-dynamic-members",
            "is empty",
        ),
        ("PUT", "/api/v1/clusters/as/members/a", r#"{"address": "10.0.0.7"}"#, 404, "unknown-cluster", "\"as\""),
        (
            "PUT",
            "/api/v1/clusters/esb/members/wk-1",
            r#"{"address": "10.0.0.7"}"#,
            409,
            "id-taken",
            "the configuration file",
        ),
        ("PUT", "/api/v1/clusters/esb/members/wk-9", r#"{"address": "10.0.0.7"}"#, 409, "id-taken", "source found"),
        ("DELETE", "/api/v1/clusters/esb/members/wk-9", "", 409, "id-taken", "source found"),
        ("DELETE", "/api/v1/clusters/esb/members/wk-1", "", 409, "id-taken", "the configuration file"),
        ("DELETE", MEMBER, "", 404, "unknown-member", "wk-7"),
        ("GET", MEMBER, "", 404, "unknown-member", "wk-7"),
        ("GET", "/api/v1/clusters/esb/members/wk-1", "", 404, "unknown-member", "wk-1"),
        ("POST", renew, "{}", 404, "unknown-member", "wk-7"),
        ("POST", renew, r#"{"lease": 0}"#, 400, "body-not-as-expected", "lease: 0 is out of range"),
        ("POST", renew, r#"{"leas": 9}"#, 400, "body-not-as-expected", "leas"),
        ("PUT", weight, r#"{"weight": 257}"#, 400, "body-not-as-expected", "weight: 257 is out of range"),
        ("PUT", weight, "{}", 400, "body-not-as-expected", "missing field `weight`"),
        ("PUT", "/api/v1/clusters/esb/nodes/wk-8/weight", r#"{"weight": 1}"#, 404, "unknown-node", "wk-8"),
        ("POST", MEMBER, "{}", 405, "method-not-allowed", "other methods"),
    ] {
        let (found, problem) = send(&api, method, path, body);
        assert_eq!((found, kind(&problem)), (status, expected), "{method} {path} {body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{method} {path} {body}: {problem}");
    }
    for (number, address) in [(1, "10.0.1.1"), (2, "10.0.1.2")] {
        let body = json!({ "address": address }).to_string();
        let (status, problem) = send(&api, "PUT", &format!("/api/v1/clusters/esb/members/n{number}"), &body);
        let expected = if number == 1 { (201, "") } else { (409, "too-many-members") };
        assert_eq!((status, kind(&problem)), expected, "{problem}");
    }
}

/// Every route with a body that is good, and which of [`TOKENS`] may use it.
const GOOD: [(&str, &str, &str, [bool; TOKENS.len()]); 13] = [
    ("GET", "/api/v1/openapi", "", [true; 6]),
    ("GET", "/api/v1/members", "", [true, true, false, false, true, true]),
    ("GET", "/api/v1/scaling", "", [true, true, false, false, true, true]),
    ("GET", "/api/v1/scaling/esb/worker", "", [true, true, false, false, false, false]),
    ("GET", "/api/v1/clusters/esb/nodes/wk-1", "", [true, true, false, false, false, false]),
    ("GET", "/api/v1/clusters/esb/nodes/mgr-1", "", [true, false, false, false, false, true]),
    ("PUT", "/api/v1/clusters/esb/nodes/wk-1/state", r#"{"state": "ready"}"#, [true, false, true, false, false, false]),
    ("PUT", "/api/v1/clusters/esb/nodes/wk-1/weight", r#"{"weight": 2}"#, [true, false, true, false, false, false]),
    ("PUT", MEMBER, r#"{"address": "10.0.0.7"}"#, [true, false, false, true, false, false]),
    ("GET", MEMBER, "", [true, true, false, false, false, false]),
    ("POST", "/api/v1/clusters/esb/members/wk-7/renew", "{}", [true, false, false, true, false, false]),
    ("POST", "/api/v1/reload", "", [true, false, false, false, false, false]),
    ("DELETE", MEMBER, "", [true, false, false, true, false, false]),
];

#[test]
fn each_token_may_do_what_its_scope_says() {
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.as_str(), route.path)).collect();
    let covered = |(method, path): &(&str, &str)| {
        GOOD.iter().any(|(good, at, ..)| {
            let found = route::find(&ROUTES, &good.parse().unwrap(), at);
            good == method && matches!(found, Found::Route(route, _) if route.path == *path)
        })
    };
    assert!(routes.iter().all(covered), "a route is not in the table");
    for (method, path, body, may) in GOOD {
        for ((token, scope), may) in TOKENS.iter().zip(may) {
            // Each from the same beginning, with the member there.
            let api = api();
            super::scaling::post(&api);
            assert_eq!(send(&api, "PUT", MEMBER, r#"{"address": "10.0.0.7"}"#).0, 201);
            let (status, problem) = ask(&api, &with(token, method, path, &JSON), body);
            let what = format!("{method} {path} with {scope:?}: {status} {problem}");
            // The configuration of this test did not come from a file.
            let done = status < 300 || (path == "/api/v1/reload" && status == 409);
            assert_eq!(done, may, "{what}");
            if !may {
                assert_eq!((status, kind(&problem)), (403, "out-of-scope"), "{what}");
                let allowed = problem["allowed"][0].as_str().unwrap();
                assert!(allowed.starts_with("may: [") || allowed.starts_with("pools: [esb/"), "{what}");
                assert!(problem["detail"].as_str().unwrap().contains("its scope lacks"), "{what}");
                assert!(!problem.to_string().contains(token), "{what}");
                let text = api.metrics.render().unwrap();
                assert!(text.contains("carbon_elb_admin_refused_total{reason=\"out_of_scope\"} 1\n"), "{text}");
            }
        }
    }
}

#[test]
fn who_registers_workers_neither_makes_managers_nor_replaces_them() {
    let api = api();
    let (worker, manager) = (TOKENS[3].0, TOKENS[5].0);
    let as_manager = r#"{"address": "10.9.0.7", "roles": ["manager"]}"#;
    let (status, problem) = ask(&api, &with(worker, "PUT", MEMBER, &JSON), as_manager);
    assert_eq!((status, &problem["allowed"]), (403, &json!(["pools: [esb/manager]"])), "{problem}");
    assert_eq!(ask(&api, &with(manager, "PUT", MEMBER, &JSON), as_manager).0, 201);
    for (method, path, body) in [
        ("PUT", MEMBER, r#"{"address": "10.9.0.7"}"#),
        ("POST", "/api/v1/clusters/esb/members/wk-7/renew", "{}"),
        ("DELETE", MEMBER, ""),
    ] {
        assert_eq!(ask(&api, &with(worker, method, path, &JSON), body).0, 403, "{method} {path}");
    }
    // Nor takes their places.
    let other = "/api/v1/clusters/esb/members/wk-8";
    let (status, problem) = ask(&api, &with(worker, "PUT", other, &JSON), r#"{"address": "10.9.0.7"}"#);
    assert_eq!((status, kind(&problem)), (409, "address-taken"), "{problem}");
    let (_, shown) = send(&api, "GET", MEMBER, "");
    assert_eq!((&shown["roles"], &shown["leaving"]), (&json!(["manager"]), &json!(false)), "{shown}");
}

#[test]
fn a_token_sees_only_what_it_is_good_for() {
    let api = api();
    let pools = |token: &str| {
        let (_, all) = ask(&api, &with(token, "GET", "/api/v1/members", &[]), "");
        let clusters = all["clusters"].as_array().unwrap().iter();
        let pool = |cluster: &Value| {
            let pools = cluster["pools"].as_array().unwrap().iter();
            pools.map(|pool| format!("{}/{}", cluster["name"], pool["role"]).replace('"', "")).collect::<Vec<_>>()
        };
        clusters.flat_map(pool).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(pools(TOKENS[0].0), "esb/manager esb/worker is/worker");
    assert_eq!(pools(TOKENS[1].0), "esb/worker is/worker");
    assert_eq!(pools(TOKENS[4].0), "is/worker");
    assert_eq!(pools(TOKENS[5].0), "esb/manager");
    // Neither do mistakes tell of others.
    for (token, path, allowed) in [
        (TOKENS[4].0, "/api/v1/clusters/x/nodes/y", json!(["is"])),
        (TOKENS[1].0, "/api/v1/clusters/esb/nodes/y", json!(["wk-1"])),
        (TOKENS[5].0, "/api/v1/clusters/esb/nodes/y", json!(["mgr-1"])),
    ] {
        assert_eq!(ask(&api, &with(token, "GET", path, &[]), "").1["allowed"], allowed, "{path}");
    }
}

#[test]
fn nothing_is_changed_for_web_pages_of_others_or_without_a_token() {
    let api = api();
    assert_eq!(send(&api, "PUT", MEMBER, r#"{"address": "10.0.0.7"}"#).0, 201);
    let before = api.membership.effective();
    let changing: Vec<_> = GOOD.iter().filter(|(method, ..)| *method != "GET").collect();
    let routes = ROUTES.iter().filter(|route| route.changes).count();
    assert_eq!(changing.len(), routes, "every changing route is in the table");
    for (method, path, body, _) in changing {
        // What a browser sends for a form or a script of another page.
        for (headers, status) in [
            (&[("origin", "http://evil.test"), ("content-type", "application/x-www-form-urlencoded")] as &[_], 403),
            (&[("sec-fetch-site", "cross-site"), ("content-type", "text/plain")], 403),
            (&[("origin", "null"), ("content-type", "application/json")], 403),
            (&[("host", "elb:9601"), ("origin", "http://elb:9602"), ("content-type", "application/json")], 403),
            (&[("content-type", "application/x-www-form-urlencoded")], 415),
            (&[("content-type", "multipart/form-data; boundary=x")], 415),
        ] {
            let (found, problem) = ask(&api, &with(TOKENS[0].0, method, path, headers), body);
            // Forms cannot DELETE, and it takes no body.
            if *method != "DELETE" || status == 403 {
                assert_eq!(found, status, "{method} {path} {headers:?}: {problem}");
            }
        }
        for token in [None, Some("a-token-that-nobody-has")] {
            let mut nobody = with(TOKENS[0].0, method, path, &JSON);
            match token {
                None => _ = nobody.remove_header("authorization"),
                Some(token) => nobody.insert_header("authorization", format!("Bearer {token}")).unwrap(),
            }
            let (status, problem) = ask(&api, &nobody, body);
            assert_eq!((status, kind(&problem)), (401, "unauthorized"), "{method} {path}: {problem}");
        }
        if *method != "DELETE" {
            assert_eq!(api.membership.effective(), before, "{method} {path}");
        }
    }
}

#[test]
fn answers_about_members_are_as_described() {
    let (api, document): (_, Value) = (api(), serde_yaml::from_str(OPENAPI).unwrap());
    let weight = "/api/v1/clusters/esb/nodes/wk-1/weight";
    for (schema, expected, method, path, body) in [
        ("Dynamic", 201, "PUT", MEMBER, r#"{"address": "10.0.0.7", "max_in_flight": 3}"#),
        ("Dynamic", 200, "PUT", MEMBER, r#"{"address": "10.0.0.7", "lease": 9}"#),
        ("Dynamic", 200, "POST", "/api/v1/clusters/esb/members/wk-7/renew", r#"{"lease": 60}"#),
        ("Dynamic", 200, "GET", MEMBER, ""),
        ("ChangedWeight", 200, "PUT", weight, r#"{"weight": 3}"#),
        ("Dynamic", 202, "DELETE", MEMBER, ""),
        ("Problem", 403, "PUT", MEMBER, r#"{"address": "192.0.2.7"}"#),
        ("Problem", 409, "DELETE", "/api/v1/clusters/esb/members/wk-1", ""),
    ] {
        let (status, value) = send(&api, method, path, body);
        assert_eq!(status, expected, "{value}");
        check(&document, &json!({ "$ref": format!("#/components/schemas/{schema}") }), &value, schema);
    }
    // The other way round: what the description says of bodies is what is taken.
    let fields = |schema: &str| {
        let properties = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        properties.keys().cloned().collect::<BTreeSet<_>>()
    };
    let (_, problem) = send(&api, "PUT", MEMBER, "{}");
    let taken: BTreeSet<String> =
        problem["allowed"].as_array().unwrap().iter().map(|field| field.as_str().unwrap().to_owned()).collect();
    assert_eq!(fields("Registration"), taken);
    assert_eq!(fields("Renewal"), ["lease".to_owned()].into());
    assert_eq!(fields("WantedWeight"), ["weight".to_owned()].into());
}
