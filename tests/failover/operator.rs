//! The operator: a balancer with an admin token, and what is asked of its API.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::TempDir;
use crate::support::client::Request;
use crate::support::elb::Elb;
use crate::support::topology::Topology;

const TOKEN: &str = "the-token-of-the-operator";

/// Starts a balancer whose operator has a token.
#[track_caller]
pub(crate) fn start(topology: Topology) -> Elb {
    // Read once, at the start.
    let token = Token::new();
    Elb::start(&topology.admin(&token.setting()))
}

/// A file with the token of the operator, as long as the value lives.
pub(crate) struct Token(TempDir);

impl Token {
    /// Writes it.
    #[track_caller]
    pub(crate) fn new() -> Token {
        let dir = TempDir::new("operator");
        let file = dir.write("token", TOKEN);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
        Token(dir)
    }

    /// What `admin` has to say.
    pub(crate) fn setting(&self) -> String {
        format!("token_file: {}", self.0.path().join("token").display())
    }
}

/// Has the configuration file read again. Returns the status of the answer, and the answer.
#[track_caller]
pub(crate) fn reload(elb: &Elb) -> (u16, Value) {
    let bearer = format!("Bearer {TOKEN}");
    let request = Request::new("POST", "localhost", "/api/v1/reload").header("Authorization", &bearer);
    let response = request.header("Content-Type", "application/json").body(b"{}").send(elb.address("admin"));
    (response.status, response.json())
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
