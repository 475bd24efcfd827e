//! Where a request goes: the pool, and the member that has its session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;

use super::attempts::Attempts;
use super::headers;
use crate::affinity::{Found, Source, hash, values};
use crate::classify::{CanonicalPath, Class, Decision, canonical_path};
use crate::config::{Affinity, Algorithm};
use crate::ids::{Endpoint, Role};
use crate::pool::{Member, Pool, PoolView, Session, Standing};
use crate::registry::Snapshot;
use crate::sessions::SessionName;
use crate::tenant::TenantPass;
use crate::upstream::TrustStore;

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Route {
    snapshot: Arc<Snapshot>,
    pub(super) cluster: usize,
    pub(super) role: Role,
    endpoint: Endpoint,
    pub(super) class: Class,
    pub(super) tenant: Option<Box<str>>,
    /// The partition that takes the tenant.
    partition: Option<usize>,
    /// The path for the node, if it is not the received one.
    pub(super) forward: Option<Box<[u8]>>,
    /// Whose request it is, if the pool keeps sessions.
    client: Option<IpAddr>,
    /// What the request tells of its session.
    pub(super) session: Session,
    /// The hash that names its member, if the pool balances by one.
    pub(super) key: u64,
}

/// Where a request goes in a snapshot.
pub(super) struct Seen<'s> {
    cluster: usize,
    partition: Option<usize>,
    /// What it tells of its session there.
    pub(super) session: Session,
    pub(super) view: &'s PoolView,
}

impl Route {
    /// Keeps the decision, and the snapshot that it was made on.
    pub(super) fn new(snapshot: Arc<Snapshot>, decision: Decision<'_>, endpoint: Endpoint) -> Self {
        let Decision { cluster, role, class, tenant, forward } = decision;
        let tenant = tenant.map(|tenant| Box::from(&*tenant));
        let forward = forward.map(|path| Box::from(&*path));
        let (partition, client, session, key) = (None, None, Session::None, 0);
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
        // Only a hash may look at the path.
        let path = if by_hash || matches!(settings.affinity, Affinity::Hash(_)) {
            canonical_path(self.forward.as_deref().unwrap_or(received))
        } else {
            CanonicalPath::AsReceived(received)
        };
        let source = Source { client, headers: &request.headers, tenant: self.tenant.as_deref(), path: &path };
        let session = view.pool.sessions.find(&source, received);
        let key = if by_hash { hash(&settings.hash.by, &source) } else { 0 };
        (self.client, self.session, self.key) = (Some(client), session, key);
    }

    /// The pool that the request is for.
    pub(super) fn view(&self) -> Option<&PoolView> {
        self.snapshot.pool(self.cluster, self.partition, self.role, self.endpoint)
    }

    /// The same in a newer snapshot, which may be of another configuration; `None` if the pool is gone there.
    pub(super) fn seen_in<'s>(&self, snapshot: &'s Snapshot) -> Option<Seen<'s>> {
        let pool = |cluster, partition| snapshot.pool(cluster, partition, self.role, self.endpoint);
        let (cluster, partition, session) = (self.cluster, self.partition, self.session);
        if Arc::ptr_eq(&snapshot.setup.config, &self.snapshot.setup.config) {
            return Some(Seen { cluster, partition, session, view: pool(cluster, partition)? });
        }
        let cluster = snapshot.cluster_named(self.snapshot.cluster_name(cluster)?)?;
        let partition = snapshot.tenants(cluster).and_then(|rules| rules.partitions.of(self.tenant.as_deref()?));
        let view = pool(cluster, partition)?;
        let before = self.view().map(|before| &before.pool).filter(|before| !Arc::ptr_eq(before, &view.pool));
        let session = before.map_or(session, |before| view.pool.sessions.translate(session, &before.sessions));
        Some(Seen { cluster, partition, session, view })
    }

    /// Where the request goes in its own snapshot.
    pub(super) fn seen(&self) -> Option<Seen<'_>> {
        self.seen_in(&self.snapshot)
    }

    /// What nodes are verified with.
    pub(super) fn trust(&self) -> &TrustStore {
        &self.snapshot.setup.trust
    }

    /// Goes by a newer snapshot from here on, unless its pool is gone there.
    pub(super) fn renew(&mut self, snapshot: Arc<Snapshot>) {
        let Some(Seen { cluster, partition, session, .. }) = self.seen_in(&snapshot) else { return };
        (self.cluster, self.partition, self.session) = (cluster, partition, session);
        self.snapshot = snapshot;
    }

    /// The member at a position of the view.
    pub(super) fn member(&self, position: usize) -> Option<(&Pool, &Member)> {
        let view = self.view()?;
        Some((&view.pool, view.members().get(position)?))
    }

    /// The number of the node that has the request's session.
    pub(super) fn session_node(&self) -> Option<usize> {
        self.view()?.pool.sessions.node(self.session)
    }

    /// Whether another member is asked than that of the request's session, which may be gone.
    pub(super) fn is_away(&self, chosen: usize) -> bool {
        self.has_lost_member() || self.session_node().is_some_and(|node| node != chosen)
    }

    /// Whether the request's session was on a member that there is no more.
    fn has_lost_member(&self) -> bool {
        self.session == Session::Found(Found::Gone)
    }

    /// Counts what becomes of the request's session, now that its first member is chosen. Returns whether it moves.
    pub(super) fn note_session(&self, pool: &Pool, chosen: &Member, request: &RequestHeader) -> bool {
        if self.session == Session::Found(Found::Forged) {
            pool.metrics.cookie_ignored();
        }
        if self.is_away(chosen.index) {
            // It was gone and has come back, if nothing else holds: nobody has seen it up yet.
            self.note_moved(self.why_session_moves().unwrap_or("joining"));
            return true;
        }
        if self.session_node().is_none() {
            return false;
        }
        if (chosen.standing == Standing::Draining || pool.settings.scale.is_some())
            && let Some(session) = self.session_name(pool, request)
        {
            chosen.node.sessions_left().note(session, Instant::now());
        }
        false
    }

    /// Why a member that has a session does not get its request; `None` if the session stays.
    pub(super) fn why_session_moves(&self) -> Option<&'static str> {
        if self.has_lost_member() {
            return Some("gone");
        }
        let (view, node) = (self.view()?, self.session_node()?);
        let member = view.members().iter().find(|member| member.index == node);
        match member.map(|member: &Member| member.standing) {
            None => Some("gone"),
            Some(Standing::Maintenance) => Some("maintenance"),
            Some(Standing::Down) => Some("down"),
            Some(_) => None,
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
    pub(super) fn asked(&self, attempts: &Attempts) -> Option<(&Pool, &Member)> {
        let (view, node) = (self.view()?, attempts.asked()?);
        let position = view.members().binary_search_by_key(&node, |member| member.index).ok()?;
        Some((&view.pool, view.members().get(position)?))
    }

    /// Counts that the session moves after its member was chosen.
    pub(super) fn note_moved(&self, why: &'static str) {
        if let Some(view) = self.view() {
            view.pool.metrics.session_moved(why);
        }
    }

    /// Takes in an answer to a request that was away from the member of its session. Where nodes make the cookies, the one
    /// that has answered may have begun a session of its own, which the client will come with from now on.
    pub(super) fn answered_elsewhere(&self, answer: &HeaderMap) {
        let Some(Affinity::Route { cookie }) = self.view().map(|view| &view.pool.settings.affinity) else { return };
        if sets_cookie(answer, cookie) {
            self.note_moved("node");
        }
    }
}

/// Whether an answer gives the client a cookie of that name.
fn sets_cookie(answer: &HeaderMap, name: &str) -> bool {
    answer.get_all(SET_COOKIE).iter().any(|cookie| {
        let rest = cookie.as_bytes().trim_ascii_start().strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
    })
}
