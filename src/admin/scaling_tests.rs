use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::autoscale::published::Scaling;
use crate::autoscale::{Decision, Fleet, Posted, Reason, ScalePolicy, Why};
use crate::ids::{Endpoint, Name, Role};

/// Posts that three workers are wanted.
pub(super) fn post(api: &Api) {
    let reason = Reason { why: Why::FromZero { queued: 7 }, limit: None };
    let policy = ScalePolicy { acts: true, ..ScalePolicy::of(10) };
    let fleet = Fleet { ready: 2, starting: vec![Duration::ZERO], draining: 0 };
    let decision = Decision { wanted: 3, reason };
    let posted = Posted { decision, fleet, policy, acts: true, at: SystemTime::now(), moment: Instant::now() };
    let name = (api.registry.config().clusters[0].name.clone(), Role::Worker);
    api.board.post(name, posted);
}

fn get(api: &Api, path: &str) -> (u16, Value) {
    ask(api, &request("GET", path, &[]), "")
}

#[test]
fn what_is_wanted_is_shown_with_the_nodes_there_are() {
    let (api, document): (_, Value) = (api(), serde_yaml::from_str(OPENAPI).unwrap());
    assert_eq!(get(&api, "/api/v1/scaling"), (200, json!({ "pools": [] })), "nothing was decided");
    post(&api);
    put(&api, "wk-1", r#"{"state": "draining"}"#);
    let snapshot = api.registry.snapshot();
    let gauge = snapshot.pools().next().unwrap().members()[0].node.gauge(Endpoint::Passthrough).clone();
    let _held = gauge.try_start(None, api.registry.clock().at(Instant::now())).unwrap();

    let (status, all) = get(&api, "/api/v1/scaling");
    assert_eq!(status, 200, "{all}");
    check(&document, &json!({ "$ref": "#/components/schemas/Scaling" }), &all, "Scaling");
    let pool = &all["pools"][0];
    for (key, expected) in [
        ("cluster", json!("esb")),
        ("role", json!("worker")),
        ("acts", json!(true)),
        ("wanted", json!(3)),
        ("current", json!(3)),
        ("ready", json!(2)),
        ("starting", json!(1)),
        ("draining", json!(0)),
        ("min", json!(1)),
        ("max", json!(5)),
        ("reason", json!("from_zero")),
        ("because", json!("7 requests wait, and there is no node")),
        ("in_flight", json!(1)),
        ("queued", json!(0)),
        ("interval", json!(1.0)),
        ("startup_limit", json!(600.0)),
    ] {
        assert_eq!(pool[key], expected, "{key}: {pool}");
    }
    let members = pool["members"].as_array().unwrap();
    let ids: Vec<_> = members.iter().map(|member| member["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["wk-1", "wk-2", "wk-3"], "those of partitions and those without an address too");
    let expected = json!({
        "id": "wk-1", "roles": ["worker"], "address": "192.0.2.11", "registered": false, "leaving": false,
        "ports": { "servlet": 9763, "passthrough": 8280 }, "state": "draining", "standing": "draining", "up": true,
        "in_flight": 1, "queued": 0, "sessions": { "left": 0, "at_least": true },
    });
    assert_eq!(members[0], expected);
    assert_eq!((&members[1]["address"], &members[1]["sessions"]), (&Value::Null, &Value::Null));
    // Those who carry it out read the same.
    let read: Scaling = serde_json::from_value(all.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), all);
}

/// Whoever stops nodes may have one back that rests, if it serves.
#[test]
fn a_node_that_rests_is_up_if_its_probes_say_so() {
    let api = api();
    post(&api);
    put(&api, "wk-1", r#"{"state": "maintenance"}"#);
    let key = api.registry.node(&Name::parse("esb").unwrap(), &Name::parse("wk-1").unwrap()).unwrap();
    let config = api.registry.config();
    let probed = |endpoint: Endpoint, good: bool| {
        let port = crate::registry::probed_port(&config.clusters[0], &config.clusters[0].nodes[1], endpoint);
        let place = std::net::SocketAddr::new("192.0.2.11".parse().unwrap(), port);
        // So often that it counts.
        for _ in 0..5 {
            api.registry.record_probe(key, endpoint, place, good, Instant::now());
        }
        let member = get(&api, "/api/v1/scaling").1["pools"][0]["members"][0].clone();
        (member["standing"].clone(), member["up"].clone())
    };
    assert_eq!(probed(Endpoint::Servlet, true), (json!("maintenance"), json!(true)));
    assert_eq!(probed(Endpoint::Servlet, false), (json!("maintenance"), json!(false)));
    assert_eq!(probed(Endpoint::Servlet, true), (json!("maintenance"), json!(true)));
    // What no pool is for says nothing: nobody would ever find it up again.
    assert_eq!(probed(Endpoint::Passthrough, false), (json!("maintenance"), json!(true)));
}

#[test]
fn one_pool_is_shown_in_plain_numbers() {
    let (api, document): (_, Value) = (api(), serde_yaml::from_str(OPENAPI).unwrap());
    post(&api);
    let (status, pool) = get(&api, "/api/v1/scaling/esb/worker");
    assert_eq!((status, &pool["wanted"], pool.get("members")), (200, &json!(3), None), "{pool}");
    check(&document, &json!({ "$ref": "#/components/schemas/ScaledPool" }), &pool, "ScaledPool");
    for (path, kind, allowed) in [
        ("/api/v1/scaling/is/worker", "unknown-cluster", json!(["esb"])),
        ("/api/v1/scaling/esb/boss", "unknown-role", json!(["manager", "worker"])),
        ("/api/v1/scaling/esb/manager", "not-scaled", Value::Null),
    ] {
        let (status, problem) = get(&api, path);
        assert_eq!((status, &problem["type"]), (404, &json!(format!("urn:carbon-elb:problem:{kind}"))), "{problem}");
        assert!(allowed.is_null() || problem["allowed"] == allowed, "{problem}");
    }
    let mut nobody = request("GET", "/api/v1/scaling", &[]);
    nobody.remove_header("authorization");
    assert_eq!(ask(&api, &nobody, "").0, 401);
}
