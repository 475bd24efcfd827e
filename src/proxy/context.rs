//! What is known of a request while it is on its way, and what became of it in the end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::admit::Admitted;
use super::attempts::{AttemptFailed, Attempts, NoMember, why_moved};
use super::headers;
use crate::affinity::{Found, Source, hash, values};
use crate::classify::{Class, Decision, canonical_path};
use crate::config::{Affinity, Algorithm, Listener};
use crate::edge::{Exchange, RequestPass};
use crate::ids::{ClusterName, Endpoint, Role};
use crate::observe::access::Entry;
use crate::observe::metrics::Metrics;
use crate::origin::Client;
use crate::pool::{Member, Pool, PoolView, Session as Stay, Standing};
use crate::registry::{Registry, Snapshot};
use crate::sessions::SessionName;
use crate::tenant::TenantPass;

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
    /// When the request may be tried again, in seconds, if all members were full.
    pub(super) retry_after: Option<u64>,
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
    /// The request's places among those in flight: of all, and of its tenant.
    _pass: Option<RequestPass>,
    _tenant_pass: Option<TenantPass>,
    /// The cluster that a refused request was for.
    refused_cluster: Option<ClusterName>,
    attempts: Attempts,
    reused: Option<bool>,
    connected: Option<Instant>,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Route {
    snapshot: Arc<Snapshot>,
    pub(super) cluster: usize,
    pub(super) role: Role,
    endpoint: Endpoint,
    class: Class,
    tenant: Option<Box<str>>,
    /// The partition that takes the tenant.
    partition: Option<usize>,
    /// The path for the node, if it is not the received one.
    forward: Option<Box<[u8]>>,
    /// Whose request it is, if the pool keeps sessions.
    client: Option<IpAddr>,
    /// What the request tells of its session.
    pub(super) session: Stay,
    /// The hash that names its member, if the pool balances by one.
    pub(super) key: u64,
}

impl Route {
    /// Keeps the decision, and the snapshot that it was made on.
    pub(super) fn new(snapshot: Arc<Snapshot>, decision: Decision<'_>, endpoint: Endpoint) -> Self {
        let Decision { cluster, role, class, tenant, forward } = decision;
        let tenant = tenant.map(|tenant| Box::from(&*tenant));
        let forward = forward.map(|path| Box::from(&*path));
        let (partition, client, session, key) = (None, None, Stay::None, 0);
        Route { snapshot, cluster, role, endpoint, class, tenant, partition, forward, client, session, key }
    }

    /// Keeps the tenant and its partition: from the path, or else from the `host`.
    pub(super) fn find_tenant(&mut self, host: Option<&[u8]>) {
        let Some(rules) = self.snapshot.tenants(self.cluster) else { return };
        if self.tenant.is_none() {
            self.tenant = host.and_then(|host| rules.hosts.tenant(host)).map(Box::from);
        }
        self.partition = self.tenant.as_deref().and_then(|tenant| rules.partitions.of(tenant));
    }

    /// Counts the request among those of its tenant; `Err` if that has as many in flight as it may. Consoles stay open.
    pub(super) fn enter_tenant(&self) -> Result<Option<TenantPass>, ()> {
        let cap = self.snapshot.tenants(self.cluster).and_then(|rules| rules.cap.as_ref());
        match (cap, &self.tenant) {
            (Some(cap), Some(tenant)) if self.role == Role::Worker => cap.admit(tenant).map(Some).ok_or(()),
            _ => Ok(None),
        }
    }

    /// Keeps what the request tells of its session, and of the member that a hash names.
    pub(super) fn find_session(&mut self, client: IpAddr, request: &RequestHeader) {
        let Some(view) = self.view() else { return };
        let (settings, received) = (&view.pool.settings, headers::path(request));
        let by_hash = settings.balance == Algorithm::Hash;
        if !by_hash && settings.affinity == Affinity::Off {
            return;
        }
        let path = canonical_path(self.forward.as_deref().unwrap_or(received));
        let source = Source { client, headers: &request.headers, tenant: self.tenant.as_deref(), path: &path };
        let session = view.pool.sessions.find(&source, received);
        let key = if by_hash { hash(&settings.hash.by, &source).hash } else { 0 };
        (self.client, self.session, self.key) = (Some(client), session, key);
    }

    /// The pool that the request is for.
    pub(super) fn view(&self) -> Option<&PoolView> {
        self.view_in(&self.snapshot)
    }

    /// The same in another snapshot.
    pub(super) fn view_in<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s PoolView> {
        snapshot.pool(self.cluster, self.partition, self.role, self.endpoint)
    }

    /// The snapshot that the request goes by.
    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Goes by a newer snapshot from here on.
    pub(super) fn renew(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
    }

    /// The member at a position of the view.
    pub(super) fn member(&self, position: usize) -> Option<(&Pool, &Member)> {
        let view = self.view()?;
        Some((&view.pool, view.members().get(position)?))
    }

    /// The node that has the request's session, by its position in the cluster.
    pub(super) fn session_node(&self) -> Option<usize> {
        self.view()?.pool.sessions.node(self.session)
    }

    /// Counts what becomes of the request's session, now that its first member is chosen.
    pub(super) fn note_session(&self, pool: &Pool, chosen: &Member, request: &RequestHeader) {
        match self.session {
            Stay::Found(Found::Forged) => pool.metrics.cookie_ignored(),
            Stay::Found(Found::Gone) => pool.metrics.session_moved("gone"),
            _ => {}
        }
        let Some(node) = self.session_node() else { return };
        if node != chosen.index {
            if let Some(view) = self.view() {
                pool.metrics.session_moved(why_moved(view, node));
            }
        } else if chosen.standing == Standing::Draining
            && let Some(session) = self.session_name(pool, request)
        {
            chosen.node.sessions_left().note(session, Instant::now());
        }
    }

    /// What tells the request's session from others: the id that the node gave it, or else the client's address.
    fn session_name<'r>(&self, pool: &Pool, request: &'r RequestHeader) -> Option<SessionName<'r>> {
        let cookie = match &pool.settings.affinity {
            Affinity::Route { cookie } => cookie,
            _ => "JSESSIONID",
        };
        let cookies = request.headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
        let id = values(cookies, cookie).find(|id| !id.is_empty()).map(SessionName::Id);
        id.or_else(|| self.client.map(SessionName::Client))
    }

    /// The member that was asked last.
    fn asked(&self, attempts: &Attempts) -> Option<(&Pool, &Member)> {
        let (view, node) = (self.view()?, attempts.asked()?);
        let position = view.members().binary_search_by_key(&node, |member| member.index).ok()?;
        Some((&view.pool, view.members().get(position)?))
    }

    /// Counts that the member which has the session failed, and the request goes elsewhere.
    pub(super) fn note_lost_session(&self) {
        if let Some(view) = self.view() {
            view.pool.metrics.session_moved("failed");
        }
    }
}

impl Context {
    /// A request whose header has just been read.
    pub(super) fn new(now: Instant, exchange: Arc<Exchange>) -> Self {
        Context {
            started: now,
            refused: None,
            retry_after: None,
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
            _tenant_pass: None,
            refused_cluster: None,
            attempts: Attempts::default(),
            reused: None,
            connected: None,
        }
    }

    /// Keeps what was decided about the request.
    pub(super) fn admitted(&mut self, admitted: Admitted) {
        let Admitted { route, body, pass, tenant_pass } = admitted;
        self.route = Some(route);
        self.body_limit = body;
        self._pass = Some(pass);
        self._tenant_pass = tenant_pass;
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
            roles.flat_map(|role| Endpoint::ALL.map(|e| snapshot.pool(cluster, None, role, e))).flatten().next()
        });
        self.refused_cluster = pool.map(|view| view.pool.cluster.clone());
    }

    /// Chooses a member and counts the request on it; waits while all are full.
    pub(super) async fn choose(&mut self, session: &mut Session, registry: &Registry) -> Result<(), NoMember> {
        self.body_left = self.body_limit;
        let route = self.route.as_mut().ok_or(NoMember::NoneReady)?;
        self.attempts.choose(session, route, registry).await
    }

    /// Makes a peer of the member that was chosen. `repeatable`: the request could be sent again.
    pub(super) fn peer(
        &mut self,
        repeatable: bool,
        peer: impl FnOnce(&Pool, &Member) -> Box<HttpPeer>,
    ) -> Option<Box<HttpPeer>> {
        let route = self.route.as_ref()?;
        let (pool, member) = route.asked(&self.attempts)?;
        let mut peer = peer(pool, member);
        self.attempts.fit(&mut peer, pool, repeatable);
        Some(peer)
    }

    /// Takes in the final status of the member's answer.
    pub(super) fn answered(&mut self, status: u16, registry: &Registry) {
        self.first_byte.get_or_insert_with(Instant::now);
        if let Some(route) = &self.route {
            self.attempts.answered(status, route, registry);
        }
    }

    /// Whether the request is tried again after an attempt that failed so.
    pub(super) fn attempt_failed(&mut self, failed: &AttemptFailed, registry: &Registry) -> bool {
        self.route.as_ref().is_some_and(|route| self.attempts.failed(failed, route, registry))
    }

    /// The cookies for the node, if they are not those of the request.
    pub(super) fn without_affinity_cookie(&self, headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
        self.route.as_ref()?.view()?.pool.sessions.strip(headers)
    }

    /// The cookie that keeps the session on the member which has answered.
    pub(super) fn affinity_cookie(&self) -> Option<&HeaderValue> {
        let route = self.route.as_ref()?;
        route.view()?.pool.sessions.set_cookie(route.session, self.attempts.asked()?, self.secure)
    }

    /// Notes that a connection to the member is there.
    pub(super) fn connected(&mut self, reused: bool) {
        self.refused = None;
        self.reused = Some(reused);
        self.connected = Some(Instant::now());
        self.attempts.connected(reused);
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
        self.route.as_ref()?.asked(&self.attempts)
    }

    /// The request in words, for log lines about errors.
    pub(super) fn describe(&self) -> String {
        match (&self.route, self.attempts.lease()) {
            (Some(route), Some(lease)) => format!("{}/{} {}", lease.node().cluster(), route.role, lease.node().id()),
            _ => "request".to_owned(),
        }
    }

    /// Ends the request: the node is free again.
    pub(super) fn finish(&mut self, session: &Session) -> Outcome {
        let took = self.started.elapsed();
        let status = final_status(session).unwrap_or(0);
        let node = self.attempts.end();
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
            attempts: context.attempts.count(),
            reused: context.reused,
            connect_ms: since_start(context.connected),
            first_byte_ms: since_start(context.first_byte),
            total_ms: Some(self.took),
            reason: context.refused,
        }
    }
}
