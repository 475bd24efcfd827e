//! The stream that the framework gets instead of the connection: it waits for its client only so long, ends between two
//! requests when the process stops, and in HTTP/1 hands on only what [`Framer`] lets through.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::drain::Activity;
use super::exchange::{BODY_GRACE, Exchange, allowance};
use super::framer::Framer;
use super::outgoing::Outgoing;
use super::policy::Policy;
use crate::http1::Fault;

/// How long a client may go on sending after the last answer, and how much. Closing at once would reset the connection,
/// and the client might never see the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// What a client does next on an HTTP/1 connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A request whose header is complete.
    Request,
    /// Nothing any more.
    End,
    /// Something that must not be passed on.
    Refused(Fault),
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Stream,
    activity: Arc<Activity>,
    policy: Arc<Policy>,
    protocol: Protocol,
    /// HTTP/1 only: in HTTP/2 the framework puts frames together by itself.
    outgoing: Outgoing,
    /// For reads: kept, since setting it again costs less than making it.
    timer: Option<Pin<Box<Sleep>>>,
    /// Set while the client takes nothing.
    writing: Option<Pin<Box<Sleep>>>,
    lingering: Option<Linger>,
}

#[derive(Debug)]
enum Protocol {
    Http1(Box<Http1>),
    Http2,
}

#[derive(Debug)]
struct Http1 {
    framer: Framer,
    exchange: Arc<Exchange>,
    pace: Pace,
}

/// How fast a body comes in, without the time in which nobody waited for it.
#[derive(Debug, Default)]
struct Pace {
    bytes: u64,
    waited: Duration,
    waiting: Option<Instant>,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Watched {
    pub(super) fn http1(inner: Stream, activity: Arc<Activity>, policy: Arc<Policy>, exchange: Arc<Exchange>) -> Self {
        let framer = Framer::new(policy.head);
        let protocol = Protocol::Http1(Box::new(Http1 { framer, exchange, pace: Pace::default() }));
        Watched::new(inner, activity, policy, protocol)
    }

    pub(super) fn http2(inner: Stream, activity: Arc<Activity>, policy: Arc<Policy>) -> Self {
        Watched::new(inner, activity, policy, Protocol::Http2)
    }

    fn new(inner: Stream, activity: Arc<Activity>, policy: Arc<Policy>, protocol: Protocol) -> Self {
        let outgoing = Outgoing::default();
        Watched { inner, activity, policy, protocol, outgoing, timer: None, writing: None, lingering: None }
    }

    /// Waits for the next request of an HTTP/1 connection.
    pub(super) async fn next_request(&mut self) -> Next {
        if let Protocol::Http1(http1) = &mut self.protocol {
            http1.framer.next();
            http1.pace = Pace::default();
            http1.exchange.reset();
            if http1.framer.has_begun() {
                self.activity.begin();
            }
        }
        let mut deadline = None;
        std::future::poll_fn(|context| self.poll_next(context, &mut deadline)).await
    }

    /// `deadline`: whether it is that of a header, which begins with its first byte, and when it is.
    fn poll_next(&mut self, context: &mut Context<'_>, deadline: &mut Option<(bool, Instant)>) -> Poll<Next> {
        let Protocol::Http1(http1) = &mut self.protocol else { return Poll::Ready(Next::End) };
        loop {
            match http1.framer.head_complete(&http1.exchange) {
                Ok(true) => {
                    self.activity.begin();
                    return Poll::Ready(Next::Request);
                }
                Ok(false) => {}
                Err(fault) => return Poll::Ready(Next::Refused(fault)),
            }
            match http1.framer.poll_more(&mut self.inner, context) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Ready(Ok(_)) => self.activity.begin(),
                Poll::Pending => break,
            }
        }
        let begun = http1.framer.has_begun();
        if !begun {
            self.activity.wait(context.waker());
            if self.activity.should_close() {
                return Poll::Ready(Next::End);
            }
        }
        let (after, outcome) = match begun {
            true => (self.policy.timeouts.header, Next::Refused(Fault::HeaderTooSlow)),
            false => (self.policy.timeouts.idle, Next::End),
        };
        let until = match *deadline {
            Some((of_header, until)) if of_header == begun => until,
            _ => Instant::now() + after,
        };
        *deadline = Some((begun, until));
        expired(&mut self.timer, until, context).map(|()| outcome)
    }

    /// What was received of a request that is refused, for the log.
    pub(super) fn received(&self) -> &[u8] {
        match &self.protocol {
            Protocol::Http1(http1) => http1.framer.received(),
            Protocol::Http2 => &[],
        }
    }

    /// Whether another request may follow: all of the last one was handed on.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(&self.protocol, Protocol::Http1(http1) if http1.framer.is_complete())
    }

    fn poll_http1(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Protocol::Http1(http1) = &mut self.protocol else { return Poll::Pending };
        let Http1 { framer, exchange, pace } = http1.as_mut();
        let before = out.filled().len();
        let in_body = framer.is_in_body();
        let outcome = framer.poll_read(&mut self.inner, context, out, exchange);
        let Some(rate) = self.policy.body_rate.filter(|_| in_body) else { return outcome };
        if outcome.is_ready() {
            pace.received(out.filled().len() - before);
            return outcome;
        }
        if framer.is_complete() || framer.awaits_continue() {
            return outcome;
        }
        let deadline = pace.deadline(rate);
        ready!(expired(&mut self.timer, deadline, context));
        exchange.break_off(Fault::BodyTooSlow);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Passes on the outcome of a write, or ends one that took nothing for too long.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing = None;
            return outcome;
        }
        let deadline =
            self.writing.as_ref().map_or_else(|| Instant::now() + self.policy.timeouts.write, |t| t.deadline());
        expired(&mut self.writing, deadline, context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_send_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_send(&mut self.inner, context)
    }

    /// Sends what was written so far.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_held(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Reads what an HTTP/1 client still sends, and forgets it, until the client ends too.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Protocol::Http1(http1) = &self.protocol else { return Poll::Ready(()) };
        let Http1 { framer, exchange, .. } = http1.as_ref();
        if exchange.is_upgraded() || framer.is_complete() && !framer.has_begun() {
            // All that the client sent was read.
            return Poll::Ready(());
        }
        // The timer is the bound of it: the client's bytes, or its end, wake the task meanwhile.
        let linger = self
            .lingering
            .get_or_insert_with(|| Linger { until: Box::pin(tokio::time::sleep(LINGER)), left: LINGER_BYTES });
        let mut piece = [0; 4096];
        while linger.left > 0 {
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.inner).poll_read(context, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(piece.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.until.as_mut().poll(context),
            }
        }
        Poll::Ready(())
    }
}

impl Pace {
    fn received(&mut self, bytes: usize) {
        self.bytes += bytes as u64; // a usize has 64 bits at most
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    /// When the client will have been waited for too long, given what it has sent.
    fn deadline(&mut self, rate: u64) -> Instant {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        since + (BODY_GRACE + allowance(self.bytes, rate)).saturating_sub(self.waited)
    }
}

/// Ready at `deadline`.
fn expired(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    // A timer that is polled beside the bytes that are waited for.
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.as_mut().poll(context)
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.protocol {
            Protocol::Http1(_) => {
                // Whoever waits for the client has nothing more to say to it now: the framework flushes only at the end of an
                // answer whose length is known, and its beginning must not wait for that. An error is told by the next write.
                let _ = self.poll_send_held(context);
                self.poll_http1(context, out)
            }
            // The framework reads frames by itself, and whoever accepts its requests has the deadlines.
            Protocol::Http2 => Pin::new(&mut self.inner).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let watched = &mut *self;
        let outcome = match watched.protocol {
            Protocol::Http1(_) => watched.outgoing.poll_write(&mut watched.inner, context, bytes),
            Protocol::Http2 => Pin::new(&mut watched.inner).poll_write(context, bytes),
        };
        self.written(outcome, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.poll_send(context);
        self.written(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = self.poll_send(context);
            ready!(self.written(outcome, context))?;
            let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.written(outcome, context))?;
        }
        self.poll_linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Protocol::Http1(_) = self.protocol {
            // What waits goes first, and small pieces wait.
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[][..], |slice| &**slice));
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        // The client may be gone, and then there is nothing to end.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Watched {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}
