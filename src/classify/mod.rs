//! From the facts of a request to the pool that serves it, or to the reason why none does.
//!
//! Pure: a [`Classifier`] is compiled once from the configuration and answers from tables. The order of things is host
//! (`hosts`), path (`path`: one canonical form; `rewrite`: how to get there), management and services (`rules`; `soap`),
//! tenant.
//!
//! What **denies** is matched leniently: without regard to case, behind any number of tenants, admin services anywhere
//! in the path. What **allows** is matched exactly. A path between the two is refused on both sides.

mod hosts;
mod path;
mod reason;
mod rewrite;
mod rules;
mod segments;
mod services;
mod soap;
mod tables;
#[cfg(test)]
mod tests;
mod trie;

use std::borrow::Cow;
use std::sync::Arc;

use self::hosts::{Closeness, Host, HostTable};
use self::path::Canonical;
pub use self::path::{CanonicalPath, PathBytes};
pub use self::reason::{Reason, Refusal};
use self::rules::{Request, Rules, Tenant};
pub use self::soap::looks_like_soap;
use crate::admin_services::AdminTable;
use crate::config::{Cluster, Config, Serves};
use crate::ids::{Endpoint, PathMode, Role};

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
    /// What becomes of an ambiguous path.
    pub paths: PathMode,
    /// Whether the request may be SOAP: [`looks_like_soap`].
    pub soap: bool,
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
    /// The raw path to forward, without query, in place of the received one. `None`: the path is forwarded as received;
    /// always so with [`PathMode::Strict`].
    pub forward: Option<PathBytes>,
}

impl Decision<'_> {
    /// The path that was decided on: decoded, and without session id. `received` is the raw path of the request.
    ///
    /// It is computed anew: few ask for it, and it would make every decision larger.
    pub fn path<'d>(&'d self, received: &'d [u8]) -> CanonicalPath<'d> {
        canonical_path(self.forward.as_deref().unwrap_or(received))
    }
}

/// The path that a classifier has decided on, computed anew from what is forwarded.
pub fn canonical_path(forwarded: &[u8]) -> CanonicalPath<'_> {
    Canonical::strict(forwarded).map_or(CanonicalPath::AsReceived(forwarded), Canonical::into_path)
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
    /// Decides nothing, see [`Classifier::unclassified`]. False in every classifier that is made from a configuration.
    off: bool,
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
        Classifier { hosts, clusters, off: false }
    }

    /// Whether a classifier of `next` would decide as one of `before`, cluster by cluster.
    pub fn is_same(before: &Config, next: &Config) -> bool {
        fn facts(cluster: &Cluster) -> impl PartialEq + '_ {
            // All of them are named, so that a new one has to be thought about.
            let Cluster {
                name,
                product,
                mode,
                hosts,
                services,
                admin_services,
                paths,
                endpoints,
                access,
                nodes,
                sources,
                pools,
                max_dynamic,
                tenants,
            } = cluster;
            let _not_asked = (endpoints, access, nodes, sources, max_dynamic, pools, tenants);
            (name, product, mode, hosts, services, admin_services, paths)
        }
        before.clusters.len() == next.clusters.len()
            && before.clusters.iter().zip(&next.clusters).all(|(one, other)| facts(one) == facts(other))
    }

    /// Sends everything to the workers of the first cluster. No configuration and no command leads here: it is for tests
    /// that have to show that they would notice a classifier that refuses nothing.
    #[doc(hidden)]
    pub fn unclassified() -> Self {
        Classifier { hosts: [HostTable::default(), HostTable::default()], clusters: Vec::new(), off: true }
    }

    /// Where a request goes, or why it goes nowhere.
    pub fn classify<'p>(&self, facts: &Facts<'p>) -> Result<Decision<'p>, Refusal> {
        if self.off {
            return Ok(Decision { cluster: 0, role: Role::Worker, class: Class::Service, tenant: None, forward: None });
        }
        let host = Host::parse(facts.host).map_err(Refusal::early)?;
        let target = self.target(facts.serves, &host).ok_or(Refusal::early(Reason::HostUnknown))?;
        let labelled = |reason| Refusal { reason, cluster: Some(target.cluster()) };
        let mut forward = None;
        let path = Canonical::read(facts.path, facts.paths, &mut forward).map_err(labelled)?;
        let request = Request { endpoint: facts.endpoint, path: &path, soap: facts.soap };
        let (cluster, role, class) = match target {
            Target::One(role, cluster) => (cluster, role, self.decide(role, cluster, request).map_err(labelled)?),
            Target::ByClass { manager, worker } => self.decide_by_class(manager, worker, request)?,
        };
        let tenant = tenant(path.as_bytes(), facts.path);
        Ok(Decision { cluster, role, class, tenant, forward })
    }

    /// Whether the query of a request that was decided on changes what it reaches.
    ///
    /// Axis2 looks for the name of a service behind `services` in the **whole** address. On pass-through
    /// endpoints (and for GET on servlet endpoints) the address includes the query, so that
    /// `/services/echo?x=services/UserAdmin` and `/services?UserAdmin` call `UserAdmin`. For a worker such a query is
    /// refused, and so is one with `/services/NAME` where the operator's list does not have `NAME`, unless it only goes to
    /// a web application. `query` is as received.
    pub fn check_query(&self, facts: &Facts<'_>, decision: &Decision<'_>, query: &[u8]) -> Result<(), Refusal> {
        if decision.role != Role::Worker || query.is_empty() {
            return Ok(());
        }
        let path = decision.forward.as_deref().unwrap_or(facts.path);
        // Decoded: a reader may see `services` at the end of `/service%73` and of `/services;jsessionid=1`.
        let canonical = Canonical::strict(path);
        let path = canonical.as_ref().map_or(path, Canonical::as_bytes);
        let checked = match self.clusters.get(decision.cluster) {
            Some(rules) => rules.check_query(facts.endpoint, path, query),
            None => Ok(()), // the decision is not this classifier's
        };
        checked.map_err(|reason| Refusal { reason, cluster: Some(decision.cluster) })
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
        request: Request<'_>,
    ) -> Result<(usize, Role, Class), Refusal> {
        match self.decide(Role::Manager, manager, request) {
            Ok(Class::Management) => return Ok((manager, Role::Manager, Class::Management)),
            // Nearly management: the worker's side would say no as well, with a reason that helps less.
            Err(reason @ Reason::ManagementPathInexact) => return Err(Refusal { reason, cluster: Some(manager) }),
            _ => {}
        }
        match self.decide(Role::Worker, worker, request) {
            Ok(class) => Ok((worker, Role::Worker, class)),
            Err(reason) => Err(Refusal { reason, cluster: Some(worker) }),
        }
    }

    fn decide(&self, role: Role, cluster: usize, request: Request<'_>) -> Result<Class, Reason> {
        // The host tables hold indexes of this very list.
        self.clusters.get(cluster).ok_or(Reason::HostUnknown)?.decide(role, request)
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

/// The tenant in a canonical path, borrowed from the raw path if it is there letter by letter.
fn tenant<'p>(path: &[u8], raw: &'p [u8]) -> Option<Cow<'p, str>> {
    let tenant = Tenant::of(path)?.as_str();
    let found = raw.windows(tenant.len().max(1)).find(|window| *window == tenant.as_bytes());
    match found.and_then(|found| std::str::from_utf8(found).ok()) {
        Some(received) => Some(Cow::Borrowed(received)),
        None => Some(Cow::Owned(tenant.to_owned())),
    }
}
