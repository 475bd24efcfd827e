//! From the facts of a request to the pool that serves it, or to the reason why none does.
//!
//! Pure: a [`Classifier`] is compiled once from the configuration and answers from tables. The order of things is host
//! (`hosts`), path (`path`: one canonical form), management and services (`rules`), tenant.
//!
//! What **denies** is matched leniently: without regard to case, behind any number of tenants, admin services anywhere
//! in the path. What **allows** is matched exactly. A path between the two is refused on both sides.

mod hosts;
mod path;
mod reason;
mod rules;
mod segments;
mod services;
mod tables;
#[cfg(test)]
mod tests;
mod trie;

use std::borrow::Cow;
use std::sync::Arc;

use self::hosts::{Closeness, Host, HostTable};
use self::path::Canonical;
pub use self::reason::{Reason, Refusal};
use self::rules::{Rules, Tenant};
use crate::admin_services::AdminTable;
use crate::config::{Config, Serves};
use crate::ids::{Endpoint, Role};

/// What a request says about where it wants to go, and which listener it came to.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'p> {
    /// Whose pools the listener leads to.
    pub serves: Serves,
    /// Which port of the nodes the listener forwards to.
    pub endpoint: Endpoint,
    /// The `Host` header or `:authority`; it may have a port.
    pub host: Option<&'p [u8]>,
    /// The raw path as received, without query.
    pub path: &'p [u8],
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Index into [`Config::clusters`].
    pub cluster: usize,
    /// Whose pool of that cluster.
    pub role: Role,
    /// What the path is.
    pub class: Class,
    /// The domain of the outermost tenant in the path: ASCII letters, digits and `.-_@+`, at most 255.
    pub tenant: Option<Cow<'p, str>>,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// For managers only.
    Management,
    /// For workers only.
    Service,
    /// What both roles have, such as the login; it goes to the role of the listener.
    Shared,
}

impl Class {
    /// The word used in logs and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Management => "management",
            Class::Service => "service",
            Class::Shared => "shared",
        }
    }
}

/// The compiled tables of a configuration. Immutable; a new configuration gets a new one.
#[derive(Debug)]
pub struct Classifier {
    /// By [`Role::index`].
    hosts: [HostTable; 2],
    /// As [`Config::clusters`].
    clusters: Vec<Rules>,
}

impl Classifier {
    /// Compiles the tables.
    pub fn new(config: &Config) -> Self {
        let built_in = Arc::new(AdminTable::built_in());
        let mut hosts = [HostTable::default(), HostTable::default()];
        for (index, cluster) in config.clusters.iter().enumerate() {
            for (table, patterns) in hosts.iter_mut().zip(&cluster.hosts) {
                patterns.iter().for_each(|pattern| table.insert(pattern, index));
            }
        }
        let clusters = config.clusters.iter().map(|cluster| Rules::new(cluster, Arc::clone(&built_in))).collect();
        Classifier { hosts, clusters }
    }

    /// Where a request goes, or why it goes nowhere.
    pub fn classify<'p>(&self, facts: &Facts<'p>) -> Result<Decision<'p>, Refusal> {
        let host = Host::parse(facts.host).map_err(Refusal::early)?;
        let target = self.target(facts.serves, &host).ok_or(Refusal::early(Reason::HostUnknown))?;
        let labelled = |reason| Refusal { reason, cluster: Some(target.cluster()) };
        let canonical = Canonical::strict(facts.path).map_err(labelled)?;
        let path = canonical.as_bytes();
        let (cluster, role, class) = match target {
            Target::One(role, cluster) => {
                (cluster, role, self.decide(role, cluster, facts.endpoint, path).map_err(labelled)?)
            }
            Target::ByClass { manager, worker } => self.decide_by_class(manager, worker, facts.endpoint, path)?,
        };
        Ok(Decision { cluster, role, class, tenant: tenant(&canonical, facts.path) })
    }

    /// Whether the query of a request that was decided on changes what it reaches.
    ///
    /// Axis2 looks for the name of a service behind the last `services` in the **whole** address. On pass-through
    /// endpoints (and for GET on servlet endpoints) the address includes the query, so that
    /// `/services/echo?x=services/UserAdmin` and `/services?UserAdmin` call `UserAdmin`. For a worker such a query is
    /// refused. `path` is as received.
    pub fn check_query(&self, decision: &Decision<'_>, path: &[u8], query: &[u8]) -> Result<(), Refusal> {
        let rules = self.clusters.get(decision.cluster);
        if decision.role == Role::Worker && rules.is_some_and(|rules| rules.admin_in_query(path, query)) {
            return Err(Refusal { reason: Reason::AdminServiceInQuery, cluster: Some(decision.cluster) });
        }
        Ok(())
    }

    /// The hosts of a role are looked at only if the listener serves it. Of both roles the closer match counts.
    fn target(&self, serves: Serves, host: &Host) -> Option<Target> {
        let [manager, worker] = Role::ALL.map(|role| {
            let table = self.hosts.get(role.index()).filter(|_| serves.includes(role));
            table.and_then(|table| table.find(host))
        });
        let closeness = |found: Option<(Closeness, usize)>| found.map(|(closeness, _)| closeness);
        match (manager, worker) {
            (Some((close, manager)), Some((equally, worker))) if close == equally => {
                Some(Target::ByClass { manager, worker })
            }
            (Some((_, cluster)), _) if closeness(manager) > closeness(worker) => {
                Some(Target::One(Role::Manager, cluster))
            }
            (_, Some((_, cluster))) => Some(Target::One(Role::Worker, cluster)),
            _ => None,
        }
    }

    /// Both roles have the host: management goes to the manager, everything else to the worker.
    fn decide_by_class(
        &self,
        manager: usize,
        worker: usize,
        endpoint: Endpoint,
        path: &[u8],
    ) -> Result<(usize, Role, Class), Refusal> {
        match self.decide(Role::Manager, manager, endpoint, path) {
            Ok(Class::Management) => return Ok((manager, Role::Manager, Class::Management)),
            // Nearly management: the worker's side would say no as well, with a reason that helps less.
            Err(reason @ Reason::ManagementPathInexact) => return Err(Refusal { reason, cluster: Some(manager) }),
            _ => {}
        }
        match self.decide(Role::Worker, worker, endpoint, path) {
            Ok(class) => Ok((worker, Role::Worker, class)),
            Err(reason) => Err(Refusal { reason, cluster: Some(worker) }),
        }
    }

    fn decide(&self, role: Role, cluster: usize, endpoint: Endpoint, path: &[u8]) -> Result<Class, Reason> {
        // The host tables hold indexes of this very list.
        self.clusters.get(cluster).ok_or(Reason::HostUnknown)?.decide(role, endpoint, path)
    }
}

/// Where the host of a request leads.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// To one role of one cluster.
    One(Role, usize),
    /// To the manager or the worker side, as the path says.
    ByClass {
        /// The cluster whose managers have the host.
        manager: usize,
        /// The cluster whose workers have the host; nearly always the same.
        worker: usize,
    },
}

impl Target {
    /// The cluster that a refusal is counted for.
    fn cluster(self) -> usize {
        match self {
            Target::One(_, cluster) | Target::ByClass { worker: cluster, .. } => cluster,
        }
    }
}

/// The tenant, borrowed from the raw path where that has no escapes.
fn tenant<'p>(canonical: &Canonical<'p>, raw: &'p [u8]) -> Option<Cow<'p, str>> {
    match canonical {
        Canonical::AsReceived(path) => Tenant::of(path).map(|tenant| Cow::Borrowed(tenant.as_str())),
        Canonical::Decoded(path) => Tenant::of(path).map(|decoded| match Tenant::of(raw) {
            // Escapes elsewhere in the path are no reason to copy the tenant.
            Some(received) if received == decoded => Cow::Borrowed(received.as_str()),
            _ => Cow::Owned(decoded.as_str().to_owned()),
        }),
    }
}
