//! A listener that is open. How it receives connections, it reads from the registry's snapshot, like everything else that
//! a configuration says: so a connection never meets the limits or the certificate of another configuration than its
//! requests do, unless that changes while it is open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;

use crate::config::Config;
use crate::edge::{Gate, Host, Policy, Reception};
use crate::ids::ListenerName;
use crate::proxy::{Door, MAX_ATTEMPTS, Proxy, Shared};
use crate::registry::Setup;

/// What serves the requests of a listener on one thread: its idle connections to nodes are the thread's own.
type App = HttpProxy<Proxy>;

/// A listener that is open.
pub struct Listening {
    threads: Vec<Arc<Thread>>,
}

/// A listener on one of its threads.
pub struct Thread {
    name: ListenerName,
    gate: Arc<Gate>,
    shared: Shared,
    /// That of the newest configuration that a connection has come with.
    known: ArcSwap<Known>,
    /// By the number of idle connections to nodes that they keep: usually one, and while a configuration is taken over
    /// that of the next one, too, as it takes a while to make.
    apps: ArcSwap<Vec<(usize, Arc<App>)>>,
}

/// How connections are received by one configuration.
struct Known {
    config: Arc<Config>,
    reception: Arc<Reception<App>>,
}

impl Listening {
    /// A listener of the registry's configuration, on so many threads, before it has sockets.
    pub fn new(name: &ListenerName, threads: usize, shared: &Shared) -> Self {
        let gate = Arc::new(Gate::default());
        let thread = |_| Thread::new(name, &gate, shared).map(Arc::new);
        Listening { threads: (0..threads).filter_map(thread).collect() } // all of them, as the configuration has it
    }

    /// What receives its connections, for each thread.
    pub fn threads(&self) -> &[Arc<Thread>] {
        &self.threads
    }

    /// Makes what takes long, for a configuration that will be in force soon.
    pub fn prepare(&self, config: &Config) {
        self.threads.iter().for_each(|thread| thread.prepare(idle_connections(config)));
    }

    /// Drops what only another configuration than this one needs. Connections keep what they have.
    pub fn clear(&self, config: &Config) {
        self.threads.iter().for_each(|thread| thread.clear(idle_connections(config)));
    }
}

impl Thread {
    fn new(name: &ListenerName, gate: &Arc<Gate>, shared: &Shared) -> Option<Self> {
        let setup = &shared.registry.snapshot().setup;
        let idle = idle_connections(&setup.config);
        let app = Arc::new(app(name, gate, shared, idle)?);
        let known = ArcSwap::from_pointee(Known::new(name, gate, shared, setup, app.clone())?);
        let apps = ArcSwap::from_pointee(vec![(idle, app)]);
        Some(Thread { name: name.clone(), gate: gate.clone(), shared: shared.clone(), known, apps })
    }

    fn prepare(&self, idle: usize) {
        let known = self.apps.load();
        if known.iter().any(|(of, _)| *of == idle) {
            return;
        }
        if let Some(app) = app(&self.name, &self.gate, &self.shared, idle) {
            let more = known.iter().cloned().chain([(idle, Arc::new(app))]);
            self.apps.store(Arc::new(more.collect()));
        }
    }

    fn clear(&self, idle: usize) {
        let known = self.apps.load();
        if known.iter().any(|(of, _)| *of != idle) {
            self.apps.store(Arc::new(known.iter().filter(|(of, _)| *of == idle).cloned().collect()));
        }
    }

    /// What keeps as many idle connections as a configuration says. It was [prepared](Thread::prepare); otherwise, what
    /// there is will do.
    fn app(&self, config: &Config, known: &Known) -> Arc<App> {
        let (apps, idle) = (self.apps.load(), idle_connections(config));
        apps.iter().find(|(of, _)| *of == idle).map_or_else(|| known.reception.app.clone(), |(_, app)| app.clone())
    }
}

impl Host<App> for Thread {
    fn reception(&self) -> Arc<Reception<App>> {
        let (snapshot, known) = (self.shared.registry.snapshot(), self.known.load());
        if Arc::ptr_eq(&known.config, &snapshot.setup.config) {
            return known.reception.clone();
        }
        // Once for each configuration and thread. No configuration without the listener is ever applied.
        let app = self.app(&snapshot.setup.config, &known);
        let Some(next) = Known::new(&self.name, &self.gate, &self.shared, &snapshot.setup, app) else {
            return known.reception.clone();
        };
        let reception = next.reception.clone();
        self.known.store(Arc::new(next));
        reception
    }
}

impl Known {
    /// `None` if the configuration has no such listener.
    fn new(name: &ListenerName, gate: &Arc<Gate>, shared: &Shared, setup: &Setup, app: Arc<App>) -> Option<Self> {
        let listener = setup.config.listeners.iter().find(|listener| listener.name == *name)?;
        let door = Door::new(name.clone(), shared.observed.clone());
        let policy = Arc::new(Policy::of(listener, gate.clone(), Box::new(door)));
        let tls = setup.certificates.of(name).cloned();
        // It speaks TLS as long as it is open.
        if tls.is_some() != listener.tls.is_some() {
            return None;
        }
        Some(Known { config: setup.config.clone(), reception: Arc::new(Reception { tls, policy, app }) })
    }
}

/// What the framework needs to know of a configuration.
pub fn server_conf(config: &Config) -> ServerConf {
    conf(idle_connections(config))
}

fn conf(idle_connections: usize) -> ServerConf {
    ServerConf {
        // Each service says itself how many threads it has: one.
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: idle_connections,
        max_retries: MAX_ATTEMPTS,
        // The stop is ours, see `app`.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

/// Idle connections to nodes that a thread keeps: the framework has one limit for all pools of a listener.
fn idle_connections(config: &Config) -> usize {
    let keepalive = config.clusters.iter().flat_map(|cluster| &cluster.pools).map(|pool| pool.keepalive.connections);
    keepalive.sum::<usize>().max(1)
}

/// `None` if the registry's configuration has no such listener.
fn app(name: &ListenerName, gate: &Arc<Gate>, shared: &Shared, idle_connections: usize) -> Option<App> {
    let proxy = Proxy::new(name.clone(), gate.clone(), shared.clone())?;
    let mut app = HttpProxy::new(proxy, Arc::new(conf(idle_connections)));
    let mut options = HttpServerOptions::default();
    // Not to serve it, but so that our own code sees it, refuses it and counts it.
    options.allow_connect_method_proxying = true;
    app.server_options = Some(options);
    app.handle_init_modules();
    Some(app)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::Instant;

    use super::*;
    use crate::certificates::Certificates;
    use crate::config::AccessLog;
    use crate::edge::{Connections, Drain};
    use crate::ids::Name;
    use crate::observe::access::AccessWriter;
    use crate::observe::metrics::Metrics;
    use crate::proxy::Observed;
    use crate::registry::{Files, Registry};
    use crate::upstream::TrustStore;

    /// Writes a certificate and its key, other ones each time.
    fn write_certificate(dir: &Path) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=elb.test", "-out", "crt", "-keyout", "key"])
            .current_dir(dir)
            .output();
        let made = made.expect("openssl is installed: apt-get install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn config(dir: &Path, limit: usize, idle: usize) -> Config {
        let yaml = format!(
            "
listeners:
  web: {{ bind: ['127.0.0.1:0'], role: worker, tls: {{ certificate: crt, key: key }}, limits: {{ connections: {limit} }} }}
  plain: {{ bind: ['127.0.0.1:0'], role: worker }}
clusters: {{ esb: {{ product: esb, hosts: {{ worker: ['*'] }}, nodes: [{{ id: wk-1, host: wk-1.test }}],
  pools: {{ worker: {{ keepalive: {{ connections: {idle} }} }}, manager: {{ keepalive: {{ connections: 1 }} }} }} }} }}"
        );
        crate::config::parse(&yaml, dir).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    /// What was not told to the listener, but published with the routing, holds for the next connection.
    #[test]
    fn connections_are_received_as_the_newest_snapshot_says() {
        let dir = std::env::temp_dir().join(format!("carbon-elb-listening-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        write_certificate(&dir);
        let metrics = Arc::new(Metrics::new().unwrap());
        let read = |config: &Config, before: &Certificates| Arc::new(Certificates::load(config, before).unwrap());
        let mut setup = Setup::new(config(&dir, 1, 8), TrustStore::default(), &metrics);
        let first = read(&setup.config, &Certificates::default());
        setup.certificates = first.clone();
        let registry = Arc::new(Registry::new(setup, metrics.clone(), Vec::new(), Instant::now(), 1));
        let access = AccessWriter::open(&AccessLog::Off, metrics.access_lines_lost().clone()).unwrap();
        let observed = Observed { access: Arc::new(access), metrics };
        let shared = Shared { registry: registry.clone(), observed, drain: Arc::new(Drain::new(usize::MAX)) };
        let name = |name| Name::parse(name).unwrap();
        let [web, plain] = ["web", "plain"].map(|listener| Listening::new(&name(listener), 2, &shared));
        let received = || web.threads()[1].reception();
        let most = |in_all| Connections { in_all: Some(in_all), of_client: received().policy.connections.of_client };

        let before = received();
        assert!(Arc::ptr_eq(&before, &received()), "nothing is made anew while nothing changes");
        assert!(plain.threads()[0].reception().tls.is_none());
        let shows = |certificates: &Certificates| {
            received().tls.as_ref().unwrap().is_same(certificates.of(&name("web")).unwrap())
        };
        assert!(shows(&first) && before.policy.connections == most(1));

        // The same files: whoever has a session of TLS goes on with it.
        let next = config(&dir, 2, 16);
        let same = read(&next, &first);
        assert_eq!(same.changed(&first, &next).count(), 0);
        write_certificate(&dir);
        let second = read(&next, &same);
        assert_eq!(second.changed(&same, &next).collect::<Vec<_>>(), [&name("web")]);
        web.prepare(&next);
        assert!(shows(&first) && Arc::ptr_eq(&before.app, &received().app), "it is not in force yet");
        let next = Arc::new(next);
        let files = Files { trust: Arc::default(), certificates: second.clone() };
        registry.apply(next.clone(), Some(files), Instant::now());
        assert!(shows(&second) && received().policy.connections == most(2));
        assert!(!Arc::ptr_eq(&before.app, &received().app), "it keeps another number of idle connections");
        web.clear(&next);

        // Members that come and go change nothing of it.
        let kept = received();
        registry.apply(Arc::new(Config::clone(&next)), None, Instant::now());
        assert!(shows(&second) && Arc::ptr_eq(&kept.app, &received().app));
        assert_eq!(before.policy.connections.in_all, Some(1), "a connection keeps what it came with");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
