//! Tables of cases for what a listener and a message change: the mode of paths, and SOAP.

use super::cases::Want::{self, Manage, No, Serve, WorkerShared};
use super::cases::{check_facts, classifier};
use super::*;
use On::{BothServlet, ManagerPass, ManagerServlet, WorkerPass, WorkerServlet};
use Reason as R;

fn check_canonicalized(rows: &[(On, &str, &str, Want)]) {
    check_facts(rows, |facts| Facts { paths: PathMode::Canonicalize, ..facts });
}

fn check_soap(rows: &[(On, &str, &str, Want)]) {
    check_facts(rows, |facts| Facts { soap: true, ..facts });
}

#[test]
fn rewritten_paths_are_decided_on_as_tomcat_reads_them() {
    check_canonicalized(&[
        (WorkerServlet, "esb", "//carbon/", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/services/..;/carbon/", No(R::ManagementPath)),
        (WorkerPass, "esb", "/services/..;/carbon/", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/services/%2e%2e/carbon/", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/x/../carbon", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/;x/carbon", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/%63arbon", No(R::ManagementPath)),
        (WorkerServlet, "esb", "/oauth2/..", No(R::ManagementPath)), // the root
        (WorkerPass, "esb", "//services/User%41dmin;x", No(R::AdminService)),
        (WorkerPass, "esb", "/services/echo/../UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/echo/..", No(R::ManagementPath)), // the listing
        (WorkerPass, "esb", "/services/other/../echo", Serve),
        (WorkerServlet, "is", "/x/..//oauth2;v=1/token", WorkerShared),
        (ManagerServlet, "esb", "//carbon;x/%61dmin/./login.jsp", Manage),
        (ManagerServlet, "esb", "/carbon/x.jsp;jsessionid=1.js", Manage), // without it
        (ManagerServlet, "esb", "//Carbon", No(R::ManagementPathInexact)), // case is no spelling that could be rewritten
        (BothServlet, "esb", "/services/..;/carbon/", Manage),
        (WorkerServlet, "esb", "/..", No(R::PathDotSegment)), // above the root
        (WorkerServlet, "esb", "/carbon%2f..", No(R::PathEncodedSlash)),
        (WorkerServlet, "esb", "/x/..%5ccarbon", No(R::PathEncodedBackslash)),
        (WorkerServlet, "esb", "//carbon%3bx", No(R::PathEncodedSemicolon)),
        (WorkerServlet, "esb", "//%2563arbon", No(R::PathDoubleEncoding)),
    ]);
}

#[test]
fn what_was_decided_on_is_forwarded() {
    let classifier = classifier();
    for (path, forward, tenant) in [
        ("/services/echo", None, None),
        ("/services/echo;jsessionid=1", None, None), // kept as it is
        ("/users/J%C3%BCrgen", None, None),
        ("//services/echo", Some("/services/echo"), None),
        ("/pizza/../services/%65cho;v=1/op", Some("/services/echo/op"), None),
        ("//pizza;a=1/x;jsessionid=A1.n", Some("/pizza/x;jsessionid=A1.n"), None),
        ("//t/wso2.com//pizza", Some("/t/wso2.com/pizza"), Some("wso2.com")),
        ("/%74/wso2%2ecom;x/pizza", Some("/t/wso2.com/pizza"), Some("wso2.com")),
        ("/t/evil/../wso2.com/pizza", Some("/t/wso2.com/pizza"), Some("wso2.com")),
    ] {
        let strict = WorkerPass.facts(b"esb", path.as_bytes());
        let decision = classifier.classify(&Facts { paths: PathMode::Canonicalize, ..strict }).unwrap();
        assert_eq!(decision.forward.as_deref(), forward.map(str::as_bytes), "{path}");
        assert_eq!(decision.tenant.as_deref(), tenant, "{path}");
        if let Ok(decision) = classifier.classify(&strict) {
            assert_eq!(decision.forward, None, "the strict mode rewrites nothing: {path}");
        }
    }
}

#[test]
fn the_path_that_was_decided_on_can_be_had() {
    let classifier = classifier();
    for (path, paths, decided) in [
        ("/pizza/1.0", PathMode::Strict, "/pizza/1.0"),
        ("/pizza;jsessionid=1", PathMode::Strict, "/pizza"),
        ("/%70izza/J%C3%BCrgen", PathMode::Strict, "/pizza/Jürgen"),
        ("//%70izza;x/J%C3%BCrgen;jsessionid=1", PathMode::Canonicalize, "/pizza/Jürgen"),
    ] {
        let decision = classifier.classify(&Facts { paths, ..WorkerPass.facts(b"esb", path.as_bytes()) }).unwrap();
        assert_eq!(*decision.path(path.as_bytes()), *decided.as_bytes(), "{path}");
    }
}

#[test]
fn a_query_is_checked_against_the_path_that_is_forwarded() {
    let classifier = classifier();
    let facts = Facts { paths: PathMode::Canonicalize, ..WorkerPass.facts(b"esb", b"/api/%73ervices;x") };
    let decision = classifier.classify(&facts).unwrap();
    let refused = Err(Refusal { reason: R::AdminServiceInQuery, cluster: Some(0) });
    assert_eq!(classifier.check_query(&facts, &decision, b"UserAdmin"), refused);
}

#[test]
fn soap_goes_to_a_worker_only_where_the_path_says_what_it_is_for() {
    check_soap(&[
        (WorkerPass, "esb", "/services/echo", Serve),
        (WorkerPass, "esb", "/services/echo/", Serve),
        (WorkerPass, "esb", "/services/echo/echoString", Serve),
        (WorkerPass, "esb", "/services/echo/UserAdmin", Serve), // an operation: the service is found before it
        (WorkerPass, "esb", "/services/echo.echoHttpsSoap12Endpoint", Serve),
        (WorkerPass, "esb", "/t/wso2.com/services/echo", Serve),
        (WorkerPass, "esb", "/services/t/wso2.com/echo", Serve),
        (WorkerServlet, "esb", "/services/echo", Serve),
        (WorkerPass, "any", "/services/anything", Serve), // see the documentation of `soap`
        (WorkerPass, "any", "/services/UserAdmin", No(R::AdminService)),
        (WorkerPass, "esb", "/services/other", No(R::ServiceNotListed)),
        (WorkerPass, "esb", "/services/", No(R::ManagementPath)), // the listing
        (WorkerPass, "esb", "/", No(R::SoapNotListed)),           // the default service
        (WorkerPass, "esb", "/t/wso2.com", No(R::SoapNotListed)),
        (WorkerPass, "esb", "/pizza/1.0", No(R::SoapNotListed)),
        (WorkerPass, "esb", "/t/wso2.com/pizza/1.0", No(R::SoapNotListed)),
        (WorkerPass, "esb", "/Services/echo", No(R::SoapNotListed)), // an API to Synapse
        (WorkerPass, "esb", "/pizza/services/echo", No(R::SoapNotListed)),
        (WorkerPass, "extra", "/app/x", Serve), // the operator's paths
        (WorkerPass, "extra", "/app/login", WorkerShared),
        (WorkerPass, "extra", "/t/wso2.com/app/x", Serve),
        (WorkerPass, "extra", "/api/services/42", Serve),
        (WorkerPass, "extra", "/App/x", No(R::SoapNotListed)),
        (WorkerPass, "extra", "/application", No(R::SoapNotListed)),
        (WorkerPass, "extra", "/ops", No(R::ManagementPath)),
        // The product's paths are web applications. Synapse has none of them.
        (WorkerServlet, "is", "/samlsso", Serve),
        (WorkerServlet, "is", "/oauth2/token", WorkerShared),
        (WorkerPass, "is", "/samlsso", No(R::SoapNotListed)),
        (WorkerPass, "is", "/oauth2/token", No(R::SoapNotListed)),
        (WorkerServlet, "is", "/other", No(R::PathNotListed)),
        // Axis2 and Synapse compare the raw URI, and find nothing in these.
        (WorkerPass, "esb", "/services/%65cho", No(R::SoapNotListed)),
        (WorkerPass, "esb", "/services/echo;jsessionid=1", No(R::SoapNotListed)),
        (WorkerServlet, "esb", "/services/%65cho", No(R::SoapNotListed)),
        (WorkerPass, "extra", "/%61pp/x", No(R::SoapNotListed)),
        (WorkerPass, "extra", "/app/J%C3%BCrgen%20M", Serve), // needed, and behind what is compared
        // Managers are asked for admin services in SOAP all the time.
        (ManagerServlet, "esb", "/services/UserAdmin", Manage),
        (ManagerPass, "esb", "/services/UserAdmin", Manage),
        (BothServlet, "esb", "/services/UserAdmin", Manage),
        (BothServlet, "esb", "/services/echo", Serve),
    ]);
    check_facts(
        &[
            (WorkerPass, "esb", "/services/%65cho", Serve), // forwarded in plain spelling
            (WorkerPass, "esb", "/pizza/..//services/echo;x", Serve),
            (WorkerPass, "esb", "/services/echo;jsessionid=1", No(R::SoapNotListed)),
            (WorkerPass, "esb", "/services/../pizza", No(R::SoapNotListed)),
        ],
        |facts| Facts { soap: true, paths: PathMode::Canonicalize, ..facts },
    );
}
