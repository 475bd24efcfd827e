//! Who came while the program runs, and where managers are.

use super::apply::{key, standings};
use super::*;

#[test]
fn nobody_who_came_gets_requests_at_the_place_of_a_manager() {
    let yaml = "
listeners:
  web: { bind: ['127.0.0.1:0'], role: worker }
  console: { bind: ['127.0.0.1:0'], role: manager }
clusters:
  esb:
    product: esb
    hosts: { worker: ['*'], manager: [mgt.test] }
    endpoints: { servlet: { scheme: http, port: 9763, health: off }, passthrough: { port: 8280, health: off } }
    nodes: [{ id: mgr-1, host: mgr.test, roles: [manager] }, { id: wk-1, host: 10.0.0.1 }]
";
    let registry = registry(yaml);
    let came = |id: &str, address: &str, ports: [u16; 2]| {
        let mut node = config(yaml).clusters[0].nodes[1].clone();
        (node.id, node.route, node.ports, node.dynamic) =
            (crate::ids::Name::parse(id).unwrap(), id.into(), ports, true);
        node.host = NodeHost::Address(address.parse().unwrap());
        node
    };
    let mut changed = config(yaml);
    changed.clusters[0].nodes.push(came("wk-2", "10.0.0.9", [9763, 8280]));
    changed.clusters[0].nodes.push(came("wk-3", "10.0.0.9", [8443, 8280]));
    changed.clusters[0].nodes.push(came("wk-4", "10.0.0.9", [8443, 8281]));
    registry.apply(Arc::new(changed), None, Instant::now());
    assert_eq!(standings(&registry).len(), 4, "nobody knows where the manager is");
    let manager = key(&registry, "mgr-1");
    assert!(registry.record_address(manager, "mgr.test", "10.0.0.9".parse().unwrap(), Instant::now()));
    assert_eq!(standings(&registry), ["wk-1 ready", "wk-4 ready"]);
    let text = registry.metrics.render().unwrap();
    let counted = "carbon_elb_member_events_total{cluster=\"esb\",event=\"kept_away\",role=\"worker\"} 2";
    assert!(text.contains(counted), "{text}");
    // It moves, and they are not in its place any more.
    assert!(registry.record_address(manager, "mgr.test", "10.0.0.8".parse().unwrap(), Instant::now()));
    assert_eq!(standings(&registry).len(), 4);
}
