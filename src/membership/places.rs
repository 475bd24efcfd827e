//! Who is where: no two members of a pool are one process, which would get twice its share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::admission::same_place;
use crate::config::{Cluster, Config, Node, NodeHost};
use crate::ids::NodeId;

/// The places of the members of a cluster that come and go and are not leaving.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Who is at an address, and how many had come before.
    at: BTreeMap<IpAddr, BTreeMap<NodeId, u64>>,
    came: u64,
    /// Those that are no members because another one is at their place.
    held: BTreeSet<NodeId>,
}

impl Places {
    /// A member has come to its place, or to another one than it had `before`.
    pub(super) fn moved(&mut self, before: Option<&Node>, now: Option<&Node>) {
        let stays = before.zip(now).is_some_and(|(before, now)| before.host == now.host && before.ports == now.ports);
        if stays {
            return;
        }
        if let Some((node, address)) = before.and_then(|node| Some((node, address(node)?)))
            && let Some(there) = self.at.get_mut(&address)
        {
            there.remove(&node.id);
            if there.is_empty() {
                self.at.remove(&address);
            }
        }
        if let Some((node, address)) = now.and_then(|node| Some((node, address(node)?))) {
            self.came += 1; // members come less often than a billion times a second
            self.at.entry(address).or_default().insert(node.id.clone(), self.came);
        }
    }

    /// The member that has the place of a node: one that was there before and does the same. `member` has the members.
    pub(super) fn holder<'m>(
        &self,
        base: &Config,
        settings: &Cluster,
        node: &Node,
        member: impl Fn(&NodeId) -> Option<&'m Node>,
    ) -> Option<&'m Node> {
        let there = self.at.get(&address(node)?)?;
        // Where it is already, it may have come before the other one.
        let own = member(&node.id).filter(|own| own.ports == node.ports).and_then(|own| there.get(&own.id));
        let before = there.iter().filter(|(_, came)| own.is_none_or(|own| *came < own));
        let alike = before.filter_map(|(id, _)| member(id)).filter(|other| other.roles == node.roles);
        same_place(alike, base, settings, node)
    }

    /// Notes whether a node has to wait for its place.
    pub(super) fn hold(&mut self, id: &NodeId, held: bool) {
        match held {
            true => _ = self.held.insert(id.clone()),
            false => _ = self.held.remove(id),
        }
    }

    /// Those that wait for their place.
    pub(super) fn held(&self) -> Vec<NodeId> {
        self.held.iter().cloned().collect()
    }
}

fn address(node: &Node) -> Option<IpAddr> {
    match node.host {
        NodeHost::Address(address) => Some(address),
        NodeHost::Name(_) => None,
    }
}
