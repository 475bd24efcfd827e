//! The API: the table of its routes, and the way of a request through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use super::guard::{Guard, check_origin};
use super::members;
use super::problem::{Kind, Problem};
use super::reload;
use super::reply::Reply;
use super::route::{self, Found, Route};
use crate::observe::metrics::Metrics;
use crate::registry::Registry;
use crate::reload::Reloader;

type Handler = fn(&Api, &Request<'_>) -> Result<Reply, Problem>;

/// What the API has. `openapi.yaml` describes the same.
static ROUTES: [Route<Handler>; 5] = [
    get("/api/v1/openapi", |_, _| Ok(Reply::document("application/yaml", OPENAPI))),
    get("/api/v1/members", members::list),
    get("/api/v1/clusters/{cluster}/nodes/{node}", members::show),
    put("/api/v1/clusters/{cluster}/nodes/{node}/state", members::set_state),
    post("/api/v1/reload", reload::reload),
];

const OPENAPI: &str = include_str!("openapi.yaml");

const fn get(path: &'static str, handler: Handler) -> Route<Handler> {
    Route { method: Method::GET, path, changes: false, handler }
}

const fn put(path: &'static str, handler: Handler) -> Route<Handler> {
    Route { method: Method::PUT, path, changes: true, handler }
}

const fn post(path: &'static str, handler: Handler) -> Route<Handler> {
    Route { method: Method::POST, path, changes: true, handler }
}

/// What the handlers of routes work on.
pub(super) struct Api {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reloader: Arc<Reloader>,
    guard: Guard,
}

/// A request that may be made, as far as its header tells.
pub(super) struct Call {
    route: &'static Route<Handler>,
    parameters: Vec<String>,
    client: Option<SocketAddr>,
}

/// What a handler gets.
pub(super) struct Request<'a> {
    /// Those of the path, in their order.
    pub(super) parameters: &'a [String],
    /// Whose request it is.
    pub(super) client: Option<SocketAddr>,
    pub(super) body: &'a [u8],
    pub(super) now: Instant,
}

/// Whether a path belongs to the API.
pub(super) fn is_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Api {
    pub(super) fn new(registry: Arc<Registry>, metrics: Arc<Metrics>, reloader: Arc<Reloader>) -> Self {
        let guard = Guard::new(&registry.config().admin.tokens, metrics.clone());
        Api { registry, metrics, reloader, guard }
    }

    /// Decides by the header whether a request may be made, and what it asks for. Who has no token learns nothing.
    pub(super) fn admit(
        &self,
        request: &RequestHeader,
        client: Option<SocketAddr>,
        now: Instant,
    ) -> Result<Call, Problem> {
        self.guard.renew(&self.registry.config().admin.tokens);
        self.guard.check_token(&request.headers).map_err(|refused| self.guard.refuse(refused, client, now))?;
        let (route, parameters) = match route::find(&ROUTES, &request.method, request.uri.path()) {
            Found::Route(route, parameters) => (route, parameters),
            Found::OtherMethods(methods) => return Err(other_methods(&methods)),
            Found::Nothing => return Err(nothing_there()),
        };
        if route.changes {
            check_origin(request).map_err(|refused| self.guard.refuse(refused, client, now))?;
            check_content_type(request)?;
        }
        Ok(Call { route, parameters, client })
    }

    /// Answers a request, now that its body is there.
    pub(super) fn answer(&self, call: &Call, body: &[u8], now: Instant) -> Result<Reply, Problem> {
        let request = Request { parameters: &call.parameters, client: call.client, body, now };
        (call.route.handler)(self, &request)
    }
}

impl Call {
    pub(super) fn takes_body(&self) -> bool {
        self.route.changes
    }
}

fn nothing_there() -> Problem {
    let kind = Kind("unknown-path", "There is nothing at this path");
    let paths = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path));
    Problem::new(StatusCode::NOT_FOUND, kind, "the API has no such path").allowed(paths)
}

fn other_methods(methods: &[&str]) -> Problem {
    let kind = Kind("method-not-allowed", "The path does not take this method");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, kind, "the path takes other methods").allowed(methods);
    match HeaderValue::from_str(&methods.join(", ")) {
        Ok(allow) => problem.header(ALLOW, allow),
        Err(_) => problem, // not with names of methods
    }
}

/// Web pages of others can send forms and text without asking first, but not JSON.
fn check_content_type(request: &RequestHeader) -> Result<(), Problem> {
    const JSON: &str = "application/json";
    let mut types = request.headers.get_all(http::header::CONTENT_TYPE).iter();
    let first = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = first.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) && types.next().is_none() {
        return Ok(());
    }
    let kind = Kind("unsupported-media-type", "The body has a type that is not taken here");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, kind, "Content-Type must be application/json").allowed([JSON]))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
