//! The life of a connection: TLS, then one request after another.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use log::debug;
use pingora::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as TcpTransport;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, timeout};

use super::drain::{Activity, Entered};
use super::{Acceptor, prepare};

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first byte of a request.
    pub idle: Duration,
    /// For all of a header, from its first byte on.
    pub header: Duration,
    /// For a client to take something of an answer.
    pub write: Duration,
}

/// Serves a connection from its first byte to its last.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Acceptor>,
    timeouts: Timeouts,
    app: Arc<A>,
    entered: Entered,
) {
    let shutdown = entered.watch();
    let transport = match transport(stream, client) {
        Ok(transport) => transport,
        Err(e) => return debug!("{client}: {e}"),
    };
    let stream: Stream = match tls {
        None => Box::new(transport),
        Some(acceptor) => match timeout(timeouts.handshake, acceptor.accept(transport)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(e)) => return debug!("{client}: TLS handshake failed: {e}"),
            Err(_) => return debug!("{client}: TLS handshake took too long"),
        },
    };
    let http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
    let activity = entered.activity.clone();
    let stream = Box::new(Watched { inner: stream, activity, timeouts, http2, reading: None, writing: None });
    if http2 {
        // The framework ends an HTTP/2 connection by itself, with GOAWAY, when `shutdown` says so.
        ServerApp::process_new(&app, stream, &shutdown).await;
    } else {
        serve_http1(stream, &entered.activity, &shutdown, timeouts, &app).await;
    }
}

async fn serve_http1<A: HttpServerApp + Send + Sync + 'static>(
    stream: Stream,
    activity: &Arc<Activity>,
    shutdown: &watch::Receiver<bool>,
    timeouts: Timeouts,
    app: &Arc<A>,
) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(timeouts.idle.as_secs()));
    // Without this a second request that came along with the first would be dropped.
    session.set_pipelining_enabled(true);
    loop {
        // Whoever reads the header tells the connection when it is complete.
        session.set_connection_user_context(Some(Box::new(activity.clone())));
        let Some(reusable) = app.process_new_http(session, shutdown).await else { return };
        activity.end();
        session = next_session(reusable);
    }
}

fn next_session(reusable: ReusedHttpStream) -> ServerSession {
    let (stream, settings) = reusable.consume();
    let mut session = ServerSession::new_http1(stream);
    if let Some(settings) = settings {
        settings.apply_to_session(&mut session);
    }
    session
}

fn transport(stream: TcpStream, client: SocketAddr) -> io::Result<TcpTransport> {
    prepare(&stream)?;
    // An IPv4 client of a socket for all addresses has an IPv4 address, for address lists and for nodes.
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // Known from `accept`; else the framework would ask the system again.
    let known = digest.peer_addr.set(Some(client.into()));
    debug_assert!(known.is_ok(), "a new digest holds no address");
    let mut transport = TcpTransport::from(stream);
    transport.set_socket_digest(digest);
    Ok(transport)
}

/// A stream that ends between two requests when the process stops, and that waits for its client only so long.
///
/// The framework has no deadline for a header as a whole, none for writing an answer without a body, and none for the
/// beginning of an HTTP/2 connection.
#[derive(Debug)]
struct Watched {
    inner: Stream,
    activity: Arc<Activity>,
    timeouts: Timeouts,
    http2: bool,
    /// Set while a header is not complete, if it did not come at once.
    reading: Option<Pin<Box<Sleep>>>,
    /// Set while the client takes nothing.
    writing: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Lets a read that has nothing wait, unless the connection should end.
    fn wait_to_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_in_header() {
            return expired(&mut self.reading, self.timeouts.header, context).map(Err);
        }
        if !self.activity.is_idle() {
            return Poll::Pending;
        }
        if self.http2 {
            return expired(&mut self.reading, self.timeouts.idle, context).map(Err);
        }
        self.activity.wait(context.waker());
        // An end of file: nothing was read of a request, so the session ends without an answer.
        if self.activity.should_close() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn received(&mut self) {
        if self.http2 {
            // Its frames are the framework's business; it has idle times of its own.
            self.activity.header_complete();
            self.reading = None;
        } else if self.activity.is_idle() {
            self.activity.begin();
            self.reading = None;
        }
    }

    /// Passes on the outcome of a write, or ends one that took nothing for too long.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing = None;
            return outcome;
        }
        expired(&mut self.writing, self.timeouts.write, context).map(Err)
    }
}

/// Ready when `timer`, started here if it is not running, has run for `after`.
fn expired(timer: &mut Option<Pin<Box<Sleep>>>, after: Duration, context: &mut Context<'_>) -> Poll<io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
    timer.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending => self.wait_to_read(context),
            ready => {
                if buffer.filled().len() > before {
                    self.received();
                }
                ready
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.written(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
        self.inner.shutdown().await;
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
