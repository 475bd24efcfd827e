//! One cluster of three Tomcat servers for all tests of this binary: starting it takes seconds and a good part of the
//! memory of a small machine. Each test has it for itself while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::support::TempDir;
use crate::support::certs::Certificate;
use crate::support::process::lock;
use crate::support::tomcat::{Connector, Tomcat};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology};

/// The manager `m1` and the workers `w1` and `w2`, and what the balancer needs to know of them.
pub(crate) struct Fleet {
    /// In the order `m1`, `w1`, `w2`.
    pub(crate) nodes: [Tomcat; 3],
    /// The certificate that the balancer shows to clients.
    pub(crate) edge: Certificate,
    /// The certificates of all nodes.
    authorities: PathBuf,
    // Holds the files above.
    _dir: TempDir,
}

/// The cluster, all nodes up, for this test alone.
#[track_caller]
pub(crate) fn fleet() -> MutexGuard<'static, Fleet> {
    // Not dropped at the end of the process; the watchdog of the support module ends the servers.
    static FLEET: OnceLock<Mutex<Fleet>> = OnceLock::new();
    let mut fleet = lock(FLEET.get_or_init(|| Mutex::new(Fleet::start())));
    // A test that failed may have left a node stopped.
    for node in fleet.nodes.iter_mut().filter(|node| !node.is_running()) {
        node.start_again();
    }
    fleet
}

impl Fleet {
    fn start() -> Fleet {
        let mut nodes = [("m1", "manager"), ("w1", "worker"), ("w2", "worker")].map(|(id, role)| Tomcat::new(id, role));
        nodes.iter_mut().for_each(Tomcat::begin);
        nodes.iter_mut().for_each(Tomcat::finish_start);
        let dir = TempDir::new("fleet");
        let read = |node: &Tomcat| std::fs::read_to_string(node.certificate()).expect("it was made a moment ago");
        let authorities = dir.write("nodes.pem", &nodes.iter().map(read).collect::<String>());
        let edge = Certificate::self_signed(dir.path(), "edge", &format!("DNS:{HOST},DNS:{CONSOLE_HOST}"));
        Fleet { nodes, edge, authorities, _dir: dir }
    }

    /// The node of that id.
    pub(crate) fn node(&mut self, id: &str) -> &mut Tomcat {
        self.nodes.iter_mut().find(|node| node.id() == id).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// The cluster as a configuration: `m1` with `manager_roles`; the servlet port over HTTPS with each node's own
    /// certificate, a clear-text port in the place of the pass-through port; `w1` with twice the weight of others.
    ///
    /// Listeners: `web` and `api` for the workers and `console` for the manager, and each without TLS: `clear`,
    /// `clear-api`, `clear-console`.
    pub(crate) fn topology(&self, mode: &str, manager_roles: &str, passthrough: Connector) -> Topology {
        let tls = self.edge_tls();
        let authorities = self.authorities.display();
        let health = "health: { path: /services/Version, expect: [200] }";
        let rhythm = "health: { interval: 1s, timeout: 1s, rise: 1, fall: 3 }";
        let topology = Topology::new()
            .listener("web", &format!("role: worker, endpoint: servlet, {tls}"))
            .listener("api", &format!("role: worker, endpoint: passthrough, {tls}"))
            .listener("console", &format!("role: manager, endpoint: servlet, {tls}"))
            .listener("clear", "role: worker, endpoint: servlet")
            .listener("clear-api", "role: worker, endpoint: passthrough")
            .listener("clear-console", "role: manager, endpoint: servlet")
            .mode(mode)
            .services("[echo, chat]")
            .servlet(&format!("scheme: https, tls: {{ ca: {authorities}, server_name: localhost }}, {health}"))
            .passthrough(&format!("scheme: http, {health}"))
            .worker_pool(rhythm)
            .manager_pool(rhythm);
        self.nodes.iter().zip([manager_roles, "worker", "worker"]).fold(topology, |topology, (node, roles)| {
            let (id, weight) = (node.id(), if node.id() == "w1" { 2 } else { 1 });
            let (servlet, passthrough) = (node.port(Connector::Https), node.port(passthrough));
            topology.node(&format!(
                "id: {id}, host: 127.0.0.1, roles: [{roles}], weight: {weight}, \
                 ports: {{ servlet: {servlet}, passthrough: {passthrough} }}"
            ))
        })
    }

    /// The PEM file with the certificates of all nodes.
    pub(crate) fn authorities(&self) -> &Path {
        &self.authorities
    }

    /// The setting `tls` of a listener.
    fn edge_tls(&self) -> String {
        format!("tls: {{ certificate: {}, key: {} }}", self.edge.certificate.display(), self.edge.key.display())
    }

    /// The separated pattern, with clear text without limits in the place of the pass-through port.
    pub(crate) fn separated(&self) -> Topology {
        self.topology("separated", "manager", Connector::Http)
    }
}
