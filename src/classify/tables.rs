//! Which path is for whom, by product.
//!
//! The sources of these tables are the vendor's documents and advisories; `docs` of the products change, so the operator
//! can add to them (`paths` of a cluster). `/services` is judged apart, see [`super::services`].

use super::trie::{Mark, Trie};
use crate::config::{Cluster, Product};

/// For managers only, whatever the product: a path that one product does not have is not served by it anyway, and a
/// cluster whose product was stated wrongly is not open.
const MANAGEMENT: &[&str] = &[
    "/carbon",
    "/admin",
    "/publisher",
    "/console",
    "/registry",
    "/resource",
    "/fileupload",
    "/filedownload",
    "/acs",
    "/mexut",
    "/lsp",
    "/api/am/admin",
    "/api/am/publisher",
    "/api/am/devops",
    // Its `server-startup-healthcheck` too: probes go to the nodes, not through a listener.
    "/api/am/gateway",
    "/api/am/governance",
    "/api/am/service-catalog",
    "/api/server/v1",
    "/api/identity/config-mgt",
    "/api/identity/template",
    "/api/identity/entitlement",
    "/api/identity/oauth2",
    "/internal/data/v1",
    "/keymanager-operations",
    "/client-registration",
    "/usage-data-receiver",
    "/endpoints",
    "/identity/register",
    "/identity/connect/register",
    "/wso2/scim",
    "/management",
    "/metric-service",
];

/// What both roles need to log somebody in, on every product.
const LOGIN: &[&str] = &["/oauth2", "/commonauth", "/authenticationendpoint", "/oidc", "/logincontext", "/favicon.ico"];

/// What Identity Server does for clients. API Manager has it in its key manager.
const IDENTITY: &[&str] = &[
    "/samlsso",
    "/samlartresolve",
    "/passivests",
    "/accountrecoveryendpoint",
    "/identity/saml",
    "/identity/oidc",
    "/identity/cas",
    "/identity/metadata",
    "/identity/extend-session",
    "/.well-known",
    "/api/users/v1",
    "/api/identity/recovery",
    "/api/identity/auth",
    "/api/identity/user",
    "/scim2",
];

/// API Manager's portals for consumers: they run on the control plane, which is the manager's side of a cluster, and yet
/// are public. So they follow the listener: an operator exposes them through the listener that leads to where they run.
const APIM_PORTALS: &[&str] = &["/devportal", "/store", "/api/am/devportal", "/myaccount"];

/// Identity Server's portal for its users runs on every node.
const IS_PORTALS: &[&str] = &["/myaccount"];

/// The paths of one cluster.
#[derive(Debug)]
pub(super) struct PathTables {
    /// Management paths, compared without regard to case: what must not reach a worker.
    pub(super) denied: Trie,
    /// All paths, compared exactly: what may be served.
    pub(super) allowed: Trie,
    /// Of the paths that may be served to clients, those that the operator listed, compared exactly.
    pub(super) own: Trie,
    /// Those of them that go through a segment `services`.
    pub(super) own_services: Trie,
}

impl PathTables {
    /// The product's paths and the operator's.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut tables = PathTables {
            denied: Trie::folding(),
            allowed: Trie::exact(),
            own: Trie::exact(),
            own_services: Trie::exact(),
        };
        tables.add(MANAGEMENT, Mark::Management);
        tables.add(LOGIN, Mark::Shared);
        match cluster.product {
            Product::Is => {
                tables.add(IDENTITY, Mark::Service);
                tables.add(IS_PORTALS, Mark::Service);
            }
            Product::Apim => {
                tables.add(IDENTITY, Mark::Service);
                tables.add(APIM_PORTALS, Mark::Shared);
            }
            Product::Esb | Product::Mi | Product::As | Product::Carbon => {}
        }
        tables.add(&cluster.paths.management, Mark::Management);
        tables.add(&cluster.paths.service, Mark::Service);
        tables.add(&cluster.paths.shared, Mark::Shared);
        for prefix in cluster.paths.service.iter().chain(&cluster.paths.shared) {
            tables.own.insert(prefix, Mark::Service);
            if prefix.split('/').any(|segment| segment == "services") {
                tables.own_services.insert(prefix, Mark::Service);
            }
        }
        tables
    }

    fn add<P: AsRef<str>>(&mut self, prefixes: &[P], mark: Mark) {
        for prefix in prefixes {
            self.allowed.insert(prefix.as_ref(), mark);
            if mark == Mark::Management {
                self.denied.insert(prefix.as_ref(), mark);
            }
        }
    }
}
