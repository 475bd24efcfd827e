//! The API: the table of its routes, and the way of a request through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use super::guard::{Caller, Guard, check_origin};
use super::problem::{Kind, Problem};
use super::reply::Reply;
use super::route::{self, Found, Route};
use super::{members, registration, reload, scaling};
use crate::autoscale::Board;
use crate::config::Permission;
use crate::membership::Membership;
use crate::observe::metrics::Metrics;
use crate::registry::Registry;
use crate::reload::Reloader;

type Handler = fn(&Api, &Request<'_>) -> Result<Reply, Problem>;

/// What the API has. `openapi.yaml` describes the same.
static ROUTES: [Route<Handler>; 12] = [
    get("/api/v1/openapi", None, |_, _| Ok(Reply::document("application/yaml", OPENAPI))),
    get("/api/v1/members", Some(Permission::Read), members::list),
    get(NODE, Some(Permission::Read), members::show),
    change(Method::PUT, "/api/v1/clusters/{cluster}/nodes/{node}/state", Permission::Operate, members::set_state),
    change(
        Method::PUT,
        "/api/v1/clusters/{cluster}/nodes/{node}/weight",
        Permission::Operate,
        registration::set_weight,
    ),
    get("/api/v1/scaling", Some(Permission::Read), scaling::list),
    get("/api/v1/scaling/{cluster}/{role}", Some(Permission::Read), scaling::show),
    get(MEMBER, Some(Permission::Read), registration::show),
    change(Method::PUT, MEMBER, Permission::Register, registration::register),
    change(Method::DELETE, MEMBER, Permission::Register, registration::deregister),
    change(Method::POST, "/api/v1/clusters/{cluster}/members/{node}/renew", Permission::Register, registration::renew),
    change(Method::POST, "/api/v1/reload", Permission::Operate, reload::reload),
];

const NODE: &str = "/api/v1/clusters/{cluster}/nodes/{node}";
const MEMBER: &str = "/api/v1/clusters/{cluster}/members/{node}";
const OPENAPI: &str = include_str!("openapi.yaml");

const fn get(path: &'static str, needs: Option<Permission>, handler: Handler) -> Route<Handler> {
    Route { method: Method::GET, path, changes: false, needs, handler }
}

const fn change(method: Method, path: &'static str, needs: Permission, handler: Handler) -> Route<Handler> {
    Route { method, path, changes: true, needs: Some(needs), handler }
}

/// What the handlers of routes work on.
pub(super) struct Api {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) membership: Arc<Membership>,
    pub(super) board: Arc<Board>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) guard: Guard,
}

/// A request that may be made, as far as its header tells.
pub(super) struct Call {
    route: &'static Route<Handler>,
    parameters: Vec<String>,
    client: Option<SocketAddr>,
    caller: Caller,
}

/// What a handler gets.
pub(super) struct Request<'a> {
    /// Those of the path, in their order.
    pub(super) parameters: &'a [String],
    /// Whose request it is.
    pub(super) client: Option<SocketAddr>,
    /// Whose token it has.
    pub(super) caller: &'a Caller,
    pub(super) body: &'a [u8],
    pub(super) now: Instant,
}

/// Whether a path belongs to the API.
pub(super) fn is_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Api {
    pub(super) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        membership: Arc<Membership>,
        board: Arc<Board>,
        reloader: Arc<Reloader>,
    ) -> Self {
        let guard = Guard::new(metrics.clone());
        Api { registry, metrics, membership, board, reloader, guard }
    }

    /// Decides by the header whether a request may be made, and what it asks for. Who has no token learns nothing.
    pub(super) fn admit(
        &self,
        request: &RequestHeader,
        client: Option<SocketAddr>,
        now: Instant,
    ) -> Result<Call, Problem> {
        let config = self.registry.config();
        let caller = self.guard.check_token(&config.admin.tokens, &request.headers);
        let caller = caller.map_err(|refused| self.guard.refuse(refused, client, now))?;
        let (route, parameters) = match route::find(&ROUTES, &request.method, request.uri.path()) {
            Found::Route(route, parameters) => (route, parameters),
            Found::OtherMethods(methods) => return Err(other_methods(&methods)),
            Found::Nothing => return Err(nothing_there()),
        };
        if let Some(needs) = route.needs {
            self.guard.check_permission(&caller, needs, client, now)?;
        }
        if route.changes {
            check_origin(request).map_err(|refused| self.guard.refuse(refused, client, now))?;
        }
        let call = Call { route, parameters, client, caller };
        if call.takes_body() {
            check_content_type(request)?;
        }
        Ok(call)
    }

    /// Answers a request, now that its body is there.
    pub(super) fn answer(&self, call: &Call, body: &[u8], now: Instant) -> Result<Reply, Problem> {
        let Call { parameters, client, caller, route } = call;
        let request = Request { parameters, client: *client, caller, body, now };
        (route.handler)(self, &request)
    }
}

impl Call {
    pub(super) fn takes_body(&self) -> bool {
        // Web pages of others can neither send DELETE without asking first.
        self.route.changes && self.route.method != Method::DELETE
    }
}

impl Request<'_> {
    /// Whose request it is, for the log: never by the token itself.
    pub(super) fn who(&self) -> String {
        let client = self.client.map_or_else(|| "somebody".to_owned(), |client| client.to_string());
        format!("{client} (token {})", self.caller.token)
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
