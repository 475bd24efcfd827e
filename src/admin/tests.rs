//! The API without a socket: requests in, answers out.

#[path = "tests/registering.rs"]
mod registering;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Secret, Token};
use crate::registry::Setup;
use crate::upstream::TrustStore;

#[path = "scaling_tests.rs"]
mod scaling;

const TOKEN: &str = "a-token-for-tests";

const CLUSTER: &str = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'] }
    endpoints: { servlet: { scheme: http, health: off } }
    pools: { worker: { max_in_flight: 7, affinity: route } }
    nodes:
      - { id: mgr-1, host: 192.0.2.10, roles: [manager] }
      - { id: wk-1, host: 192.0.2.11, weight: 2, ports: { servlet: 9763 } }
      - { id: wk-2, host: wk-2.test, backup: true }
      - { id: wk-3, host: 192.0.2.13 }
    tenants: { partitions: [{ name: gold, tenants: [gold.test], nodes: [wk-3] }] }
";

fn api() -> Api {
    api_of_file(None)
}

fn api_of_file(file: Option<&Path>) -> Api {
    let mut config = crate::config::parse(CLUSTER, Path::new(".")).unwrap_or_else(|p| panic!("{p}")).config;
    config.admin.tokens = vec![Token::unlimited(Secret::new(TOKEN.as_bytes()))];
    build_of_file(config, file.map(Path::to_owned))
}

fn build(config: Config) -> Api {
    build_of_file(config, None)
}

fn build_of_file(config: Config, file: Option<std::path::PathBuf>) -> Api {
    let metrics = Arc::new(Metrics::new().unwrap());
    let membership = Arc::new(Membership::new(Arc::new(config.clone()), metrics.clone()));
    let setup = Setup::new(config, TrustStore::default(), &metrics);
    let registry = Registry::new(setup, metrics.clone(), Vec::new(), Instant::now(), 1);
    let registry = Arc::new(registry);
    let reloader = Reloader::new(file, registry.clone(), membership.clone(), metrics.clone(), Vec::new());
    Api::new(registry, metrics, membership, Arc::default(), Arc::new(reloader))
}

fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build(method, path.as_bytes(), None).unwrap();
    request.append_header("authorization", format!("Bearer {TOKEN}")).unwrap();
    for &(name, value) in headers {
        request.append_header(name, value).unwrap();
    }
    request
}

/// Status and body of an answer.
fn ask(api: &Api, request: &RequestHeader, body: &str) -> (u16, Value) {
    let call = api.admit(request, None, Instant::now());
    let reply = call.and_then(|call| api.answer(&call, body.as_bytes(), Instant::now())).unwrap_or_else(Reply::from);
    (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or_default())
}

fn put(api: &Api, node: &str, body: &str) -> (u16, Value) {
    let path = format!("/api/v1/clusters/esb/nodes/{node}/state");
    ask(api, &request("PUT", &path, &[("content-type", "application/json; charset=utf-8")]), body)
}

/// What the description calls a route: path and method.
fn described() -> BTreeSet<(String, String)> {
    let document: Value = serde_yaml::from_str(OPENAPI).unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(|method| (path.clone(), method.to_uppercase())).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(methods).collect()
}

#[test]
fn the_description_has_the_routes_and_no_others() {
    let routes = ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_string())).collect::<BTreeSet<_>>();
    assert_eq!(routes, described());
    assert_eq!(routes.len(), ROUTES.len(), "a route is there twice");
}

/// Whether `value` is as the description's schema has it: every property described, every required one there.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schemas = parts(document, schema);
    if let Some(words) = schemas.iter().find_map(|schema| schema["enum"].as_array()) {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let Some(types) = schemas.iter().map(|schema| &schema["type"]).find(|types| !types.is_null()) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(types == kind || types.as_array().is_some_and(|types| types.contains(&kind.into())), "{at}: {value}");
    }
    if let Some(fields) = value.as_object() {
        let property = |name: &str| schemas.iter().find_map(|schema| schema["properties"].get(name));
        for (name, value) in fields {
            let schema = property(name).unwrap_or_else(|| panic!("{at}.{name} is not described"));
            check(document, schema, value, &format!("{at}.{name}"));
        }
        let required = schemas.iter().filter_map(|schema| schema["required"].as_array()).flatten();
        for name in required.filter_map(Value::as_str) {
            assert!(fields.contains_key(name), "{at}.{name} is missing");
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(document, &schemas[0]["items"], item, &format!("{at}[]"));
    }
}

/// A schema with its references followed.
fn parts<'d>(document: &'d Value, schema: &'d Value) -> Vec<&'d Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return parts(document, target.unwrap_or_else(|| panic!("{reference} is not there")));
    }
    match schema["allOf"].as_array() {
        Some(all) => all.iter().flat_map(|schema| parts(document, schema)).collect(),
        None => vec![schema],
    }
}

#[test]
fn answers_are_as_described() {
    let (api, document): (_, Value) = (api(), serde_yaml::from_str(OPENAPI).unwrap());
    assert_eq!(put(&api, "wk-1", r#"{"state": "draining"}"#).0, 200);
    let show = |path: &str| ask(&api, &request("GET", path, &[]), "");
    for (schema, expected, (status, value)) in [
        ("All", 200, show("/api/v1/members")),
        ("Node", 200, show("/api/v1/clusters/esb/nodes/wk-1")),
        ("Changed", 200, put(&api, "wk-2", r#"{"state": "maintenance"}"#)),
        ("Problem", 404, show("/api/v1/clusters/esb/nodes/wk-9")),
        ("Problem", 400, put(&api, "wk-2", r#"{"state": 7}"#)),
    ] {
        assert_eq!(status, expected, "{value}");
        check(&document, &json!({ "$ref": format!("#/components/schemas/{schema}") }), &value, schema);
    }
}

/// A file that holds a configuration, as long as the value lives.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file = File(std::env::temp_dir().join(format!("carbon-elb-admin-{}-{name}.yaml", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_file_is_read_again_and_what_is_wrong_with_it_is_told() {
    let file = File::new("reload", CLUSTER);
    let (api, document): (_, Value) = (api_of_file(Some(&file.0)), serde_yaml::from_str(OPENAPI).unwrap());
    let reload =
        |body: &str| ask(&api, &request("POST", "/api/v1/reload", &[("content-type", "application/json")]), body);
    let described = |schema: &str, value: &Value| {
        check(&document, &json!({ "$ref": format!("#/components/schemas/{schema}") }), value, schema);
    };
    // The token of the tests is not in the file.
    let (status, first) = reload("{}");
    assert_eq!((status, &first["differences"]), (200, &json!(["admin.tokens: removed"])), "{first}");
    described("Reloaded", &first);
    assert_eq!(reload("").0, 403, "and now nobody has one");

    let api = api_of_file(Some(&file.0));
    let reload =
        |body: &str| ask(&api, &request("POST", "/api/v1/reload", &[("content-type", "application/json")]), body);
    file.write(&CLUSTER.replace("wk-2.test", "wk-3.test").replace("role: worker }", "role: x }"));
    let (status, problem) = reload("");
    assert_eq!((status, &problem["type"]), (422, &json!("urn:carbon-elb:problem:bad-configuration")), "{problem}");
    described("Problem", &problem);
    let problems = problem["problems"].as_array().unwrap();
    assert!(problems.iter().any(|line| line.as_str().unwrap().contains("listeners.web.role")), "{problem}");
    file.write(&CLUSTER.replace("127.0.0.1:0", "127.0.0.1:1").replace("weight: 2", "weight: 3"));
    let (status, problem) = reload("");
    assert_eq!((status, &problem["type"]), (422, &json!("urn:carbon-elb:problem:needs-restart")), "{problem}");
    let restart = json!(["listeners.web.bind: -127.0.0.1:0, +127.0.0.1:1 (needs a restart)"]);
    assert_eq!(problem["problems"], restart);
    let weight = |api: &Api| {
        let (_, node) = ask(api, &request("GET", "/api/v1/clusters/esb/nodes/wk-1", &[]), "");
        node["members"][0]["weight"].as_f64()
    };
    assert_eq!(weight(&api), Some(2.0), "nothing has changed");
    assert_eq!(reload(r#"{"force": true}"#).0, 400);

    let (status, problem) =
        ask(&api_of_file(None), &request("POST", "/api/v1/reload", &[("content-type", "application/json")]), "");
    assert_eq!((status, &problem["type"]), (409, &json!("urn:carbon-elb:problem:no-file")));
}

#[test]
fn members_are_shown_by_pool_and_nodes_with_their_members() {
    let api = api();
    let (_, all) = ask(&api, &request("GET", "/api/v1/members", &[]), "");
    let pools = all["clusters"][0]["pools"].as_array().unwrap();
    assert_eq!((&all["clusters"][0]["name"], pools.len()), (&json!("esb"), 2), "{all}");
    let expected = json!({
        "id": "wk-1", "admin_state": "ready", "agent": null, "sessions": null, "address": "192.0.2.11:9763",
        "standing": "ready", "weight": 2.0, "backup": false, "in_flight": 0, "max_in_flight": 7,
    });
    assert_eq!(pools[0]["members"][0], expected);
    let unresolved = &pools[0]["members"][1];
    assert_eq!((&unresolved["id"], &unresolved["address"]), (&json!("wk-2"), &Value::Null), "it is shown all the same");
    assert_eq!(unresolved["backup"], true);
    assert_eq!((&pools[1]["partition"], &pools[1]["members"][0]["id"]), (&json!("gold"), &json!("wk-3")));

    let (_, node) = ask(&api, &request("HEAD", "/api/v1/clusters/esb/nodes/wk-3", &[]), "");
    assert_eq!((&node["cluster"], &node["members"][0]["partition"]), (&json!("esb"), &json!("gold")), "{node}");
    assert_eq!(node["members"].as_array().unwrap().len(), 1);
}

#[test]
fn a_state_is_set_and_told_before_and_after() {
    let api = api();
    for (state, before, sessions) in [
        ("draining", "ready", json!({ "left": 0, "at_least": true })),
        ("draining", "draining", json!({ "left": 0, "at_least": true })),
        ("maintenance", "draining", Value::Null),
        ("ready", "maintenance", Value::Null),
    ] {
        let (status, changed) = put(&api, "wk-1", &json!({ "state": state }).to_string());
        assert_eq!((status, &changed["before"]["admin_state"]), (200, &json!(before)), "{changed}");
        let after = &changed["after"];
        assert_eq!((&after["admin_state"], &after["sessions"]), (&json!(state), &sessions), "{changed}");
        assert_eq!(after["members"][0]["standing"], state, "{changed}");
    }
    let text = api.metrics.render().unwrap();
    assert!(text.contains("carbon_elb_admin_changes_total{state=\"draining\"} 1\n"), "once was no change:\n{text}");
}

#[test]
fn what_cannot_be_answered_says_why_and_what_there_is() {
    let api = api();
    let state = "/api/v1/clusters/esb/nodes/wk-1/state";
    let json_type = [("content-type", "application/json")];
    let good = r#"{"state": "ready"}"#;
    for (method, path, headers, body, status, kind, allowed) in [
        ("GET", "/api", &[] as &[_], "", 404, "unknown-path", "GET /api/v1/members"),
        ("GET", "/api/v1/member", &[], "", 404, "unknown-path", "GET /api/v1/members"),
        ("GET", "/api/v1/members/", &[], "", 404, "unknown-path", "GET /api/v1/members"),
        ("POST", "/api/v1/members", &json_type, "", 405, "method-not-allowed", "HEAD"),
        ("GET", state, &[], "", 405, "method-not-allowed", "PUT"),
        ("GET", "/api/v1/clusters/is/nodes/wk-1", &[], "", 404, "unknown-cluster", "esb"),
        ("GET", "/api/v1/clusters/esb/nodes/wk-9", &[], "", 404, "unknown-node", "wk-2"),
        ("PUT", "/api/v1/clusters/esb/nodes/wk-9/state", &json_type, good, 404, "unknown-node", "wk-2"),
        ("PUT", state, &[], good, 415, "unsupported-media-type", "application/json"),
        ("PUT", state, &[("content-type", "text/plain")], good, 415, "unsupported-media-type", "application/json"),
        ("PUT", state, &json_type, r#"{"state": "down"}"#, 400, "body-not-as-expected", "maintenance"),
        ("PUT", state, &json_type, r#"{"stat": "ready"}"#, 400, "body-not-as-expected", "state"),
    ] {
        let (found, problem) = ask(&api, &request(method, path, headers), body);
        assert_eq!((found, &problem["status"]), (status, &json!(status)), "{method} {path}: {problem}");
        assert_eq!(problem["type"], format!("urn:carbon-elb:problem:{kind}"), "{method} {path}");
        let list = problem["allowed"].as_array().unwrap();
        assert!(list.contains(&allowed.into()), "{method} {path}: {problem}");
    }
    let cross = request("PUT", state, &[("content-type", "application/json"), ("sec-fetch-site", "cross-site")]);
    assert_eq!(ask(&api, &cross, good).0, 403);
    let mut nobody = request("GET", "/api/v1/nothing", &[]);
    nobody.remove_header("authorization");
    assert_eq!(ask(&api, &nobody, "").0, 401, "who has no token learns nothing of paths");
    let text = api.metrics.render().unwrap();
    for reason in ["cross_site", "missing"] {
        assert!(text.contains(&format!("carbon_elb_admin_refused_total{{reason=\"{reason}\"}} 1\n")), "{text}");
    }
}
