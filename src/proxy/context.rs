//! What is known of a request while it is on its way, and what became of it in the end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::admit::Admitted;
use super::attempts::{AttemptFailed, Attempts, NoMember};
use super::route::Route;
use super::terms::Terms;
use super::{headers, load};
use crate::affinity::CookieValues;
use crate::edge::{Exchange, RequestPass};
use crate::ids::{ClusterName, Endpoint, Role, Scheme};
use crate::observe::access::Entry;
use crate::observe::metrics::Metrics;
use crate::origin::Client;
use crate::pool::{Member, Pool};
use crate::registry::{Registry, Snapshot};
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
    /// What the configuration said of the listener when the request came.
    pub(super) terms: Arc<Terms>,
    /// What it is routed by, until it has a route.
    pub(super) snapshot: Option<Arc<Snapshot>>,
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
    /// Whether the request is counted as refused although it has a pool: the reason is the client's doing, even if a node
    /// was asked, or no node was asked.
    counts_as_refused: bool,
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

impl Context {
    /// A request whose header has just been read.
    pub(super) fn new(now: Instant, exchange: Arc<Exchange>, snapshot: Arc<Snapshot>, terms: Arc<Terms>) -> Self {
        Context {
            started: now,
            terms,
            snapshot: Some(snapshot),
            refused: None,
            retry_after: None,
            first_byte: None,
            exchange,
            client: None,
            secure: false,
            replied: false,
            counts_as_refused: false,
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

    /// Whether the client speaks TLS to the listener.
    pub(super) fn scheme(&self) -> Scheme {
        if self.terms.listener.tls.is_some() { Scheme::Https } else { Scheme::Http }
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
    pub(super) fn peer(&mut self, repeatable: bool) -> Option<Box<HttpPeer>> {
        let route = self.route.as_ref()?;
        let (pool, member) = route.asked(&self.attempts)?;
        let mut peer = route.trust().peer(pool, member);
        self.attempts.fit(&mut peer, pool, repeatable);
        Some(peer)
    }

    /// Notes that the body is there.
    pub(super) fn received(&mut self, now: Instant) {
        if let Some(route) = &self.route {
            self.attempts.received(now, route);
        }
    }

    /// Takes in the final header of the member's answer, and takes out what is for us.
    pub(super) fn answered(&mut self, response: &mut ResponseHeader, registry: &Registry) {
        let now = *self.first_byte.get_or_insert_with(Instant::now);
        let Some(route) = &self.route else { return };
        if let (Some(view), Some(lease)) = (route.view(), self.attempts.lease()) {
            load::take_report(response, &view.pool, lease.node(), now);
        }
        self.attempts.answered(response.status.as_u16(), now, route, registry);
        if self.attempts.away_once() {
            route.answered_elsewhere(&response.headers);
        }
    }

    /// Whether the request is tried again after an attempt that failed so.
    pub(super) fn attempt_failed(&mut self, failed: &AttemptFailed, registry: &Registry) -> bool {
        self.route.as_ref().is_some_and(|route| self.attempts.failed(failed, route, registry))
    }

    /// The cookies for the node, if they are not those of the request.
    pub(super) fn without_affinity_cookie(&self, headers: &HeaderMap) -> Option<CookieValues> {
        self.route.as_ref()?.view()?.pool.sessions.strip(headers)
    }

    /// The cookie that keeps the session on the member which has answered; none if the session is on another one, and
    /// stays there.
    pub(super) fn affinity_cookie(&self) -> Option<&HeaderValue> {
        let route = self.route.as_ref().filter(|_| !self.attempts.away_once())?;
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
        self.counts_as_refused = true;
    }

    /// Notes why no member could be chosen.
    pub(super) fn without_member(&mut self, why: &NoMember) {
        match why {
            // Why the one failed that was asked before tells more.
            NoMember::NoneReady => _ = self.refused.get_or_insert("no_ready_node"),
            NoMember::Queue(error, retry_after) => {
                self.refused = Some(error.as_str());
                self.retry_after = Some(*retry_after);
            }
            NoMember::ClientGone | NoMember::TooSlow(_) => return,
        }
        self.counts_as_refused |= self.attempts.count() == 0;
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
        let view = context.route.as_ref().and_then(Route::view);
        if let Some(view) = view {
            view.pool.metrics.finished(self.status, self.took, context.attempts.count() > 0);
        }
        if view.is_none() || context.counts_as_refused {
            metrics.refused(context.refused.unwrap_or("not_routed"));
        }
    }

    /// The request's line in the access log.
    pub(super) fn entry<'a>(&'a self, session: &'a Session, context: &'a Context) -> Entry<'a> {
        let request = session.req_header();
        let route = context.route.as_ref();
        let view = route.and_then(Route::view);
        let since_start = |then: Option<Instant>| then.map(|then| then.duration_since(context.started));
        Entry {
            time: self.time,
            listener: context.terms.listener.name.as_str(),
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
