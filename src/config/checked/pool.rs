//! The checked form of `clusters.*.pools`: how a pool chooses among its members, spares them, and holds on to them.

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::{SameSite, ScalePolicy};
use crate::ids::{Name, Role};

/// How a pool treats its members.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolSettings {
    /// The balancing algorithm.
    pub balance: Algorithm,
    /// What [`Algorithm::Hash`] looks at.
    pub hash: HashSettings,
    /// What keeps a session on its member.
    pub affinity: Affinity,
    /// Idle connections to nodes.
    pub keepalive: Keepalive,
    /// Limits for a request to a node.
    pub timeouts: UpstreamTimeouts,
    /// The rhythm of the health checks.
    pub health: HealthPolicy,
    /// What is done about members that fail requests; `None`: nothing.
    pub outliers: Option<OutlierPolicy>,
    /// Percent of a pool's members. If fewer may be asked, all that neither rest nor drain are. 0: never.
    pub panic: u8,
    /// When a request is tried again.
    pub retry: RetryPolicy,
    /// Requests in flight on one member, unless its node says otherwise; `None`: any number.
    pub max_in_flight: Option<usize>,
    /// Where requests wait while all members are full.
    pub queue: QueuePolicy,
    /// How long the share of a member grows that has come up. Zero: not at all.
    pub slow_start: Duration,
    /// What the nodes report of their own load.
    pub load: LoadSettings,
    /// How many nodes there should be; `None`: as many as there are.
    pub scale: Option<ScalePolicy>,
    /// Where members may be that the file does not name. Empty: there are none.
    pub allowed_networks: Vec<IpNet>,
}

impl PoolSettings {
    /// The defaults for a pool of `role`: what a configuration means that says nothing.
    pub fn of(role: Role) -> Self {
        PoolSettings {
            balance: Algorithm::RoundRobin,
            hash: HashSettings { by: HashKey::Client, bound: 125 },
            affinity: match role {
                Role::Manager => Affinity::Cookie(AffinityCookie::of(role)),
                Role::Worker => Affinity::Off,
            },
            keepalive: Keepalive { connections: 256, idle: Duration::from_secs(15) },
            timeouts: UpstreamTimeouts {
                connect: Duration::from_secs(2),
                // Long, because services call back ends of their own.
                read: Duration::from_secs(5 * 60),
                write: Duration::from_secs(60),
            },
            health: HealthPolicy {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                rise: 2,
                fall: 3,
            },
            outliers: Some(OutlierPolicy::default()),
            panic: 0,
            retry: RetryPolicy { attempts: 2, try_timeout: None, budget: 20, budget_floor: 3 },
            max_in_flight: None,
            queue: QueuePolicy { length: 1000, wait: Duration::from_secs(5) },
            slow_start: Duration::ZERO,
            load: LoadSettings { orca: false, fade: Duration::from_secs(10), agent: None },
            scale: None,
            allowed_networks: Vec::new(),
        }
    }
}

impl AffinityCookie {
    /// The defaults for a pool of `role`. Their names differ, so that on a host of both roles none replaces the other.
    pub fn of(role: Role) -> Self {
        let name = match role {
            Role::Manager => "CARBON_ELB",
            Role::Worker => "CARBON_ELB_WORKER",
        };
        AffinityCookie {
            name: name.to_owned(),
            path: "/".to_owned(),
            secure: Secure::Auto,
            same_site: Some(SameSite::Lax),
            lifetime: None,
        }
    }

    /// The cookie of the pool of a tenant partition: its name ends with the partition's. A browser that asks for tenants
    /// of several partitions has a session in each, and keeps one cookie of a name.
    pub fn in_partition(&self, partition: Option<&Name>) -> Self {
        let name = partition.map_or_else(|| self.name.clone(), |partition| format!("{}.{partition}", self.name));
        AffinityCookie { name, ..self.clone() }
    }
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        OutlierPolicy {
            consecutive: 5,
            error_percent: 0,
            latency_percent: 0,
            requests: 20,
            interval: Duration::from_secs(10),
            eject_for: Duration::from_secs(10),
            eject_at_most: Duration::from_secs(300),
            max_ejected: 50,
        }
    }
}

/// A balancing algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Members take turns as their weights say, evenly interleaved.
    RoundRobin,
    /// Any member, with a chance as its weight says.
    Random,
    /// The member with the fewest requests in flight for its weight.
    LeastInFlight,
    /// The better of two that are drawn: the one with fewer requests in flight for its weight.
    TwoChoices,
    /// The better of two that are drawn: the one with the lower peak-sensitive moving average of latency, times its
    /// requests in flight.
    PeakEwma,
    /// The member that a hash of the request names, or the next one if that has too many requests.
    Hash,
    /// Turns, with weights scaled by the load that nodes report.
    LoadAware,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 7] = [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::LeastInFlight,
        Algorithm::TwoChoices,
        Algorithm::PeakEwma,
        Algorithm::Hash,
        Algorithm::LoadAware,
    ];

    /// Each with the word that the configuration has for it.
    pub(crate) const WORDS: &'static [(&'static str, Algorithm)] = &{
        let mut words = [("", Algorithm::RoundRobin); Algorithm::ALL.len()];
        let mut index = 0;
        // Computed by the compiler, which would not accept an index that is out of bounds.
        while index < words.len() {
            let algorithm = Algorithm::ALL[index];
            words[index] = (algorithm.as_str(), algorithm);
            index += 1;
        }
        words
    };

    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::RoundRobin => "round_robin",
            Algorithm::Random => "random",
            Algorithm::LeastInFlight => "least_in_flight",
            Algorithm::TwoChoices => "two_choices",
            Algorithm::PeakEwma => "peak_ewma",
            Algorithm::Hash => "hash",
            Algorithm::LoadAware => "load_aware",
        }
    }
}

/// What [`Algorithm::Hash`] looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HashSettings {
    /// The part of the request.
    pub by: HashKey,
    /// Percent of the mean of requests in flight that a member may have before the next one is asked, 101 to 1000.
    pub bound: u16,
}

/// A part of a request that names a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The client's address.
    Client,
    /// The value of a header; its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The tenant in path or host.
    Tenant,
    /// A segment of the canonical path, from 1.
    PathSegment(usize),
}

/// What keeps a session on its member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Nothing.
    Off,
    /// A cookie of the balancer's own.
    Cookie(AffinityCookie),
    /// The route that Tomcat adds to its session ids: the node's `route`, or its id.
    Route {
        /// The cookie whose value ends with `.ROUTE`.
        cookie: String,
    },
    /// A hash: the same member as long as the members stay the same.
    Hash(HashKey),
}

/// The cookie that keeps a session on its member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AffinityCookie {
    /// A token of RFC 9110.
    pub name: String,
    /// The `Path` attribute, beginning with `/`.
    pub path: String,
    /// When the `Secure` attribute is set.
    pub secure: Secure,
    /// The `SameSite` attribute; `None`: none is sent.
    pub same_site: Option<SameSite>,
    /// The `Max-Age` attribute; `None`: until the browser ends.
    pub lifetime: Option<Duration>,
}

/// When a cookie's `Secure` attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Secure {
    /// If the client came over TLS.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Idle connections to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Keepalive {
    /// How many a pool may keep, 0 to 65536.
    pub connections: usize,
    /// How long one may stay idle.
    pub idle: Duration,
}

/// Limits for a request to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UpstreamTimeouts {
    /// For the connection, TLS handshake included.
    pub connect: Duration,
    /// The longest pause between two reads of a response.
    pub read: Duration,
    /// The longest pause between two writes of a request.
    pub write: Duration,
}

/// The rhythm of the health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthPolicy {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// For one probe in total; at most `interval`.
    pub timeout: Duration,
    /// Good answers in a row that bring a member up, 1 to 100.
    pub rise: u32,
    /// Bad answers in a row that take a member down, 1 to 100.
    pub fall: u32,
}

/// When a member that fails requests is ejected: not asked for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OutlierPolicy {
    /// Gateway errors in a row (502, 503, 504, broken connections, timeouts); 0: they do not count.
    pub consecutive: u32,
    /// Percent of the requests of an interval that may be errors; 0: any share.
    pub error_percent: u8,
    /// How many times as slow as the pool's median a member's mean of an interval may be, in percent; 0: any.
    pub latency_percent: u32,
    /// Requests in an interval without which the last two say nothing.
    pub requests: u32,
    /// The interval of the last three.
    pub interval: Duration,
    /// How long the first ejection lasts; each further one lasts so much longer.
    pub eject_for: Duration,
    /// The longest ejection.
    pub eject_at_most: Duration,
    /// Percent of a pool's members that may be ejected at a time, rounded down; but one always if there is another.
    pub max_ejected: u8,
}

/// When a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts, the first included, 1 to 16. Connections that could not be made do not count.
    pub attempts: usize,
    /// How long an attempt may take to its first byte, while another one may follow; `None`: as the timeouts say.
    pub try_timeout: Option<Duration>,
    /// Percent of the pool's requests in flight that may be retries.
    pub budget: u8,
    /// Retries at a time that are always allowed.
    pub budget_floor: usize,
}

/// Where requests wait while all members are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueuePolicy {
    /// How many may wait; 0: none.
    pub length: usize,
    /// How long one may wait.
    pub wait: Duration,
}

/// What the nodes report of their own load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoadSettings {
    /// Whether the `endpoint-load-metrics` header of answers is read (and taken out).
    pub orca: bool,
    /// How long a report counts fully; after twice as long it counts no more.
    pub fade: Duration,
    /// A port of each node that tells its load and state; `None`: it is not asked.
    pub agent: Option<AgentCheck>,
}

/// A port of each node that tells its load and state, as HAProxy's agent check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AgentCheck {
    /// The port.
    pub port: u16,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// For one check in total.
    pub timeout: Duration,
}
