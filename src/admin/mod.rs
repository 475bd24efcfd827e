//! The listener for operators and their tools: health, readiness, metrics.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use ipnet::IpNet;
use log::error;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use crate::edge::{Answer, Drain};
use crate::observe::metrics::Metrics;
use crate::registry::Registry;

/// Answers on the admin listener.
pub struct Admin {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    /// Who may read the metrics, besides this machine.
    allow: Vec<IpNet>,
}

impl Admin {
    /// Answers about the state of these; metrics only to this machine and to `allow`.
    pub fn new(registry: Arc<Registry>, metrics: Arc<Metrics>, drain: Arc<Drain>, allow: Vec<IpNet>) -> Self {
        Admin { registry, metrics, drain, allow }
    }

    fn may_read_metrics(&self, session: &ServerSession) -> bool {
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|client| client.ip());
        client.is_some_and(|ip| ip.is_loopback() || self.allow.iter().any(|network| network.contains(&ip)))
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
        for node in self.registry.nodes() {
            self.metrics.in_flight(node.cluster(), node.id(), node.in_flight());
        }
        self.metrics.process(self.drain.open(), self.registry.snapshot().generation);
        match self.metrics.render() {
            Ok(text) => (StatusCode::OK, text),
            Err(e) => {
                error!("the metrics cannot be shown: {e}");
                (StatusCode::INTERNAL_SERVER_ERROR, "see the log\n".to_owned())
            }
        }
    }
}

#[async_trait]
impl Answer for Admin {
    async fn answer(&self, session: &mut ServerSession) -> Result<()> {
        let request = session.req_header();
        let (status, body) = match (&request.method, request.uri.path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (&Method::GET | &Method::HEAD, "/metrics") if !self.may_read_metrics(session) => {
                (StatusCode::FORBIDDEN, "admin.allow does not name your address\n".to_owned())
            }
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (_, "/healthz" | "/readyz" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
        };
        let head = request.method == Method::HEAD;
        let mut header = ResponseHeader::build(status, Some(3))?;
        header.insert_header(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len().to_string())?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        session.write_response_header(Box::new(header)).await?;
        if !head {
            session.write_response_body(Bytes::from(body), true).await?;
        }
        Ok(())
    }
}
