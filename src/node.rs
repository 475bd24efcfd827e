//! A stub of a Carbon node: the back end of the demo, of tests and of benchmarks.
//!
//! It answers every path with JSON of what it received, so that a request that took a wrong turn shows itself.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use log::warn;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

use crate::edge::Answer;
use crate::ids::{NodeId, Role};

/// How large the pieces of a generated body are.
const CHUNK: usize = 64 * 1024;

/// The largest body that `?bytes=` asks for: 1 GiB.
const MOST_BYTES: usize = 1 << 30;

/// Where the products answer health checks, and what they say.
const HEALTH: [(&str, &str); 6] = [
    ("/services/Version", "<version>stub</version>\n"),
    ("/carbon/product/about.html", "<title>About WSO2 stub</title>\n"),
    ("/api/am/gateway/v2/server-startup-healthcheck", "{}\n"),
    ("/api/health-check/v1.0/health", "{}\n"),
    ("/healthz", "{\"status\":\"ready\"}\n"),
    ("/liveness", "{\"status\":\"ready\"}\n"),
];

/// What a stub node is and how it behaves.
#[derive(Debug)]
pub struct StubNode {
    id: NodeId,
    role: Role,
    delay: Duration,
    status: StatusCode,
    sessions: AtomicU64,
    record: Option<File>,
}

/// What the node received.
#[derive(Serialize)]
struct Received<'a> {
    node: &'a str,
    role: &'a str,
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    client: Option<SocketAddr>,
    body_length: usize,
}

impl StubNode {
    /// A node that answers every request with `status`, `delay` after it is complete.
    pub fn new(id: NodeId, role: Role, delay: Duration, status: StatusCode) -> Self {
        StubNode { id, role, delay, status, sessions: AtomicU64::new(0), record: None }
    }

    /// Appends a line to `file` for each request that has an `X-Request-Id`: `arrived METHOD ID` when its header is
    /// there, and `answered METHOD ID` before the answer is sent. What is in the file outlives the node.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn recording(self, file: &Path) -> io::Result<Self> {
        let record = File::options().append(true).create(true).open(file)?;
        Ok(StubNode { record: Some(record), ..self })
    }

    fn record(&self, what: &str, session: &ServerSession) {
        let Some(mut file) = self.record.as_ref() else { return };
        let Some(id) = session.get_header("x-request-id") else { return };
        let method = session.req_header().method.as_str();
        // One write, so that the line is there as a whole or not at all.
        let line = format!("{what} {method} {}\n", String::from_utf8_lossy(id.as_bytes()));
        if let Err(e) = file.write_all(line.as_bytes()) {
            warn!("cannot record a request: {e}");
        }
    }

    fn describe(&self, session: &ServerSession, body_length: usize) -> Vec<u8> {
        let request = session.req_header();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let received = Received {
            node: self.id.as_str(),
            role: self.role.as_str(),
            method: request.method.as_str(),
            path: text(request.raw_path()),
            headers: request.headers.iter().map(|(name, value)| (name.as_str(), text(value.as_bytes()))).collect(),
            client: session.client_addr().and_then(|address| address.as_inet()).copied(),
            body_length,
        };
        let mut json = serde_json::to_vec(&received).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// A new session's cookie, unless the client has one of this node; in Tomcat's form, with the node's route at the
    /// end.
    fn session_cookie(&self, session: &ServerSession) -> Option<String> {
        let cookies = session.req_header().headers.get_all(http::header::COOKIE).into_iter();
        let mut pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        let known = pairs.any(|pair| {
            let route = pair.trim().strip_prefix("JSESSIONID=").and_then(|id| id.split_once('.'));
            route.is_some_and(|(_, route)| route == self.id.as_str())
        });
        let number = self.sessions.fetch_add(u64::from(!known), Ordering::Relaxed);
        (!known).then(|| format!("JSESSIONID={number:016X}.{}; Path=/; HttpOnly", self.id))
    }

    fn header(&self, session: &ServerSession, content_type: &str, length: usize) -> Result<ResponseHeader> {
        let mut header = ResponseHeader::build(self.status, Some(5))?;
        header.insert_header(http::header::CONTENT_TYPE, content_type)?;
        header.insert_header(http::header::CONTENT_LENGTH, length.to_string())?;
        // For answers whose body does not tell.
        header.insert_header("X-Node", self.id.as_str())?;
        if let Some(cookie) = self.session_cookie(session) {
            header.insert_header(http::header::SET_COOKIE, cookie)?;
        }
        Ok(header)
    }
}

#[async_trait]
impl Answer for StubNode {
    async fn answer(&self, session: &mut ServerSession) -> Result<()> {
        self.record("arrived", session);
        if session.get_header(http::header::EXPECT).is_some() {
            session.write_continue_response().await?;
        }
        let mut body_length = 0;
        while let Some(chunk) = session.read_request_body().await? {
            body_length += chunk.len();
        }
        if !self.delay.is_zero() {
            // What a stub node is asked to do: to be slow.
            tokio::time::sleep(self.delay).await;
        }
        self.record("answered", session);
        if let Some(length) = wanted_bytes(session) {
            let header = self.header(session, "application/octet-stream", length)?;
            return send_bytes(session, header, length).await;
        }
        let path = session.req_header().uri.path();
        let health = HEALTH.iter().find(|(known, _)| *known == path);
        let (content_type, body) = match health {
            Some((_, text)) => ("text/html", Bytes::from_static(text.as_bytes())),
            None => ("application/json", Bytes::from(self.describe(session, body_length))),
        };
        let header = self.header(session, content_type, body.len())?;
        let head = session.req_header().method == http::Method::HEAD;
        session.write_response_header(Box::new(header)).await?;
        if head { Ok(()) } else { session.write_response_body(body, true).await }
    }
}

/// The number in `?bytes=NUMBER`, for tests that want a large answer.
fn wanted_bytes(session: &ServerSession) -> Option<usize> {
    let length: usize = session.req_header().uri.query()?.strip_prefix("bytes=")?.parse().ok()?;
    Some(length.min(MOST_BYTES))
}

async fn send_bytes(session: &mut ServerSession, header: ResponseHeader, length: usize) -> Result<()> {
    static ZEROS: [u8; CHUNK] = [b'0'; CHUNK];
    session.write_response_header(Box::new(header)).await?;
    let mut left = length;
    while left > 0 {
        let piece = left.min(CHUNK); // no longer than `ZEROS`
        left -= piece;
        session.write_response_body(Bytes::from_static(&ZEROS[..piece]), left == 0).await?;
    }
    Ok(())
}
