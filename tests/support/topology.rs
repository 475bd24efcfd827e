//! What a test wants to stand: listeners, a cluster and its nodes, written as the YAML file of the balancer.

use std::fmt::Write;
use std::net::SocketAddr;

/// The host name of the workers in every test.
pub(crate) const HOST: &str = "esb.test";
/// The host name of the manager in every test.
pub(crate) const CONSOLE_HOST: &str = "mgt.esb.test";

/// A configuration with one cluster. Parts that a test does not name have values that keep out of its way.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    listeners: Vec<(String, String)>,
    mode: String,
    product: String,
    services: String,
    paths: String,
    servlet: String,
    passthrough: String,
    nodes: Vec<String>,
    sources: String,
    worker_pool: String,
    manager_pool: String,
    access: String,
    rules: String,
    tenants: String,
    affinity: String,
    admin: String,
    access_log: String,
    server: String,
}

impl Topology {
    /// A separated cluster behind two clear-text listeners, `web` (workers) and `console` (manager).
    pub(crate) fn new() -> Topology {
        Topology {
            listeners: Vec::new(),
            mode: "separated".into(),
            product: "esb".into(),
            services: "[echo]".into(),
            paths: String::new(),
            servlet: "scheme: http, health: off".into(),
            passthrough: "scheme: http, health: off".into(),
            nodes: Vec::new(),
            sources: String::new(),
            worker_pool: String::new(),
            manager_pool: String::new(),
            access: String::new(),
            rules: String::new(),
            tenants: String::new(),
            affinity: String::new(),
            admin: String::new(),
            access_log: "stdout".into(),
            server: "grace: 10s".into(),
        }
        .listener("web", "role: worker, endpoint: servlet")
        .listener("console", "role: manager, endpoint: servlet")
    }

    /// The shortest case: workers `w1`, `w2` and so on.
    pub(crate) fn workers(addresses: &[SocketAddr]) -> Topology {
        let numbered = addresses.iter().zip(1..);
        numbered.fold(Topology::new(), |topology, (address, i)| topology.worker(&format!("w{i}"), *address))
    }

    /// Adds a listener, or replaces the one of that name.
    pub(crate) fn listener(self, name: &str, settings: &str) -> Topology {
        let mut replaced = self.without_listener(name);
        replaced.listeners.push((name.into(), settings.into()));
        replaced
    }

    /// Leaves a listener out.
    pub(crate) fn without_listener(mut self, name: &str) -> Topology {
        self.listeners.retain(|(n, _)| n != name);
        self
    }

    /// Adds a node as written.
    pub(crate) fn node(mut self, settings: &str) -> Topology {
        self.nodes.push(settings.into());
        self
    }

    /// Adds a worker whose ports are both at `address`.
    pub(crate) fn worker(self, id: &str, address: SocketAddr) -> Topology {
        self.node(&format!("id: {id}, roles: [worker], {}", ports(address)))
    }

    /// Adds a manager whose ports are both at `address`.
    pub(crate) fn manager(self, id: &str, address: SocketAddr) -> Topology {
        self.node(&format!("id: {id}, roles: [manager], {}", ports(address)))
    }

    /// Sets the deployment pattern.
    pub(crate) fn mode(mut self, mode: &str) -> Topology {
        self.mode = mode.into();
        self
    }

    /// Sets the operator's services, as a YAML list.
    pub(crate) fn services(mut self, services: &str) -> Topology {
        self.services = services.into();
        self
    }

    /// Sets the product.
    pub(crate) fn product(mut self, product: &str) -> Topology {
        self.product = product.into();
        self
    }

    /// Sets the operator's paths, as the inside of a YAML map.
    pub(crate) fn paths(mut self, paths: &str) -> Topology {
        self.paths = paths.into();
        self
    }

    /// Sets the servlet endpoint.
    pub(crate) fn servlet(mut self, settings: &str) -> Topology {
        self.servlet = settings.into();
        self
    }

    /// Sets the pass-through endpoint.
    pub(crate) fn passthrough(mut self, settings: &str) -> Topology {
        self.passthrough = settings.into();
        self
    }

    /// Sets the sources of members.
    pub(crate) fn sources(mut self, sources: &str) -> Topology {
        self.sources = sources.into();
        self
    }

    /// Sets the pool of the workers.
    pub(crate) fn worker_pool(mut self, settings: &str) -> Topology {
        self.worker_pool = settings.into();
        self
    }

    /// Sets the pool of the manager.
    pub(crate) fn manager_pool(mut self, settings: &str) -> Topology {
        self.manager_pool = settings.into();
        self
    }

    /// Sets who may reach the members of the roles.
    pub(crate) fn access(mut self, settings: &str) -> Topology {
        self.access = settings.into();
        self
    }

    /// Sets the rules.
    pub(crate) fn rules(mut self, settings: &str) -> Topology {
        self.rules = settings.into();
        self
    }

    /// Sets what the tenants of the cluster get.
    pub(crate) fn tenants(mut self, settings: &str) -> Topology {
        self.tenants = settings.into();
        self
    }

    /// Sets the keys of affinity cookies.
    pub(crate) fn affinity(mut self, settings: &str) -> Topology {
        self.affinity = format!("affinity: {{ {settings} }}\n");
        self
    }

    /// Sets `admin`, besides the address.
    pub(crate) fn admin(mut self, settings: &str) -> Topology {
        self.admin = format!(", {settings}");
        self
    }

    /// Writes no access lines.
    pub(crate) fn without_access_log(mut self) -> Topology {
        self.access_log = "off".into();
        self
    }

    /// Sets `server`, besides the access log.
    pub(crate) fn server(mut self, settings: &str) -> Topology {
        self.server = settings.into();
        self
    }

    /// The names of the listeners.
    pub(crate) fn listener_names(&self) -> Vec<&str> {
        self.listeners.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The configuration file. Every port is the system's choice.
    ///
    /// A cluster needs a manager. If the test names none, nobody asks for it either: it gets one that is not there, at
    /// port 9 (discard).
    pub(crate) fn to_yaml(&self) -> String {
        let mut yaml = String::from("listeners:\n");
        for (name, settings) in &self.listeners {
            writeln!(yaml, "  {name}: {{ bind: [\"127.0.0.1:0\"], {settings} }}").expect("a String takes all");
        }
        let mut nodes: String = self.nodes.iter().map(|node| format!("      - {{ {node} }}\n")).collect();
        if !nodes.contains("manager") {
            nodes +=
                "      - { id: nobody, host: 127.0.0.1, roles: [manager], ports: { servlet: 9, passthrough: 9 } }\n";
        }
        let Topology { product, mode, services, paths, servlet, passthrough, worker_pool, manager_pool, .. } = self;
        let Topology { sources, access, rules, tenants, affinity, admin, access_log, server, .. } = self;
        yaml + &format!(
            "clusters:
  esb:
    product: {product}
    mode: {mode}
    hosts: {{ worker: [{HOST}], manager: [{CONSOLE_HOST}] }}
    services: {services}
    access: {{ {access} }}
    paths: {{ {paths} }}
    tenants: {{ {tenants} }}
    endpoints:
      servlet: {{ {servlet} }}
      passthrough: {{ {passthrough} }}
    nodes:
{nodes}    sources: {{ {sources} }}
    pools:
      worker: {{ {worker_pool} }}
      manager: {{ {manager_pool} }}
rules: {{ {rules} }}
{affinity}admin: {{ bind: [\"127.0.0.1:0\"]{admin} }}
server: {{ access_log: {access_log}, {server} }}
"
        )
    }
}

/// The settings `host` and `ports` of a node. No two nodes may have one port of one host, so each has both its own.
pub(crate) fn ports(address: SocketAddr) -> String {
    let (host, port) = (address.ip(), address.port());
    format!("host: {host}, ports: {{ servlet: {port}, passthrough: {port} }}")
}
