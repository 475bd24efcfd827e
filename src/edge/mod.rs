//! Where clients come in: sockets, TLS, and the life of a connection.
//!
//! The sockets are our own rather than the framework's, because a stop must let half-sent requests finish, because the
//! real port must be known before the first client comes, and because each thread has sockets of its own.

mod answer;
mod connection;
mod drain;
mod exchange;
mod framer;
mod gate;
mod http2;
mod outgoing;
mod policy;
pub mod proxy_protocol;
mod socket;
mod spare;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use log::{debug, error};
use pingora::apps::HttpServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::certificates::Acceptor;

pub use answer::{Answer, Answering};
pub use drain::Drain;
pub use exchange::Exchange;
pub use gate::{Connections, Gate, RequestPass, one_client};
pub use policy::{Policy, Timeouts, Unwatched, Watcher};
pub use socket::{BACKLOG, BindError, Socket, bind};

/// The pause after a failed `accept`, so that "too many open files" does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that is silent for so long is asked whether its client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A socket, and who receives the connections that come in on it.
pub struct Entrance<A> {
    /// The socket, not yet in a runtime.
    pub socket: Socket,
    /// Says how they are received.
    pub host: Arc<dyn Host<A>>,
    /// Whether connections are let in when there are too many: operators must get in while clients flood.
    pub always_open: bool,
}

/// How a connection is received, from its first byte to its last.
pub struct Reception<A> {
    /// TLS, or `None` for clear text.
    pub tls: Option<Acceptor>,
    /// How its client is treated.
    pub policy: Arc<Policy>,
    /// What serves its requests.
    pub app: Arc<A>,
}

/// Says how connections are received. That may change while a listener is open.
pub trait Host<A>: Send + Sync {
    /// How a connection is received that is accepted now. It is asked on the thread that will serve the connection, for
    /// each one, and must not block.
    fn reception(&self) -> Arc<Reception<A>>;
}

/// A host that never changes its mind.
pub struct Always<A>(pub Arc<Reception<A>>);

impl<A: Send + Sync> Host<A> for Always<A> {
    fn reception(&self) -> Arc<Reception<A>> {
        self.0.clone()
    }
}

/// The entrances that one thread serves.
pub struct Edge<A> {
    name: String,
    entrances: Vec<Entrance<A>>,
    drain: Arc<Drain>,
    /// Connections wait to be accepted until this says so.
    opened: watch::Receiver<bool>,
}

impl<A> Edge<A> {
    /// A service that serves `entrances` on one thread, from when `opened` says so until `drain` begins.
    pub fn new(name: String, entrances: Vec<Entrance<A>>, drain: Arc<Drain>, opened: watch::Receiver<bool>) -> Self {
        Edge { name, entrances, drain, opened }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for Edge<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let mut draining = self.drain.watch();
        tokio::select! {
            // Whoever should say so may be gone; then waiting has no sense.
            _ = self.opened.wait_for(|&opened| opened) => {}
            _ = draining.wait_for(|&begun| begun) => {}
        }
        let entrances = self.entrances.drain(..).map(|entrance| {
            let drain = self.drain.clone();
            tokio::spawn(accept_until_drain(entrance, drain))
        });
        for accepting in entrances.collect::<Vec<_>>() {
            if let Err(e) = accepting.await {
                error!("{}: no longer accepts connections: {e}", self.name);
            }
        }
        // The connections that are left live on in this thread's runtime.
        self.drain.emptied().await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

async fn accept_until_drain<A: HttpServerApp + Send + Sync + 'static>(entrance: Entrance<A>, drain: Arc<Drain>) {
    let Entrance { socket, host, always_open } = entrance;
    let name = socket.name().to_owned();
    let listener = match TcpListener::from_std(socket.into_listener()) {
        Ok(listener) => listener,
        Err(e) => return error!("{name}: cannot accept connections: {e}"),
    };
    let enter = |stream, client| {
        let reception = host.reception();
        match drain.enter(always_open) {
            Some(entered) => {
                tokio::spawn(connection::serve(stream, client, reception, entered));
            }
            None => reception.policy.watcher.turned_away(client, "too_many_connections_in_all"),
        }
    };
    let mut draining = drain.watch();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|&begun| begun) => break,
        };
        match accepted {
            Ok((stream, client)) => enter(stream, client),
            Err(e) if is_of_one_connection(&e) => debug!("{name}: a client left before it was accepted: {e}"),
            Err(e) => {
                error!("{name}: cannot accept a connection: {e}");
                // Most likely the process has no descriptor left; asking again at once would only keep a processor busy.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What waits to be accepted would be reset with the socket. No more than that, or a flood could hold up the stop.
    for _ in 0..BACKLOG {
        match waiting(&listener).await {
            Some((stream, client)) => enter(stream, client),
            None => return,
        }
    }
}

/// The next connection that waits to be accepted; `None` if there is none.
async fn waiting(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Errors of `accept` that concern one connection only, and not the socket.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Sets what every connection needs.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // A client that vanished without a word, behind a firewall or asleep, must not stay for ever.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4).with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
