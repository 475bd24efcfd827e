//! An embedded cluster: one manager and three workers as stub nodes on loopback, and the balancer in front of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::StatusCode;

use crate::app::{App, Open, StartError};
use crate::config::{self, Config};
use crate::ids::{Name, Role};
use crate::node::StubNode;

/// The nodes of the demo.
const NODES: [(&str, Role); 4] =
    [("mgr-1", Role::Manager), ("wk-1", Role::Worker), ("wk-2", Role::Worker), ("wk-3", Role::Worker)];

/// Where the demo listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For the clients of services.
    pub public: SocketAddr,
    /// For the management console.
    pub management: SocketAddr,
    /// For health, readiness and metrics.
    pub admin: SocketAddr,
}

/// The stub nodes, on ports that the system chooses.
///
/// # Errors
/// Loopback cannot be listened on.
pub fn nodes() -> Result<App, StartError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let stubs = NODES
        .iter()
        .filter_map(|(id, role)| Some((any, StubNode::new(Name::parse(id)?, *role, Duration::ZERO, StatusCode::OK))));
    App::nodes(stubs)
}

/// The configuration of the balancer in front of `nodes`.
///
/// # Errors
/// Addresses that cannot be used together.
pub fn config(addresses: &Addresses, nodes: &[Open]) -> Result<Config, config::Problems> {
    config::parse(&yaml(addresses, nodes), Path::new(".")).map(|loaded| loaded.config)
}

fn yaml(addresses: &Addresses, nodes: &[Open]) -> String {
    let Addresses { public, management, admin } = addresses;
    let mut yaml = format!(
        "listeners:
  public: {{ bind: [\"{public}\"], role: worker }}
  management: {{ bind: [\"{management}\"], role: manager }}
admin: {{ bind: [\"{admin}\"] }}
clusters:
  demo:
    product: carbon
    hosts: {{ worker: [\"*\"], manager: [\"*\"] }}
    services: [echo]
    endpoints:
      servlet: {{ scheme: http }}
    pools:
      worker: {{ health: {{ interval: 1s, timeout: 1s }} }}
      manager: {{ health: {{ interval: 1s, timeout: 1s }} }}
    nodes:
"
    );
    for ((id, role), node) in NODES.iter().zip(nodes) {
        let (host, port) = (node.address.ip(), node.address.port());
        // Writing to a string cannot fail.
        let _ = writeln!(yaml, "      - {{ id: {id}, host: {host}, roles: [{role}], ports: {{ servlet: {port} }} }}");
    }
    yaml
}

/// What to try, for the person in front of the terminal.
pub fn welcome(nodes: &[Open], balancer: &[Open]) -> String {
    let address = |name: &str| {
        balancer.iter().find(|open| open.name == name).map_or_else(String::new, |open| open.address.to_string())
    };
    let (public, management, admin) = (address("public"), address("management"), address("admin"));
    let mut text = String::from("carbon-elb demo: one manager and three workers\n\n");
    for ((id, role), node) in NODES.iter().zip(nodes) {
        let _ = writeln!(text, "  {id:<6} {role:<8} http://{}", node.address);
    }
    let _ = write!(
        text,
        "
  public listener      http://{public}
  management listener  http://{management}
  admin listener       http://{admin}

Try:
  curl http://{public}/services/echo         # a worker; again: the next one
  curl -i http://{public}/carbon             # 404: the console is not public
  curl http://{management}/carbon            # the manager
  curl -i http://{management}/services/echo  # 404: services are for workers
  curl http://{admin}/readyz
  curl http://{admin}/metrics

Access lines follow, one for each request. Stop with Ctrl-C.
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_is_valid() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let addresses = Addresses { public: any, management: any, admin: any };
        let nodes: Vec<Open> = (1..5)
            .map(|port| Open { name: "node".to_owned(), address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9000 + port)) })
            .collect();
        let config = config(&addresses, &nodes).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.clusters[0].nodes.len(), NODES.len());
    }
}
