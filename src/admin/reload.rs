//! The configuration file, to be read again.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::{Api, Request};
use super::body;
use super::problem::{Kind, Problem};
use super::reply::Reply;
use crate::config::diff::Difference;
use crate::ids::Role;
use crate::reload::{Done, Refused, Trigger};

/// What the body may have: nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What is different now.
#[derive(Serialize)]
struct Reloaded {
    configuration: u64,
    differences: Vec<String>,
    warnings: Vec<String>,
}

/// `POST /api/v1/reload`
pub(super) fn reload(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    for cluster in &api.reloader.config().clusters {
        api.guard.check_pools(request, &cluster.name, &Role::ALL)?;
    }
    if !request.body.trim_ascii().is_empty() {
        body::object::<Nothing>(request.body, &[])?;
    }
    let who = request.client.map_or_else(|| "somebody".to_owned(), |client| client.to_string());
    let Done { differences, warnings, configuration } = api.reloader.reload(&Trigger::Api(who))?;
    let differences = differences.iter().map(Difference::to_string).collect();
    Ok(Reply::json(StatusCode::OK, "application/json", &Reloaded { configuration, differences, warnings }))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, kind) = match refused {
            Refused::NoFile => (StatusCode::CONFLICT, Kind("no-file", "There is no configuration file")),
            Refused::Bad(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Kind("bad-configuration", "The configuration has mistakes"))
            }
            Refused::NeedsRestart(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Kind("needs-restart", "The change needs a restart"))
            }
        };
        Problem::new(status, kind, refused.summary()).problems(refused.problems())
    }
}
