//! A listener that is open, and what of it another configuration changes while it stays so.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;

use crate::config::{Config, Listener};
use crate::edge::{Acceptor, Gate, Policy, Reception, TlsError};
use crate::ids::ListenerName;
use crate::proxy::{Door, MAX_ATTEMPTS, Proxy, Shared};

/// A listener that is open.
pub struct Listening {
    name: ListenerName,
    gate: Arc<Gate>,
    reception: Arc<ArcSwap<Reception>>,
    /// One for each thread: its idle connections to nodes are the thread's own.
    proxies: Vec<Arc<ArcSwap<HttpProxy<Proxy>>>>,
    shared: Shared,
}

impl Listening {
    /// A listener on so many threads, before it has sockets. `conf` is what the framework needs to know; see
    /// [`server_conf`].
    ///
    /// # Errors
    /// Its certificate or key cannot be used.
    pub fn new(listener: &Listener, threads: usize, conf: &Arc<ServerConf>, shared: Shared) -> Result<Self, TlsError> {
        let tls = listener.tls.as_ref().map(Acceptor::load).transpose()?;
        let gate = Arc::new(Gate::new(&listener.limits));
        let reception = Arc::new(ArcSwap::from_pointee(receive(listener, tls, &gate, &shared)));
        let proxy = |_| Proxy::new(listener.name.clone(), gate.clone(), shared.clone());
        let proxies = (0..threads).filter_map(proxy); // all of them: the registry has the same configuration
        let proxies = proxies.map(|proxy| Arc::new(ArcSwap::new(http_proxy(proxy, conf)))).collect();
        Ok(Listening { name: listener.name.clone(), gate, reception, proxies, shared })
    }

    /// The listener's name.
    pub fn name(&self) -> &ListenerName {
        &self.name
    }

    /// How clients are received that come from now on.
    pub fn reception(&self) -> &Arc<ArcSwap<Reception>> {
        &self.reception
    }

    /// What serves them, for each thread.
    pub fn proxies(&self) -> &[Arc<ArcSwap<HttpProxy<Proxy>>>] {
        &self.proxies
    }

    /// Reads certificate and key again. Returns also whether they are others than before.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read_tls(&self, listener: &Listener) -> Result<(Option<Acceptor>, bool), TlsError> {
        let read = listener.tls.as_ref().map(Acceptor::load).transpose()?;
        let known = self.reception.load().tls.clone();
        match (read, known) {
            // Sessions of TLS go on with the one that they began with.
            (Some(read), Some(known)) if read.is_same(&known) => Ok((Some(known), false)),
            (read, known) => {
                let other = read.is_some() || known.is_some();
                Ok((read, other))
            }
        }
    }

    /// Goes by other settings from here on: for new connections, or requests where the setting is about requests.
    pub fn renew(&self, listener: &Listener, tls: Option<Acceptor>) {
        self.gate.set_limits(&listener.limits);
        self.reception.store(Arc::new(receive(listener, tls, &self.gate, &self.shared)));
    }

    /// Serves the connections that come from now on with new proxies, which keep as many idle connections to nodes as
    /// `conf` says. Those before stay for the connections that they have.
    pub fn renew_proxies(&self, conf: &Arc<ServerConf>) {
        for served in &self.proxies {
            if let Some(proxy) = Proxy::new(self.name.clone(), self.gate.clone(), self.shared.clone()) {
                served.store(http_proxy(proxy, conf));
            }
        }
    }
}

fn receive(listener: &Listener, tls: Option<Acceptor>, gate: &Arc<Gate>, shared: &Shared) -> Reception {
    let door = Door::new(listener.name.clone(), shared.observed.clone());
    Reception { tls, policy: Arc::new(Policy::of(listener, gate.clone(), Box::new(door))) }
}

/// What the framework needs to know of a configuration.
pub fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        // Each service says itself how many threads it has: one.
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: idle_connections(config),
        max_retries: MAX_ATTEMPTS,
        // The stop is ours, see `app`.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

/// Idle connections to nodes that a thread keeps: the framework has one limit for all pools of a listener.
pub fn idle_connections(config: &Config) -> usize {
    let keepalive = config.clusters.iter().flat_map(|cluster| &cluster.pools).map(|pool| pool.keepalive.connections);
    keepalive.sum::<usize>().max(1)
}

fn http_proxy(proxy: Proxy, conf: &Arc<ServerConf>) -> Arc<HttpProxy<Proxy>> {
    let mut proxy = HttpProxy::new(proxy, conf.clone());
    let mut options = HttpServerOptions::default();
    // Not to serve it, but so that our own code sees it, refuses it and counts it.
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    proxy.handle_init_modules();
    Arc::new(proxy)
}
