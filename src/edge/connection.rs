//! The life of a connection: PROXY protocol, TLS, then one request after another.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::SystemTime;

use log::debug;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as TcpTransport;
use pingora::protocols::{ALPN, GetSocketDigest, Shutdown, SocketDigest, Stream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::drain::Entered;
use super::exchange::{EXCHANGE, Exchange};
use super::policy::Policy;
use super::watched::{Next, Watched};
use super::{Reception, http2, prepare, proxy_protocol};
use crate::http1::Fault;

/// Serves a connection from its first byte to its last.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    reception: Arc<Reception<A>>,
    entered: Entered,
) {
    let policy = &reception.policy;
    if let Err(e) = prepare(&stream) {
        return debug!("{peer}: {e}");
    }
    let away = |reason| policy.watcher.turned_away(peer, reason);
    let (transport, client) = match timeout(policy.timeouts.handshake, transport(stream, peer, policy)).await {
        Ok(Ok(transport)) => transport,
        Ok(Err(reason)) => return away(reason),
        Err(_) => return away("proxy_protocol_too_slow"),
    };
    let _pass = match policy.gate.enter_connection(client.ip(), policy.connections) {
        Ok(pass) => pass,
        Err(reason) => return policy.watcher.turned_away(client, reason),
    };
    let stream: Stream = match &reception.tls {
        None => Box::new(transport),
        Some(acceptor) => match timeout(policy.timeouts.handshake, acceptor.accept(transport)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(e)) => {
                debug!("{client}: TLS handshake failed: {e}");
                return policy.watcher.turned_away(client, "tls_handshake_failed");
            }
            Err(_) => return policy.watcher.turned_away(client, "tls_handshake_too_slow"),
        },
    };
    if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
        http2::serve(stream, client, &reception, &entered).await;
    } else {
        serve_http1(stream, client, &reception, &entered).await;
    }
}

/// The connection as the framework takes it, and whose it is.
async fn transport(
    mut stream: TcpStream,
    peer: SocketAddr,
    policy: &Policy,
) -> Result<(TcpTransport, SocketAddr), &'static str> {
    // An IPv4 client of a socket for all addresses has an IPv4 address, for address lists and for nodes.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut behind = Vec::new();
    let mut client = peer;
    if !policy.proxy_protocol.is_empty() {
        if !policy.proxy_protocol.iter().any(|network| network.contains(&peer.ip())) {
            return Err("proxy_protocol_sender_unknown");
        }
        let told = proxy_protocol::read(&mut stream).await?;
        behind = told.behind;
        client = told.client.unwrap_or(peer);
    }
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // Known from `accept`, or told; else the framework would ask the system again.
    let known = digest.peer_addr.set(Some(client.into()));
    debug_assert!(known.is_ok(), "a new digest holds no address");
    let mut transport = TcpTransport::from(stream);
    transport.set_socket_digest(digest);
    transport.rewind(&behind);
    Ok((transport, client))
}

async fn serve_http1<A: HttpServerApp + Send + Sync + 'static>(
    stream: Stream,
    client: SocketAddr,
    reception: &Reception<A>,
    entered: &Entered,
) {
    let (policy, shutdown) = (&reception.policy, entered.watch());
    let exchange = Arc::new(Exchange::default());
    let mut left = policy.requests_per_connection;
    let mut stream = Box::new(Watched::http1(stream, entered.activity.clone(), policy.clone(), exchange.clone()));
    loop {
        match stream.next_request().await {
            Next::Request => {}
            Next::End => return,
            Next::Refused(fault) => {
                policy.watcher.refused(client, fault, stream.received());
                return refuse(&mut stream, fault).await;
            }
        }
        left = left.map(|left| left.saturating_sub(1));
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(policy.timeouts.idle.as_secs()));
        session.set_keepalive_reuses_remaining(left);
        let served = EXCHANGE.scope(exchange.clone(), reception.app.process_new_http(session, &shutdown)).await;
        let Some((reusable, _)) = served.map(|reusable| reusable.consume()) else { return };
        entered.activity.end();
        // It is what the session was made of.
        let Ok(watched) = reusable.into_any().downcast::<Watched>() else { return };
        if !watched.is_between_requests() {
            return;
        }
        stream = watched;
    }
}

/// Answers a request that never was one, and ends the connection.
async fn refuse(stream: &mut Watched, fault: Fault) {
    let answer = answer(fault.status(), SystemTime::now());
    // The client may be gone; then there is nobody to tell.
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        Shutdown::shutdown(stream).await;
    }
}

fn answer(status: u16, now: SystemTime) -> String {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = format!("{} {reason}\n", status.as_str());
    format!(
        "HTTP/1.1 {} {reason}\r\nDate: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        status.as_str(),
        httpdate::fmt_http_date(now),
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole() {
        let text = answer(414, SystemTime::UNIX_EPOCH);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 414 URI Too Long\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && head.ends_with("Connection: close"));
        for fault in Fault::ALL {
            let status = http::StatusCode::from_u16(fault.status()).unwrap();
            assert!(status.canonical_reason().is_some() && status.as_u16() >= 400, "{fault:?}");
        }
    }
}
