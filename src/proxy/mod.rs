//! A request on its way through: Pingora's callbacks, each a few lines. Those that wait for nothing stand first (`at_once`
//! says how), then the others; both in the order in which they run.
//!
//! The decisions are made elsewhere ([`crate::classify`], [`crate::pool`]); here they are carried out.

mod admit;
mod at_once;
mod attempts;
mod context;
mod door;
mod failure;
mod harden;
mod headers;
mod load;
mod on_trial;
mod redirect;
mod reply;
mod route;
mod terms;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::{COOKIE, SET_COOKIE, UPGRADE};
use log::{debug, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use self::admit::{BODY_TOO_LARGE, Refused};
use self::at_once::{Boxed, at_once, callbacks, done};
use self::attempts::{AttemptFailed, KEPT_BODY, NoMember};
use self::terms::Terms;
use crate::edge::{Drain, Exchange, Gate};
use crate::health::passive::Outcome;
use crate::ids::{ListenerName, Scheme};
use crate::observe::access::AccessWriter;
use crate::observe::metrics::Metrics;
use crate::origin::Client;
use crate::registry::{Registry, Snapshot};
use crate::retry::Failure;

pub use attempts::MAX_ATTEMPTS;
pub use context::Context;
pub use door::Door;

/// How long the rest of a body is read that nobody wants any more.
const DRAIN_BODY: Duration = Duration::from_secs(2);

/// What the proxies of all listeners share.
#[derive(Clone)]
pub struct Shared {
    /// Members and routes.
    pub registry: Arc<Registry>,
    /// Where requests are told of.
    pub observed: Observed,
    /// Connections close after their next answer when it begins.
    pub drain: Arc<Drain>,
}

/// Where a proxy tells what became of its requests.
#[derive(Clone)]
pub struct Observed {
    /// One line for each request.
    pub access: Arc<AccessWriter>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The proxy behind one listener.
pub struct Proxy {
    name: ListenerName,
    /// Those of the newest configuration that a request has come with.
    terms: ArcSwap<Terms>,
    registry: Arc<Registry>,
    observed: Observed,
    drain: Arc<Drain>,
    gate: Arc<Gate>,
}

impl Proxy {
    /// The proxy behind a listener, whose requests `gate` counts. `None` if the registry's configuration
    /// has no such listener.
    pub fn new(name: ListenerName, gate: Arc<Gate>, shared: Shared) -> Option<Self> {
        let Shared { registry, observed, drain } = shared;
        let terms = ArcSwap::from_pointee(Terms::new(&name, &registry.snapshot().setup)?);
        Some(Proxy { name, terms, registry, observed, drain, gate })
    }

    /// What the configuration of a snapshot says of the listener's requests.
    fn terms(&self, snapshot: &Snapshot) -> Arc<Terms> {
        let known = self.terms.load_full();
        if known.are_of(&snapshot.setup) {
            return known;
        }
        // Once for each configuration and thread. No configuration without the listener is ever applied.
        let Some(terms) = Terms::new(&self.name, &snapshot.setup).map(Arc::new) else { return known };
        self.terms.store(terms.clone());
        terms
    }

    /// Answers without asking a node. What is left of the request's body is read for [`DRAIN_BODY`] at most: closing
    /// at once would reset the connection, and the client might never see the answer.
    async fn refuse(&self, session: &mut Session, context: &mut Context, refused: Refused) -> Result<()> {
        context.refused = Some(refused.reason);
        self.reply(session, context, refused.status, refused.retry_after).await
    }

    async fn reply(
        &self,
        session: &mut Session,
        context: &Context,
        status: u16,
        retry_after: Option<u64>,
    ) -> Result<()> {
        let mut header = reply::header(status, retry_after)?;
        context.terms.harden.add(&mut header, context.secure)?;
        reply::send(session, header).await
    }

    /// Decides where a request goes, and keeps that.
    fn decide(&self, session: &mut Session, context: &mut Context) -> std::result::Result<(), Refused> {
        let snapshot = context.snapshot.take().unwrap_or_else(|| self.registry.snapshot());
        let has_body = !session.is_body_empty();
        let admitted = self
            .identify(session, context)
            .and_then(|client| self.admit(&context.terms, &snapshot, session.req_header(), has_body, client))
            .and_then(|admitted| admitted.fits(context.exchange.announced()))
            .inspect_err(|refused| context.cluster_refused(&snapshot, refused.cluster))?;
        if let Some(most) = admitted.body {
            context.exchange.limit_body(most);
        }
        context.admitted(admitted);
        Ok(())
    }

    /// Whose request it is, and whether the client used TLS.
    fn identify(&self, session: &Session, context: &mut Context) -> std::result::Result<Client, Refused> {
        let request = session.req_header();
        // An address that cannot be told is nobody's.
        let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
        let peer = peer.ok_or(Refused::new(400, "client_address_unknown"))?;
        let client = Client::of(&context.terms.listener.origin, peer, request)
            .map_err(|_| Refused::new(400, "client_address_unreadable"))?;
        context.client = Some(client);
        let told = client.via.and_then(|_| headers::forwarded_proto(request));
        context.secure = told.unwrap_or(context.scheme()) == Scheme::Https;
        Ok(client)
    }

    /// Makes the header for the client of that of the node.
    fn answer_for_client(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let last = !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS;
        if last {
            context.answered(response, &self.registry);
        }
        if self.drain.begun() {
            // The request came before the stop, so it could not be told then that it is the connection's last.
            session.set_keepalive(None);
        }
        headers::strip_hop_by_hop(response);
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // From here on silence is no fault of the client; the pool's read timeout ends what is silent for too long.
            session.set_read_timeout(None);
            context.exchange.upgrade();
        }
        context.terms.harden.apply(response, context.secure, context.is_for_manager())?;
        // After the cookies of nodes were hardened: ours is as it should be.
        // Nobody is bound to a member that could not answer.
        let good = Outcome::of_status(response.status.as_u16()) == Outcome::Good;
        if last
            && good
            && let Some(cookie) = context.affinity_cookie()
        {
            response.append_header(SET_COOKIE, cookie.clone())?;
        }
        redirect::rewrite(session, response, context)
    }
}

/// The error of a request that gets no member.
fn without_member(why: NoMember) -> Box<Error> {
    let unavailable = |why: &'static str| Error::explain(ErrorType::HTTPStatus(503), why).into_in();
    match why {
        NoMember::NoneReady => unavailable("no member of the pool can be asked"),
        NoMember::Queue(..) => unavailable("all members of the pool are full"),
        NoMember::ClientGone => Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down(),
        NoMember::TooSlow(error) => error.into_down(),
    }
}

/// Whether a request could be sent again as a whole, and does not become another protocol.
fn is_repeatable(session: &mut Session) -> bool {
    let empty = session.is_body_empty();
    let request = session.req_header();
    let length = admit::content_length(&request.headers);
    let kept = empty || length.is_some_and(|length| length <= KEPT_BODY);
    request.method.is_idempotent() && kept && !request.headers.contains_key(UPGRADE)
}

/// An attempt of the request of a session that failed so.
fn attempt_failed(session: &mut Session, failure: Failure) -> AttemptFailed {
    // The client may have been the one that was waited for.
    let blameless = failure == Failure::TooSlow && !session.is_body_done();
    AttemptFailed {
        failure,
        idempotent: session.req_header().method.is_idempotent(),
        body_kept: !session.as_ref().retry_buffer_truncated(),
        blameless,
    }
}

/// Takes in a part of the request's body; fails if that is more than it may have.
fn take_body(session: &mut Session, body: Option<&Bytes>, end: bool, context: &mut Context) -> Result<()> {
    let bytes = body.map_or(0, Bytes::len);
    context.exchange.received(bytes, end);
    if end && !session.is_body_empty() {
        context.received(Instant::now());
    }
    if !context.take_body(bytes) {
        context.blame(BODY_TOO_LARGE.reason);
        return Err(Error::explain(ErrorType::HTTPStatus(BODY_TOO_LARGE.status), "the body is too large").into_down());
    }
    Ok(())
}

/// Makes the header for the node of that of the client.
fn request_for_node(session: &Session, request: &mut RequestHeader, context: &Context) -> Result<()> {
    let Some(client) = context.client else { return Ok(()) };
    if let Some(path) = context.forward() {
        headers::set_path(request, path)?;
    }
    if let Some(cookies) = context.without_affinity_cookie(&request.headers) {
        request.remove_header(&COOKIE);
        for cookie in cookies {
            request.append_header("Cookie", cookie)?;
        }
    }
    headers::forward(session, request, &client, context.terms.listener.origin.client_address, context.scheme())
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let snapshot = self.registry.snapshot();
        let terms = self.terms(&snapshot);
        Context::new(Instant::now(), Exchange::current(), snapshot, terms)
    }

    /// Pingora would add a compression module, which this proxy does not use.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    callbacks! {
        fn early_request_filter<'a, 'b, 'c>(
            self: &'a Self,
            session: &'b mut Session,
            context: &'c mut Context
        ) -> Result<()> {
            let timeouts = &context.terms.listener.timeouts;
            session.set_total_drain_timeout(Some(DRAIN_BODY));
            session.set_read_timeout(Some(timeouts.read));
            session.set_write_timeout(Some(timeouts.write));
            at_once(|| Ok(()))
        }

        fn request_filter<'a, 'b, 'c>(
            self: &'a Self,
            session: &'b mut Session,
            context: &'c mut Context
        ) -> Result<bool> {
            match self.decide(session, context) {
                Ok(()) => at_once(|| Ok(false)),
                Err(refused) => Box::pin(async move { self.refuse(session, context, refused).await.map(|()| true) }),
            }
        }

        /// Nothing is done here, but the default's box would take memory.
        fn proxy_upstream_filter<'a, 'b, 'c>(
            self: &'a Self,
            _session: &'b mut Session,
            _context: &'c mut Context
        ) -> Result<bool> {
            at_once(|| Ok(true))
        }

        fn connected_to_upstream<'a, 'b, 'c, 'd, 'e>(
            self: &'a Self,
            session: &'b mut Session,
            reused: bool,
            _peer: &'c HttpPeer,
            _socket: std::os::unix::io::RawFd,
            _digest: Option<&'d Digest>,
            context: &'e mut Context
        ) -> Result<()> {
            context.connected(reused);
            if session.is_http2() && !session.is_body_done() {
                // Nobody reads a body before there is somebody to send it to.
                context.exchange.await_body();
            }
            at_once(|| Ok(()))
        }

        fn upstream_request_filter<'a, 'b, 'c, 'd>(
            self: &'a Self,
            session: &'b mut Session,
            request: &'c mut RequestHeader,
            context: &'d mut Context
        ) -> Result<()> {
            done(request_for_node(session, request, context))
        }

        fn request_body_filter<'a, 'b, 'c, 'd>(
            self: &'a Self,
            session: &'b mut Session,
            body: &'c mut Option<Bytes>,
            end: bool,
            context: &'d mut Context
        ) -> Result<()> {
            done(take_body(session, body.as_ref(), end, context))
        }

        /// Nothing is done here either.
        fn upstream_response_filter<'a, 'b, 'c, 'd>(
            self: &'a Self,
            _session: &'b mut Session,
            _response: &'c mut ResponseHeader,
            _context: &'d mut Context
        ) -> Result<()> {
            at_once(|| Ok(()))
        }

        fn response_filter<'a, 'b, 'c, 'd>(
            self: &'a Self,
            session: &'b mut Session,
            response: &'c mut ResponseHeader,
            context: &'d mut Context
        ) -> Result<()> {
            done(self.answer_for_client(session, response, context))
        }

        fn logging<'a, 'b, 'c, 'd>(
            self: &'a Self,
            session: &'b mut Session,
            _error: Option<&'c Error>,
            context: &'d mut Context
        ) -> () {
            let outcome = context.finish(session);
            outcome.count(&self.observed.metrics, context);
            if self.observed.access.wanted() {
                self.observed.access.write(&outcome.entry(session, context));
            }
            if !context.replied || session.is_http2() {
                return at_once(|| ());
            }
            // After a failure the framework drops the connection. If the client is still sending, that would be a reset,
            // and the client might never see the answer; the shutdown reads for a while what still comes.
            Box::pin(session.as_downstream_mut().shutdown())
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        if let Err(why) = context.choose(session, &self.registry).await {
            context.without_member(&why);
            return Err(without_member(why));
        }
        let repeatable = is_repeatable(session);
        let peer = context.peer(repeatable);
        peer.ok_or_else(|| Error::explain(ErrorType::InternalError, "the member is gone that was just chosen"))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        debug!("no connection to {}: {error}", peer._address);
        context.refused = Some("connect_failed");
        let mut failed = attempt_failed(session, Failure::Connect);
        // There were no ports or file descriptors left on this machine, say.
        failed.blameless |= matches!(error.etype(), ErrorType::BindError | ErrorType::SocketError);
        error.set_retry(context.attempt_failed(&failed, &self.registry));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        _: bool,
    ) -> Box<Error> {
        // A fault of the client, or of this program, says nothing of the member.
        // An upgraded connection may be as silent as it likes; that it ends is no answer of the member's either.
        let upgraded = context.exchange.is_upgraded();
        let again = *error.esource() == ErrorSource::Upstream && !upgraded && {
            let failure =
                match (context.first_byte.is_some() || context::final_status(session).is_some(), error.etype()) {
                    (true, _) => Failure::AnswerBegun,
                    (false, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Failure::TooSlow,
                    (false, _) => Failure::Broken,
                };
            context.attempt_failed(&attempt_failed(session, failure), &self.registry)
        };
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let failure = match context.exchange.fault() {
            Some(fault) => {
                context.blame(fault.as_str());
                failure::Failure { status: fault.status(), reason: fault.as_str() }
            }
            None => failure::classify(error),
        };
        context.failed(failure.reason);
        // The framework closes the connection after this, whatever we say; so we say so.
        session.set_keepalive(None);
        if failure.status > 0 && context::final_status(session).is_none() {
            match self.reply(session, context, failure.status, context.retry_after).await {
                Ok(()) => context.replied = true,
                Err(e) => debug!("the client did not take the answer {}: {e}", failure.status),
            }
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
}
