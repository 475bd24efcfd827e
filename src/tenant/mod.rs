//! Tenants: whose nodes they have, by which host they come, and how many requests one may have in flight.
//!
//! The name of a tenant is its domain (`example.com`). Letters have no case in it, here as in Carbon, which keeps domains
//! in lower case; so neither a partition nor a cap can be got around by writing it differently.

mod cap;
mod host;
mod partition;

use std::sync::Arc;

use smallvec::SmallVec;

pub use self::cap::{TenantCap, TenantPass};
pub use self::host::TenantHosts;
pub use self::partition::Partitions;

use crate::config::Tenants;

/// All that is decided by the tenant of a request, for one cluster.
#[derive(Debug)]
pub struct TenantRules {
    /// Which hosts name a tenant.
    pub hosts: TenantHosts,
    /// Which partition takes which tenants.
    pub partitions: Partitions,
    /// How many requests one may have in flight; `None`: any number.
    pub cap: Option<Arc<TenantCap>>,
}

impl TenantRules {
    /// Those of a cluster.
    pub fn new(tenants: &Tenants) -> Self {
        TenantRules {
            hosts: TenantHosts::new(tenants),
            partitions: Partitions::new(tenants),
            cap: tenants.max_in_flight.map(TenantCap::new),
        }
    }

    /// Those of the same cluster with other settings: what is in flight stays counted.
    pub fn renewed(&self, tenants: &Tenants) -> Self {
        let kept = self.cap.as_ref().zip(tenants.max_in_flight).map(|(cap, limit)| {
            cap.set_limit(limit);
            cap.clone()
        });
        let rules = TenantRules::new(tenants);
        TenantRules { cap: kept.or(rules.cap), ..rules }
    }
}

/// Calls `read` with the tenant's name in lower case. It allocates only for names that are longer than a domain can be.
fn in_lower_case<R>(tenant: &str, read: impl FnOnce(&str) -> R) -> R {
    if !tenant.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return read(tenant);
    }
    let mut lower = SmallVec::<[u8; 256]>::from_slice(tenant.as_bytes());
    lower.make_ascii_lowercase();
    // Letters of ASCII were replaced by others: it is text as before.
    read(std::str::from_utf8(&lower).unwrap_or(tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascii_has_cases() {
        for (name, expected) in [("example.com", "example.com"), ("Example.COM", "example.com"), ("", ""), ("ÄA", "Äa")]
        {
            assert_eq!(in_lower_case(name, str::to_owned), expected);
        }
        assert_eq!(in_lower_case(&"X".repeat(1000), str::to_owned), "x".repeat(1000));
    }
}
