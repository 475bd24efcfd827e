//! What a path is in one cluster.

use std::sync::Arc;

use super::segments::{is, is_end, split};
use super::services::{Judgement, ServiceRules};
use super::tables::PathTables;
use super::trie::Mark;
use super::{Class, Reason};
use crate::admin_services::AdminTable;
use crate::config::Cluster;
use crate::ids::{Endpoint, Role};

/// The compiled rules of one cluster.
#[derive(Debug)]
pub(super) struct Rules {
    paths: PathTables,
    services: ServiceRules,
}

/// What a reader who is as lenient as can be might find in a path: without regard to case, behind any number of tenant
/// and organisation prefixes.
#[derive(Debug, Default, Clone, Copy)]
struct Worst {
    /// Why a worker must not see it.
    management: Option<Reason>,
    /// A name under `/services` that is neither an admin service nor on the operator's list.
    unlisted_service: bool,
}

/// What an exact reader, who knows one tenant prefix, finds in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Management,
    Service,
    Shared,
    Nothing,
}

impl Rules {
    pub(super) fn new(cluster: &Cluster, built_in: Arc<AdminTable>) -> Self {
        Rules {
            paths: PathTables::new(cluster),
            services: ServiceRules::new(&cluster.services, &cluster.admin_services, built_in),
        }
    }

    /// What `path` (canonical) is for a listener of `role`, or why it is not served there.
    pub(super) fn decide(&self, role: Role, endpoint: Endpoint, path: &[u8]) -> Result<Class, Reason> {
        let worst = self.worst(endpoint, path);
        let listed = self.listed(endpoint, Tenant::split_off(path).1);
        match role {
            Role::Worker => for_worker(endpoint, worst, listed),
            Role::Manager => for_manager(worst, listed),
        }
    }

    /// Whether a query makes Axis2 find an admin service.
    pub(super) fn admin_in_query(&self, path: &[u8], query: &[u8]) -> bool {
        self.services.admin_in_query(path, query)
    }

    /// Looks for management at the start of the path and behind each `/t/{tenant}`, `/o/{organisation}` and `/o` in
    /// front of it, and for admin services anywhere.
    fn worst(&self, endpoint: Endpoint, path: &[u8]) -> Worst {
        let mut worst = Worst::default();
        let mut tail = path;
        // Whether only prefixes precede `tail`, and whether they would also precede what follows its first segment.
        let (mut here, mut next) = (true, false);
        let mut in_services = false;
        loop {
            if here && (self.paths.denied.look_up(tail).management || is_console_root(endpoint, tail)) {
                worst.management = Some(Reason::ManagementPath);
                return worst;
            }
            let Some((segment, after)) = split(tail) else { return worst };
            if (here || in_services) && is(segment, b"services") {
                match self.services.judge(after) {
                    Judgement::Listing => worst.management = Some(Reason::ManagementPath),
                    Judgement::Admin { .. } => worst.management = Some(Reason::AdminService),
                    Judgement::Unlisted => worst.unlisted_service = true,
                    Judgement::Allowed => {}
                }
                in_services = true;
            } else if self.services.hidden_admin(segment, after) {
                worst.management = Some(Reason::AdminService);
            }
            if worst.management.is_some() {
                return worst;
            }
            let organisation = here && is(segment, b"o");
            (here, next) = (next || organisation, here && (organisation || is(segment, b"t")));
            tail = after;
        }
    }

    /// What the tables say, exactly, about a path without its tenant.
    fn listed(&self, endpoint: Endpoint, path: &[u8]) -> Listed {
        if is_console_root(endpoint, path) {
            return Listed::Management;
        }
        let found = self.paths.allowed.look_up(path);
        if found.management {
            return Listed::Management;
        }
        if let Some((b"services", tail)) = split(path) {
            return match self.services.judge(Tenant::split_off(tail).1) {
                Judgement::Listing | Judgement::Admin { exact: true } => Listed::Management,
                Judgement::Allowed => Listed::Service,
                Judgement::Admin { exact: false } | Judgement::Unlisted => Listed::Nothing,
            };
        }
        match found.listed {
            Some(Mark::Shared) => Listed::Shared,
            Some(_) => Listed::Service,
            None => Listed::Nothing,
        }
    }
}

/// A worker gets nothing that anybody could take for management. Synapse's API contexts are arbitrary, so that on a
/// pass-through endpoint everything else is a service.
fn for_worker(endpoint: Endpoint, worst: Worst, listed: Listed) -> Result<Class, Reason> {
    match (worst.management, listed) {
        (Some(reason), _) => Err(reason),
        (None, _) if worst.unlisted_service => Err(Reason::ServiceNotListed),
        (None, Listed::Management) => Err(Reason::ManagementPath),
        (None, Listed::Shared) => Ok(Class::Shared),
        (None, Listed::Service) => Ok(Class::Service),
        (None, Listed::Nothing) if endpoint == Endpoint::Passthrough => Ok(Class::Service),
        (None, Listed::Nothing) => Err(Reason::PathNotListed),
    }
}

/// A manager gets management as Carbon writes it, and what is shared.
fn for_manager(worst: Worst, listed: Listed) -> Result<Class, Reason> {
    match (listed, worst.management) {
        (Listed::Management, _) => Ok(Class::Management),
        (_, Some(_)) => Err(Reason::ManagementPathInexact),
        (Listed::Shared, None) => Ok(Class::Shared),
        (Listed::Service, None) => Err(Reason::ServicePathOnManager),
        (Listed::Nothing, None) if worst.unlisted_service => Err(Reason::ServiceNotListed),
        (Listed::Nothing, None) => Err(Reason::PathNotListed),
    }
}

/// On a servlet endpoint Carbon redirects `/` to the console.
fn is_console_root(endpoint: Endpoint, tail: &[u8]) -> bool {
    endpoint == Endpoint::Servlet && is_end(tail)
}

/// The domain of a tenant in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenant<'a>(&'a [u8]);

impl<'a> Tenant<'a> {
    /// The tenant whose domain is in `path`: in front (`/t/{tenant}/...`), or behind `/services`.
    pub(super) fn of(path: &'a [u8]) -> Option<Self> {
        let (tenant, rest) = Tenant::split_off(path);
        tenant.or_else(|| match split(rest) {
            Some((b"services", tail)) => Tenant::split_off(tail).0,
            _ => None,
        })
    }

    /// Takes `/t/{tenant}` off. What is no possible domain is left in place, and so is on no table that allows.
    fn split_off(path: &'a [u8]) -> (Option<Self>, &'a [u8]) {
        match split(path).filter(|(segment, _)| segment == b"t").and_then(|(_, tail)| split(tail)) {
            Some((domain, rest)) if is_domain(domain) => (Some(Tenant(domain)), rest),
            _ => (None, path),
        }
    }

    /// The domain: ASCII letters, digits and `.-_@+`.
    pub(super) fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

/// What may be the domain of a tenant; also what may stand in a log line and in a metric label as it is.
fn is_domain(segment: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@' | b'+');
    matches!(segment.len(), 1..=255) && segment.iter().all(allowed)
}
