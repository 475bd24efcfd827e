//! HTTP/2 connections. The accept loop is our own, because the framework's counts nothing that it refuses by itself, and
//! has no deadline for a body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use tokio::sync::watch;

use super::Reception;
use super::drain::Entered;
use super::exchange::{EXCHANGE, Exchange};
use super::policy::Policy;
use super::watched::Watched;
use crate::http1::Fault;

/// Malformed requests on one connection before its client is told to go, and before it is closed whatever is on it.
const MOST_MALFORMED: usize = 32;
const FAR_TOO_MANY_MALFORMED: usize = 2 * MOST_MALFORMED;

/// Bytes that a client may send before it is told that some were taken: of one request, and in all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes of an answer that are kept for a client which does not take them.
const SEND_BUFFER: usize = 64 << 10;

/// Requests that a client may take back before they were looked at, and that may be refused, before the connection is
/// closed: what floods of resets would exhaust.
const MOST_RESETS: usize = 20;
const MOST_LOCAL_RESETS: usize = 128;

/// How long a client that was told to go may stay without a request in flight.
const FAREWELL: Duration = Duration::from_secs(5);

/// How much larger a header may be than is allowed, so that it is refused by us, and counted.
const HEADER_SLACK: usize = 64 << 10;

pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    stream: Stream,
    client: SocketAddr,
    reception: &Arc<Reception<A>>,
    entered: &Entered,
) {
    let policy = &reception.policy;
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let stream = Box::new(Watched::http2(stream, entered.activity.clone(), policy.clone()));
    let mut shutdown = entered.watch();
    let begun = tokio::select! {
        biased;
        begun = tokio::time::timeout(policy.timeouts.handshake, handshake(stream, Some(options(policy)))) => begun,
        _ = shutdown.wait_for(|&stopping| stopping) => return,
    };
    let Ok(Ok(mut connection)) = begun else {
        debug!("{client}: no preface, or not in time");
        return policy.watcher.turned_away(client, "http2_handshake_failed");
    };
    let (mut stopping, mut malformed, mut left) = (false, 0, policy.requests_per_connection);
    let active = watch::Sender::new(0_usize);
    loop {
        if !stopping && (*shutdown.borrow() || left == Some(0)) {
            // Requests that are on their way are served still.
            connection.graceful_shutdown();
            stopping = true;
        }
        let accepted = tokio::select! {
            biased;
            _ = shutdown.changed(), if !stopping => continue,
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            // Nothing is in flight, and the client may be gone: no farewell.
            () = idle_for(if stopping { FAREWELL } else { policy.timeouts.idle }, active.subscribe()) => return,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                left = left.map(|left| left.saturating_sub(1));
                spawn(session, client, reception.clone(), entered.watch(), Active::new(&active));
            }
            Ok(Some(H2Accept::Rejected)) => {
                policy.watcher.refused(client, Fault::Http2Malformed, &[]);
                malformed += 1;
                match malformed {
                    // What else is on the connection may be of others: it is finished.
                    MOST_MALFORMED => left = Some(0),
                    FAR_TOO_MANY_MALFORMED => return,
                    _ => {}
                }
            }
            Ok(None) => return,
            Err(e) => return debug!("{client}: {e}"),
        }
    }
}

fn options(policy: &Policy) -> H2Options {
    let mut options = H2Options::new();
    let header = u32::try_from(policy.head.header + HEADER_SLACK).unwrap_or(u32::MAX);
    options
        .max_concurrent_streams(policy.streams)
        .max_header_list_size(header)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(Some(MOST_LOCAL_RESETS));
    options
}

/// Serves a request in a task of its own.
fn spawn<A: HttpServerApp + Send + Sync + 'static>(
    session: HttpSession,
    client: SocketAddr,
    reception: Arc<Reception<A>>,
    shutdown: watch::Receiver<bool>,
    active: Active,
) {
    tokio::spawn(async move {
        let exchange = Arc::new(Exchange::default());
        let session = ServerSession::new_http2(session);
        let served = EXCHANGE.scope(exchange.clone(), reception.app.process_new_http(session, &shutdown));
        let policy = &reception.policy;
        tokio::select! {
            biased;
            _ = served => {}
            // Dropping the request resets its stream.
            () = exchange.body_too_slow(policy.timeouts.read, policy.body_rate) => {
                policy.watcher.refused(client, Fault::BodyTooSlow, &[]);
            }
        }
        drop(active);
    });
}

/// Counts a request in flight for as long as it lives.
struct Active(watch::Sender<usize>);

impl Active {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|active| *active += 1);
        Active(count.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.send_modify(|active| *active -= 1); // counted when the guard was made
    }
}

/// Returns when there has been no request in flight for so long.
async fn idle_for(idle: Duration, mut active: watch::Receiver<usize>) {
    loop {
        if active.wait_for(|&active| active == 0).await.is_err() {
            // The sender outlives whoever waits here.
            return;
        }
        tokio::select! {
            // The timeout itself: a request that begins ends the wait at once.
            () = tokio::time::sleep(idle) => return,
            _ = active.changed() => {}
        }
    }
}
