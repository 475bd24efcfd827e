//! Asks the nodes how they are, with Pingora's health checks, and tells the registry.
//!
//! Every endpoint of every node has a task of its own, so that a node that hangs delays no other.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use log::{debug, info, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::lb::Backend;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{State, first_address, offset};
use crate::config::{Cluster, HealthProbe, Node, NodeHost, UpstreamTls};
use crate::ids::{ClusterName, Endpoint};
use crate::registry::{NodeKey, Registry, probe_policy, probed_port};
use crate::tasks::Tasks;
use crate::upstream::{TrustStore, server_name};

type Checker = Arc<dyn HealthCheck + Send + Sync>;

/// The probes of all nodes.
pub struct Prober {
    registry: Arc<Registry>,
    tasks: Tasks<(NodeKey, Endpoint), Target>,
    /// A check holds a TLS context, which is not small: nodes that are asked in the same way share one.
    checks: AHashMap<Way, (Weak<dyn HealthCheck + Send + Sync>, Arc<TrustStore>)>,
}

/// What the probes of an endpoint of a node ask, where and when.
struct Target {
    way: Way,
    host: NodeHost,
    port: u16,
    interval: Duration,
    trust: Arc<TrustStore>,
    /// For logs.
    name: String,
}

/// How an endpoint is asked, wherever it is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    cluster: ClusterName,
    endpoint: Endpoint,
    probe: HealthProbe,
    tls: Option<UpstreamTls>,
    server_name: String,
    timeout: Duration,
}

impl Prober {
    /// Without any probes.
    pub fn new(registry: Arc<Registry>) -> Self {
        Prober { registry, tasks: Tasks::new(), checks: AHashMap::new() }
    }

    /// Starts and stops probes as the newest configuration says: a task for each endpoint of each node that some pool
    /// needs. It must be called where tasks can be started.
    pub fn follow(&mut self) {
        let (setup, used) = self.registry.used();
        let wanted = used.into_iter().filter_map(|used| {
            let cluster = setup.config.clusters.get(used.cluster)?;
            let target = Target::new(cluster, cluster.nodes.get(used.node)?, used.endpoint, &setup.trust);
            (target.way.probe != HealthProbe::Off).then_some(((used.key, used.endpoint), target))
        });
        let Prober { registry, tasks, checks } = self;
        tasks.follow(wanted, |&(key, endpoint), target| {
            let probe = Probe {
                registry: registry.clone(),
                key,
                endpoint,
                checker: shared(checks, target),
                port: target.port,
                interval: target.interval,
                timeout: target.way.timeout,
                offset: offset(target.interval, 2 * key.0 + endpoint.index()),
                name: target.name.clone(),
            };
            probe.run()
        });
        checks.retain(|_, (check, _)| check.strong_count() > 0);
    }
}

/// The check of all targets that are asked in the same way.
fn shared(
    checks: &mut AHashMap<Way, (Weak<dyn HealthCheck + Send + Sync>, Arc<TrustStore>)>,
    target: &Target,
) -> Checker {
    let known = checks.get(&target.way).filter(|(_, trust)| trust.trusts_as(&target.trust, target.way.tls.as_ref()));
    known.and_then(|(check, _)| check.upgrade()).unwrap_or_else(|| {
        let check = target.checker();
        checks.insert(target.way.clone(), (Arc::downgrade(&check), target.trust.clone()));
        check
    })
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        (&self.way, &self.host, self.port, self.interval) == (&other.way, &other.host, other.port, other.interval)
            && self.trust.trusts_as(&other.trust, self.way.tls.as_ref())
    }
}

impl Target {
    fn new(cluster: &Cluster, node: &Node, endpoint: Endpoint, trust: &Arc<TrustStore>) -> Self {
        let probe = cluster.endpoints[endpoint.index()].health.clone();
        let tls = cluster.probe_tls(endpoint).cloned();
        let server_name = tls.as_ref().map(|tls| server_name(tls, &node.host)).unwrap_or_default();
        let policy = probe_policy(cluster, node);
        let timeout = policy.timeout;
        Target {
            way: Way { cluster: cluster.name.clone(), endpoint, probe, tls, server_name, timeout },
            host: node.host.clone(),
            port: probed_port(cluster, node, endpoint),
            interval: policy.interval,
            trust: trust.clone(),
            name: format!("{}/{} {endpoint}", cluster.name, node.id),
        }
    }

    fn checker(&self) -> Checker {
        let Way { probe, tls, timeout, .. } = &self.way;
        match probe {
            HealthProbe::Http { path, host, expect, .. } => {
                let mut check = HttpHealthCheck::new(host, false);
                check.peer_template.options.connection_timeout = Some(*timeout);
                check.peer_template.options.read_timeout = Some(*timeout);
                self.trust.secure(&mut check.peer_template, tls.as_ref(), &self.host);
                check.req = probe_request(host, path).unwrap_or(check.req);
                let expect = expect.clone();
                check.validator = Some(Box::new(move |response| validate(response, &expect)));
                Arc::new(check)
            }
            HealthProbe::Tcp | HealthProbe::Off => {
                let mut check = TcpHealthCheck::default();
                check.peer_template.options.connection_timeout = Some(*timeout);
                self.trust.secure_tcp(&mut check.peer_template, tls.as_ref(), &self.host);
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
    key: NodeKey,
    endpoint: Endpoint,
    checker: Checker,
    port: u16,
    interval: Duration,
    timeout: Duration,
    offset: Duration,
    name: String,
}

impl Probe {
    /// Probes at once, and then in every interval, until it is stopped.
    async fn run(self) {
        let address = first_address(&self.registry, self.key).await;
        self.record(address, self.ask(address).await);
        let mut ticks = interval_at(Instant::now() + self.offset, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(address) = self.registry.address(self.key) {
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
        let place = SocketAddr::new(address, self.port);
        let transition =
            self.registry.record_probe(self.key, self.endpoint, place, outcome.is_ok(), Instant::now().into_std());
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
