//! The checked form of `rules`: limits on what some requests may ask for.

use std::time::Duration;

use serde::Serialize;

use crate::ids::{ClusterName, ListenerName, Name, Role};

/// A limit on requests that match. What is `None` matches every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Key under `rules`.
    pub name: Name,
    /// The listener that the request came to.
    pub listener: Option<ListenerName>,
    /// The cluster that it is for.
    pub cluster: Option<ClusterName>,
    /// The role that it is for.
    pub role: Option<Role>,
    /// A path, with everything below it.
    pub path: Option<String>,
    /// Bytes of a body, instead of the listener's limit.
    pub body: Option<BodyLimit>,
    /// Requests in a time.
    pub rate: Option<RateLimit>,
}

/// A limit on bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BodyLimit {
    /// As large as they like.
    Off,
    /// At most so many bytes.
    Bytes(u64),
}

/// A limit on requests in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many, at least 1.
    pub requests: u32,
    /// In how long: a second, a minute or an hour.
    pub window: Duration,
    /// Whose requests are counted together.
    pub per: RateKey,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateKey {
    /// Those of one client: an IPv4 address, or a /64 network of IPv6.
    Client,
    /// Those for one tenant; those for none are not limited.
    Tenant,
    /// Those with the same value of a header (its name in lower case); those without it count as one.
    Header(String),
    /// All that match the rule.
    All,
}
