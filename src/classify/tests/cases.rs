//! Tables of cases.

use super::*;
use crate::config::Product::{Apim, As, Carbon, Esb, Is, Mi};
use On::{BothPass, BothServlet, ManagerPass, ManagerServlet, WorkerPass, WorkerServlet};

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// To the manager, as management.
    Manage,
    /// To the manager, as shared.
    ManagerShared,
    /// To a worker, as a service.
    Serve,
    /// To a worker, as shared.
    WorkerShared,
    /// Nowhere.
    No(Reason),
}

use Reason as R;
use Want::{Manage, ManagerShared, No, Serve, WorkerShared};

/// One cluster of each product, and what the tests need beyond the defaults.
pub(super) fn classifier() -> Classifier {
    let products = [
        ("esb", Esb),
        ("mi", Mi),
        ("is", Is),
        ("apim", Apim),
        ("as", As),
        ("carbon", Carbon),
        ("any", Esb),
        ("extra", Esb),
    ];
    let mut clusters: Vec<_> = products.map(|(name, product)| cluster(name, product, name, name)).into();
    clusters[6].services = Services::AnyButAdmin;
    clusters[7].paths = ExtraPaths {
        management: vec!["/ops".into(), "/app/Setup".into()],
        service: vec!["/app".into(), "/carbon/public".into(), "/tie".into(), "/api/services".into()],
        shared: vec!["/app/login".into(), "/tie".into()],
    };
    Classifier::new(&config(clusters))
}

fn check(rows: &[(On, &str, &str, Want)]) {
    check_facts(rows, |facts| facts);
}

/// Checks rows with `change`d facts.
pub(super) fn check_facts(rows: &[(On, &str, &str, Want)], change: impl Fn(Facts<'_>) -> Facts<'_>) {
    let classifier = classifier();
    for &(on, host, path, want) in rows {
        let got = match classifier.classify(&change(on.facts(host.as_bytes(), path.as_bytes()))) {
            Ok(decision) => match (decision.role, decision.class) {
                (Role::Manager, Class::Management) => Manage,
                (Role::Manager, Class::Shared) => ManagerShared,
                (Role::Worker, Class::Service) => Serve,
                (Role::Worker, Class::Shared) => WorkerShared,
                wrong => panic!("{wrong:?} for {on:?} {host} {path}"),
            },
            Err(refusal) => No(refusal.reason),
        };
        assert_eq!(got, want, "{on:?} {host} {path}");
    }
}

#[test]
fn management_is_for_managers_on_every_product() {
    check(&[
        (WorkerServlet, "esb", "/carbon", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/carbon/", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/carbon/admin/login.jsp", No(R::ManagementPath)),
        (WorkerPass, "esb", "/carbon/", No(R::ManagementPath)), // Synapse has no console, and still
        (ManagerServlet, "esb", "/carbon", Manage),
        (ManagerServlet, "esb", "/carbon/", Manage),
        (ManagerServlet, "esb", "/carbon/admin/login.jsp", Manage),
        (ManagerServlet, "esb", "/carbon/;jsessionid=AB1.n", Manage), // a link without cookies
        (ManagerPass, "esb", "/carbon/", Manage),
        (BothServlet, "esb", "/carbon/", Manage),
        (BothPass, "esb", "/carbon/", Manage),
        (WorkerServlet, "esb", "/carbonara", No(R::PathNotListed)), // segments, not characters
        (WorkerPass, "esb", "/carbonara", Serve),
        (ManagerServlet, "esb", "/carbonara", No(R::PathNotListed)),
        (WorkerServlet, "mi", "/management/apis", No(R::ManagementPath)),
        (WorkerPass, "mi", "/management/apis", No(R::ManagementPath)),
        (ManagerServlet, "mi", "/management/apis", Manage),
        (WorkerServlet, "is", "/console/login", No(R::ManagementPath)),
        (WorkerServlet, "is", "/api/server/v1/applications", No(R::ManagementPath)),
        (ManagerServlet, "is", "/api/server/v1/applications", Manage),
        (WorkerServlet, "is", "/api/server/v2", No(R::PathNotListed)),
        (WorkerServlet, "is", "/api/identity/oauth2/dcr/v1.1/register", No(R::ManagementPath)),
        (WorkerServlet, "is", "/identity/connect/register", No(R::ManagementPath)),
        (WorkerServlet, "is", "/wso2/scim/Users", No(R::ManagementPath)), // SCIM 1; SCIM 2 is a service
        (WorkerServlet, "apim", "/publisher", No(R::ManagementPath)),
        (ManagerServlet, "apim", "/publisher/apis", Manage),
        (WorkerServlet, "apim", "/api/am/publisher/v4/apis", No(R::ManagementPath)),
        (WorkerServlet, "apim", "/api/am/gateway/v2/server-startup-healthcheck", No(R::ManagementPath)), // see tables.rs
        (ManagerServlet, "apim", "/api/am/admin/v4", Manage),
        (WorkerPass, "apim", "/internal/data/v1/apis", No(R::ManagementPath)),
        (WorkerPass, "apim", "/keymanager-operations/dcr/register", No(R::ManagementPath)), // CVE-2025-9152
        (WorkerPass, "apim", "/endpoints/throttleEventReceiver", No(R::ManagementPath)),    // CVE-2026-4249
        (WorkerServlet, "as", "/fileupload/x", No(R::ManagementPath)),                      // CVE-2022-29464
        (ManagerServlet, "carbon", "/registry/resource/_system", Manage),
        (WorkerServlet, "carbon", "/filedownload", No(R::ManagementPath)),
    ]);
}

#[test]
fn the_root_is_the_console_on_servlet_endpoints_only() {
    check(&[
        (WorkerServlet, "esb", "/", No(R::ManagementPath)),
        (WorkerServlet, "is", "/", No(R::ManagementPath)),
        (WorkerServlet, "apim", "/", No(R::ManagementPath)),
        (WorkerServlet, "as", "/;jsessionid=1", No(R::ManagementPath)),
        (ManagerServlet, "esb", "/", Manage),
        (ManagerServlet, "is", "/t/wso2.com/", Manage),
        (ManagerServlet, "is", "/t/wso2.com", Manage),
        (WorkerServlet, "is", "/t/wso2.com/", No(R::ManagementPath)),
        (WorkerServlet, "is", "/t/wso2.com", No(R::ManagementPath)),
        (WorkerPass, "esb", "/", Serve), // an API may have the context /
        (WorkerPass, "esb", "/t/wso2.com/", Serve),
        (ManagerPass, "esb", "/", No(R::PathNotListed)),
        (BothServlet, "esb", "/", Manage),
        (BothPass, "esb", "/", Serve),
        (WorkerServlet, "esb", "/t", No(R::PathNotListed)), // no tenant
        (WorkerPass, "esb", "/t", Serve),
    ]);
}

#[test]
fn tenants_change_nothing_about_the_class() {
    check(&[
        (WorkerServlet, "esb", "/t/wso2.com/carbon/", No(R::ManagementPath)),
        (WorkerPass, "esb", "/t/wso2.com/carbon/", No(R::ManagementPath)),
        (ManagerServlet, "esb", "/t/wso2.com/carbon/admin/index.jsp", Manage),
        (WorkerServlet, "esb", "/T/wso2.com/carbon/", No(R::ManagementPath)),
        (ManagerServlet, "esb", "/T/wso2.com/carbon/", No(R::ManagementPathInexact)),
        (WorkerServlet, "esb", "/t/a/t/b/carbon", No(R::ManagementPath)), // nested: for nobody
        (ManagerServlet, "esb", "/t/a/t/b/carbon", No(R::ManagementPathInexact)),
        (WorkerPass, "esb", "/t/t/t/t/carbon", No(R::ManagementPath)), // tenants called t
        (WorkerPass, "esb", "/t/t/t/t/t/carbon", Serve),               // here carbon is the tenant
        (WorkerPass, "esb", "/t/a b", No(R::PathInvalidCharacter)),
        (WorkerServlet, "is", "/t/wso2.com/oauth2/token", WorkerShared),
        (ManagerServlet, "is", "/t/wso2.com/oauth2/token", ManagerShared),
        (WorkerServlet, "is", "/t/wso2.com/scim2/Users", Serve),
        (WorkerServlet, "is", "/t/user@example.com/scim2/Users", Serve),
        (WorkerServlet, "is", "/t/wso2.com/t/x/scim2/Users", No(R::PathNotListed)), // one tenant only
        (WorkerServlet, "is", "/t/a%20b/scim2/Users", No(R::PathNotListed)),        // no possible domain
        (WorkerServlet, "is", "/t/a%20b/carbon", No(R::ManagementPath)),            // which opens nothing
        (ManagerServlet, "is", "/t/a%20b/carbon", No(R::ManagementPathInexact)),
        (WorkerPass, "esb", "/t/wso2.com/pizza/1.0", Serve),
        (WorkerPass, "esb", "/t/wso2.com/services/echo", Serve),
        (WorkerPass, "esb", "/services/t/wso2.com/echo", Serve),
        (WorkerPass, "esb", "/services/t/wso2.com/other", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/t/wso2.com/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/t/wso2.com/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/t/a/services/t/b/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/t/a/t/b/services/other", No(R::ServiceNotListed)),
        (ManagerServlet, "esb", "/t/wso2.com/services/UserAdmin", Manage),
        (ManagerServlet, "esb", "/services/t/wso2.com/UserAdmin", Manage),
        (WorkerServlet, "is", "/o/carbon", No(R::ManagementPath)), // `/o` alone is a prefix, too
        (WorkerServlet, "is", "/o/org-id/api/server/v1/x", No(R::ManagementPath)),
        (WorkerServlet, "is", "/t/root/o/api/server/v1/x", No(R::ManagementPath)),
        (WorkerServlet, "is", "/t/root/o/org-id/carbon", No(R::ManagementPath)),
    ]);
}

#[test]
fn services_need_the_list_and_admin_services_are_management() {
    check(&[
        (WorkerServlet, "esb", "/services/echo", Serve),
        (WorkerPass, "esb", "/services/echo", Serve),
        (WorkerPass, "esb", "/services/echo/", Serve),
        (WorkerPass, "esb", "/services/echo/echoString", Serve),
        (WorkerPass, "esb", "/services/echo.echoHttpsSoap12Endpoint", Serve),
        (WorkerPass, "esb", "/services/echo.echoHttpEndpoint/echoString", Serve),
        (WorkerPass, "esb", "/services/%65cho", Serve), // Synapse finds less in it, not more
        (WorkerPass, "esb", "/services/Echo", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/Services/echo", Serve), // an API context to Synapse
        (WorkerServlet, "esb", "/Services/echo", No(R::PathNotListed)),
        (WorkerPass, "esb", "/services/Version", No(R::ServiceNotListed)), // the list is complete
        (WorkerPass, "esb", "/services/echo.otherHttpsSoap12Endpoint", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/services/MyAdminThing", Serve), // on the list, against the pattern
        (WorkerPass, "esb", "/services/myadminthing", No(R::AdminService)),
        (WorkerPass, "esb", "/services", No(R::ManagementPath)), // the listing
        (WorkerPass, "esb", "/services/", No(R::ManagementPath)),
        (WorkerPass, "esb", "/SERVICES/", No(R::ManagementPath)),
        (WorkerPass, "esb", "/services/UserAdmin", No(R::AdminService)),
        (WorkerServlet, "esb", "/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/useradmin", No(R::AdminService)),
        (WorkerPass, "esb", "/SERVICES/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/%55serAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/UserAdmin;jsessionid=1", No(R::AdminService)),
        (WorkerPass, "esb", "/services/UserAdmin.UserAdminHttpsSoap11Endpoint", No(R::AdminService)),
        (WorkerPass, "esb", "/services/UserAdmin/addUser", No(R::AdminService)),
        (WorkerPass, "esb", "/services/AnyNewAdminThing", No(R::AdminService)), // by pattern
        (WorkerPass, "esb", "/services/FileUploadService", No(R::AdminService)), // by table
        (WorkerPass, "esb", "/services/RemoteUserStoreManagerService", No(R::AdminService)),
        (WorkerPass, "esb", "/services/SecretTool", No(R::AdminService)), // the operator's table
        (WorkerPass, "esb", "/services/secrettool.x", No(R::AdminService)),
        (WorkerPass, "any", "/services/anything", Serve),
        (WorkerPass, "any", "/services/LogViewer", No(R::AdminService)),
        (WorkerPass, "any", "/services/x.LogViewerHttpsSoap12Endpoint", No(R::AdminService)),
        (WorkerPass, "any", "/services/Log%56iewer", No(R::AdminService)),
        (WorkerPass, "any", "/services/LogViewer%20", No(R::AdminService)), // for readers that trim
        (WorkerPass, "any", "/services/LogV%C4%B1ewer", No(R::AdminService)), // a dotless i
        (WorkerPass, "any", "/services/X%C3%84dmin", Serve),                // Ä is no A
        (WorkerPass, "any", "/services", No(R::ManagementPath)),
        (WorkerPass, "any", "/services%23/echo", No(R::ManagementPath)), // for readers that cut at a decoded `#`
        (WorkerPass, "any", "/t/a.com/services%3F/echo", No(R::ManagementPath)),
        // Axis2 takes the last `services` of an address, wherever it is.
        (WorkerPass, "esb", "/services/echo/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/echo/services/other", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/pizza/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/pizzaservices/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/pizza/services-UserAdmin/x", No(R::AdminService)),
        (WorkerPass, "esb", "/services/__SynapseService", No(R::AdminService)), // hands on whatever it gets
        (WorkerPass, "any", "/services/__SynapseService", No(R::AdminService)),
        (WorkerPass, "esb", "/servicesUserAdmin", No(R::AdminService)), // for readers that skip nothing
        (WorkerPass, "esb", "/pizza/services/other", No(R::ServiceNotListed)), // the list holds there too
        (WorkerPass, "esb", "/t/a/pizza/services/t/b/other", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/pizza/services/echo", Serve),
        (WorkerPass, "esb", "/pizza/services", Serve), // no name
        (WorkerPass, "esb", "/pizza/services/", Serve),
        (WorkerPass, "esb", "/pizza/SERVICES/42", Serve), // only exactly
        (WorkerPass, "any", "/pizza/services/42", Serve), // without a list there is nothing to go round
        (WorkerPass, "extra", "/app/services/42", No(R::ServiceNotListed)),
        (WorkerPass, "extra", "/api/services/42", Serve), // an API with such a resource has to be listed with it
        (WorkerPass, "extra", "/t/a/api/services/42", Serve),
        (WorkerPass, "extra", "/Api/services/42", No(R::ServiceNotListed)),
        (WorkerPass, "extra", "/api/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "is", "/oauth2/services/other", No(R::ServiceNotListed)), // Synapse has no such application
        (WorkerServlet, "is", "/oauth2/services/other", WorkerShared),
        (WorkerServlet, "extra", "/app/services/42", Serve),
        (ManagerServlet, "esb", "/services/UserAdmin", Manage),
        (ManagerServlet, "esb", "/services/UserAdmin.UserAdminHttpsSoap11Endpoint", Manage),
        (ManagerServlet, "esb", "/services/FileUploadService", Manage),
        (ManagerServlet, "esb", "/services/SecretTool", Manage),
        (ManagerServlet, "esb", "/services/AnyNewAdminThing", Manage),
        (ManagerServlet, "esb", "/services/", Manage),
        (ManagerPass, "esb", "/services/UserAdmin", Manage),
        (ManagerServlet, "esb", "/services/useradmin", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/SERVICES/UserAdmin", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/services/secretTOOL", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/services/echo", No(R::ServicePathOnManager)),
        (ManagerPass, "esb", "/services/echo", No(R::ServicePathOnManager)),
        (ManagerServlet, "esb", "/services/MyAdminThing", No(R::ServicePathOnManager)),
        (ManagerServlet, "esb", "/services/other", No(R::ServiceNotListed)),
        (BothServlet, "esb", "/services/UserAdmin", Manage),
        (BothServlet, "esb", "/services/echo", Serve),
        (BothServlet, "esb", "/services/useradmin", No(R::ManagementPathInexact)),
        (BothServlet, "esb", "/services/other", No(R::ServiceNotListed)),
    ]);
}

#[test]
fn products_differ_in_what_workers_serve() {
    check(&[
        (WorkerServlet, "esb", "/oauth2/token", WorkerShared), // login is shared on every product
        (WorkerServlet, "as", "/commonauth", WorkerShared),
        (WorkerServlet, "carbon", "/authenticationendpoint/login.do", WorkerShared),
        (WorkerServlet, "is", "/oidc/logout", WorkerShared),
        (WorkerServlet, "apim", "/logincontext", WorkerShared),
        (WorkerServlet, "mi", "/favicon.ico", WorkerShared),
        (ManagerServlet, "mi", "/favicon.ico", ManagerShared),
        (ManagerServlet, "is", "/commonauth", ManagerShared),
        (BothServlet, "is", "/commonauth", WorkerShared), // equally close: shared goes to the worker
        (WorkerServlet, "is", "/OAuth2/token", No(R::PathNotListed)), // what allows is exact
        (WorkerPass, "is", "/OAuth2/token", Serve),
        (WorkerServlet, "is", "/samlsso", Serve),
        (WorkerServlet, "is", "/.well-known/openid-configuration", Serve),
        (WorkerServlet, "is", "/scim2/Users/4711", Serve),
        (WorkerServlet, "is", "/identity/saml/x", Serve),
        (WorkerServlet, "is", "/identity/register", No(R::ManagementPath)),
        (WorkerServlet, "is", "/identity/other", No(R::PathNotListed)),
        (WorkerServlet, "is", "/api/users/v1/me", Serve),
        (WorkerServlet, "apim", "/scim2/Me", Serve), // its key manager
        (WorkerServlet, "apim", "/.well-known/jwks", Serve),
        (WorkerServlet, "esb", "/samlsso", No(R::PathNotListed)),
        (WorkerServlet, "carbon", "/scim2/Users", No(R::PathNotListed)),
        (ManagerServlet, "is", "/scim2/Users", No(R::ServicePathOnManager)),
        (WorkerServlet, "is", "/myaccount/overview", Serve), // portals for consumers
        (ManagerServlet, "is", "/myaccount/overview", No(R::ServicePathOnManager)),
        (WorkerServlet, "is", "/devportal", No(R::PathNotListed)),
        (WorkerServlet, "apim", "/devportal/apis", WorkerShared),
        (ManagerServlet, "apim", "/devportal/apis", ManagerShared),
        (ManagerServlet, "apim", "/api/am/devportal/v3/apis", ManagerShared),
        (ManagerServlet, "apim", "/store", ManagerShared),
        (WorkerServlet, "esb", "/store", No(R::PathNotListed)),
        (WorkerPass, "apim", "/pizzashack/1.0.0/menu", Serve), // Synapse: contexts are arbitrary
        (WorkerServlet, "apim", "/pizzashack/1.0.0/menu", No(R::PathNotListed)),
        (ManagerPass, "apim", "/pizzashack/1.0.0/menu", No(R::PathNotListed)),
        (WorkerServlet, "as", "/shop/index.jsp", No(R::PathNotListed)), // web applications have to be listed
        (WorkerPass, "esb", "/orders/administration", Serve),           // `admin` matters only under services
    ]);
}

#[test]
fn the_operator_extends_the_tables() {
    check(&[
        (WorkerServlet, "extra", "/ops/x", No(R::ManagementPath)),
        (WorkerServlet, "extra", "/OPS", No(R::ManagementPath)),
        (WorkerPass, "extra", "/t/a/ops", No(R::ManagementPath)),
        (ManagerServlet, "extra", "/ops/x", Manage),
        (ManagerServlet, "extra", "/Ops/x", No(R::ManagementPathInexact)),
        (WorkerServlet, "extra", "/app/x", Serve),
        (ManagerServlet, "extra", "/app/x", No(R::ServicePathOnManager)),
        (WorkerServlet, "extra", "/app/login", WorkerShared), // the longest prefix
        (ManagerServlet, "extra", "/app/login/x", ManagerShared),
        (WorkerServlet, "extra", "/app/setup", No(R::ManagementPath)), // management beats, in any case
        (ManagerServlet, "extra", "/app/Setup", Manage),
        (ManagerServlet, "extra", "/app/setup", No(R::ManagementPathInexact)),
        (WorkerServlet, "extra", "/tie", WorkerShared),
        (WorkerServlet, "extra", "/carbon/public/x", No(R::ManagementPath)), // nothing opens a hole in management
        (ManagerServlet, "extra", "/carbon/public/x", Manage),
    ]);
}

#[test]
fn mutations_are_refused_and_harmless_escapes_are_understood() {
    check(&[
        (WorkerServlet, "esb", "/CARBON/", No(R::ManagementPath)),
        (ManagerServlet, "esb", "/CARBON/", No(R::ManagementPathInexact)),
        (BothServlet, "esb", "/CARBON/", No(R::ManagementPathInexact)),
        (WorkerServlet, "esb", "/%63arbon/", No(R::ManagementPath)),
        (ManagerServlet, "esb", "/%63arbon/", No(R::ManagementPathInexact)), // not what Carbon's own checks look for
        (ManagerServlet, "esb", "/carbon/%61dmin/login.jsp", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/carbon/login%2Ejsp", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/t/wso2%2ecom/carbon/", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/services/User%41dmin", No(R::ManagementPathInexact)),
        (BothServlet, "esb", "/%63arbon/", No(R::ManagementPathInexact)),
        (ManagerServlet, "esb", "/carbon/J%C3%BCrgen%20%2B", Manage), // these are needed
        (ManagerServlet, "is", "/%6Fauth2/token", ManagerShared),     // only management is checked like that
        (WorkerServlet, "is", "/%6Fauth2/token", WorkerShared),
        (ManagerServlet, "esb", "/carbon/x.jsp;jsessionid=1.js", No(R::PathMatrixParameter)), // as in CVE-2025-5605
        (WorkerServlet, "esb", "//carbon/", No(R::PathEmptySegment)),
        (WorkerServlet, "esb", "/./carbon/", No(R::PathDotSegment)),
        (WorkerServlet, "esb", "/x/../carbon/", No(R::PathDotSegment)),
        (WorkerServlet, "esb", "/services/..;/carbon/", No(R::PathMatrixParameter)),
        (WorkerServlet, "esb", "/services/%2e%2e/carbon/", No(R::PathDotSegment)),
        (WorkerServlet, "esb", "/;x/carbon/", No(R::PathMatrixParameter)),
        (WorkerServlet, "esb", "/carbon;x/", No(R::PathMatrixParameter)),
        (WorkerServlet, "esb", "/carbon%3bx/", No(R::PathEncodedSemicolon)),
        (WorkerServlet, "esb", "/carbon%2fadmin", No(R::PathEncodedSlash)),
        (WorkerPass, "esb", "/services%2fUserAdmin", No(R::PathEncodedSlash)),
        (WorkerPass, "esb", "/services/%2555serAdmin", No(R::PathDoubleEncoding)),
        (WorkerPass, "esb", "/services\\UserAdmin", No(R::PathBackslash)),
        (WorkerPass, "esb", "/services/User%41dmin%00", No(R::PathControlCharacter)),
        (WorkerPass, "esb", "/carbon%3Fx", No(R::ManagementPath)), // for readers that cut at a decoded `?`
        (WorkerPass, "apim", "/%E2%84%AAeymanager-operations", No(R::ManagementPath)), // the Kelvin sign
        (ManagerServlet, "esb", "/x/../carbon/", No(R::PathDotSegment)), // refused on both sides
        (WorkerPass, "esb", "/odata/Orders(1)/Items('a%20b')", Serve),
        (WorkerPass, "esb", "/users/J%C3%BCrgen", Serve),
    ]);
}

#[test]
fn hosts_decide_cluster_and_role() {
    let mut any = cluster("any", Esb, "*", "*");
    any.hosts[Role::Manager.index()] = vec![];
    let classifier = Classifier::new(&config(vec![
        cluster("a", Esb, "a.example.com", "mgt.a.example.com"),
        cluster("b", Esb, "*.b.example.com", "mgt.b.example.com"),
        cluster("c", Esb, "both.example.com", "*.example.com"),
        any,
    ]));
    let go = |on: On, host: &str, path: &str| {
        let answer = classifier.classify(&on.facts(host.as_bytes(), path.as_bytes()));
        answer.map(|d| (d.cluster, d.role)).map_err(|r| (r.reason, r.cluster))
    };
    for (on, host, path, want) in [
        (WorkerPass, "a.example.com", "/x", Ok((0, Role::Worker))),
        (WorkerPass, "A.Example.COM.:8243", "/x", Ok((0, Role::Worker))),
        (WorkerPass, "x.b.example.com", "/x", Ok((1, Role::Worker))),
        (WorkerPass, "mgt.a.example.com", "/x", Ok((3, Role::Worker))), // a manager's host is nobody's here, but for "*"
        (WorkerPass, "evil.example.org", "/x", Ok((3, Role::Worker))),
        (WorkerServlet, "x.b.example.com", "/carbon", Err((R::ManagementPath, Some(1)))),
        (WorkerServlet, "a.example.com", "//", Err((R::PathEmptySegment, Some(0)))),
        (ManagerServlet, "mgt.a.example.com", "/carbon", Ok((0, Role::Manager))),
        (ManagerServlet, "other.example.com", "/carbon", Ok((2, Role::Manager))), // the longest wildcard
        (ManagerServlet, "example.com", "/carbon", Err((R::HostUnknown, None))),
        (ManagerServlet, "mgt.example.org", "/carbon", Err((R::HostUnknown, None))),
        (BothServlet, "mgt.a.example.com", "/carbon", Ok((0, Role::Manager))),
        (BothServlet, "both.example.com", "/oauth2", Ok((2, Role::Worker))), // exact beats the wildcard
        (BothServlet, "both.example.com", "/carbon", Err((R::ManagementPath, Some(2)))), // and decides the role
        (BothServlet, "x.b.example.com", "/oauth2", Ok((1, Role::Worker))),
        (BothServlet, "example.org", "/oauth2", Ok((3, Role::Worker))),
        (BothServlet, "a b", "/oauth2", Err((R::HostInvalid, None))),
    ] {
        assert_eq!(go(on, host, path), want, "{on:?} {host} {path}");
    }
    let missing = Facts { host: None, ..WorkerPass.facts(b"", b"/") };
    assert_eq!(classifier.classify(&missing), Err(Refusal::early(R::HostMissing)));
}

#[test]
fn both_roles_may_have_the_host_in_different_clusters() {
    let classifier =
        Classifier::new(&config(vec![cluster("workers", Is, "x", "only"), cluster("managers", Esb, "y", "x")]));
    let go = |path: &str| {
        let answer = classifier.classify(&BothServlet.facts(b"x", path.as_bytes()));
        answer.map(|d| (d.cluster, d.role)).map_err(|r| (r.reason, r.cluster))
    };
    assert_eq!(go("/carbon"), Ok((1, Role::Manager)));
    assert_eq!(go("/scim2/Users"), Ok((0, Role::Worker)));
    assert_eq!(go("/Carbon"), Err((R::ManagementPathInexact, Some(1))));
    assert_eq!(go("/nothing"), Err((R::PathNotListed, Some(0))));
}

#[test]
fn the_outermost_tenant_is_named() {
    let classifier = classifier();
    for (path, tenant, borrowed) in [
        ("/services/echo", None, true),
        ("/t/wso2.com/services/echo", Some("wso2.com"), true),
        ("/services/t/wso2.com/echo", Some("wso2.com"), true),
        ("/t/a/services/t/b/echo", Some("a"), true),
        ("/t/user@example.com/x", Some("user@example.com"), true),
        ("/t/wso2.com/users/J%C3%BCrgen", Some("wso2.com"), true), // escapes elsewhere copy nothing
        ("/t/wso2%2Ecom/x", Some("wso2.com"), false),
        ("/%74/wso2.com/x", Some("wso2.com"), true), // it is there letter by letter
        ("/t/wso2.com;jsessionid=1", Some("wso2.com"), true),
        ("/t/a%20b/x", None, true), // no possible domain
        ("/T/wso2.com/x", None, true),
        ("/t", None, true),
        ("/t/", None, true),
        ("/x/t/wso2.com", None, true),
    ] {
        let decision = classifier.classify(&WorkerPass.facts(b"esb", path.as_bytes())).unwrap();
        assert_eq!(decision.tenant.as_deref(), tenant, "{path}");
        assert_eq!(matches!(decision.tenant, None | Some(Cow::Borrowed(_))), borrowed, "{path}");
    }
}

#[test]
fn a_query_must_not_name_an_admin_service_to_a_worker() {
    let classifier = classifier();
    let (admin, unlisted) = (Err(R::AdminServiceInQuery), Err(R::ServiceInQueryNotListed));
    for (on, path, query, want) in [
        (WorkerPass, "/services/echo", "wsdl", Ok(())),
        (WorkerPass, "/services/echo", "", Ok(())),
        (WorkerPass, "/services/echo", "a=1&b=/services/echo", Ok(())),
        (WorkerPass, "/services/echo", "a=/services/UserAdmin", admin),
        (WorkerPass, "/services/echo", "a=services/SecretTool/x", admin),
        // A second reader cuts the path at a decoded `?`, so that the query follows `services`.
        (WorkerPass, "/pizza/services%3F", "UserAdmin/op", admin),
        (WorkerPass, "/pizza/services%23x", "UserAdmin", admin),
        (WorkerPass, "/pizza/services/", "UserAdmin/op", admin), // for readers that drop the last slash
        (WorkerPass, "/pizza/serv%3F", "UserAdmin", Ok(())),
        (WorkerPass, "/pizza", "a=/services/other", unlisted), // the list holds in the query
        (WorkerPass, "/app", "a=/services/other", unlisted),   // Axis2 comes first
        (WorkerServlet, "/services/echo", "a=/services/other", unlisted),
        (WorkerServlet, "/t/x/services/echo", "a=/services/other", unlisted),
        (WorkerServlet, "/oauth2/authorize", "a=http://h/services/other", Ok(())), // a web application
        (WorkerServlet, "/oauth2/authorize", "a=/services/UserAdmin", admin),
        (ManagerServlet, "/carbon/", "a=/services/UserAdmin", Ok(())),
        (ManagerServlet, "/carbon/", "a=/services/other", Ok(())),
    ] {
        let facts = on.facts(b"extra", path.as_bytes());
        let decision = classifier.classify(&facts).unwrap();
        let want = want.map_err(|reason| Refusal { reason, cluster: Some(7) });
        assert_eq!(classifier.check_query(&facts, &decision, query.as_bytes()), want, "{on:?} {path}?{query}");
    }
}

#[test]
fn reasons_have_distinct_words_and_proper_statuses() {
    let words: std::collections::BTreeSet<_> = R::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), R::ALL.len());
    for reason in R::ALL {
        let word = reason.as_str();
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{word}");
        assert!(matches!(reason.status(), 400 | 404 | 421), "{word}");
    }
    assert_eq!(R::HostUnknown.status(), 421);
    assert_eq!(R::PathDotSegment.status(), 400);
    assert_eq!(R::ManagementPath.status(), 404);
}
