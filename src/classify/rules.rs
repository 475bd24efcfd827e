//! What a path is in one cluster.

use std::sync::Arc;

use super::path::Canonical;
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

/// What the rules are asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) endpoint: Endpoint,
    pub(super) path: &'r Canonical<'r>,
    /// Whether it may be SOAP, see [`super::soap`].
    pub(super) soap: bool,
}

/// What a reader who is as lenient as can be might find in a path: without regard to case, behind any number of tenant
/// and organisation prefixes.
#[derive(Debug, Default, Clone, Copy)]
struct Worst {
    /// Why a worker must not see it.
    management: Option<Reason>,
    /// A name under `/services` that is neither an admin service nor on the operator's list.
    unlisted_service: bool,
    /// Such a name behind a `services` segment further down. Axis2 finds it there as well; or it is a resource of an API.
    hidden_service: bool,
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

    /// What a request is for a listener of `role`, or why it is not served there.
    pub(super) fn decide(&self, role: Role, request: Request<'_>) -> Result<Class, Reason> {
        let Request { endpoint, path, .. } = request;
        let mut worst = self.worst(endpoint, path.as_bytes());
        // `/services%23/echo` is the list of all services to a second reader, and not what stands behind.
        if let Some(path) = cut(path.as_bytes()) {
            worst = worst.or(self.worst(endpoint, path));
        }
        let local = Tenant::split_off(path.as_bytes()).1;
        let listed = self.listed(endpoint, local);
        match role {
            Role::Worker => {
                let class = for_worker(endpoint, worst, listed)?;
                if worst.hidden_service && !self.has_services(endpoint, local) {
                    return Err(Reason::ServiceNotListed);
                }
                if request.soap && !self.says_what_it_calls(request, local, listed) {
                    return Err(Reason::SoapNotListed);
                }
                Ok(class)
            }
            Role::Manager => for_manager(worst, listed, path),
        }
    }

    /// Whether a segment `services` somewhere in a path is nothing to Axis2: it belongs to a web application, or the
    /// operator says that an API has it. On pass-through ports the product's own paths mean nothing.
    fn has_services(&self, endpoint: Endpoint, local: &[u8]) -> bool {
        endpoint == Endpoint::Servlet || self.paths.own_services.look_up(local).listed.is_some()
    }

    /// Whether Axis2 finds what is `listed` from the URI alone, and so never looks into the message (see
    /// [`super::soap`]). `local` is the path without its tenant.
    fn says_what_it_calls(&self, request: Request<'_>, local: &[u8], listed: Listed) -> bool {
        let known_to_synapse = || is_services(local) || self.paths.own.look_up(local).listed.is_some();
        // Axis2 and Synapse compare the raw URI: `/services/%65cho` and `/services/echo;jsessionid=1` name nothing.
        request.path.is_plain()
            && matches!(listed, Listed::Service | Listed::Shared)
            && (request.endpoint == Endpoint::Servlet || known_to_synapse())
    }

    /// Why a worker must not get a query: Axis2 would find a service in it.
    pub(super) fn check_query(&self, endpoint: Endpoint, path: &[u8], query: &[u8]) -> Result<(), Reason> {
        // What is listed and no service is a web application on servlet ports. It never meets Axis2.
        let all = endpoint == Endpoint::Passthrough || is_services(Tenant::split_off(path).1);
        if let Some(path) = cut(path) {
            self.services.check_query(path, query, all)?;
        }
        self.services.check_query(path, query, all)
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
            } else if segment == b"services" {
                worst.hidden_service |= self.services.judge(after) == Judgement::Unlisted;
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
///
/// It may be a service in the narrower sense, too: `/t/{tenant}/NAME` calls what the tenant has deployed as `NAME`, and
/// nothing tells that from an API.
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

/// A manager gets management as Carbon writes it, and what is shared. Some of Carbon's own checks look at the raw URI, so
/// that a needless escape would be a way around them.
fn for_manager(worst: Worst, listed: Listed, path: &Canonical<'_>) -> Result<Class, Reason> {
    match (listed, worst.management) {
        (Listed::Management, _) if !path.has_needless_escapes() => Ok(Class::Management),
        (Listed::Management, _) => Err(Reason::ManagementPathInexact),
        (_, Some(_)) => Err(Reason::ManagementPathInexact),
        (Listed::Shared, None) => Ok(Class::Shared),
        (Listed::Service, None) => Err(Reason::ServicePathOnManager),
        (Listed::Nothing, None) if worst.unlisted_service => Err(Reason::ServiceNotListed),
        (Listed::Nothing, None) => Err(Reason::PathNotListed),
    }
}

impl Worst {
    /// What is in either of two readings of a path.
    fn or(self, other: Worst) -> Worst {
        Worst {
            management: self.management.or(other.management),
            unlisted_service: self.unlisted_service || other.unlisted_service,
            hidden_service: self.hidden_service || other.hidden_service,
        }
    }
}

/// A decoded path as a second reader has it who takes a `?` or `#` in it for an end. `None` if there is none.
fn cut(path: &[u8]) -> Option<&[u8]> {
    path.get(..path.iter().position(|byte| matches!(byte, b'?' | b'#'))?)
}

/// Whether a path without tenant is `/services`, or below it.
fn is_services(local: &[u8]) -> bool {
    matches!(split(local), Some((b"services", _)))
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
