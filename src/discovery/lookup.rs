//! Members from DNS: a name is asked for again when the answer's time to live ends.
//!
//! An empty or failed answer keeps the members of the last good one: a name server that fails must not take the cluster
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::task::JoinSet;

use super::records::{Found, Service, of_addresses, of_services};
use super::report::Reporter;
use super::track::Failure;
use super::ttl::{Retry, good_for};
use crate::config::{DnsSource, NodeHost, Records};
use crate::ids::{Endpoint, NodeId};

/// For one try; a server of one's own is near.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks name servers.
#[derive(Clone)]
pub(super) struct Resolver {
    resolver: TokioResolver,
    /// Whether names are taken as they are, without the search list of the system.
    absolute: bool,
}

/// Members, and how long they are good for.
struct Good {
    found: Found,
    good_for: Duration,
}

impl Resolver {
    /// Asks `server`, or those of the system.
    ///
    /// # Errors
    /// The system's are not known.
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Self, NetError> {
        let mut builder = match server {
            None => TokioResolver::builder_tokio()?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options: &mut ResolverOpts = builder.options_mut();
        // When to ask again is decided here.
        options.cache_size = 0;
        if server.is_some() {
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = TIMEOUT;
        }
        Ok(Resolver { resolver: builder.build()?, absolute: server.is_some() })
    }

    fn absolute(&self, name: &str) -> String {
        if self.absolute && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
    }

    async fn ask(&self, source: &DnsSource, current: impl Fn(&NodeId) -> Option<IpAddr>) -> Result<Good, Failure> {
        let bounds = source.min_ttl..=source.max_ttl;
        let (found, ttls) = match source.records {
            Records::A => self.addresses(source, RecordType::A).await?,
            Records::Aaaa => self.addresses(source, RecordType::AAAA).await?,
            Records::Srv(endpoint) => self.services(source, endpoint, current).await?,
        };
        if found.members.is_empty() {
            return Err(Failure { reason: "no member in the answer".into(), detail: found.refused.join(", ") });
        }
        Ok(Good { found, good_for: good_for(ttls, &bounds) })
    }

    async fn addresses(&self, source: &DnsSource, kind: RecordType) -> Result<(Found, Vec<u32>), Failure> {
        let answer = self.resolver.lookup(self.absolute(&source.name), kind).await.map_err(|e| failure(&e))?;
        let addresses: Vec<IpAddr> = answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        Ok((of_addresses(&addresses, &source.template), ttls(&answer)))
    }

    async fn services(
        &self,
        source: &DnsSource,
        endpoint: Endpoint,
        current: impl Fn(&NodeId) -> Option<IpAddr>,
    ) -> Result<(Found, Vec<u32>), Failure> {
        let name = self.absolute(&source.name);
        let answer = self.resolver.lookup(name, RecordType::SRV).await.map_err(|e| failure(&e))?;
        let mut ttls = ttls(&answer);
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.target.to_ascii().to_ascii_lowercase(), srv)),
            _ => None,
        });
        let records: Vec<_> = records.collect();
        let targets: BTreeSet<String> = records.iter().map(|(target, _)| target.clone()).collect();
        let addresses = self.targets(targets, &mut ttls).await;
        let services = records.into_iter().map(|(target, srv)| Service {
            addresses: addresses.get(&target).cloned().unwrap_or_default(),
            target,
            port: srv.port,
            priority: srv.priority,
            weight: srv.weight,
        });
        let services: Vec<Service> = services.collect();
        Ok((of_services(&services, endpoint, &source.template, current), ttls))
    }

    /// The addresses of the targets that have some, all asked for at once. An answer has a few hundred at most.
    async fn targets(&self, targets: BTreeSet<String>, ttls: &mut Vec<u32>) -> BTreeMap<String, Vec<IpAddr>> {
        let mut lookups = JoinSet::new();
        // `.` stands for no service at all.
        for target in targets.into_iter().filter(|target| target != ".") {
            let resolver = self.resolver.clone();
            lookups.spawn(async move { (resolver.lookup_ip(target.as_str()).await, target) });
        }
        let mut addresses = BTreeMap::new();
        while let Some(done) = lookups.join_next().await {
            if let Ok((Ok(answer), target)) = done {
                ttls.extend(self::ttls(answer.as_lookup()));
                addresses.insert(target, answer.iter().collect());
            }
        }
        addresses
    }
}

fn ttls(answer: &Lookup) -> Vec<u32> {
    answer.answers().iter().map(|record| record.ttl).collect()
}

fn failure(error: &NetError) -> Failure {
    let (reason, detail) = if error.is_nx_domain() {
        ("the name does not exist", String::new())
    } else if error.is_no_records_found() {
        ("the name has no such records", String::new())
    } else {
        ("the name servers do not answer", error.to_string())
    };
    Failure { reason: reason.to_owned(), detail }
}

/// Tells what the name stands for until nobody wants to know any more.
pub(super) async fn follow(source: DnsSource, resolver: Resolver, mut reporter: Reporter) {
    let mut retry = Retry::new(source.max_ttl);
    loop {
        let addresses = reporter.members().filter_map(|node| match &node.host {
            NodeHost::Address(address) => Some((node.id.clone(), *address)),
            NodeHost::Name(_) => None,
        });
        let current: BTreeMap<NodeId, IpAddr> = addresses.collect();
        let answer = resolver.ask(&source, |id| current.get(id).copied()).await;
        let pause = match &answer {
            Ok(good) => {
                retry.reset();
                reporter.refuse(&good.found.refused);
                good.good_for
            }
            Err(_) => retry.pause(),
        };
        if reporter.tell(answer.map(|good| good.found.members)).await.is_err() {
            return;
        }
        // As long as the answer is good, or before another try.
        tokio::time::sleep(pause).await;
    }
}
