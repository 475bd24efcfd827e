//! The members, as a pure state: what each source says, and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{self, Refusal, admit};
use super::dynamic::{Dynamic, Lease, Present};
use super::told::{Event, Happened, Report, Shown, Weights};
use super::{LONGEST_DRAIN, Registered, Registration, SHORTEST_DRAIN, Source};
use crate::config::{Config, Node, NodeHost};
use crate::ids::{ClusterName, NodeId, Role};

/// The file's configuration, and the members that come and go.
#[derive(Debug)]
pub struct Members {
    base: Arc<Config>,
    clusters: BTreeMap<ClusterName, Dynamic>,
    /// Whether something has changed since the effective configuration was last asked for.
    news: bool,
    happened: Vec<Happened>,
}

impl Members {
    /// Nobody but the file's nodes.
    pub fn new(base: Arc<Config>) -> Self {
        Members { base, clusters: BTreeMap::new(), news: false, happened: Vec::new() }
    }

    /// The configuration with all members in it: those of the file first, then the others in the order of their ids.
    /// What it says of a node does not depend on the order in which changes came.
    pub fn effective(&self) -> Arc<Config> {
        if self.clusters.values().all(|dynamic| dynamic.present.is_empty() && dynamic.weights.is_empty()) {
            return self.base.clone();
        }
        let mut config = Config::clone(&self.base);
        for cluster in &mut config.clusters {
            let Some(dynamic) = self.clusters.get(&cluster.name) else { continue };
            cluster.nodes.extend(dynamic.present.values().map(|present| present.node.clone()));
            for node in &mut cluster.nodes {
                node.weight = dynamic.weights.get(&node.id).copied().unwrap_or(node.weight);
            }
        }
        Arc::new(config)
    }

    /// Whether the effective configuration is another one than when this was last taken.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// As [`Members::take_news`], but it stays.
    pub fn is_news(&self) -> bool {
        self.news
    }

    /// What has happened since this was last asked.
    pub fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// Whether something will happen by itself: a lease that ends, or a member that is leaving.
    pub fn is_waiting(&self) -> bool {
        self.clusters.values().any(|dynamic| {
            !dynamic.leases.is_empty() || dynamic.present.values().any(|present| present.since.is_some())
        })
    }

    /// The members that are leaving.
    pub fn leaving(&self) -> Vec<(ClusterName, NodeId)> {
        let leaving = |dynamic: &Dynamic| {
            let nodes = dynamic.present.iter().filter(|(_, present)| present.since.is_some());
            nodes.map(|(id, _)| id.clone()).collect::<Vec<_>>()
        };
        let all = self.clusters.iter().map(|(cluster, dynamic)| (cluster, leaving(dynamic)));
        all.flat_map(|(cluster, ids)| ids.into_iter().map(|id| (cluster.clone(), id))).collect()
    }

    /// Registers a member or renews its lease.
    pub(super) fn register(
        &mut self,
        cluster: &ClusterName,
        id: &NodeId,
        registration: &Registration,
        now: Instant,
    ) -> Result<Registered, Refusal> {
        let base = self.base.clone();
        let settings = admission::cluster(&base, cluster)?;
        let node = registration.node(settings, id);
        admit(&base, settings, &node)?;
        let dynamic = self.clusters.entry(cluster.clone()).or_default();
        dynamic.free_for(&base, settings, &node)?;
        let lease = Lease { node, term: registration.lease, ends: now + registration.lease };
        let renewed = dynamic.leases.get(id).is_some_and(|known| known.node == lease.node);
        let superseded = dynamic.at_the_place_of(&base, settings, &lease.node);
        dynamic.leases.insert(id.clone(), lease);
        superseded.iter().for_each(|other| _ = dynamic.leases.remove(other));
        for other in &superseded {
            self.settle(cluster, other, Event::Superseded, now);
        }
        let new = match renewed {
            true => false,
            false => self.settle(cluster, id, Event::Left, now),
        };
        if renewed {
            self.tell(cluster, id, Event::Renewed);
        }
        self.settle_held(cluster, now);
        let shown = self.shown(cluster, id, now).ok_or(Refusal::UnknownMember)?;
        Ok(Registered { new, shown })
    }

    /// Renews the lease of a member.
    pub(super) fn renew(
        &mut self,
        cluster: &ClusterName,
        id: &NodeId,
        term: Option<Duration>,
        now: Instant,
    ) -> Result<Shown, Refusal> {
        admission::cluster(&self.base, cluster)?;
        let lease = self.clusters.get_mut(cluster).and_then(|dynamic| dynamic.leases.get_mut(id));
        let Some(lease) = lease else { return Err(self.without_lease(cluster, id)) };
        lease.term = term.unwrap_or(lease.term);
        lease.ends = now + lease.term;
        self.tell(cluster, id, Event::Renewed);
        self.shown(cluster, id, now).ok_or(Refusal::UnknownMember)
    }

    /// Ends the lease of a member.
    pub(super) fn deregister(&mut self, cluster: &ClusterName, id: &NodeId, now: Instant) -> Result<Shown, Refusal> {
        admission::cluster(&self.base, cluster)?;
        let lease = self.clusters.get_mut(cluster).and_then(|dynamic| dynamic.leases.remove(id));
        if lease.is_some() {
            self.settle(cluster, id, Event::Deregistered, now);
            self.settle_held(cluster, now);
        } else if self.shown(cluster, id, now).is_none_or(|shown| shown.source != Source::Api) {
            return Err(self.without_lease(cluster, id));
        }
        // If it is leaving already, that is what was asked for.
        self.shown(cluster, id, now).ok_or(Refusal::UnknownMember)
    }

    /// Why a member has no lease.
    fn without_lease(&self, cluster: &ClusterName, id: &NodeId) -> Refusal {
        let settings = self.base.clusters.iter().find(|known| known.name == *cluster);
        if settings.is_some_and(|settings| settings.nodes.iter().any(|node| node.id == *id)) {
            return Refusal::Taken("the configuration file".to_owned());
        }
        match self.clusters.get(cluster).and_then(|dynamic| dynamic.present.get(id)) {
            Some(present) if present.source != Source::Api => Refusal::Taken(present.source.to_string()),
            _ => Refusal::UnknownMember,
        }
    }

    /// Takes in the whole set of nodes that a source finds. Of two with one id the first counts.
    pub(super) fn update(
        &mut self,
        cluster: &ClusterName,
        source: &Source,
        nodes: Vec<Node>,
        now: Instant,
    ) -> Result<Report, Refusal> {
        let base = self.base.clone();
        let settings = admission::cluster(&base, cluster)?;
        let mut found = BTreeMap::new();
        let mut order = Vec::new();
        let mut report = Report::default();
        for mut node in nodes {
            (node.dynamic, node.leaving) = (true, false);
            if let NodeHost::Address(address) = &mut node.host {
                *address = address.to_canonical();
            }
            let id = node.id.clone();
            if found.contains_key(&id) {
                report.left_out.push((id, Refusal::Taken("the same source, earlier".to_owned())));
                continue;
            }
            order.push(id.clone());
            found.insert(id, node);
        }
        // An answer of which nothing may be is a wrong one: what was good stays.
        let refused = |node: &Node| Some((node.id.clone(), admit(&self.base, settings, node).err()?));
        let refused: Vec<_> = found.values().filter_map(refused).collect();
        if !found.is_empty() && refused.len() == found.len() {
            report.left_out.extend(refused);
            return Ok(report);
        }
        let dynamic = self.clusters.entry(cluster.clone()).or_default();
        let before = match found.is_empty() {
            true => dynamic.found.remove(source),
            false => dynamic.found.insert(source.clone(), found),
        };
        // Those that it names no more make room first.
        let gone = before.into_iter().flatten().map(|(id, _)| id).filter(|id| !order.contains(id));
        for id in gone.collect::<Vec<_>>().iter().chain(&order) {
            self.settle(cluster, id, Event::Left, now);
        }
        self.settle_held(cluster, now);
        for id in order {
            match self.why_not(cluster, source, &id) {
                None => report.members += 1,
                Some(why) => report.left_out.push((id, why)),
            }
        }
        Ok(report)
    }

    /// Why a node that a source finds is not its member; `None` if it is.
    fn why_not(&self, cluster: &ClusterName, source: &Source, id: &NodeId) -> Option<Refusal> {
        let (settings, dynamic) = (admission::cluster(&self.base, cluster).ok()?, self.clusters.get(cluster)?);
        let node = dynamic.found.get(source)?.get(id)?;
        if let Err(refusal) = admit(&self.base, settings, node) {
            return Some(refusal);
        }
        if let Some(holder) = dynamic.holder(&self.base, settings, node) {
            return Some(Refusal::AddressTaken(holder.id.clone()));
        }
        match dynamic.present.get(id) {
            Some(present) if present.source == *source => None,
            Some(present) => Some(Refusal::Taken(present.source.to_string())),
            None => Some(Refusal::TooMany(settings.max_dynamic)),
        }
    }

    /// Sets the weight of a node in place of the configured one.
    pub(super) fn set_weight(
        &mut self,
        cluster: &ClusterName,
        id: &NodeId,
        weight: Option<u16>,
    ) -> Result<(Weights, Weights), Refusal> {
        let settings = admission::cluster(&self.base, cluster)?;
        let own = settings.nodes.iter().find(|node| node.id == *id);
        let dynamic = self.clusters.get(cluster);
        let other = dynamic.and_then(|dynamic| dynamic.present.get(id)).map(|present| &present.node);
        let configured = own.or(other).ok_or(Refusal::UnknownMember)?.weight;
        if let Some(weight) = weight.filter(|weight| !(1..=256).contains(weight)) {
            return Err(Refusal::Malformed("weight", format!("{weight} is out of range"), "1 to 256".to_owned()));
        }
        let dynamic = self.clusters.entry(cluster.clone()).or_default();
        let before = match weight {
            Some(weight) => dynamic.weights.insert(id.clone(), weight),
            None => dynamic.weights.remove(id),
        };
        let weights = |set: Option<u16>| Weights { weight: set.unwrap_or(configured), configured };
        let (before, after) = (weights(before), weights(weight));
        self.news |= before != after;
        Ok((before, after))
    }

    /// Takes in a new configuration of the file.
    pub(super) fn set_base(&mut self, base: Arc<Config>, now: Instant) {
        self.base = base.clone();
        self.news = true;
        for name in self.clusters.keys().cloned().collect::<Vec<_>>() {
            let Ok(settings) = admission::cluster(&base, &name) else {
                self.clusters.remove(&name);
                continue;
            };
            let Some(dynamic) = self.clusters.get_mut(&name) else { continue };
            // Who registered is told so with the next renewal. Sources are not asked again, so what they said is kept.
            dynamic.leases.retain(|_, lease| admit(&base, settings, &lease.node).is_ok());
            let is_there =
                |id: &NodeId| settings.nodes.iter().any(|node| node.id == *id) || dynamic.present.contains_key(id);
            dynamic.weights.retain(|id, _| is_there(id));
            self.settle_all(&name, now);
            self.settle_held(&name, now);
        }
    }

    /// Ends what time ends: leases, and drains. `in_flight` says what a leaving member is busy with.
    pub fn expire(&mut self, now: Instant, in_flight: &dyn Fn(&ClusterName, &NodeId) -> usize) {
        for cluster in self.clusters.keys().cloned().collect::<Vec<_>>() {
            let Some(dynamic) = self.clusters.get_mut(&cluster) else { continue };
            let ended = dynamic.leases.iter().filter(|(_, lease)| lease.ends <= now);
            for id in ended.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                if let Some(dynamic) = self.clusters.get_mut(&cluster) {
                    dynamic.leases.remove(&id);
                }
                self.settle(&cluster, &id, Event::Expired, now);
            }
            let Some(dynamic) = self.clusters.get(&cluster) else { continue };
            let done = |(id, present): (&NodeId, &Present)| {
                let for_so_long = now.saturating_duration_since(present.since?);
                let idle = || for_so_long >= SHORTEST_DRAIN && in_flight(&cluster, id) == 0;
                (for_so_long >= LONGEST_DRAIN || idle()).then(|| id.clone())
            };
            let done: Vec<NodeId> = dynamic.present.iter().filter_map(done).collect();
            done.iter().for_each(|id| self.remove(&cluster, id, Event::Removed));
            if !done.is_empty() {
                // There may be room for others.
                self.settle_all(&cluster, now);
            }
            self.settle_held(&cluster, now);
        }
    }

    /// What a member that is not the file's is; nothing if there is none.
    pub(super) fn roles(&self, cluster: &ClusterName, id: &NodeId) -> Vec<Role> {
        let present = self.clusters.get(cluster).and_then(|dynamic| dynamic.present.get(id));
        present.map(|present| present.node.roles.clone()).unwrap_or_default()
    }

    /// What a node of the file is.
    pub(super) fn own_roles(&self, cluster: &ClusterName, id: &NodeId) -> Option<Vec<Role>> {
        let own = admission::cluster(&self.base, cluster).ok()?.nodes.iter().find(|node| node.id == *id)?;
        Some(own.roles.clone())
    }

    /// What is known of a member that is not the file's.
    pub(super) fn shown(&self, cluster: &ClusterName, id: &NodeId, now: Instant) -> Option<Shown> {
        let dynamic = self.clusters.get(cluster)?;
        let present = dynamic.present.get(id)?;
        let lease = dynamic.leases.get(id).filter(|_| present.source == Source::Api);
        let lease = lease.map(|lease| (lease.term, lease.ends.saturating_duration_since(now)));
        Some(Shown { node: present.node.clone(), source: present.source.clone(), lease })
    }

    fn settle_all(&mut self, cluster: &ClusterName, now: Instant) {
        let Some(dynamic) = self.clusters.get(cluster) else { return };
        let named = dynamic.leases.keys().chain(dynamic.found.values().flat_map(BTreeMap::keys));
        let ids: std::collections::BTreeSet<NodeId> = named.chain(dynamic.present.keys()).cloned().collect();
        for id in &ids {
            self.settle(cluster, id, Event::Left, now);
        }
    }

    /// Makes members of those whose place is free by now.
    fn settle_held(&mut self, cluster: &ClusterName, now: Instant) {
        let held = self.clusters.get(cluster).map(|dynamic| dynamic.places.held()).unwrap_or_default();
        for id in &held {
            self.settle(cluster, id, Event::Left, now);
        }
    }

    /// Draws the conclusions from what everybody says of an id; `leaves` is why it leaves if nobody names it any more.
    /// Returns whether it is a member that it was not before.
    fn settle(&mut self, cluster: &ClusterName, id: &NodeId, leaves: Event, now: Instant) -> bool {
        let base = self.base.clone();
        let Ok(settings) = admission::cluster(&base, cluster) else { return false };
        let Some(dynamic) = self.clusters.get_mut(cluster) else { return false };
        let may = |node: &Node| admit(&base, settings, node).is_ok();
        let room = !dynamic.is_full(settings);
        let named = dynamic.named(id, |node| may(node) && dynamic.holder(&base, settings, node).is_none());
        let held = named.is_none() && dynamic.named(id, may).is_some();
        dynamic.places.hold(id, held);
        let event = match (dynamic.present.get_mut(id), named) {
            (Some(present), Some((source, node))) => {
                let back = present.since.is_some();
                if back && !room {
                    if !may(&present.node) {
                        self.remove(cluster, id, Event::Forbidden);
                    }
                    return false;
                }
                if present.node == node && present.source == source {
                    return false;
                }
                dynamic.places.moved(Some(&present.node).filter(|_| !back), Some(&node));
                *present = Present { node, source, since: None };
                if back { Event::Back } else { Event::Changed }
            }
            (None, Some((source, node))) if room => {
                dynamic.places.moved(None, Some(&node));
                dynamic.present.insert(id.clone(), Present { node, source, since: None });
                Event::Joined
            }
            (None, _) => return false,
            (Some(present), None) if !may(&present.node) => {
                self.remove(cluster, id, Event::Forbidden);
                return false;
            }
            (Some(present), None) if present.since.is_none() => {
                dynamic.places.moved(Some(&present.node), None);
                present.since = Some(now);
                present.node.leaving = true;
                leaves
            }
            (Some(_), None) => return false,
        };
        self.news = true;
        self.tell(cluster, id, event);
        matches!(event, Event::Joined | Event::Back)
    }

    fn remove(&mut self, cluster: &ClusterName, id: &NodeId, event: Event) {
        self.tell(cluster, id, event);
        let Some(dynamic) = self.clusters.get_mut(cluster) else { return };
        if let Some(present) = dynamic.present.remove(id).filter(|present| present.since.is_none()) {
            dynamic.places.moved(Some(&present.node), None);
        }
        dynamic.weights.remove(id);
        self.news = true;
    }

    fn tell(&mut self, cluster: &ClusterName, id: &NodeId, event: Event) {
        let present = self.clusters.get(cluster).and_then(|dynamic| dynamic.present.get(id));
        let Some(present) = present else { return };
        let (source, role) = (present.source.clone(), present.node.roles.first().copied().unwrap_or(Role::Worker));
        self.happened.push(Happened { cluster: cluster.clone(), id: id.clone(), source, role, event });
    }
}
