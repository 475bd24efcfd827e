//! The listener for operators and their tools: health, readiness, metrics, and the API under `/api`.
//!
//! `pages` has the texts that anybody may read. A request to the API goes through `guard` (who may ask, and from
//! where), `api` (the table of routes), `body`, and then to the module that the route is about: `members`, or
//! `registration` for those that come and go. Whatever goes wrong is a `problem`. What the API takes and answers is written
//! down in `openapi.yaml`.

mod api;
mod body;
mod guard;
mod members;
mod pages;
mod problem;
mod registration;
mod reload;
mod reply;
mod route;
mod scaling;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::Result;
use pingora::protocols::http::ServerSession;

use self::api::Api;
use self::pages::Pages;
use self::reply::Reply;
use crate::autoscale::Board;
use crate::edge::{Answer, Drain};
use crate::membership::Membership;
use crate::observe::metrics::Metrics;
use crate::registry::Registry;
use crate::reload::Reloader;

/// Answers on the admin listener.
pub struct Admin {
    pages: Pages,
    api: Api,
}

impl Admin {
    /// Answers about the state of these; metrics only to this machine and to whom the configuration names, the API only to
    /// those who have one of its tokens. `reloader` reads the configuration file again.
    pub fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        membership: Arc<Membership>,
        board: Arc<Board>,
        reloader: Arc<Reloader>,
        drain: Arc<Drain>,
    ) -> Self {
        let api = Api::new(registry.clone(), metrics.clone(), membership, board, reloader);
        Admin { pages: Pages { registry, metrics, drain, showing: Mutex::new(()) }, api }
    }

    async fn ask_api(&self, session: &mut ServerSession) -> Result<Reply> {
        let client = session.client_addr().and_then(|address| address.as_inet()).copied();
        let call = match self.api.admit(session.req_header(), client, Instant::now()) {
            Ok(call) => call,
            Err(problem) => return Ok(problem.into()),
        };
        let body = if call.takes_body() { body::read(session).await? } else { Ok(Vec::new()) };
        let answered = body.and_then(|body| self.api.answer(&call, &body, Instant::now()));
        Ok(answered.unwrap_or_else(Reply::from))
    }
}

#[async_trait]
impl Answer for Admin {
    async fn answer(&self, session: &mut ServerSession) -> Result<()> {
        let reply = match api::is_api(session.req_header().uri.path()) {
            true => self.ask_api(session).await?,
            false => self.pages.answer(session),
        };
        reply.send(session).await
    }
}
