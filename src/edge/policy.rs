//! How the clients of an entrance are treated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::gate::{Connections, Gate};
use crate::config::Listener;
use crate::http1::{Fault, HeadLimits};

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a PROXY protocol header, and for a TLS handshake.
    pub handshake: Duration,
    /// For the first byte of a request.
    pub idle: Duration,
    /// For all of a header, from its first byte on.
    pub header: Duration,
    /// Between two reads of a body.
    pub read: Duration,
    /// For a client to take something of an answer.
    pub write: Duration,
}

/// Learns what the edge did by itself, which no request tells of.
pub trait Watcher: Send + Sync {
    /// A request was refused before it was one; `head` is what came of it.
    fn refused(&self, client: SocketAddr, fault: Fault, head: &[u8]);
    /// A connection was closed before it could send a request.
    fn turned_away(&self, client: SocketAddr, reason: &'static str);
}

/// How the clients of an entrance are treated.
pub struct Policy {
    /// How long they are waited for.
    pub timeouts: Timeouts,
    /// How much a header may hold.
    pub head: HeadLimits,
    /// Bytes a second that must come of a body.
    pub body_rate: Option<u64>,
    /// Requests before a connection is closed.
    pub requests_per_connection: Option<u32>,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Who begins its connections with a PROXY protocol header. If anybody does, everybody must.
    pub proxy_protocol: Vec<IpNet>,
    /// How many connections there may be.
    pub connections: Connections,
    /// Counts them.
    pub gate: Arc<Gate>,
    /// Learns of refusals.
    pub watcher: Box<dyn Watcher>,
}

impl Policy {
    /// What a listener's configuration says.
    pub fn of(listener: &Listener, gate: Arc<Gate>, watcher: Box<dyn Watcher>) -> Self {
        let (timeouts, limits) = (&listener.timeouts, &listener.limits);
        Policy {
            timeouts: Timeouts {
                handshake: timeouts.handshake,
                idle: timeouts.idle,
                header: timeouts.header,
                read: timeouts.read,
                write: timeouts.write,
            },
            head: HeadLimits { target: limits.target, header: limits.header, fields: limits.fields },
            body_rate: limits.body_rate,
            requests_per_connection: limits.requests_per_connection,
            streams: limits.streams,
            proxy_protocol: listener.origin.proxy_protocol.clone(),
            connections: Connections { in_all: limits.connections, of_client: limits.connections_per_client },
            gate,
            watcher,
        }
    }

    /// For servers that answer by themselves, to whom few have access.
    pub fn plain(patience: Duration, watcher: Box<dyn Watcher>) -> Self {
        let timeouts =
            Timeouts { handshake: patience, idle: patience, header: patience, read: patience, write: patience };
        Policy {
            timeouts,
            head: HeadLimits { target: 16 << 10, header: 64 << 10, fields: 100 },
            body_rate: None,
            requests_per_connection: None,
            streams: 100,
            proxy_protocol: Vec::new(),
            connections: Connections::default(),
            gate: Arc::default(),
            watcher,
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("timeouts", &self.timeouts).field("head", &self.head).finish_non_exhaustive()
    }
}

/// A watcher that has nobody to tell.
#[derive(Debug)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn refused(&self, client: SocketAddr, fault: Fault, _: &[u8]) {
        log::debug!("{client}: refused, {}", fault.as_str());
    }

    fn turned_away(&self, client: SocketAddr, reason: &'static str) {
        log::debug!("{client}: turned away, {reason}");
    }
}
