//! A balancer in front of a node that records, and what the tests do with the two.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::recorder::{Record, Recorder};
use crate::support::client::{Client, Request, Response};
use crate::support::elb::Elb;
use crate::support::poll;
use crate::support::topology::{HOST, Topology};

/// A refusal takes a millisecond. This is for a busy machine.
const REFUSAL: Duration = Duration::from_secs(5);

/// A request as a client may write it, and the answer that is due.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What is wrong or odd.
    pub(crate) what: &'static str,
    /// The request.
    pub(crate) bytes: Vec<u8>,
    /// The status that is due; more than one if the RFC leaves the choice.
    pub(crate) status: &'static [u16],
}

impl Case {
    /// A request that is answered with `status`.
    pub(crate) fn new(what: &'static str, bytes: impl AsRef<[u8]>, status: &'static [u16]) -> Case {
        Case { what, bytes: bytes.as_ref().to_vec(), status }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.bytes[..self.bytes.len().min(300)].escape_ascii())
    }
}

/// Failures of the rows of a table, so that one run shows them all.
#[derive(Default)]
pub(crate) struct Failures(Vec<String>);

impl Failures {
    /// Notes what is wrong with a row.
    pub(crate) fn add(&mut self, row: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("{row}\n    {what}"));
    }

    /// Notes that a row's condition does not hold.
    pub(crate) fn check(&mut self, holds: bool, row: impl std::fmt::Display, what: impl FnOnce() -> String) {
        if !holds {
            self.add(row, what());
        }
    }

    /// Fails the test if there is any.
    #[track_caller]
    pub(crate) fn report(self) {
        assert!(self.0.is_empty(), "{} failures:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// A balancer and its only node.
pub(crate) struct Stage {
    pub(crate) elb: Elb,
    pub(crate) node: Recorder,
}

impl Stage {
    /// The listener `web` leads to the node's servlet port, `api` to its pass-through port; both as `settings` say.
    #[track_caller]
    pub(crate) fn set(settings: &str) -> Stage {
        let node = Recorder::start();
        let listener = |endpoint| format!("role: worker, endpoint: {endpoint}, {settings}");
        let topology = Topology::workers(&[node.address()])
            .listener("web", &listener("servlet"))
            .listener("api", &listener("passthrough"))
            .without_listener("console");
        Stage { elb: Elb::start(&topology), node }
    }

    /// Asks for something ordinary over `client`, and says what is wrong with the answer.
    pub(crate) fn canary(client: &mut Client, id: usize) -> Result<(), String> {
        let target = format!("/services/echo/canary-{id}");
        match client.try_request(&Request::get(HOST, &target)) {
            Ok(answer) if answer.status == 200 && answer.text() == target => Ok(()),
            other => Err(format!("the answer to {target} is {other:?}")),
        }
    }

    /// Ends the balancer; returns what has reached the node, to the last byte.
    #[track_caller]
    pub(crate) fn end(self) -> Record {
        drop(self.elb);
        self.node.finish()
    }

    /// The access lines of refused requests by the client's address, once there are `count` of them, or else what there
    /// is: the test tells which are missing.
    pub(crate) fn refusals(&self, count: usize) -> BTreeMap<SocketAddr, Value> {
        let refused = || self.elb.access_lines().into_iter().filter(|line| line["node"].is_null());
        let _ = poll(REFUSAL, || (refused().count() >= count).then_some(()));
        let address = |line: &Value| line["client"].as_str().and_then(|client| client.parse().ok());
        refused().filter_map(|line| Some((address(&line)?, line))).collect()
    }
}

/// Sends what can be sent: whoever has refused the beginning of a request need not take the rest.
pub(crate) fn push(client: &Client, bytes: &[u8]) {
    // The answer is what counts, and the test reads it.
    let _ = client.stream().write_all(bytes);
}

/// Reads an answer, and says what is wrong with it: another status, or a connection that stays open.
pub(crate) fn refusal(client: &mut Client, status: &[u16]) -> Result<Response, String> {
    // A row that fails by waiting must not hold up hundreds of others.
    client.stream().set_read_timeout(Some(REFUSAL)).map_err(|e| e.to_string())?;
    let answer = client.read("GET").map_err(|e| format!("no answer: {e}"))?;
    if !status.contains(&answer.status) {
        return Err(format!("answered {} ({:?}), due is {status:?}", answer.status, answer.text()));
    }
    if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        return Err(format!("{} does not say that the connection is closed: {:?}", answer.status, answer.headers));
    }
    match ended(client) {
        Ok(true) => Ok(answer),
        Ok(false) => Err(format!("more follows the answer {}", answer.status)),
        Err(e) => Err(format!("the connection stays open after {}: {e}", answer.status)),
    }
}

/// Whether the other side closes the connection without another byte.
fn ended(client: &mut Client) -> io::Result<bool> {
    let mut next = [0; 1];
    match client.read_bytes(&mut next) {
        Ok(()) => Ok(false),
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Ok(true),
        Err(e) => Err(e),
    }
}
