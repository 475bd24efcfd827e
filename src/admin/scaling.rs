//! How many nodes the autoscaler wants, and what there is: for `carbon-elb scale`, and for others who start nodes.

use std::collections::BTreeMap;
use std::time::Instant;

use http::StatusCode;

use super::api::{Api, Request};
use super::members::unknown_cluster;
use super::problem::{Kind, Problem};
use super::reply::Reply;
use crate::autoscale::published::{ScaledMember, ScaledPool, ScaledPorts, ScaledSessions, Scaling};
use crate::autoscale::{Posted, RoleMember, members_of};
use crate::config::{Cluster, Node};
use crate::ids::{Endpoint, NodeId, Role};
use crate::member::AdminState;
use crate::membership::Source;
use crate::pool::Standing;
use crate::registry::{ShownMember, ShownPool};

/// `GET /api/v1/scaling`
pub(super) fn list(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let shown = api.registry.shown_pools(None, request.now);
    let posted = api.board.all();
    let seen = posted.iter().filter(|((cluster, role), _)| request.caller.scope.covers(cluster, *role));
    let pools = seen.filter_map(|((cluster, role), posted)| {
        let cluster = config.clusters.iter().find(|known| known.name == *cluster)?;
        Some(Looked { api, cluster, role: *role, shown: &shown, now: request.now }.pool(posted, true))
    });
    Ok(json(&Scaling { pools: pools.collect() }))
}

/// `GET /api/v1/scaling/{cluster}/{role}`
pub(super) fn show(api: &Api, request: &Request<'_>) -> Result<Reply, Problem> {
    let config = api.registry.config();
    let (cluster, role) = match request.parameters {
        [cluster, role] => (cluster.as_str(), role.as_str()),
        _ => ("", ""), // the path has both
    };
    let known = config.clusters.iter().find(|known| known.name.as_str() == cluster);
    let cluster = known.ok_or_else(|| unknown_cluster(&config, cluster, request))?;
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or_else(|| {
        let kind = Kind("unknown-role", "There is no such role");
        Problem::new(StatusCode::NOT_FOUND, kind, format!("there is no role {role:?}")).allowed(Role::ALL)
    })?;
    api.guard.check_pools(request, &cluster.name, &[role])?;
    let posted = api.board.read(&cluster.name, role).ok_or_else(|| {
        let kind = Kind("not-scaled", "The pool is not scaled");
        let detail = format!("clusters.{}.pools.{role} has no `scale`, or nothing was decided yet", cluster.name);
        Problem::new(StatusCode::NOT_FOUND, kind, detail)
    })?;
    let shown = api.registry.shown_pools(None, request.now);
    Ok(json(&Looked { api, cluster, role, shown: &shown, now: request.now }.pool(&posted, false)))
}

fn json(value: &impl serde::Serialize) -> Reply {
    Reply::json(StatusCode::OK, "application/json", value)
}

/// One role of a cluster, as of one moment.
struct Looked<'a> {
    api: &'a Api,
    cluster: &'a Cluster,
    role: Role,
    shown: &'a [ShownPool],
    now: Instant,
}

impl<'a> Looked<'a> {
    fn pools(&self) -> impl Iterator<Item = &'a ShownPool> {
        let (cluster, role) = (&self.cluster.name, self.role);
        self.shown.iter().filter(move |shown| shown.pool.cluster == *cluster && shown.pool.role == role)
    }

    fn pool(&self, posted: &Posted, with_members: bool) -> ScaledPool {
        let members = self.members();
        let in_flight = members.iter().map(|member| member.in_flight).sum();
        let Posted { decision, policy, fleet, .. } = posted;
        ScaledPool {
            cluster: self.cluster.name.clone(),
            role: self.role,
            acts: posted.acts,
            wanted: decision.wanted,
            current: fleet.present(policy),
            ready: fleet.ready,
            starting: fleet.starting.len(),
            draining: fleet.draining,
            min: policy.min,
            max: policy.max,
            reason: decision.reason.as_str().to_owned(),
            because: decision.reason.to_string(),
            at: humantime::format_rfc3339_millis(posted.at).to_string(),
            age: self.now.saturating_duration_since(posted.moment).as_secs_f64(),
            interval: policy.interval.as_secs_f64(),
            startup_limit: policy.startup_limit.as_secs_f64(),
            in_flight,
            queued: self.pools().map(|shown| shown.queued).sum(),
            members: with_members.then_some(members),
        }
    }

    fn members(&self) -> Vec<ScaledMember> {
        let known = members_of(self.pools());
        let mut nodes: BTreeMap<&NodeId, &ShownMember> = BTreeMap::new();
        let mut queued: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for member in self.pools().flat_map(|shown| &shown.members) {
            let id = member.node.node.id();
            nodes.insert(id, member);
            *queued.entry(id).or_default() += member.queued;
        }
        let settings = |id: &NodeId| self.cluster.nodes.iter().find(|node| node.id == *id);
        let member = |(id, member): (&NodeId, &RoleMember)| {
            let (shown, settings) = (nodes.get(id)?, settings(id)?);
            Some(self.member(member, shown, settings, queued.get(id).copied().unwrap_or(0)))
        };
        known.iter().filter_map(member).collect()
    }

    fn member(&self, known: &RoleMember, shown: &ShownMember, settings: &Node, queued: usize) -> ScaledMember {
        let node = &shown.node.node;
        let left = node.sessions_left().seen(self.now).filter(|_| known.keeps_sessions);
        let named = self.api.membership.shown(&self.cluster.name, node.id(), self.now);
        // One that an operator drains, or lets rest, is as its probes say, which go on.
        let would = known.wanted != AdminState::Ready && is_away(known.standing) && !shown.node.down;
        ScaledMember {
            id: node.id().clone(),
            roles: settings.roles.clone(),
            address: shown.address.map(|address| address.ip()),
            ports: ScaledPorts {
                servlet: settings.ports[Endpoint::Servlet.index()],
                passthrough: settings.ports[Endpoint::Passthrough.index()],
            },
            registered: named.is_some_and(|named| named.source == Source::Api),
            leaving: settings.leaving,
            state: known.wanted,
            standing: known.standing.as_str().to_owned(),
            up: known.is_up() || would || settings.leaving,
            in_flight: node.in_flight(),
            queued,
            sessions: left.map(|left| ScaledSessions { left: left.sessions, at_least: left.at_least }),
        }
    }
}

fn is_away(standing: Standing) -> bool {
    matches!(standing, Standing::Draining | Standing::Maintenance)
}
