//! Names and small enumerations that every other module speaks in.
//!
//! They are parsed once, by the configuration, and cannot hold a value that the rest of the
//! program would have to check again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that an operator gave in the configuration: ASCII letters, digits, `-`, `_` and `.`, 1 to 64 characters.
///
/// Such a name is safe as a metric label, in a log line and in a URL path segment. Cloning it copies no text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// What a [`Name`] may look like, in words for error messages.
pub const NAME_RULE: &str = "1 to 64 ASCII letters, digits, '-', '_' or '.', the first a letter or digit";

impl Name {
    /// Checks `text` against [`NAME_RULE`].
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        (starts_well && text.len() <= 64 && text.bytes().all(allowed)).then(|| Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// As strict as [`Name::parse`].
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Name::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a name: {NAME_RULE}")))
    }
}

/// The name of a cluster, a key under `clusters`.
pub type ClusterName = Name;
/// The id of a node, unique in its cluster.
pub type NodeId = Name;
/// The name of a source of members, a key under `clusters.*.sources`.
pub type SourceName = Name;
/// The name of a listener, a key under `listeners`.
pub type ListenerName = Name;

/// What a node does in a Carbon cluster, and what a listener gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Deploys and configures artifacts and serves the management console; for internal clients only.
    Manager,
    /// Serves the requests of outside clients to deployed artifacts.
    Worker,
}

impl Role {
    /// Both roles, in the order of [`Role::index`].
    pub const ALL: [Role; 2] = [Role::Manager, Role::Worker];

    /// The word used in the configuration, in logs and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Manager => "manager",
            Role::Worker => "worker",
        }
    }

    /// A dense index for tables by role: below 2, which is the length of each of them.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of a node's ports a listener forwards to; the two read a path differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// The servlet container (Tomcat): console, portals, REST APIs. Ports 9443 and 9763 by default.
    Servlet,
    /// The pass-through transport (Synapse): services and APIs. Ports 8243 and 8280 by default.
    Passthrough,
}

impl Endpoint {
    /// Both endpoints, in the order of [`Endpoint::index`].
    pub const ALL: [Endpoint; 2] = [Endpoint::Servlet, Endpoint::Passthrough];

    /// The word used in the configuration, in logs and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Endpoint::Servlet => "servlet",
            Endpoint::Passthrough => "passthrough",
        }
    }

    /// A dense index for tables by endpoint: below 2, which is the length of each of them.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a path that two readers could understand differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMode {
    /// It is refused.
    #[default]
    Strict,
    /// It is rewritten as Tomcat understands it, where there is such a form.
    Canonicalize,
}

impl PathMode {
    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            PathMode::Strict => "strict",
            PathMode::Canonicalize => "canonicalize",
        }
    }
}

/// How an endpoint of a node is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP in clear text.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The word used in the configuration and in URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_labels_logs_and_paths() {
        for good in ["esb", "wk-1", "a.b_c", "9"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn indexes_follow_the_lists() {
        assert!(Role::ALL.iter().enumerate().all(|(i, role)| role.index() == i));
        assert!(Endpoint::ALL.iter().enumerate().all(|(i, endpoint)| endpoint.index() == i));
    }
}
