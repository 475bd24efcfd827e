//! Who may ask the admin API, and for what.

use std::fmt;

use serde::Serialize;

use super::Secret;
use crate::ids::{ClusterName, Role};

/// A bearer token of the admin API, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Token {
    /// What whoever asks has to know.
    pub secret: Secret,
    /// What it is good for.
    pub scope: Scope,
}

impl Token {
    /// A token that is good for everything.
    pub fn unlimited(secret: Secret) -> Self {
        Token { secret, scope: Scope::unlimited() }
    }
}

/// What a token is good for: each of `may`, in each of `pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Scope {
    /// Not empty, no repetition.
    pub may: Vec<Permission>,
    /// Not empty.
    pub pools: Vec<PoolPattern>,
}

impl Scope {
    /// Everything, everywhere.
    pub fn unlimited() -> Self {
        Scope { may: Permission::ALL.to_vec(), pools: vec![PoolPattern { cluster: None, role: None }] }
    }

    /// Whether it permits something, wherever that is.
    pub fn permits(&self, permission: Permission) -> bool {
        self.may.contains(&permission)
    }

    /// Whether it is good for the pool of a role of a cluster.
    pub fn covers(&self, cluster: &ClusterName, role: Role) -> bool {
        self.pools.iter().any(|pattern| pattern.covers(cluster, role))
    }

    /// Whether it is good for some pool of a cluster.
    pub fn covers_some(&self, cluster: &ClusterName) -> bool {
        Role::ALL.into_iter().any(|role| self.covers(cluster, role))
    }
}

/// Something that a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// To see members and what they are busy with.
    Read,
    /// To set states and weights of nodes.
    Operate,
    /// To register members, to renew their leases, and to deregister them.
    Register,
}

impl Permission {
    /// All of them.
    pub const ALL: [Permission; 3] = [Permission::Read, Permission::Operate, Permission::Register];

    /// Each with the word that the configuration has for it.
    pub(crate) const WORDS: [(&'static str, Permission); 3] =
        [("read", Permission::Read), ("operate", Permission::Operate), ("register", Permission::Register)];

    /// The word used in the configuration and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Operate => "operate",
            Permission::Register => "register",
        }
    }
}

/// Some pools: `esb/worker`, `esb/*`, `*/worker`, `*/*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct PoolPattern {
    /// `None`: of any cluster.
    pub cluster: Option<ClusterName>,
    /// `None`: of both roles.
    pub role: Option<Role>,
}

impl PoolPattern {
    /// The pools of one role in any cluster.
    pub(crate) const fn of_role(role: Role) -> Self {
        PoolPattern { cluster: None, role: Some(role) }
    }

    fn covers(&self, cluster: &ClusterName, role: Role) -> bool {
        self.cluster.as_ref().is_none_or(|own| own == cluster) && self.role.is_none_or(|own| own == role)
    }
}

impl fmt::Display for PoolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.as_ref().map_or("*", ClusterName::as_str);
        write!(f, "{cluster}/{}", self.role.map_or("*", Role::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    #[test]
    fn a_pattern_covers_what_it_names() {
        let name = |text| Name::parse(text).unwrap();
        let (esb, is) = (name("esb"), name("is"));
        for (cluster, role, text, covered) in [
            (None, None, "*/*", [true; 4]),
            (None, Some(Role::Worker), "*/worker", [false, true, false, true]),
            (Some(&esb), None, "esb/*", [true, true, false, false]),
            (Some(&esb), Some(Role::Manager), "esb/manager", [true, false, false, false]),
        ] {
            let pattern = PoolPattern { cluster: cluster.cloned(), role };
            assert_eq!(pattern.to_string(), text);
            let scope = Scope { may: vec![Permission::Register], pools: vec![pattern] };
            let found = [&esb, &is].map(|cluster| Role::ALL.map(|role| scope.covers(cluster, role)));
            assert_eq!(found.concat(), covered, "{text}");
            assert!(scope.permits(Permission::Register) && !scope.permits(Permission::Operate));
        }
    }

    #[test]
    fn words_and_permissions_are_the_same() {
        let words = Permission::ALL.map(|permission| (permission.as_str(), permission));
        assert_eq!(words, Permission::WORDS);
    }
}
