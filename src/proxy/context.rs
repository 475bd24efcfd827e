//! What is known of a request while it is on its way, and what became of it in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use smallvec::SmallVec;

use super::admit::Admitted;
use super::{MAX_ATTEMPTS, headers};
use crate::classify::{Class, Decision};
use crate::config::Listener;
use crate::edge::{Exchange, RequestPass};
use crate::ids::{ClusterName, Endpoint, Role};
use crate::member::Lease;
use crate::observe::access::Entry;
use crate::observe::metrics::Metrics;
use crate::origin::Client;
use crate::pool::{Member, Pool, PoolView};
use crate::registry::Snapshot;

/// Keys of peers that no other request has, above those of pools: they keep a request away from idle connections.
static FRESH: AtomicU64 = AtomicU64::new(1 << 63);

/// The status that the client got, if it got more than interim ones.
pub(super) fn final_status(session: &Session) -> Option<u16> {
    let status = session.response_written()?.status;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then(|| status.as_u16())
}

/// What is known of a request.
#[derive(Debug)]
pub struct Context {
    started: Instant,
    /// Why no node was asked, or why none could answer.
    pub(super) refused: Option<&'static str>,
    /// When the node's header was there.
    pub(super) first_byte: Option<Instant>,
    /// What the edge knows of the request.
    pub(super) exchange: Arc<Exchange>,
    /// Whose request it is, once that is known.
    pub(super) client: Option<Client>,
    /// Whether the client came over TLS, to us or to a proxy that is trusted.
    pub(super) secure: bool,
    /// Whether the client got an answer of ours in place of a node's.
    pub(super) replied: bool,
    /// Whether the reason is the client's doing, so that it is counted as a refusal even if a node was asked.
    blamed: bool,
    route: Option<Route>,
    /// Bytes that the body may have, and may have still. Each attempt sends it from its beginning.
    body_limit: Option<u64>,
    body_left: Option<u64>,
    /// The request's place among those in flight.
    _pass: Option<RequestPass>,
    /// The cluster that a refused request was for.
    refused_cluster: Option<ClusterName>,
    lease: Option<Lease>,
    /// Positions of members that were asked, in the pool's view of the snapshot.
    tried: SmallVec<[usize; 4]>,
    attempts: usize,
    /// Whether the next attempt must not use a connection that was used before.
    fresh: bool,
    reused: Option<bool>,
    connected: Option<Instant>,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Route {
    snapshot: Arc<Snapshot>,
    cluster: usize,
    role: Role,
    endpoint: Endpoint,
    class: Class,
    tenant: Option<Box<str>>,
    /// The path for the node, if it is not the received one.
    forward: Option<Box<[u8]>>,
}

impl Route {
    /// Keeps the decision, and the snapshot that it was made on.
    pub(super) fn new(snapshot: Arc<Snapshot>, decision: Decision<'_>, endpoint: Endpoint) -> Self {
        let Decision { cluster, role, class, tenant, forward } = decision;
        let tenant = tenant.map(|tenant| Box::from(&*tenant));
        let forward = forward.map(|path| Box::from(&*path));
        Route { snapshot, cluster, role, endpoint, class, tenant, forward }
    }

    fn view(&self) -> Option<&PoolView> {
        self.snapshot.pool(self.cluster, self.role, self.endpoint)
    }
}

impl Context {
    /// A request whose header has just been read.
    pub(super) fn new(now: Instant, exchange: Arc<Exchange>) -> Self {
        Context {
            started: now,
            refused: None,
            first_byte: None,
            exchange,
            client: None,
            secure: false,
            replied: false,
            blamed: false,
            route: None,
            body_limit: None,
            body_left: None,
            _pass: None,
            refused_cluster: None,
            lease: None,
            tried: SmallVec::new(),
            attempts: 0,
            fresh: false,
            reused: None,
            connected: None,
        }
    }

    /// Keeps what was decided about the request.
    pub(super) fn admitted(&mut self, admitted: Admitted) {
        let Admitted { route, body, pass } = admitted;
        self.route = Some(route);
        self.body_limit = body;
        self._pass = Some(pass);
    }

    /// The path for the node, if it is not the received one.
    pub(super) fn forward(&self) -> Option<&[u8]> {
        self.route.as_ref()?.forward.as_deref()
    }

    /// Whether the request is for a manager.
    pub(super) fn is_for_manager(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.role == Role::Manager)
    }

    /// Takes so many bytes of the body off what it may still have; `false` if that is too much.
    pub(super) fn take_body(&mut self, bytes: usize) -> bool {
        let Some(left) = &mut self.body_left else { return true };
        let fits = left.checked_sub(bytes as u64); // a usize has 64 bits at most
        *left = fits.unwrap_or(0);
        fits.is_some()
    }

    /// Keeps which cluster a refused request was for.
    pub(super) fn cluster_refused(&mut self, snapshot: &Snapshot, cluster: Option<usize>) {
        let pool = cluster.and_then(|cluster| {
            let roles = Role::ALL.into_iter();
            roles.flat_map(|role| Endpoint::ALL.map(|e| snapshot.pool(cluster, role, e))).flatten().next()
        });
        self.refused_cluster = pool.map(|view| view.pool.cluster.clone());
    }

    /// Chooses a member that was not asked before, counts the request on it, and makes a peer of it.
    pub(super) fn pick(&mut self, peer: impl FnOnce(&Pool, &Member) -> Box<HttpPeer>) -> Option<Box<HttpPeer>> {
        // The lease of an attempt that failed ends before the next member is chosen.
        self.lease = None;
        self.body_left = self.body_limit;
        let view = self.route.as_ref()?.view()?;
        let picked = view.pick(&self.tried)?;
        if self.attempts > 0 {
            view.pool.metrics.retried();
        }
        let mut peer = peer(&view.pool, picked.member);
        if self.fresh {
            peer.group_key = FRESH.fetch_add(1, Ordering::Relaxed);
            // Nobody will ask for it again.
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        self.lease = Some(picked.lease);
        self.tried.push(picked.position);
        self.attempts += 1;
        Some(peer)
    }

    /// Whether a member remains that was not asked.
    pub(super) fn another_member(&self) -> bool {
        let ready = self.route.as_ref().and_then(Route::view).map_or(0, PoolView::ready);
        self.tried.len() < ready && self.attempts < MAX_ATTEMPTS
    }

    /// Whether the request was not yet sent a second time.
    pub(super) fn may_retry_fresh(&self) -> bool {
        !self.fresh
    }

    /// Lets the next attempt use a new connection: to another member, or to the same if there is no other. It only
    /// closed an idle connection.
    pub(super) fn retry_fresh(&mut self) {
        self.fresh = true;
        if !self.another_member() {
            self.tried.clear();
        }
    }

    /// Notes that a connection to the member is there.
    pub(super) fn connected(&mut self, reused: bool) {
        self.refused = None;
        self.reused = Some(reused);
        self.connected = Some(Instant::now());
        if let Some(view) = self.route.as_ref().and_then(Route::view) {
            view.pool.metrics.connected(reused);
        }
    }

    /// Notes what the client did wrong.
    pub(super) fn blame(&mut self, reason: &'static str) {
        self.refused = Some(reason);
        self.blamed = true;
    }

    /// Notes why the request could not be answered, unless something more exact is known.
    pub(super) fn failed(&mut self, reason: &'static str) {
        self.refused.get_or_insert(reason);
    }

    /// The member that was asked last, and the settings of its pool.
    pub(super) fn asked(&self) -> Option<(&Pool, &Member)> {
        let view = self.route.as_ref()?.view()?;
        Some((&view.pool, view.member(*self.tried.last()?)?))
    }

    /// The request in words, for log lines about errors.
    pub(super) fn describe(&self) -> String {
        match (&self.route, &self.lease) {
            (Some(route), Some(lease)) => format!("{}/{} {}", lease.node().cluster(), route.role, lease.node().id()),
            _ => "request".to_owned(),
        }
    }

    /// Ends the request: the node is free again.
    pub(super) fn finish(&mut self, session: &Session) -> Outcome {
        let took = self.started.elapsed();
        let status = final_status(session).unwrap_or(0);
        let lease = self.lease.take();
        let node = lease.as_ref().map(|lease| lease.node().id().clone());
        Outcome { time: SystemTime::now() - took, took, status, node }
    }
}

/// What became of a request: the access line and the metrics are made of this.
#[derive(Debug)]
pub(super) struct Outcome {
    time: SystemTime,
    took: Duration,
    status: u16,
    node: Option<crate::ids::NodeId>,
}

impl Outcome {
    /// Counts the request.
    pub(super) fn count(&self, metrics: &Metrics, context: &Context) {
        match context.route.as_ref().and_then(Route::view) {
            Some(view) => view.pool.metrics.finished(self.status, self.took),
            None if !context.blamed => metrics.refused(context.refused.unwrap_or("not_routed")),
            None => {}
        }
        if let Some(reason) = context.refused.filter(|_| context.blamed) {
            metrics.refused(reason);
        }
    }

    /// The request's line in the access log.
    pub(super) fn entry<'a>(&'a self, session: &'a Session, context: &'a Context, listener: &'a Listener) -> Entry<'a> {
        let request = session.req_header();
        let route = context.route.as_ref();
        let view = route.and_then(Route::view);
        let since_start = |then: Option<Instant>| then.map(|then| then.duration_since(context.started));
        Entry {
            time: self.time,
            listener: listener.name.as_str(),
            client: context.client,
            via: context.client.and_then(|client| client.via),
            method: request.method.as_str(),
            host: headers::host(request).unwrap_or_default(),
            path: headers::path(request),
            protocol: match request.version {
                http::Version::HTTP_2 => "HTTP/2.0",
                http::Version::HTTP_11 => "HTTP/1.1",
                _ => "HTTP/1.0",
            },
            status: self.status,
            bytes: session.body_bytes_sent(),
            received: session.body_bytes_read(),
            cluster: view.map(|view| &view.pool.cluster).or(context.refused_cluster.as_ref()).map(|name| name.as_str()),
            role: route.map(|route| route.role.as_str()),
            class: route.map(|route| route.class.as_str()),
            tenant: route.and_then(|route| route.tenant.as_deref()),
            node: self.node.as_ref().map(|id| id.as_str()),
            attempts: context.attempts,
            reused: context.reused,
            connect_ms: since_start(context.connected),
            first_byte_ms: since_start(context.first_byte),
            total_ms: Some(self.took),
            reason: context.refused,
        }
    }
}
