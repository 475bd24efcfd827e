//! A balancer, as it is spoken to over its admin API.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::excerpt::{SENTENCE, excerpt};
use super::settings::Settings;
use super::world::{Place, PoolName};
use crate::autoscale::published::Scaling;
use crate::ids::{Endpoint, NodeId, Role};
use crate::member::AdminState;
use crate::upstream::{Authorities, authorities};

/// The largest answer that is read: thousands of members.
const LARGEST: usize = 16 << 20;

/// A balancer.
pub(super) struct Balancer {
    host: String,
    port: u16,
    tls: bool,
    authorities: Option<Authorities>,
    authorization: HeaderValue,
    timeout: Duration,
    connector: Connector,
}

/// Why a balancer was not asked, or did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no answer, or none that could be read.
    Unreachable(String),
    /// It says no.
    Refused(StatusCode, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreachable(why) => f.write_str(why),
            Trouble::Refused(status, detail) => write!(f, "{}: {detail}", status.as_u16()),
        }
    }
}

impl std::error::Error for Trouble {}

/// What is said of a member.
#[derive(Serialize)]
struct Said {
    address: String,
    roles: [Role; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    ports: SaidPorts,
    lease: u64,
}

#[derive(Serialize)]
struct SaidPorts {
    #[serde(skip_serializing_if = "Option::is_none")]
    servlet: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passthrough: Option<u16>,
}

#[derive(Serialize)]
struct Wanted {
    state: AdminState,
}

/// What a problem says.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Balancer {
    /// All balancers of the settings.
    ///
    /// # Errors
    /// The token cannot be sent, or the certificates not be read.
    pub(super) fn all(settings: &Settings) -> Result<Vec<Arc<Self>>, String> {
        let mut bearer = b"Bearer ".to_vec();
        bearer.extend_from_slice(settings.token.expose());
        let mut authorization =
            HeaderValue::from_bytes(&bearer).map_err(|_| "the token cannot be sent in a header".to_owned())?;
        authorization.set_sensitive(true);
        let trusted =
            settings.ca.as_ref().map(|file| authorities(file).map_err(|e| format!("ca: {}: {e}", file.display())));
        let trusted = trusted.transpose()?;
        let balancer = |url: &Uri| {
            let tls = url.scheme_str() == Some("https");
            Arc::new(Balancer {
                host: url.host().unwrap_or_default().to_owned(),
                port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
                tls,
                authorities: trusted.clone(),
                authorization: authorization.clone(),
                timeout: settings.timeout,
                connector: Connector::new(None),
            })
        };
        Ok(settings.balancers.iter().map(balancer).collect())
    }

    /// What its autoscaler wants, and the members that it has.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn scaling(&self) -> Result<Scaling, Trouble> {
        let body = self.ask(Method::GET, "/api/v1/scaling", None).await?;
        // What it has sent may be quoted in the error.
        let unexpected = |e: serde_json::Error| excerpt(&e.to_string(), SENTENCE);
        serde_json::from_slice(&body)
            .map_err(|e| Trouble::Unreachable(format!("its answer is not as expected: {}", unexpected(e))))
    }

    /// Makes an instance a member, or renews its lease.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn register(
        &self,
        pool: &PoolName,
        id: &NodeId,
        place: &Place,
        weight: Option<u16>,
        lease: Duration,
    ) -> Result<(), Trouble> {
        let [servlet, passthrough] = Endpoint::ALL.map(|endpoint| place.ports[endpoint.index()]);
        let said = Said {
            address: place.address.to_string(),
            roles: [pool.role],
            weight,
            ports: SaidPorts { servlet, passthrough },
            lease: lease.as_secs().max(1),
        };
        let path = format!("/api/v1/clusters/{}/members/{id}", pool.cluster);
        self.change(Method::PUT, &path, Some(&said)).await
    }

    /// Sets what is wanted of a member.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn set_state(&self, pool: &PoolName, id: &NodeId, state: AdminState) -> Result<(), Trouble> {
        let path = format!("/api/v1/clusters/{}/nodes/{id}/state", pool.cluster);
        self.change(Method::PUT, &path, Some(&Wanted { state })).await
    }

    /// Takes a member out. It is no error if there is none.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn deregister(&self, pool: &PoolName, id: &NodeId) -> Result<(), Trouble> {
        let path = format!("/api/v1/clusters/{}/members/{id}", pool.cluster);
        match self.change(Method::DELETE, &path, None::<&Wanted>).await {
            Err(Trouble::Refused(StatusCode::NOT_FOUND, _)) => Ok(()),
            other => other,
        }
    }

    async fn change(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<(), Trouble> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|e| Trouble::Unreachable(format!("cannot be written: {e}")))?;
        self.ask(method, path, body).await.map(drop)
    }

    /// Sends a request and returns the body of a good answer.
    async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>, Trouble> {
        let asked = timeout(self.timeout, self.exchange(method, path, body)).await;
        let (status, body) = asked.map_err(|_| {
            Trouble::Unreachable(format!("no answer within {}", humantime::format_duration(self.timeout)))
        })??;
        if status.is_success() {
            return Ok(body);
        }
        Err(Trouble::Refused(status, detail(&body)))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), Trouble> {
        let broken = |e: Box<pingora::Error>| Trouble::Unreachable(e.to_string());
        let peer = self.peer().await?;
        let (mut session, _) = self.connector.get_http_session(&peer).await.map_err(broken)?;
        let header = self.header(method, path, body.as_ref().map(Vec::len)).map_err(broken)?;
        session.write_request_header(Box::new(header)).await.map_err(broken)?;
        if let Some(body) = body {
            session.write_request_body(Bytes::from(body), true).await.map_err(broken)?;
        }
        session.finish_request_body().await.map_err(broken)?;
        session.read_response_header().await.map_err(broken)?;
        let status = session.response_header().map(|header| header.status);
        let status = status.ok_or_else(|| Trouble::Unreachable("an answer without a header".to_owned()))?;
        let mut answer = Vec::new();
        while let Some(chunk) = session.read_response_body().await.map_err(broken)? {
            if answer.len() + chunk.len() > LARGEST {
                return Err(Trouble::Unreachable(format!("its answer is larger than {LARGEST} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((status, answer))
    }

    /// Where it is now: its name may stand for another address than a moment ago.
    async fn peer(&self) -> Result<HttpPeer, Trouble> {
        let host = self.host.trim_matches(['[', ']']);
        let unknown = |why: String| Trouble::Unreachable(format!("{host}: {why}"));
        let mut addresses = tokio::net::lookup_host((host, self.port)).await.map_err(|e| unknown(e.to_string()))?;
        let address: SocketAddr = addresses.next().ok_or_else(|| unknown("has no address".to_owned()))?;
        let mut peer = HttpPeer::new(address, self.tls, if self.tls { host.to_owned() } else { String::new() });
        peer.options.alpn = ALPN::H1;
        peer.options.ca.clone_from(&self.authorities);
        Ok(peer)
    }

    fn header(&self, method: Method, path: &str, length: Option<usize>) -> pingora::Result<RequestHeader> {
        let mut header = RequestHeader::build(method, path.as_bytes(), Some(6))?;
        header.insert_header(HOST, format!("{}:{}", self.host, self.port))?;
        header.insert_header(AUTHORIZATION, self.authorization.clone())?;
        header.insert_header(USER_AGENT, "carbon-elb scale")?;
        if let Some(length) = length {
            header.insert_header(CONTENT_TYPE, "application/json")?;
            header.insert_header(CONTENT_LENGTH, length.to_string())?;
        }
        Ok(header)
    }
}

/// Why a balancer says no, as it can be logged.
fn detail(body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => excerpt(&problem.detail, SENTENCE),
        Err(_) => "no reason is given".to_owned(),
    }
}

/// Without the token.
impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}:{}", if self.tls { "s" } else { "" }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_on_one_line() {
        assert_eq!(detail(br#"{"status": 409, "detail": "it is a \"manager\""}"#), "it is a \"manager\"");
        assert_eq!(detail(br#"{"detail": "no\nWARN all is lost\u001b[2J"}"#), "no\\nWARN all is lost\\u{1b}[2J");
        let long = format!(r#"{{"detail": "{}"}}"#, "é".repeat(5000));
        assert_eq!(detail(long.as_bytes()), format!("{}…", "é".repeat(SENTENCE)));
        assert_eq!(detail(b"<html>"), "no reason is given");
    }
}
