//! Nodes that count what reaches management, and the ways to send them what should not.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::client::Request;
use super::corpus::ordinary::{APPLICATIONS, SERVICES};
use super::corpus::{ADMIN_SERVICES, MANAGEMENT};
use super::tomcat::{Applications, Connector, Tomcat};
use super::topology::Topology;

/// A node with the same page (`tests/tomcat/boundary`) at every context: it counts what reaches management, and answers
/// what does not with the address as received.
#[track_caller]
pub(crate) fn node(id: &str, role: &str) -> Tomcat {
    let contexts = MANAGEMENT.iter().copied().chain(["/services", "/t", ""]);
    let applications = Applications {
        contexts: contexts.clone().map(|path| (path.to_owned(), "boundary")).collect(),
        properties: vec![
            ("elb.boundary.management", MANAGEMENT.join(",")),
            ("elb.boundary.services", ADMIN_SERVICES.join(",")),
        ],
        pages: contexts.map(|path| format!("{path}/")).collect(),
    };
    Tomcat::with(id, role, applications)
}

/// A cluster behind such nodes as operators configure it: an API Manager with some services and some applications. Its
/// listeners are `web` and `api` for the servlet and the pass-through endpoint of the workers, and `console`.
/// `paths` is what becomes of ambiguous paths: `strict` or `canonicalize`.
pub(crate) fn topology(mode: &str, paths: &str) -> Topology {
    Topology::new()
        .mode(mode)
        .product("apim")
        .services(&format!("[{}]", SERVICES.join(", ")))
        .paths(&format!("service: [{}]", APPLICATIONS.join(", ")))
        .listener("web", &format!("role: worker, endpoint: servlet, paths: {paths}"))
        .listener("api", &format!("role: worker, endpoint: passthrough, paths: {paths}"))
        .servlet("scheme: http, health: tcp")
        .passthrough("scheme: http, health: tcp")
        .worker_pool("health: { interval: 200ms, timeout: 200ms, rise: 1, fall: 1 }")
        .without_access_log()
        // Each thread has its own connectors to nodes, which take most of the start.
        .server("grace: 1s, threads: 1")
}

/// How often a node's management was reached since [`reset`].
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// By what was reached: a context, or an admin service.
    pub(crate) by_target: BTreeMap<String, u64>,
    /// The first few, as `what: address`.
    pub(crate) first: Vec<String>,
}

impl Reached {
    /// What the nodes say. Asking does not count.
    #[track_caller]
    pub(crate) fn ask(nodes: &[&Tomcat]) -> Reached {
        let mut reached = Reached::default();
        for node in nodes {
            let told = ask(node.address(Connector::Http), "tell");
            for (target, count) in told["reached"].as_object().expect("the page tells a map") {
                *reached.by_target.entry(target.clone()).or_default() += count.as_u64().expect("counts are numbers");
            }
            let first = told["first"].as_array().expect("the page tells a list");
            reached.first.extend(first.iter().map(|line| format!("{} {line}", node.id())));
        }
        reached
    }

    /// All together.
    pub(crate) fn total(&self) -> u64 {
        self.by_target.values().sum()
    }
}

/// Sets the counts of the nodes back to 0.
#[track_caller]
pub(crate) fn reset(nodes: &[&Tomcat]) {
    nodes.iter().for_each(|node| drop(ask(node.address(Connector::Http), "reset")));
    assert_eq!(Reached::ask(nodes).total(), 0);
}

#[track_caller]
fn ask(node: SocketAddr, what: &str) -> serde_json::Value {
    Request::get("node", "/carbon/").header("X-Boundary", what).send(node).json()
}

/// What came back for a request target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// 0 if the server ended the connection or the stream instead of answering.
    pub(crate) status: u16,
    /// What came with it.
    pub(crate) body: Vec<u8>,
}

/// Sends all targets as they are, shared out among `clients` threads. The answers are in the order of the targets.
#[track_caller]
pub(crate) fn send_all<T: AsRef<[u8]> + Sync>(
    targets: &[T],
    clients: usize,
    send: impl Fn(&[&[u8]]) -> Vec<Answer> + Sync,
) -> Vec<Answer> {
    let targets: Vec<&[u8]> = targets.iter().map(AsRef::as_ref).collect();
    let send = &send;
    std::thread::scope(|scope| {
        let shares = targets.chunks(targets.len().div_ceil(clients).max(1));
        let senders: Vec<_> = shares.map(|share| scope.spawn(move || send(share))).collect();
        let join = |sender: std::thread::ScopedJoinHandle<'_, _>| sender.join().expect("a client has panicked");
        let answers: Vec<Answer> = senders.into_iter().flat_map(join).collect();
        assert_eq!(answers.len(), targets.len());
        answers
    })
}
