//! The classifier: nothing panics, tenants are clean, and nothing that goes to a worker is management to any reader.
//!
//! The input is text, so that seeds can be read and written by hand: one character for what else a request has (see
//! `facts`), host, path and query, each on a line of its own.
#![no_main]

mod model;

use std::path::Path;
use std::sync::LazyLock;

use carbon_elb::classify::{Classifier, Facts};
use carbon_elb::config::{self, Serves};
use carbon_elb::ids::{Endpoint, PathMode, Role};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Clusters that differ in what they allow; each has its own hosts. The last one has everything open to workers that an
/// operator can open.
const CONFIGURATION: &str = r#"
listeners:
  web: { bind: "127.0.0.1:1", role: both, exposes_management: true }
  api: { bind: "127.0.0.1:2", role: both, exposes_management: true, endpoint: passthrough }
clusters:
  esb:
    product: esb
    hosts: { worker: [esb.test, same.test], manager: [mgt.esb.test, same.test] }
    services: [echo, MyAdminThing]
    admin_services: [SecretTool]
    paths: { management: [/reports], service: [/orders], shared: [/assets] }
    endpoints: { servlet: { scheme: http } }
    nodes: [{ id: m, host: 10.0.0.1, roles: [manager] }, { id: w, host: 10.0.0.2 }]
  is:
    product: is
    hosts: { worker: ["*.is.test"], manager: [mgt.is.test] }
    endpoints: { servlet: { scheme: http } }
    nodes: [{ id: m, host: 10.0.1.1, roles: [manager] }, { id: w, host: 10.0.1.2 }]
  open:
    product: apim
    hosts: { worker: ["*"], manager: ["*"] }
    services: any-but-admin
    paths: { service: [/orders, /pizza, /x, /api] }
    endpoints: { servlet: { scheme: http } }
    nodes: [{ id: m, host: 10.0.2.1, roles: [manager] }, { id: w, host: 10.0.2.2 }]
"#;

/// The services that an operator allowed although their names look like those of admin services.
const ALLOWED: &[&str] = &["MyAdminThing"];

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let loaded = config::parse(CONFIGURATION, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    Classifier::new(&loaded.config)
});

const LISTENERS: [(Serves, Endpoint); 6] = [
    (Serves::Worker, Endpoint::Servlet),
    (Serves::Worker, Endpoint::Passthrough),
    (Serves::Manager, Endpoint::Servlet),
    (Serves::Manager, Endpoint::Passthrough),
    (Serves::Both, Endpoint::Servlet),
    (Serves::Both, Endpoint::Passthrough),
];

/// `0` to `5` are the listeners; six further is the other mode of reading paths, and twelve further what may be SOAP.
fn facts<'p>(character: u8, host: &'p [u8], path: &'p [u8]) -> Facts<'p> {
    let number = usize::from(character); // '0' is 48, twice twenty-four
    let (serves, endpoint) = LISTENERS[number % LISTENERS.len()];
    let paths = if number / 6 % 2 == 0 { PathMode::Strict } else { PathMode::Canonicalize };
    Facts { serves, endpoint, host: Some(host), path, paths, soap: number / 12 % 2 == 1 }
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let mut lines = input.splitn(4, |byte| *byte == b'\n');
    let (Some([character]), Some(host), Some(path)) = (lines.next(), lines.next(), lines.next()) else {
        return Corpus::Reject;
    };
    let query = lines.next();
    let facts = facts(*character, host, path);
    let Ok(decision) = CLASSIFIER.classify(&facts) else { return Corpus::Keep };
    if CLASSIFIER.check_query(&facts, &decision, query.unwrap_or_default()).is_err() {
        return Corpus::Keep;
    }
    assert!(facts.serves.includes(decision.role), "{decision:?}");
    if let Some(tenant) = &decision.tenant {
        let clean = |c: char| c.is_ascii_alphanumeric() || ".-_@+".contains(c);
        assert!((1..=255).contains(&tenant.len()) && tenant.chars().all(clean), "tenant {tenant:?}");
    }
    let forwarded = decision.forward.as_deref().unwrap_or(path);
    if decision.forward.is_some() {
        assert!(facts.paths == PathMode::Canonicalize, "rewritten in strict mode: {decision:?}");
    }
    for paths in [PathMode::Strict, PathMode::Canonicalize] {
        // What a node gets has one meaning, whatever mode the next reader has.
        let again = CLASSIFIER.classify(&Facts { path: forwarded, paths, ..facts });
        let again = again.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", forwarded.escape_ascii()));
        assert!((again.cluster, again.role, again.class) == (decision.cluster, decision.role, decision.class));
        assert!(
            again.tenant == decision.tenant && (again.forward.is_none() || decision.forward.is_none()),
            "{again:?}"
        );
    }
    if decision.role == Role::Worker {
        let found = model::management(forwarded, query, ALLOWED);
        assert!(found.is_none(), "{} goes to a worker: {found:?}, {decision:?}", forwarded.escape_ascii());
    }
    Corpus::Keep
});
