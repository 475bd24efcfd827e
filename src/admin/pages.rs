//! The texts for orchestrators and for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use log::error;
use parking_lot::Mutex;
use pingora::protocols::http::ServerSession;

use super::reply::Reply;
use crate::edge::Drain;
use crate::observe::metrics::Metrics;
use crate::registry::Registry;

/// Health, readiness and metrics.
pub(super) struct Pages {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Arc<Drain>,
    /// Held while the metrics are shown.
    pub(super) showing: Mutex<()>,
}

impl Pages {
    pub(super) fn answer(&self, session: &ServerSession) -> Reply {
        let request = session.req_header();
        let (status, text) = match (&request.method, request.uri.path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (&Method::GET | &Method::HEAD, "/metrics") if !self.may_read_metrics(session) => {
                (StatusCode::FORBIDDEN, "admin.allow does not name your address\n".to_owned())
            }
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (_, "/healthz" | "/readyz" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /api/v1/openapi\n".to_owned()),
        };
        Reply::text(status, text)
    }

    fn may_read_metrics(&self, session: &ServerSession) -> bool {
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|client| client.ip());
        let config = self.registry.config();
        let is_allowed = |ip| config.admin.allow.iter().any(|network| network.contains(&ip));
        client.is_some_and(|ip| ip.is_loopback() || is_allowed(ip))
    }

    /// 200 if some requests can be served: the process is not stopping, and some pool has a ready member. A pool without
    /// one does not make it unready: its requests get 503 here, and the others are served.
    fn readiness(&self) -> (StatusCode, String) {
        if self.drain.begun() {
            return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
        }
        let snapshot = self.registry.snapshot();
        let some_ready = snapshot.pools().any(|view| view.ready() > 0);
        let empty = snapshot.pools().filter(|view| view.ready() == 0);
        let missing: Vec<String> = empty
            .map(|view| format!("{}/{} {}: no ready node\n", view.pool.cluster, view.pool.role, view.pool.endpoint))
            .collect();
        match some_ready {
            true => (StatusCode::OK, format!("ready\n{}", missing.concat())),
            false => (StatusCode::SERVICE_UNAVAILABLE, missing.concat()),
        }
    }

    fn metrics(&self) -> (StatusCode, String) {
        // One at a time, so that nobody sees what another one has begun.
        let _shown = self.showing.lock();
        self.show_nodes(Instant::now());
        self.metrics.process(self.drain.open(), self.registry.snapshot().generation);
        match self.metrics.render() {
            Ok(text) => (StatusCode::OK, text),
            Err(e) => {
                error!("the metrics cannot be shown: {e}");
                (StatusCode::INTERNAL_SERVER_ERROR, "see the log\n".to_owned())
            }
        }
    }

    /// Brings up to date what is looked up when it is asked for.
    fn show_nodes(&self, now: Instant) {
        self.metrics.begin_nodes();
        for node in self.registry.nodes() {
            self.metrics.in_flight(node.cluster(), node.id(), node.in_flight());
            let left = node.sessions_left().left(now).map_or(0, |left| left.sessions);
            self.metrics.draining_sessions(node.cluster(), node.id(), left);
        }
        // The pools of partitions have the labels of the one for everybody.
        let mut queued = BTreeMap::<_, usize>::new();
        for shown in self.registry.shown_pools(None, now) {
            let pool = &shown.pool;
            *queued.entry((pool.cluster.clone(), pool.role, pool.endpoint)).or_default() += shown.queued;
            for member in &shown.members {
                self.metrics.member_state(pool, member.node.node.id(), member.standing);
            }
        }
        for ((cluster, role, endpoint), requests) in queued {
            self.metrics.queued(&cluster, role, endpoint, requests);
        }
    }
}
