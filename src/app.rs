//! All wiring: a checked configuration in, a running server out.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{info, warn};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::Admin;
use crate::autoscale::{Autoscaling, Board, Configured};
use crate::certificates::Certificates;
use crate::classify::Classifier;
use crate::config::{AccessLog, Affinity, Config, Listener, Secret};
use crate::control::Control;
use crate::edge::{
    Always, Answer, Answering, BindError, Drain, Edge, Entrance, Policy, Reception, Socket, Unwatched, bind,
};
use crate::limits;
use crate::listening::{Listening, server_conf};
use crate::membership::Membership;
use crate::observe::access::AccessWriter;
use crate::observe::metrics::Metrics;
use crate::proxy::{Observed, Proxy, Shared};
use crate::registry::{Registry, Setup};
use crate::reload::{Reloader, Trigger};
use crate::upstream::TrustStore;

/// How long clients of the admin listener and of stub nodes are waited for, whatever they do.
const OPERATORS_PATIENCE: Duration = Duration::from_secs(60);

/// Why the program cannot start. The text says what to do.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind(BindError),
    /// Certificates or keys of listeners, or certificates to verify nodes with, cannot be used; one sentence each.
    Files(Vec<String>),
    /// The access log cannot be opened.
    AccessLog(AccessLog, io::Error),
    /// The metrics cannot be set up.
    Metrics(String),
    /// A socket has no address.
    Socket(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(e) => write!(f, "{e}"),
            StartError::Files(problems) => write!(f, "{}", problems.join("\n")),
            StartError::AccessLog(AccessLog::File(path), e) => {
                write!(f, "server.access_log: cannot open {}: {e}", path.display())
            }
            StartError::AccessLog(_, e) => write!(f, "server.access_log: cannot start: {e}"),
            StartError::Metrics(e) => write!(f, "metrics: {e}"),
            StartError::Socket(e) => write!(f, "a listening socket has no address: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        StartError::Bind(error)
    }
}

/// A listener that is open.
#[derive(Debug, Clone)]
pub struct Open {
    /// The listener's name, or `admin`, or `node`.
    pub name: String,
    /// The address with its real port.
    pub address: SocketAddr,
}

/// A server that is wired, with its sockets open, but not running yet.
pub struct App {
    server: Server,
    drain: Arc<Drain>,
    grace: Duration,
    access: Option<Arc<AccessWriter>>,
    /// Takes over another version of the configuration file.
    reloader: Option<Arc<Reloader>>,
    open: Vec<Open>,
}

impl App {
    /// A server without listeners.
    fn empty(grace: Duration, most_connections: usize, conf: ServerConf) -> Self {
        let drain = Arc::new(Drain::new(most_connections));
        let server = Server::new_with_opt_and_conf(None, conf);
        App { server, drain, grace, access: None, reloader: None, open: Vec::new() }
    }

    /// Wires the load balancer and opens its listeners.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left open.
    pub fn balancer(config: Config) -> Result<Self, StartError> {
        App::balancer_with(config, None, None)
    }

    /// As [`App::balancer`], with the file that the configuration came from: it can be read again.
    ///
    /// # Errors
    /// As [`App::balancer`].
    pub fn balancer_of_file(config: Config, file: &Path) -> Result<Self, StartError> {
        App::balancer_with(config, None, Some(file.to_owned()))
    }

    /// As [`App::balancer`], but everything goes to the workers: see [`Classifier::unclassified`].
    ///
    /// # Errors
    /// As [`App::balancer`].
    #[doc(hidden)]
    pub fn unclassified(config: Config) -> Result<Self, StartError> {
        App::balancer_with(config, Some(Classifier::unclassified()), None)
    }

    fn balancer_with(
        config: Config,
        classifier: Option<Classifier>,
        file: Option<PathBuf>,
    ) -> Result<Self, StartError> {
        let threads = config.server.threads.unwrap_or_else(available_threads);
        let metrics = Arc::new(Metrics::new().map_err(|e| StartError::Metrics(e.to_string()))?);
        let trust = TrustStore::load(&config, &TrustStore::default()).map_err(StartError::Files)?;
        let certificates = Certificates::load(&config, &Certificates::default()).map_err(StartError::Files)?;
        let access = AccessWriter::open(&config.server.access_log, metrics.access_lines_lost().clone())
            .map_err(|e| StartError::AccessLog(config.server.access_log.clone(), e))?;
        let access = Arc::new(access);
        let mut setup = Setup::new(config, trust, &metrics);
        setup.certificates = Arc::new(certificates);
        if let Some(classifier) = classifier {
            setup.classifier = Arc::new(classifier);
        }
        let config = setup.config.clone();
        let registry =
            Arc::new(Registry::new(setup, metrics.clone(), own_affinity_keys(&config), Instant::now(), seed()));

        let open_files = limits::raise_open_files();
        limits::warn_if_low(open_files);
        let most = limits::most_connections(open_files);
        let mut app = App::empty(config.server.grace, most, server_conf(&config));
        app.access = Some(access.clone());
        let observed = Observed { access, metrics: metrics.clone() };
        let shared = Shared { registry: registry.clone(), observed, drain: app.drain.clone() };
        let opened = watch::Sender::new(false);
        let mut edges: Vec<Vec<Entrance<HttpProxy<Proxy>>>> = (0..threads).map(|_| Vec::new()).collect();
        let mut listening = Vec::new();
        for listener in &config.listeners {
            listening.push(app.open_listener(listener, &shared, &mut edges)?);
        }
        for (thread, entrances) in edges.into_iter().enumerate() {
            let edge = Edge::new(format!("edge-{thread}"), entrances, app.drain.clone(), opened.subscribe());
            app.server.add_service(edge);
        }
        let membership = Arc::new(Membership::new(config.clone(), metrics.clone()));
        let reloader = Reloader::new(file, registry.clone(), membership.clone(), metrics.clone(), listening);
        let reloader = Arc::new(reloader);
        app.reloader = Some(reloader.clone());
        let board = Arc::new(Board::default());
        let (drain, shown) = (app.drain.clone(), board.clone());
        let sources = metrics.sources().clone();
        let admin = Admin::new(registry.clone(), metrics.clone(), membership.clone(), shown, reloader.clone(), drain);
        app.answer("admin", &config.admin.bind, admin)?;
        app.server.add_service(Autoscaling::new(registry.clone(), metrics, board, Configured));
        app.server.add_service(Control::new(registry, membership, reloader, sources, opened));
        Ok(app)
    }

    /// Opens a listener's addresses, once for each thread.
    fn open_listener(
        &mut self,
        listener: &Listener,
        shared: &Shared,
        edges: &mut [Vec<Entrance<HttpProxy<Proxy>>>],
    ) -> Result<Listening, StartError> {
        let open = Listening::new(&listener.name, edges.len(), shared);
        for &address in &listener.bind {
            let sockets = bind(listener.name.as_str(), address, edges.len())?;
            self.note_open(sockets.first())?;
            for ((socket, host), entrances) in sockets.into_iter().zip(open.threads()).zip(edges.iter_mut()) {
                entrances.push(Entrance { socket, host: host.clone(), always_open: false });
            }
        }
        Ok(open)
    }

    /// Adds a server that answers by itself.
    ///
    /// # Errors
    /// An address cannot be listened on.
    fn answer(
        &mut self,
        name: &str,
        addresses: &[SocketAddr],
        answer: impl Answer + 'static,
    ) -> Result<(), StartError> {
        let app = Arc::new(Answering(answer));
        let policy = Arc::new(Policy::plain(OPERATORS_PATIENCE, Box::new(Unwatched)));
        let host = Arc::new(Always(Arc::new(Reception { tls: None, policy, app })));
        let mut entrances = Vec::new();
        for &address in addresses {
            for socket in bind(name, address, 1)? {
                self.note_open(Some(&socket))?;
                entrances.push(Entrance { socket, host: host.clone(), always_open: true });
            }
        }
        let opened = watch::Sender::new(true).subscribe();
        self.server.add_service(Edge::new(name.to_owned(), entrances, self.drain.clone(), opened));
        Ok(())
    }

    fn note_open(&mut self, socket: Option<&Socket>) -> Result<(), StartError> {
        if let Some(socket) = socket {
            let address = socket.address().map_err(StartError::Socket)?;
            self.open.push(Open { name: socket.name().to_owned(), address });
        }
        Ok(())
    }

    /// A server of stub nodes, each on an address of its own.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn nodes(nodes: impl IntoIterator<Item = (SocketAddr, crate::node::StubNode)>) -> Result<Self, StartError> {
        let mut app = App::empty(
            Duration::from_secs(5),
            usize::MAX,
            ServerConf { work_stealing: false, ..ServerConf::default() },
        );
        for (address, node) in nodes {
            app.answer("node", &[address], node)?;
        }
        Ok(app)
    }

    /// The listeners that are open, with their real ports.
    pub fn open(&self) -> &[Open] {
        &self.open
    }

    /// Runs until SIGTERM or SIGINT. SIGTERM lets requests in flight finish, for as long as the grace period allows.
    pub fn run(self) {
        let stop = Stop { open: self.open, drain: self.drain.clone(), grace: self.grace, reloader: self.reloader };
        self.server.run(RunArgs { shutdown_signal: Box::new(stop) });
        if let Some(access) = self.access {
            access.close();
        }
    }
}

/// The keys of affinity cookies for as long as the configuration has none. Such cookies are worth as much as this process
/// lasts.
fn own_affinity_keys(config: &Config) -> Vec<Secret> {
    let mut pools = config.clusters.iter().flat_map(|cluster| &cluster.pools);
    let needed = config.affinity_keys.is_empty() && pools.any(|pool| matches!(pool.affinity, Affinity::Cookie(_)));
    let mut key = [0; 32];
    match random(&mut key) {
        Ok(()) => {
            if needed {
                info!("affinity: no keys are configured, so sessions may move when the balancer is restarted");
            }
            vec![Secret::new(key)]
        }
        Err(e) => {
            warn!("affinity: a key cannot be made ({e}): without configured ones sessions are not kept");
            Vec::new()
        }
    }
}

/// Fills `bytes` from the system's source of randomness.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    let got = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
    // The system gives up to 256 bytes as a whole.
    if got == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What the random numbers begin with: different in each process, so that balancers do not act in step.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    match random(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => u64::from(std::process::id()),
    }
}

/// One thread for each processor that the process may use; cgroup quotas and CPU affinity count.
fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// When and how the process stops.
struct Stop {
    open: Vec<Open>,
    drain: Arc<Drain>,
    /// How long requests in flight may take, unless a configuration says otherwise.
    grace: Duration,
    reloader: Option<Arc<Reloader>>,
}

impl Stop {
    fn grace(&self) -> Duration {
        self.reloader.as_ref().map_or(self.grace, |reloader| reloader.config().server.grace)
    }

    /// Reads the configuration file again at each SIGHUP. Without a file the signal does what it does to any process.
    async fn follow_hang_ups(&self, hang_ups: Option<Signal>) {
        let (Some(mut hang_ups), Some(reloader)) = (hang_ups, &self.reloader) else {
            return std::future::pending().await;
        };
        while hang_ups.recv().await.is_some() {
            // What comes of it is in the log.
            let _ = reloader.reload(&Trigger::Signal);
        }
        // No signal will come any more.
        std::future::pending().await
    }
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    /// Returns when nothing is left to do; the framework then ends at once.
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            warn!("signals cannot be caught: the process can only be killed");
            return std::future::pending().await;
        };
        let has_file = self.reloader.as_ref().is_some_and(|reloader| reloader.file().is_some());
        let hang_ups = if has_file { signal(SignalKind::hangup()).ok() } else { None };
        // Whoever reads these lines may send a signal at once, so they come when signals can be caught.
        for open in &self.open {
            info!("listening: {} {}", open.name, open.address);
        }
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: finishing what is in flight, for at most {:?}", self.grace()),
            () = self.follow_hang_ups(hang_ups) => {}
            _ = interrupt.recv() => {
                info!("SIGINT: stopping at once");
                return ShutdownSignal::FastShutdown;
            }
        }
        self.drain.begin();
        tokio::select! {
            () = self.drain.emptied() => info!("all connections are finished"),
            // The end of the wait for connections, which the drain ends earlier when it can.
            () = tokio::time::sleep(self.grace()) => {
                warn!("the grace period is over; {} connections are cut off", self.drain.open());
            }
            _ = interrupt.recv() => info!("SIGINT: not waiting any longer"),
        }
        ShutdownSignal::FastShutdown
    }
}
