//! Asks a running load balancer whether it is healthy: the health check of a container that holds nothing but this
//! program.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For each step: connect, write, read.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends a GET request to `url`, which must begin with `http://`.
///
/// # Errors
/// The URL is none, there is no answer in time, or its status is not 200.
pub fn probe(url: &str) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let url: http::Uri = url.parse().map_err(|_| invalid("is not a URL"))?;
    if url.scheme_str() != Some("http") {
        return Err(invalid("only http:// is asked"));
    }
    let host = url.host().ok_or_else(|| invalid("names no host"))?;
    let port = url.port_u16().unwrap_or(80);
    let path = url.path_and_query().map_or("/", |path| path.as_str());

    let mut addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| invalid("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")?;

    // "HTTP/1.1 200" is all that matters.
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    match &status {
        b"HTTP/1.1 200" => Ok(()),
        other => Err(io::Error::other(format!("the answer is {:?}", String::from_utf8_lossy(other)))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answer_with(answer: &'static str) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it is read: closing with bytes unread would reset the connection.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"), "{:?}", String::from_utf8_lossy(&request));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let outcome = probe(&url);
        server.join().unwrap();
        outcome
    }

    #[test]
    fn only_200_is_healthy() {
        assert!(answer_with("HTTP/1.1 200 OK\r\n\r\n").is_ok());
        let refused = answer_with("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("503"), "{refused}");
        assert!(answer_with("HTTP").is_err(), "an answer that breaks off");
    }

    #[test]
    fn only_http_urls_are_asked() {
        for url in ["", "healthz", "https://127.0.0.1/", "/healthz"] {
            assert_eq!(probe(url).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{url}");
        }
    }
}
