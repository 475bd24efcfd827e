//! Members that come and go while the program runs: those that register over the admin API, and those that sources
//! (a file, DNS) find.
//!
//! ```text
//! admin API ─ register, renew, deregister, weight ─┐
//! sources ─── the whole set of what they find ─────┼→ members ─ effective configuration ─→ publisher ─→ registry
//! reload ──── the file's new configuration ────────┘
//! ```
//!
//! [`Members`] is the pure part: the file's configuration, what each source says, and the leases of those that
//! registered; its [`Members::effective`] is the configuration with all of them in it. [`admission`] says who may be a
//! member at all. [`Membership`] is what the rest of the program holds: every change goes through its one lock.
//! [`Publisher`] is the only one that hands an effective configuration on; it puts together what changes within a short
//! time. A renewal changes nothing that requests are routed by, so it publishes nothing.
//!
//! # Whose an id is
//!
//! A node of the file always has its id. Otherwise an id is whose it was first, for as long as that one names it; of those
//! that name it at once, the API, then the sources in the order of their names. Who does not have it waits, and is reported
//! once.
//!
//! Whose a place is, address and port, is decided the same way: a node of the file that is given by address has its own
//! always. Otherwise it is that of the member that was there first, of two in one answer of a source the one named first; who
//! registers where somebody registered takes that one's. Other members that are found at a place do not get the same
//! requests once more: they wait, are reported, and take over when the first one leaves.
//!
//! # How a member leaves
//!
//! A member that nobody names any more (its lease ends, it is deregistered, its source finds it no longer) is *leaving*: it
//! is drained, and taken out when it has no request in flight, at the earliest after [`SHORTEST_DRAIN`] and at the latest
//! after [`LONGEST_DRAIN`]. If it is named again before that, it is back as if nothing had happened. A member that is no
//! longer allowed where it is goes at once. What is in flight on it finishes even so.

pub mod admission;
mod dynamic;
mod members;
mod places;
mod publisher;
#[cfg(test)]
mod tests;
mod told;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::admission::Refusal;
pub use self::members::Members;
pub use self::publisher::{Publisher, Target};
pub use self::told::{Event, Happened, Report, Shown, Weights};
use crate::config::{Cluster, Config, Node, NodeHost};
use crate::ids::{ClusterName, Endpoint, Name, NodeId, Role};
use crate::observe::metrics::Metrics;

/// How long a leaving member is drained at least: requests that were about to be given to it may come until then.
pub const SHORTEST_DRAIN: Duration = Duration::from_millis(500);

/// How long a leaving member is drained at most, whatever it has in flight.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(5 * 60);

/// How long a lease may last, in seconds.
pub const LEASE_SECONDS: RangeInclusive<u64> = 1..=3600;

/// How long a lease lasts if whoever registers does not say, in seconds.
pub const USUAL_LEASE_SECONDS: u64 = 30;

/// Lines in the log about those that are left out of one answer of a source.
const MOST_TOLD: usize = 10;

/// Who says that there is a member. The order is that in which they have an id that nobody had before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Somebody who registered it over the admin API.
    Api,
    /// A source of the configuration, by its name.
    Configured(Name),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Api => f.write_str("api"),
            Source::Configured(name) => write!(f, "source {name}"),
        }
    }
}

/// What somebody who registers a member says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Where it is.
    pub address: IpAddr,
    /// Empty: it is a worker.
    pub roles: Vec<Role>,
    /// Share of the load, 1 to 256.
    pub weight: u16,
    /// By `Endpoint::index`; `None`: the port of the cluster's endpoint.
    pub ports: [Option<u16>; 2],
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Requests in flight, on each endpoint, instead of the pool's limit.
    pub max_in_flight: Option<usize>,
    /// What Tomcat on it adds to session ids; `None`: its id.
    pub route: Option<String>,
    /// How long it is a member without being renewed.
    pub lease: Duration,
}

impl Registration {
    /// The node that it makes of an id.
    fn node(&self, cluster: &Cluster, id: &NodeId) -> Node {
        let port =
            |endpoint: Endpoint| self.ports[endpoint.index()].unwrap_or(cluster.endpoints[endpoint.index()].port);
        Node {
            id: id.clone(),
            host: NodeHost::Address(self.address.to_canonical()),
            roles: if self.roles.is_empty() { vec![Role::Worker] } else { self.roles.clone() },
            weight: self.weight,
            backup: self.backup,
            max_in_flight: self.max_in_flight,
            route: self.route.clone().unwrap_or_else(|| id.as_str().to_owned()),
            ports: Endpoint::ALL.map(port),
            dynamic: true,
            leaving: false,
        }
    }
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Whether it was no member before, or was leaving.
    pub new: bool,
    /// The member now.
    pub shown: Shown,
}

/// Why somebody could not change a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied<E> {
    /// They may not speak for it, for a reason that they know.
    NotTheirs(E),
    /// Nobody could.
    Refused(Refusal),
}

impl<E> From<Refusal> for Denied<E> {
    fn from(refusal: Refusal) -> Self {
        Denied::Refused(refusal)
    }
}

/// All members that come and go, for everybody who changes them or wants to know of them.
#[derive(Debug)]
pub struct Membership {
    members: Mutex<Members>,
    /// Held from a change that is to be published to its publication, so that they come in the same order.
    publishing: Mutex<()>,
    /// What was last reported of each source, so that it is logged once.
    reported: Mutex<HashMap<(ClusterName, Source), Report>>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

impl Membership {
    /// Nobody but the file's nodes.
    pub fn new(base: Arc<Config>, metrics: Arc<Metrics>) -> Self {
        let members = Mutex::new(Members::new(base));
        Membership { members, publishing: Mutex::new(()), reported: Mutex::default(), changed: Notify::new(), metrics }
    }

    /// Registers a member, or renews its lease and takes in what it says of itself now.
    ///
    /// `may` is asked, as by the other changes of one member, in the same step as the change is made in: of the roles that the
    /// member has then, none if there is none. It is not to ask for anything of the membership.
    ///
    /// # Errors
    /// See [`Denied`]. Then nothing has changed.
    pub fn register<E>(
        &self,
        cluster: &ClusterName,
        id: &NodeId,
        registration: &Registration,
        now: Instant,
        may: impl FnOnce(&[Role]) -> Result<(), E>,
    ) -> Result<Registered, Denied<E>> {
        self.change(|members| {
            may(&members.roles(cluster, id)).map_err(Denied::NotTheirs)?;
            Ok(members.register(cluster, id, registration, now)?)
        })
    }

    /// Renews the lease of a member, for as long as it was registered for or for another time.
    ///
    /// # Errors
    /// There is no such member, or it has no lease; or `may` says no.
    pub fn renew<E>(
        &self,
        cluster: &ClusterName,
        id: &NodeId,
        lease: Option<Duration>,
        now: Instant,
        may: impl FnOnce(&[Role]) -> Result<(), E>,
    ) -> Result<Shown, Denied<E>> {
        self.change(|members| {
            may(&members.roles(cluster, id)).map_err(Denied::NotTheirs)?;
            Ok(members.renew(cluster, id, lease, now)?)
        })
    }

    /// Ends the lease of a member: it is leaving.
    ///
    /// # Errors
    /// There is no such member, or it has no lease; or `may` says no.
    pub fn deregister<E>(
        &self,
        cluster: &ClusterName,
        id: &NodeId,
        now: Instant,
        may: impl FnOnce(&[Role]) -> Result<(), E>,
    ) -> Result<Shown, Denied<E>> {
        self.change(|members| {
            may(&members.roles(cluster, id)).map_err(Denied::NotTheirs)?;
            Ok(members.deregister(cluster, id, now)?)
        })
    }

    /// Takes in the whole set of nodes that a source finds for a cluster; with none, all of its members are leaving.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn update(
        &self,
        cluster: &ClusterName,
        source: &Source,
        nodes: Vec<Node>,
        now: Instant,
    ) -> Result<Report, Refusal> {
        let report = self.change(|members| members.update(cluster, source, nodes, now))?;
        let key = (cluster.clone(), source.clone());
        if self.reported.lock().insert(key, report.clone()).unwrap_or_default() != report {
            // An answer may be long, and another one each second.
            for (id, why) in report.left_out.iter().take(MOST_TOLD) {
                warn!("membership: {cluster}/{id} of {source} is left out: {why}");
            }
            if let Some(more) = report.left_out.len().checked_sub(MOST_TOLD).filter(|&more| more > 0) {
                warn!("membership: {more} more of {source} in {cluster} are left out");
            }
        }
        Ok(report)
    }

    /// Sets the weight of a node, of the file too, in place of the configured one; `None`: the configured one again.
    ///
    /// # Errors
    /// There is no such node, or no such weight; or `may` says no.
    pub fn set_weight<E>(
        &self,
        cluster: &ClusterName,
        id: &NodeId,
        weight: Option<u16>,
        may: impl FnOnce(&[Role]) -> Result<(), E>,
    ) -> Result<(Weights, Weights), Denied<E>> {
        self.change(|members| {
            let own = members.own_roles(cluster, id);
            may(&own.unwrap_or_else(|| members.roles(cluster, id))).map_err(Denied::NotTheirs)?;
            Ok(members.set_weight(cluster, id, weight)?)
        })
    }

    /// Takes in a new configuration of the file, and hands the effective one to `publish`; nothing else is published
    /// meanwhile. Members that are still allowed stay.
    pub fn reload<T>(&self, base: Arc<Config>, now: Instant, publish: impl FnOnce(Arc<Config>) -> T) -> T {
        let _publishing = self.publishing.lock();
        let effective = self.change(|members| {
            members.set_base(base, now);
            members.take_news();
            members.effective()
        });
        publish(effective)
    }

    /// What is known of a member that is not the file's.
    pub fn shown(&self, cluster: &ClusterName, id: &NodeId, now: Instant) -> Option<Shown> {
        self.members.lock().shown(cluster, id, now)
    }

    /// The configuration with all members in it.
    pub fn effective(&self) -> Arc<Config> {
        self.members.lock().effective()
    }

    /// Changes the members, tells the publisher if there is something to do for it, and everybody what has happened.
    fn change<T>(&self, change: impl FnOnce(&mut Members) -> T) -> T {
        let (result, happened, wake) = {
            let mut members = self.members.lock();
            let waited = members.is_waiting();
            let result = change(&mut members);
            let wake = members.is_news() || (members.is_waiting() && !waited);
            (result, members.take_happened(), wake)
        };
        happened.iter().for_each(|happened| self.tell(happened));
        if wake {
            self.changed.notify_one();
        }
        result
    }

    /// Does what the time asks for, and publishes if something has changed. Returns whether it has, and whether something
    /// will happen by itself later.
    fn step(&self, now: Instant, target: &impl Target) -> (bool, bool) {
        let _publishing = self.publishing.lock();
        let leaving = self.members.lock().leaving();
        let in_flight: HashMap<_, _> = leaving.iter().cloned().zip(target.in_flight(&leaving)).collect();
        let (config, waiting, happened) = {
            let mut members = self.members.lock();
            // Who began to leave just now counts as busy.
            let busy = |cluster: &ClusterName, id: &NodeId| {
                in_flight.get(&(cluster.clone(), id.clone())).copied().unwrap_or(usize::MAX)
            };
            members.expire(now, &busy);
            let config = members.take_news().then(|| members.effective());
            (config, members.is_waiting(), members.take_happened())
        };
        happened.iter().for_each(|happened| self.tell(happened));
        let published = config.map(|config| target.publish(config, now)).is_some();
        (published, waiting)
    }

    fn tell(&self, happened: &Happened) {
        let Happened { cluster, id, source, role, event } = happened;
        match event {
            Event::Joined => info!("membership: {cluster}/{id} is a member ({source})"),
            Event::Changed => info!("membership: {cluster}/{id} has changed ({source})"),
            Event::Back => info!("membership: {cluster}/{id} is back ({source})"),
            Event::Deregistered => info!("membership: {cluster}/{id} is deregistered and is drained"),
            Event::Expired => warn!("membership: {cluster}/{id} was not renewed and is drained"),
            Event::Left => info!("membership: {cluster}/{id} is not found any more ({source}) and is drained"),
            Event::Superseded => info!("membership: {cluster}/{id} is drained: another member has its address now"),
            Event::Removed => info!("membership: {cluster}/{id} is taken out"),
            Event::Forbidden => warn!("membership: {cluster}/{id} is no longer allowed ({source}) and is taken out"),
            Event::Renewed => {}
        }
        self.metrics.member_event(cluster, *role, event.as_str());
    }
}
