//! Classification allocates nothing for an ordinary request.
//!
//! One test in a file of its own: the counter is the whole process's.

#[path = "support/allocations.rs"]
mod allocations;

use std::hint::black_box;
use std::path::Path;

use allocations::{allocations, assert_counted};
use carbon_elb::classify::{Classifier, Facts, looks_like_soap};
use carbon_elb::config::{self, Serves};
use carbon_elb::ids::{Endpoint, PathMode};

const CONFIG: &str = r#"
listeners:
  api: { bind: ["127.0.0.1:18243"], role: worker, endpoint: passthrough }
clusters:
  esb:
    product: esb
    mode: separated
    hosts: { worker: [esb.example.com, "*.esb.example.com"], manager: [mgt.esb.example.com] }
    services: [echo]
    endpoints: { servlet: { scheme: http, port: 9763 }, passthrough: { scheme: http, port: 8280 } }
    nodes:
      - { id: mgr-1, host: 127.0.0.1, roles: [manager] }
      - { id: wk-1, host: 127.0.0.2, roles: [worker] }
"#;

#[test]
fn ordinary_requests_allocate_nothing() {
    let loaded = config::parse(CONFIG, Path::new(".")).unwrap_or_else(|problems| panic!("{problems:?}"));
    let classifier = Classifier::new(&loaded.config);
    let (worker, manager) = ((Serves::Worker, Endpoint::Passthrough), (Serves::Manager, Endpoint::Servlet));
    for ((serves, endpoint), host, path, served) in [
        (worker, "esb.example.com", "/services/echo", true),
        (worker, "ESB.example.com:8243", "/services/echo.echoHttpsSoap12Endpoint/op", true),
        (worker, "x.esb.example.com", "/pizzashack/1.0.0/menu", true),
        (worker, "esb.example.com", "/t/wso2.com/services/echo", true),
        (worker, "esb.example.com", "/t/wso2.com/users/J%C3%BCrgen", true),
        (manager, "mgt.esb.example.com", "/carbon/admin/login.jsp", true),
        (manager, "mgt.esb.example.com", "/t/wso2.com/carbon/;jsessionid=AB12.node-1", true),
        (manager, "mgt.esb.example.com", "/services/UserAdmin", true),
        (worker, "esb.example.com", "/carbon/", false), // a refusal is as cheap
        (worker, "esb.example.com", "/services/..;/carbon/", false),
        (worker, "unknown.example.com", "/", false),
    ] {
        for (paths, soap) in [(PathMode::Strict, false), (PathMode::Canonicalize, false), (PathMode::Strict, true)] {
            let facts = Facts { serves, endpoint, host: Some(host.as_bytes()), path: path.as_bytes(), paths, soap };
            let soap_served = served && (serves == Serves::Manager || path.contains("/services/"));
            assert_eq!(classifier.classify(&facts).is_ok(), if soap { soap_served } else { served }, "{path}");
            assert_eq!(allocations(|| drop(black_box(classifier.classify(black_box(&facts))))), 0, "{path}");
        }
    }

    // What has to be rewritten fits on the stack, unless it is long.
    let long = format!("//pizza/{}", "x".repeat(300));
    for (path, most) in [
        ("//services/%65cho;v=1/./op", 0),
        ("/t/a/..//wso2.com/pizza;jsessionid=AB12.node-1", 0),
        ("/x/../users/J%C3%BCrgen", 0),
        (&long, 300), // a few for each run
    ] {
        let (serves, endpoint) = worker;
        let (host, paths, soap) = (Some(&b"esb.example.com"[..]), PathMode::Canonicalize, false);
        let facts = Facts { serves, endpoint, host, path: path.as_bytes(), paths, soap };
        assert!(classifier.classify(&facts).is_ok_and(|decision| decision.forward.is_some()), "{path}");
        let allocations = allocations(|| drop(black_box(classifier.classify(black_box(&facts)))));
        assert!(allocations <= most, "{path}: {allocations}");
    }

    for content_type in ["application/json", "application/soap+xml; charset=utf-8; action=\"urn:x\"", "\u{131}"] {
        let fields = || [content_type.as_bytes()].into_iter();
        assert_eq!(
            allocations(|| _ = black_box(looks_like_soap(black_box(fields()), false, true))),
            0,
            "{content_type}"
        );
    }

    assert_counted();
}
