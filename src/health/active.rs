//! Asks the nodes how they are, with Pingora's health checks, and tells the registry.
//!
//! Every endpoint of every node has a task of its own, so that a node that hangs delays no other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use log::{debug, info, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::lb::Backend;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{State, first_address, offset};
use crate::config::{Cluster, HealthProbe, Node, ProbePort, UpstreamTls};
use crate::ids::Endpoint;
use crate::registry::{NodeIndex, Registry, probe_policy};
use crate::upstream::{TrustStore, server_name};

type Checker = Arc<dyn HealthCheck + Send + Sync>;

/// Starts a task for each endpoint of each node that some pool needs.
pub fn start(registry: &Arc<Registry>, trust: &TrustStore) {
    let mut checkers: AHashMap<(usize, Endpoint, String), Checker> = AHashMap::new();
    let probed = registry.probed();
    let count = probed.len();
    for (position, (index, endpoint)) in probed.into_iter().enumerate() {
        let config = registry.config();
        let Some(cluster) = config.clusters.get(index.cluster) else { continue };
        let Some(node) = cluster.nodes.get(index.node) else { continue };
        let target = Target::new(cluster, node, endpoint);
        let policy = probe_policy(cluster, index.node);
        // A check holds a TLS context, which is not small: nodes with the same server name share one.
        let key = (index.cluster, endpoint, target.server_name.clone());
        let checker = checkers.entry(key).or_insert_with(|| target.checker(trust, policy.timeout, node));
        let probe = Probe {
            registry: registry.clone(),
            index,
            endpoint,
            checker: checker.clone(),
            port: target.port,
            interval: policy.interval,
            timeout: policy.timeout,
            offset: offset(policy.interval, position, count),
            name: format!("{}/{} {endpoint}", cluster.name, node.id),
        };
        tokio::spawn(probe.run());
    }
}

/// What a probe of an endpoint of a node asks.
struct Target<'a> {
    probe: &'a HealthProbe,
    tls: Option<&'a UpstreamTls>,
    port: u16,
    server_name: String,
}

impl<'a> Target<'a> {
    fn new(cluster: &'a Cluster, node: &Node, endpoint: Endpoint) -> Self {
        let probe = &cluster.endpoints[endpoint.index()].health;
        let port = match probe {
            HealthProbe::Http { port, .. } => *port,
            HealthProbe::Tcp | HealthProbe::Off => ProbePort::Own,
        };
        let tls = cluster.probe_tls(endpoint);
        let server_name = tls.map(|tls| server_name(tls, &node.host)).unwrap_or_default();
        Target { probe, tls, port: port.on(node, endpoint), server_name }
    }

    fn checker(&self, trust: &TrustStore, timeout: Duration, node: &Node) -> Checker {
        match self.probe {
            HealthProbe::Http { path, host, expect, .. } => {
                let mut check = HttpHealthCheck::new(host, false);
                check.peer_template.options.connection_timeout = Some(timeout);
                check.peer_template.options.read_timeout = Some(timeout);
                trust.secure(&mut check.peer_template, self.tls, &node.host);
                check.req = probe_request(host, path).unwrap_or(check.req);
                let expect = expect.clone();
                check.validator = Some(Box::new(move |response| validate(response, &expect)));
                Arc::new(check)
            }
            HealthProbe::Tcp | HealthProbe::Off => {
                let mut check = TcpHealthCheck::default();
                check.peer_template.options.connection_timeout = Some(timeout);
                trust.secure_tcp(&mut check.peer_template, self.tls, &node.host);
                Arc::new(check)
            }
        }
    }
}

fn probe_request(host: &str, path: &str) -> Result<RequestHeader> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(3))?;
    request.insert_header("Host", host)?;
    request.insert_header("User-Agent", "carbon-elb health check")?;
    request.insert_header("Connection", "close")?;
    Ok(request)
}

fn validate(response: &ResponseHeader, expect: &[u16]) -> Result<()> {
    if expect.contains(&response.status.as_u16()) {
        return Ok(());
    }
    Error::e_explain(ErrorType::HTTPStatus(response.status.as_u16()), format!("expected {expect:?}"))
}

/// The probes of an endpoint of a node.
struct Probe {
    registry: Arc<Registry>,
    index: NodeIndex,
    endpoint: Endpoint,
    checker: Checker,
    port: u16,
    interval: Duration,
    timeout: Duration,
    offset: Duration,
    name: String,
}

impl Probe {
    /// Probes at once, and then in every interval, until the process ends.
    async fn run(self) {
        let address = first_address(&self.registry, self.index).await;
        self.record(address, self.ask(address).await);
        let mut ticks = interval_at(Instant::now() + self.offset, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(address) = self.registry.address(self.index) {
                self.record(address, self.ask(address).await);
            }
        }
    }

    /// One probe, within the timeout as a whole: Pingora's own timeouts are for each read.
    async fn ask(&self, address: IpAddr) -> Result<()> {
        let backend = Backend::new(&SocketAddr::new(address, self.port).to_string())?;
        timeout(self.timeout, self.checker.check(&backend))
            .await
            .or_err(ErrorType::ReadTimedout, "the probe took too long")?
    }

    fn record(&self, address: IpAddr, outcome: Result<()>) {
        let transition =
            self.registry.record_probe(self.index, self.endpoint, address, outcome.is_ok(), Instant::now().into_std());
        match (transition, outcome) {
            (Some(transition), Ok(())) => {
                info!("{}: {}, was {}", self.name, State::Up.as_str(), transition.from.as_str())
            }
            (Some(transition), Err(e)) => {
                warn!("{}: {}, was {}: {e}", self.name, State::Down.as_str(), transition.from.as_str());
            }
            (None, Err(e)) => debug!("{}: probe failed: {e}", self.name),
            (None, Ok(())) => {}
        }
    }
}
