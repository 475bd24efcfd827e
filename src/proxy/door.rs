//! What the edge refuses by itself is counted and logged like any other request.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::Observed;
use crate::edge::Watcher;
use crate::http1::{Fault, summary};
use crate::ids::ListenerName;
use crate::observe::access::Entry;
use crate::origin::Client;

/// Watches the entrances of one listener.
pub struct Door {
    listener: ListenerName,
    observed: Observed,
}

impl Door {
    /// For a listener.
    pub fn new(listener: ListenerName, observed: Observed) -> Self {
        Door { listener, observed }
    }
}

impl Watcher for Door {
    fn refused(&self, client: SocketAddr, fault: Fault, head: &[u8]) {
        self.observed.metrics.refused(fault.as_str());
        if !self.observed.access.wanted() {
            return;
        }
        let (method, path) = summary(head);
        let method = String::from_utf8_lossy(method);
        self.observed.access.write(&Entry {
            time: SystemTime::now(),
            listener: self.listener.as_str(),
            client: Some(Client { ip: client.ip(), port: Some(client.port()), via: None }),
            method: &method,
            path,
            status: fault.status(),
            reason: Some(fault.as_str()),
            ..Entry::default()
        });
    }

    fn turned_away(&self, client: SocketAddr, reason: &'static str) {
        log::debug!("{}: {client} is turned away: {reason}", self.listener);
        self.observed.metrics.connection_refused(reason);
    }
}
