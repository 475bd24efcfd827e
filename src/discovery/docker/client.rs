//! Tells one balancer, over its admin API.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::ledger::{Outcome, Step};
use super::{Key, Member};
use crate::ids::Endpoint;

/// How long a balancer may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// The admin API of one balancer.
#[derive(Debug, Clone)]
pub(super) struct Balancer {
    /// Without a slash at its end.
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What became of a step, in words if it was not what was meant.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) why: Option<String>,
}

impl Balancer {
    /// The admin listener at `http://host:port`. Nothing is sent yet.
    ///
    /// # Errors
    /// One sentence: that is no such address.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let parsed: Option<Uri> = url.parse().ok();
        let plain = |uri: &Uri| {
            uri.scheme_str() == Some("http")
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.path_and_query().is_none_or(|path| path == "/")
        };
        if !parsed.as_ref().is_some_and(plain) {
            return Err(format!("{url:?} is no admin listener; allowed: http://host:port"));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Balancer { url: url.trim_end_matches('/').to_owned(), client })
    }

    /// Takes a step.
    pub(super) async fn take(&self, step: &Step, lease: Duration, token: &Token) -> Answer {
        let (method, key, body) = match step {
            Step::Register(key, member) => (Method::PUT, key, Some(said(member, lease))),
            Step::Deregister(key) => (Method::DELETE, key, None),
        };
        let absent_is_good = method == Method::DELETE;
        let asked = tokio::time::timeout(PATIENCE, self.ask(method, key, body, token));
        match asked.await {
            Ok(Ok((status, _))) if status.is_success() || (absent_is_good && status == StatusCode::NOT_FOUND) => {
                Answer { outcome: Outcome::Done, why: None }
            }
            Ok(Ok((status, detail))) => {
                // The token may be another one in a moment, and a balancer that is starting knows its clusters later.
                let later = status.is_server_error() || matches!(status.as_u16(), 401 | 408 | 429);
                let outcome = if later { Outcome::Failed } else { Outcome::Refused };
                Answer { outcome, why: Some(format!("{status}: {detail}")) }
            }
            Ok(Err(e)) => Answer { outcome: Outcome::Failed, why: Some(e) },
            Err(_) => Answer { outcome: Outcome::Failed, why: Some(format!("no answer within {PATIENCE:?}")) },
        }
    }

    async fn ask(
        &self,
        method: Method,
        (cluster, id): &Key,
        body: Option<Value>,
        token: &Token,
    ) -> Result<(StatusCode, String), String> {
        // Names need no escapes.
        let url = format!("{}/api/v1/clusters/{cluster}/members/{id}", self.url);
        let mut request = Request::builder().method(method).uri(url).header(AUTHORIZATION, token.0.clone());
        let body = body.map(|body| body.to_string());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default())).map_err(|e| e.to_string())?;
        let response = self.client.request(request).await.map_err(|e| chain(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        Ok((status, detail(&body)))
    }
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// What a member is, as the API takes it.
fn said(member: &Member, lease: Duration) -> Value {
    let mut ports = serde_json::Map::new();
    for endpoint in Endpoint::ALL {
        if let Some(port) = member.ports[endpoint.index()] {
            ports.insert(endpoint.as_str().to_owned(), port.into());
        }
    }
    let mut said = json!({
        "address": member.address.to_string(),
        "roles": [member.role.as_str()],
        "weight": member.weight,
        "backup": member.backup,
        "ports": ports,
        "lease": lease.as_secs(),
    });
    if let Some(most) = member.max_in_flight {
        said["max_in_flight"] = most.into();
    }
    if let Some(route) = &member.route {
        said["route"] = route.as_str().into();
    }
    said
}

/// The `detail` of a problem (RFC 9457), or its `title`.
fn detail(body: &[u8]) -> String {
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    let text = |key: &str| problem.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| "no reason given".to_owned());
    // It goes into a log line.
    detail.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// An error with what is behind it: "client error (Connect)" alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// What gives the right to ask.
pub(super) struct Token(HeaderValue);

impl Token {
    /// The first token of a file as `admin.token_file` is one.
    ///
    /// # Errors
    /// One sentence, without the token.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let token = lines.next().ok_or_else(|| format!("{} holds no token", path.display()))?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| format!("{}: what is no header can't be a token", path.display()))?;
        value.set_sensitive(true);
        Ok(Token(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Role;

    #[test]
    fn a_member_is_said_as_the_api_takes_it() {
        let member = Member {
            address: "172.18.0.5".parse().unwrap(),
            role: Role::Worker,
            weight: 2,
            ports: [None, Some(8281)],
            backup: false,
            max_in_flight: Some(9),
            route: Some("r".to_owned()),
        };
        let expected = r#"{"address":"172.18.0.5","roles":["worker"],"weight":2,"backup":false,"ports":{"passthrough":8281},"lease":30,"max_in_flight":9,"route":"r"}"#;
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(said(&member, Duration::from_secs(30)), expected);
        let plain = Member { ports: [None; 2], max_in_flight: None, route: None, ..member };
        assert_eq!(said(&plain, Duration::from_secs(30)).as_object().unwrap().len(), 6);
    }

    #[test]
    fn an_admin_listener_has_an_address() {
        for good in ["http://127.0.0.1:9601", "http://elb:9601/"] {
            assert_eq!(Balancer::new(good).unwrap().to_string(), good.trim_end_matches('/'));
        }
        for bad in ["", "127.0.0.1:9601", "https://elb:9601", "http://elb:9601/api", "http://a:b@elb", "ftp://elb"] {
            assert!(Balancer::new(bad).unwrap_err().contains("allowed: http://host:port"), "{bad}");
        }
    }

    #[test]
    fn reasons_fit_into_a_log_line() {
        let rows = [
            (r#"{"title":"Conflict","detail":"the id is taken"}"#, "the id is taken"),
            (r#"{"title":"Conflict"}"#, "Conflict"),
            (r#"{"detail":"a\nb"}"#, "ab"),
            ("<html>", "no reason given"),
        ];
        for (body, expected) in rows {
            assert_eq!(detail(body.as_bytes()), expected);
        }
        assert_eq!(detail(format!("{{\"detail\":\"{}\"}}", "x".repeat(1_000)).as_bytes()).len(), 300);
    }
}
