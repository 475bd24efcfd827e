//! Workers on one port of several loopback addresses, as members from DNS need them.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::node::StubNode;

/// `w2` at 127.0.0.2 and so on, all on one port.
pub(crate) struct Workers {
    pub(crate) port: u16,
    nodes: Vec<Option<StubNode>>,
}

impl Workers {
    /// Starts `count` of them.
    #[track_caller]
    pub(crate) fn start(count: u8) -> Workers {
        // The port is free at the first address; somebody may have it at another one.
        for _ in 0..10 {
            let Some(first) = node(0, 0) else { continue };
            let port = first.address().port();
            let rest: Option<Vec<_>> = (1..count).map(|number| node(number, port).map(Some)).collect();
            if let Some(rest) = rest {
                return Workers { port, nodes: std::iter::once(Some(first)).chain(rest).collect() };
            }
        }
        panic!("no port is free at {count} addresses");
    }

    /// The lines of a file of hosts that give these workers (`2`: w2 at 127.0.0.2) the name.
    pub(crate) fn hosts(name: &str, numbers: &[u8]) -> String {
        numbers.iter().map(|number| format!("127.0.0.{number} {name}\n")).collect()
    }

    /// Ends a worker.
    pub(crate) fn end(&mut self, number: u8) {
        self.nodes[usize::from(number) - 2] = None;
    }
}

fn node(number: u8, port: u16) -> Option<StubNode> {
    let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, number + 2), port));
    StubNode::try_at(&format!("w{}", number + 2), address)
}
