//! The life of a connection: TLS, then one request after another.

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
use tokio::time::timeout;

use super::drain::{Activity, Drain};
use super::{Acceptor, prepare};

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first byte of a request.
    pub idle: Duration,
}

/// Serves a connection from its first byte to its last.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Acceptor>,
    timeouts: Timeouts,
    app: Arc<A>,
    drain: Arc<Drain>,
) {
    let entered = drain.enter();
    let shutdown = drain.watch();
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
    if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
        // The framework ends an HTTP/2 connection by itself, with GOAWAY, when `shutdown` says so.
        ServerApp::process_new(&app, stream, &shutdown).await;
        return;
    }
    let stream = Box::new(Watched { inner: stream, activity: entered.activity.clone() });
    serve_http1(stream, &entered.activity, &shutdown, timeouts, &app).await;
}

async fn serve_http1<A: HttpServerApp + Send + Sync + 'static>(
    stream: Stream,
    activity: &Activity,
    shutdown: &watch::Receiver<bool>,
    timeouts: Timeouts,
    app: &Arc<A>,
) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(timeouts.idle.as_secs()));
    // Without this a second request that came along with the first would be dropped.
    session.set_pipelining_enabled(true);
    while let Some(reusable) = app.process_new_http(session, shutdown).await {
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

/// A stream that ends between two requests when the process stops, and at no other time.
#[derive(Debug)]
struct Watched {
    inner: Stream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.is_busy() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending => {
                self.activity.wait(context.waker());
                // An end of file: nothing was read of a request, so the session ends without an answer.
                if self.activity.should_close() { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.activity.begin();
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
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
