//! A request on its way through: Pingora's callbacks, each a few lines, in the order in which they run.
//!
//! The decisions are made elsewhere ([`crate::classify`], [`crate::pool`]); here they are carried out.

mod context;
mod failure;
mod headers;
mod redirect;
mod reply;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use log::{debug, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::classify::Facts;
use crate::config::Listener;
use crate::edge::{Activity, Drain};
use crate::observe::access::AccessWriter;
use crate::observe::metrics::Metrics;
use crate::registry::Registry;
use crate::upstream::TrustStore;

pub use context::Context;

/// Attempts for one request, the first included. Pingora's own limit is set to the same.
pub const MAX_ATTEMPTS: usize = 16;

/// How long the rest of a body is read that nobody wants any more.
const DRAIN_BODY: Duration = Duration::from_secs(2);

/// The proxy behind one listener.
pub struct Proxy {
    listener: Arc<Listener>,
    registry: Arc<Registry>,
    trust: Arc<TrustStore>,
    observed: Observed,
    drain: Arc<Drain>,
}

/// Where a proxy tells what became of its requests.
#[derive(Clone)]
pub struct Observed {
    /// One line for each request.
    pub access: Arc<AccessWriter>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Proxy {
    /// The proxy behind `listener`, which closes its connections after their next answer when `drain` begins.
    pub fn new(
        listener: Arc<Listener>,
        registry: Arc<Registry>,
        trust: Arc<TrustStore>,
        observed: Observed,
        drain: Arc<Drain>,
    ) -> Self {
        Proxy { listener, registry, trust, observed, drain }
    }

    /// Answers without asking a node. What is left of the request's body is read for [`DRAIN_BODY`] at most: closing
    /// at once would reset the connection, and the client might never see the answer.
    async fn refuse(
        &self,
        session: &mut Session,
        context: &mut Context,
        status: u16,
        reason: &'static str,
    ) -> Result<()> {
        context.refused = Some(reason);
        reply::send(session, status).await
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(Instant::now())
    }

    /// Pingora would add a compression module, which this proxy does not use.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    /// Runs when a header is complete, with what [`crate::edge`] gave the session: the connection's activity.
    fn on_connection_reuse(&self, _: &mut Session, _: &mut Context, connection: Box<dyn Any + Send + Sync>) {
        if let Some(activity) = connection.downcast_ref::<Arc<Activity>>() {
            activity.header_complete();
        }
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Context) -> Result<()> {
        let timeouts = &self.listener.timeouts;
        // Without this the framework waits for ever after the first request of a connection.
        if !session.is_process_shutting_down() && session.get_keepalive().is_some() {
            session.set_keepalive(Some(timeouts.idle.as_secs()));
        }
        session.set_total_drain_timeout(Some(DRAIN_BODY));
        session.set_read_timeout(Some(timeouts.read));
        session.set_write_timeout(Some(timeouts.write));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        let snapshot = self.registry.snapshot();
        if !self.may_use(session) {
            self.refuse(session, context, 403, "client_not_allowed").await?;
            return Ok(true);
        }
        let request = session.req_header();
        let facts = Facts {
            serves: self.listener.serves,
            endpoint: self.listener.endpoint,
            host: headers::host(request),
            path: headers::path(request),
        };
        let decided = snapshot.classifier.classify(&facts).and_then(|decision| {
            snapshot.classifier.check_query(&decision, headers::path(request), headers::query(request))?;
            Ok(decision)
        });
        match decided {
            Ok(decision) => {
                context.route(snapshot.clone(), decision, self.listener.endpoint);
                Ok(false)
            }
            Err(refusal) => {
                context.cluster_refused(&snapshot, refusal.cluster);
                self.refuse(session, context, refusal.reason.status(), refusal.reason.as_str()).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(peer) = context.pick(|pool, member| self.trust.peer(pool, member)) else {
            context.refused.get_or_insert("no_ready_node");
            return Err(Error::explain(ErrorType::HTTPStatus(503), "no member of the pool can be asked").into_in());
        };
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        debug!("no connection to {}: {error}", peer._address);
        context.refused = Some("connect_failed");
        // Nothing was sent, so any method may be tried again: on another member, and only while there is one.
        error.set_retry(context.another_member());
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.connected(reused);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Context,
    ) -> Result<()> {
        headers::forward(session, request, self.listener.tls.is_some())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        context.first_byte.get_or_insert_with(Instant::now);
        if self.drain.begun() {
            // The request came before the stop, so it could not be told then that it is the connection's last.
            session.set_keepalive(None);
        }
        headers::strip_hop_by_hop(response);
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // From here on silence is no fault of the client; the pool's read timeout ends what is silent for too long.
            session.set_read_timeout(None);
        }
        redirect::rewrite(session, response, context, self.listener.tls.is_some())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let safe = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && context::final_status(session).is_none();
        // Once, and on a connection of its own: if that one breaks too, it is the request that breaks it.
        if safe && reused && context.may_retry_fresh() {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        if error.retry() {
            context.retry_fresh();
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let failure = failure::classify(error);
        context.failed(failure.reason);
        // The framework closes the connection after this, whatever we say; so we say so.
        session.set_keepalive(None);
        if failure.status > 0
            && context::final_status(session).is_none()
            && let Err(e) = reply::send(session, failure.status).await
        {
            debug!("the client did not take the answer {}: {e}", failure.status);
        }
        FailToProxy { error_code: failure.status, can_reuse_downstream: false }
    }

    /// What went wrong is in the access line and the metrics, so the framework's own line is for debugging only.
    fn suppress_error_log(&self, _: &Session, context: &Context, error: &Error) -> bool {
        if failure::is_ours(error) {
            warn!("{}: {error}", context.describe());
        } else {
            debug!("{}: {error}", context.describe());
        }
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        context: &Context,
        error: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        debug!("{}: trying again after {error}", context.describe());
        true
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Context) {
        let outcome = context.finish(session);
        outcome.count(&self.observed.metrics, context);
        if self.observed.access.wanted() {
            self.observed.access.write(&outcome.entry(session, context, &self.listener));
        }
    }
}

impl Proxy {
    /// Whether the listener's address list lets the client in. An address that cannot be told is not let in.
    fn may_use(&self, session: &Session) -> bool {
        let access = &self.listener.access;
        let client = session.client_addr().and_then(|address| address.as_inet());
        access.is_open() || client.is_some_and(|client| access.admits(client.ip()))
    }
}
