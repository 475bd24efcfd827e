//! Two nodes for all tests of this binary. Each test has them for itself while it runs.

use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::support::TempDir;
use crate::support::boundary::{self, Reached};
use crate::support::certs::Certificate;
use crate::support::corpus::mutated;
use crate::support::node::ClosedPort;
use crate::support::process::lock;
use crate::support::tomcat::{Connector, Tomcat};
use crate::support::topology::{CONSOLE_HOST, HOST, Topology, ports};

/// The manager, or the dual node, `m1` and the worker `w1`. Both have the console and all admin services, so that a
/// wrong turn would be counted wherever it leads.
pub(crate) struct Fleet {
    pub(crate) manager: Tomcat,
    pub(crate) worker: Tomcat,
    /// Where no node is.
    nobody: ClosedPort,
    /// The mutated management URLs.
    pub(crate) corpus: Vec<Vec<u8>>,
    edge: Certificate,
    // Holds the files of the certificate.
    _dir: TempDir,
}

/// The nodes, for this test alone, with all counts at 0.
#[track_caller]
pub(crate) fn fleet() -> MutexGuard<'static, Fleet> {
    // Not dropped at the end of the process; the watchdog of the support module ends the servers.
    static FLEET: OnceLock<Mutex<Fleet>> = OnceLock::new();
    let fleet = lock(FLEET.get_or_init(|| Mutex::new(Fleet::start())));
    boundary::reset(&fleet.nodes());
    fleet
}

impl Fleet {
    fn start() -> Fleet {
        let [mut manager, mut worker] =
            [("m1", "manager"), ("w1", "worker")].map(|(id, role)| boundary::node(id, role));
        [&mut manager, &mut worker].into_iter().for_each(Tomcat::begin);
        [&mut manager, &mut worker].into_iter().for_each(Tomcat::finish_start);
        let dir = TempDir::new("boundary");
        let edge = Certificate::self_signed(dir.path(), "edge", &format!("DNS:{HOST},DNS:{CONSOLE_HOST}"));
        Fleet { manager, worker, nobody: ClosedPort::new(), corpus: mutated(SEED, corpus_size()), edge, _dir: dir }
    }

    fn nodes(&self) -> [&Tomcat; 2] {
        [&self.manager, &self.worker]
    }

    /// What was reached on any node.
    #[track_caller]
    pub(crate) fn reached(&self) -> Reached {
        Reached::ask(&self.nodes())
    }

    /// Sets all counts back to 0.
    #[track_caller]
    pub(crate) fn reset(&self) {
        boundary::reset(&self.nodes());
    }

    /// The cluster with each listener for workers once more, for TLS.
    fn topology(&self, mode: &str, paths: &str) -> Topology {
        let Certificate { certificate, key } = &self.edge;
        let tls = format!("paths: {paths}, tls: {{ certificate: {}, key: {} }}", certificate.display(), key.display());
        boundary::topology(mode, paths)
            .listener("web-tls", &format!("role: worker, endpoint: servlet, {tls}"))
            .listener("api-tls", &format!("role: worker, endpoint: passthrough, {tls}"))
    }

    /// Manager and worker apart.
    pub(crate) fn separated(&self) -> Topology {
        self.topology("separated", "strict")
            .manager("m1", self.manager.address(Connector::Http))
            .worker("w1", self.worker.address(Connector::Http))
    }

    /// The dual node, and a worker that is down: all requests for workers go to the node that has the console too.
    pub(crate) fn dual(&self) -> Topology {
        self.dual_with("strict")
    }

    /// The same, and what becomes of ambiguous paths.
    pub(crate) fn dual_with(&self, paths: &str) -> Topology {
        self.topology("dual", paths)
            .node(&format!("id: m1, roles: [manager, worker], {}", ports(self.manager.address(Connector::Http))))
            .worker("w1", self.nobody.address())
    }
}

/// Any would do; always the same, so that a failure can be repeated.
const SEED: u64 = 2_024;

/// Targets in each combination that `make test` has time for.
pub(crate) const SMALLEST: usize = 6_000;

/// `CARBON_ELB_CORPUS`, or [`SMALLEST`].
fn corpus_size() -> usize {
    let Ok(text) = std::env::var("CARBON_ELB_CORPUS") else { return SMALLEST };
    let size = text.parse().ok().filter(|size| *size >= SMALLEST);
    size.unwrap_or_else(|| panic!("CARBON_ELB_CORPUS is {text:?}; allowed: a number from {SMALLEST}"))
}
