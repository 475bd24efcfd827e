//! What the classification of a request costs, in time and in allocations (there should be none).
//!
//! `cargo bench --bench classify`

use std::fmt::Write as _;
use std::path::Path;

use carbon_elb::classify::{Classifier, Facts};
use carbon_elb::config::{self, Config, Serves};
use carbon_elb::ids::{Endpoint, PathMode};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const WORKER: (Serves, Endpoint) = (Serves::Worker, Endpoint::Passthrough);
const SERVLET: (Serves, Endpoint) = (Serves::Worker, Endpoint::Servlet);
const MANAGER: (Serves, Endpoint) = (Serves::Manager, Endpoint::Servlet);

/// Listener, host and path of a request.
const REQUESTS: &[(&str, (Serves, Endpoint), &str, &str)] = &[
    ("service", WORKER, "esb.example.com", "/services/echo"),
    ("service endpoint", WORKER, "esb.example.com:8243", "/services/echo.echoHttpsSoap12Endpoint/echoString"),
    ("API", WORKER, "esb.example.com", "/pizzashack/1.0.0/menu/margherita"),
    ("API, nothing", WORKER, "other.example.com", "/pizzashack/1.0.0/menu/margherita"),
    ("wildcard host", WORKER, "eu.west.esb.example.com", "/services/echo"),
    ("tenant", WORKER, "esb.example.com", "/t/wso2.com/services/echo"),
    ("login", SERVLET, "esb.example.com", "/oauth2/token"),
    ("escapes", WORKER, "esb.example.com", "/users/J%C3%BCrgen%20M/orders"),
    ("console", MANAGER, "mgt.esb.example.com", "/carbon/admin/login.jsp"),
    ("admin service", MANAGER, "mgt.esb.example.com", "/services/UserAdmin"),
    ("refused console", WORKER, "esb.example.com", "/carbon/admin/login.jsp"),
    ("refused mutation", WORKER, "esb.example.com", "/services/..;/carbon/"),
];

/// A cluster with `hosts` further worker hosts and `paths` further service paths.
fn configured(hosts: usize, paths: usize) -> Config {
    let mut worker = String::from("esb.example.com, \"*.esb.example.com\"");
    (0..hosts).for_each(|i| _ = write!(worker, ", host-{i}.example.org"));
    let service: Vec<String> = (0..paths).map(|i| format!("/app-{i}/v1/part")).collect();
    let yaml = format!(
        "listeners:\n  api: {{ bind: [\"127.0.0.1:18243\"], role: worker, endpoint: passthrough }}\n\
         clusters:\n  esb:\n    product: esb\n    mode: separated\n\
         \x20   hosts: {{ worker: [{worker}], manager: [mgt.esb.example.com] }}\n\
         \x20   services: [echo, StockQuoteProxy]\n\
         \x20   paths: {{ service: [{}] }}\n\
         \x20   endpoints: {{ servlet: {{ scheme: http, port: 9763 }}, passthrough: {{ scheme: http, port: 8280 }} }}\n\
         \x20   nodes:\n      - {{ id: mgr-1, host: 127.0.0.1, roles: [manager] }}\n\
         \x20     - {{ id: wk-1, host: 127.0.0.2, roles: [worker] }}\n",
        service.join(", "),
    );
    match config::parse(&yaml, Path::new(".")) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:?}\n{yaml}"),
    }
}

fn classifier(hosts: usize, paths: usize) -> Classifier {
    Classifier::new(&configured(hosts, paths))
}

fn classify(bencher: Bencher<'_, '_>, classifier: &Classifier, request: (Serves, Endpoint), host: &str, path: &str) {
    let (serves, endpoint) = request;
    bencher.bench_local(|| {
        let paths = PathMode::Canonicalize;
        let facts = Facts { serves, endpoint, host: Some(host.as_bytes()), path: path.as_bytes(), paths, soap: false };
        classifier.classify(black_box(&facts)).is_ok()
    });
}

#[divan::bench(args = REQUESTS.iter().map(|request| request.0))]
fn ordinary(bencher: Bencher<'_, '_>, name: &str) {
    let Some(&(_, on, host, path)) = REQUESTS.iter().find(|request| request.0 == name) else { return };
    classify(bencher, &classifier(0, 0), on, host, path);
}

/// Flat: the number of hosts makes no difference.
#[divan::bench(args = [1, 1_000])]
fn hosts(bencher: Bencher<'_, '_>, count: usize) {
    classify(bencher, &classifier(count, 0), WORKER, &format!("host-{}.example.org", count / 2), "/services/echo");
}

/// Flat: the number of paths makes no difference.
#[divan::bench(args = [1, 1_000])]
fn paths(bencher: Bencher<'_, '_>, count: usize) {
    let path = format!("/app-{}/v1/part/x", count / 2);
    classify(bencher, &classifier(0, count), SERVLET, "esb.example.com", &path);
}

/// What a change of the configuration costs.
#[divan::bench(args = [1, 1_000])]
fn compile(bencher: Bencher<'_, '_>, hosts: usize) {
    let config = configured(hosts, hosts);
    bencher.bench_local(|| Classifier::new(black_box(&config)));
}
