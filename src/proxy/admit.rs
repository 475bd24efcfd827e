//! Whether a request may go on, and where to: everything that is decided before a node is asked.

use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap};
use http::{Method, Version};
use log::debug;
use pingora::http::RequestHeader;

use super::Proxy;
use super::headers;
use super::route::Route;
use super::terms::Terms;
use crate::classify::{Decision, Facts, Refusal};
use crate::config::ClientLimits;
use crate::edge::{RequestPass, one_client};
use crate::http1::{Fault, is_target};
use crate::origin::Client;
use crate::registry::Snapshot;
use crate::tenant::TenantPass;
use crate::throttle::{Target, TooMany};

/// A request that may go on.
pub(super) struct Admitted {
    pub(super) route: Route,
    /// Bytes that its body may have. `None`: as many as it likes.
    pub(super) body: Option<u64>,
    pub(super) pass: RequestPass,
    /// Its place among those of its tenant, if that is limited.
    pub(super) tenant_pass: Option<TenantPass>,
}

impl Admitted {
    /// Whether the body may go on, whose first chunk has `announced` so many bytes.
    pub(super) fn fits(self, announced: u64) -> Result<Self, Refused> {
        match self.body {
            Some(most) if announced > most => Err(BODY_TOO_LARGE),
            _ => Ok(self),
        }
    }
}

/// A request that goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// One word for logs and metrics.
    pub(super) reason: &'static str,
    /// Index of the cluster that it was for, if that is known.
    pub(super) cluster: Option<usize>,
    /// When it may be tried again, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Refused {
    pub(super) const fn new(status: u16, reason: &'static str) -> Self {
        Refused { status, reason, cluster: None, retry_after: None }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, cluster } = refusal;
        Refused { cluster, ..Refused::new(reason.status(), reason.as_str()) }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::new(fault.status(), fault.as_str())
    }
}

impl Proxy {
    /// Decides about a request of `client`.
    pub(super) fn admit(
        &self,
        terms: &Terms,
        snapshot: &Arc<Snapshot>,
        request: &RequestHeader,
        has_body: bool,
        client: Client,
    ) -> Result<Admitted, Refused> {
        let listener = &terms.listener;
        if !listener.access.admits(client.ip) {
            return Err(Refused::new(403, "client_not_allowed"));
        }
        let pass = self.gate.enter_request(listener.limits.requests);
        let pass = pass.ok_or(Refused { retry_after: Some(1), ..TOO_MANY_REQUESTS })?;
        if request.version == Version::HTTP_2 {
            check_http2(&listener.limits, request)?;
        }
        let facts = Facts {
            serves: listener.serves,
            endpoint: listener.endpoint,
            host: headers::host(request),
            path: headers::path(request),
            paths: listener.paths,
            soap: headers::may_be_soap(request, has_body),
        };
        let decision = snapshot.setup.classifier.classify(&facts)?;
        snapshot.setup.classifier.check_query(&facts, &decision, headers::query(request))?;
        let cluster = decision.cluster;
        let body = terms
            .check_client(snapshot, &decision, request, client)
            .map_err(|refused| Refused { cluster: Some(cluster), ..refused })?;
        let mut route = Route::new(snapshot.clone(), decision, listener.endpoint);
        route.find_tenant(headers::host(request));
        let tenant_pass = route.enter_tenant().map_err(|()| Refused {
            retry_after: Some(1),
            cluster: Some(cluster),
            ..TOO_MANY_OF_TENANT
        })?;
        route.find_session(client.ip, request);
        Ok(Admitted { route, body, pass, tenant_pass })
    }
}

impl Terms {
    /// Whether this client may ask for this, now. Returns the limit on the body.
    fn check_client(
        &self,
        snapshot: &Snapshot,
        decision: &Decision<'_>,
        request: &RequestHeader,
        client: Client,
    ) -> Result<Option<u64>, Refused> {
        if !snapshot.access(decision.cluster, decision.role).is_none_or(|access| access.admits(client.ip)) {
            return Err(Refused::new(403, "client_not_allowed_in_cluster"));
        }
        let mut body = self.listener.limits.body;
        if !self.rules.is_empty() {
            let rules = snapshot.tenants(decision.cluster);
            let tenant_of_host = rules.and_then(|rules| rules.hosts.tenant(headers::host(request)?));
            let path = decision.path(headers::path(request));
            let target = Target {
                cluster: decision.cluster,
                role: decision.role,
                path: &path,
                tenant: decision.tenant.as_deref().or(tenant_of_host),
                client: Some(one_client(client.ip)),
            };
            body = self.throttle.body_limit(&self.rules, &target, body);
            let header = |name: &str| request.headers.get(name).map(http::HeaderValue::as_bytes);
            self.throttle.admit(&self.rules, &target, Instant::now(), header)?;
        }
        match body {
            Some(most) if content_length(&request.headers).is_some_and(|length| length > most) => Err(BODY_TOO_LARGE),
            body => Ok(body),
        }
    }
}

/// What the edge has checked already if the request came over HTTP/1.
fn check_http2(limits: &ClientLimits, request: &RequestHeader) -> Result<(), Refused> {
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::MethodNotImplemented.into());
    }
    if request.raw_path().len() > limits.target {
        return Err(Fault::TargetTooLong.into());
    }
    if request.headers.len() > limits.fields {
        return Err(Fault::TooManyFields.into());
    }
    // A line of HTTP/1 has four bytes more: `: ` and the end.
    let bytes = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if bytes + request.raw_path().len() > limits.header {
        return Err(Fault::HeaderTooLarge.into());
    }
    if !is_target(headers::query(request)) {
        return Err(Fault::Target.into());
    }
    let mut expects = request.headers.get_all(EXPECT).iter().map(http::HeaderValue::as_bytes);
    let expectation = expects.next();
    if expects.next().is_some() || expectation.is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Fault::Expectation.into());
    }
    Ok(())
}

const TOO_MANY_OF_TENANT: Refused = Refused::new(503, "too_many_requests_of_tenant");

const TOO_MANY_REQUESTS: Refused = Refused::new(503, "too_many_requests_in_flight");

/// A body that is larger than it may be.
pub(super) const BODY_TOO_LARGE: Refused = Refused::new(413, "body_too_large");

impl From<TooMany<'_>> for Refused {
    fn from(too_many: TooMany<'_>) -> Self {
        debug!("too many requests for rule {}", too_many.rule);
        too_many.refused.inc();
        Refused { retry_after: Some(too_many.retry_after), ..Refused::new(429, "rate_limited") }
    }
}

/// The length that a header announces. The edge has seen to it that it is a number.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    std::str::from_utf8(headers.get(CONTENT_LENGTH)?.as_bytes()).ok()?.parse().ok()
}
