//! The members of one cluster that come and go: what each source says of them, and who has which id and which place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Source;
use super::admission::{self, Refusal};
use super::places::Places;
use crate::config::{Cluster, Config, Node};
use crate::ids::NodeId;

/// The members of a cluster that come and go.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) leases: BTreeMap<NodeId, Lease>,
    /// What sources other than the API find, those too that may not be members.
    pub(super) found: BTreeMap<Source, BTreeMap<NodeId, Node>>,
    /// The members.
    pub(super) present: BTreeMap<NodeId, Present>,
    /// Where those of them are that are not leaving.
    pub(super) places: Places,
    /// Weights in place of the configured ones, of nodes of the file too.
    pub(super) weights: BTreeMap<NodeId, u16>,
}

/// What somebody who registered has said of a member.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) node: Node,
    pub(super) term: Duration,
    pub(super) ends: Instant,
}

/// A member.
#[derive(Debug)]
pub(super) struct Present {
    /// Its flag `leaving` says whether it is drained.
    pub(super) node: Node,
    pub(super) source: Source,
    /// When it began to leave.
    pub(super) since: Option<Instant>,
}

impl Dynamic {
    /// Members that are not leaving.
    pub(super) fn members(&self) -> usize {
        self.present.values().filter(|present| present.since.is_none()).count()
    }

    /// Whether it has as many members as it may have. Those that are leaving are bounded, too, as they cost as much.
    pub(super) fn is_full(&self, settings: &Cluster) -> bool {
        self.members() >= settings.max_dynamic || self.present.len() >= settings.max_dynamic.saturating_mul(2)
    }

    /// What is said of an id by whom it belongs to.
    pub(super) fn named(&self, id: &NodeId, may: impl Fn(&Node) -> bool) -> Option<(Source, Node)> {
        let said = |source: &Source| match source {
            Source::Api => self.leases.get(id).map(|lease| &lease.node),
            other => self.found.get(other)?.get(id),
        };
        let present = self.present.get(id).filter(|present| present.since.is_none()).map(|present| &present.source);
        let mut sources = present.into_iter().chain([&Source::Api]).chain(self.found.keys());
        sources.find_map(|source| Some((source.clone(), said(source).filter(|node| may(node))?.clone())))
    }

    /// The member that has a node's place.
    pub(super) fn holder(&self, base: &Config, settings: &Cluster, node: &Node) -> Option<&Node> {
        let member = |id: &NodeId| self.present.get(id).filter(|present| present.since.is_none());
        self.places.holder(base, settings, node, |id| member(id).map(|present| &present.node))
    }

    /// Whether somebody who registers may be a member, as far as other members are concerned.
    pub(super) fn free_for(&self, base: &Config, settings: &Cluster, node: &Node) -> Result<(), Refusal> {
        let staying = || self.present.values().filter(|present| present.since.is_none());
        match self.present.get(&node.id).filter(|present| present.since.is_none()) {
            Some(present) if present.source != Source::Api => return Err(Refusal::Taken(present.source.to_string())),
            Some(_) => {}
            None if self.is_full(settings) => return Err(Refusal::TooMany(settings.max_dynamic)),
            None => {}
        }
        let others = || staying().map(|present| &present.node);
        // Whoever registered at its place and does the same may be replaced: see `at_the_place_of`. Not whom a source finds.
        let is_found = |id: &NodeId| self.found.values().any(|found| found.contains_key(id));
        let holder = self.holder(base, settings, node);
        let is_lease = |id: &NodeId| self.present.get(id).is_some_and(|present| present.source == Source::Api);
        if let Some(other) = holder.filter(|other| !is_lease(&other.id) || is_found(&other.id)) {
            return Err(Refusal::AddressTaken(other.id.clone()));
        }
        let elsewhere = others().filter(|other| other.roles != node.roles);
        if let Some(other) = admission::same_place(elsewhere, base, settings, node) {
            return Err(Refusal::AddressTaken(other.id.clone()));
        }
        admission::same_route(others(), settings, node)
            .map_or(Ok(()), |other| Err(Refusal::RouteTaken(other.id.clone())))
    }

    /// Registered members whose place another one says to have: no two processes can, so they are not there any more.
    pub(super) fn at_the_place_of(&self, base: &Config, settings: &Cluster, node: &Node) -> Vec<NodeId> {
        let others = self.leases.values().map(|lease| &lease.node);
        others
            .filter(|other| other.roles == node.roles)
            .filter(|other| admission::same_place([*other].into_iter(), base, settings, node).is_some())
            .map(|other| other.id.clone())
            .collect()
    }
}
