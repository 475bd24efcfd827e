//! The operator: a balancer with an admin token, and what is asked of its API.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::TempDir;
use crate::support::client::Request;
use crate::support::elb::Elb;
use crate::support::topology::Topology;

const TOKEN: &str = "the-token-of-the-operator";

/// Starts a balancer whose operator has a token.
#[track_caller]
pub(crate) fn start(topology: Topology) -> Elb {
    // Read once, at the start.
    let dir = TempDir::new("operator");
    let file = dir.write("token", TOKEN);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
    Elb::start(&topology.admin(&format!("token_file: {}", file.display())))
}

/// Puts a node of the cluster in another state: `ready`, `draining` or `maintenance`.
#[track_caller]
pub(crate) fn set_state(elb: &Elb, node: &str, state: &str) {
    let (path, bearer) = (format!("/api/v1/clusters/esb/nodes/{node}/state"), format!("Bearer {TOKEN}"));
    let body = json!({ "state": state }).to_string();
    let request = Request::new("PUT", "localhost", &path).header("Authorization", &bearer);
    let request = request.header("Content-Type", "application/json").body(body.as_bytes());
    let response = request.send(elb.address("admin"));
    assert_eq!(response.status, 200, "{path} {body}: {}", response.text());
}
