//! The classifier as a whole: tables of cases, and properties of mutated management URLs.

mod cases;
mod modes;
mod mutations;

use std::time::Duration;

use super::*;
use crate::config::{
    AccessLog, Admin, Cluster, EndpointSettings, ExtraPaths, HealthProbe, HostPattern, Mode, PoolSettings, Product,
    ServerSettings, Services,
};
use crate::ids::{ClusterName, Scheme};

/// A configuration with nothing but clusters; the classifier reads no more of it.
fn config(clusters: Vec<Cluster>) -> Config {
    let server = ServerSettings { threads: None, grace: Duration::ZERO, access_log: AccessLog::Off, watch: None };
    Config {
        listeners: Vec::new(),
        clusters,
        rules: Vec::new(),
        affinity_keys: Vec::new(),
        admin: Admin { bind: Vec::new(), allow: Vec::new(), tokens: Vec::new() },
        server,
    }
}

fn cluster(name: &str, product: Product, worker: &str, manager: &str) -> Cluster {
    let endpoint = EndpointSettings { scheme: Scheme::Http, port: 1, tls: None, health: HealthProbe::Off };
    Cluster {
        access: Default::default(),
        name: ClusterName::parse(name).unwrap(),
        product,
        mode: Mode::Separated,
        hosts: [vec![pattern(manager)], vec![pattern(worker)]],
        services: Services::Only(vec!["echo".into(), "MyAdminThing".into()]),
        admin_services: vec!["SecretTool".into()],
        paths: ExtraPaths::default(),
        endpoints: [endpoint.clone(), endpoint],
        nodes: Vec::new(),
        sources: Vec::new(),
        max_dynamic: 1,
        pools: Role::ALL.map(PoolSettings::of),
        tenants: Default::default(),
    }
}

fn pattern(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None if text == "*" => HostPattern::Any,
        None => HostPattern::Exact(text.to_owned()),
    }
}

/// A listener, as the tables of cases write it.
#[derive(Debug, Clone, Copy)]
enum On {
    WorkerServlet,
    WorkerPass,
    ManagerServlet,
    ManagerPass,
    BothServlet,
    BothPass,
}

impl On {
    const ALL: [On; 6] =
        [On::WorkerServlet, On::WorkerPass, On::ManagerServlet, On::ManagerPass, On::BothServlet, On::BothPass];

    fn facts<'p>(self, host: &'p [u8], path: &'p [u8]) -> Facts<'p> {
        let (serves, endpoint) = match self {
            On::WorkerServlet => (Serves::Worker, Endpoint::Servlet),
            On::WorkerPass => (Serves::Worker, Endpoint::Passthrough),
            On::ManagerServlet => (Serves::Manager, Endpoint::Servlet),
            On::ManagerPass => (Serves::Manager, Endpoint::Passthrough),
            On::BothServlet => (Serves::Both, Endpoint::Servlet),
            On::BothPass => (Serves::Both, Endpoint::Passthrough),
        };
        Facts { serves, endpoint, host: Some(host), path, paths: PathMode::Strict, soap: false }
    }
}
