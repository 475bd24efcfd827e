//! The nodes of a role as the autoscaler sees them: a node counts once, in however many pools of the role it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Fleet;
use crate::config::Affinity;
use crate::ids::NodeId;
use crate::member::AdminState;
use crate::pool::Standing;
use crate::registry::ShownPool;

/// A node of a role.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleMember {
    /// What is known of it as a whole: the worst of what is known in the pools of the role.
    pub standing: Standing,
    /// What operators want of it.
    pub wanted: AdminState,
    /// Whether its sessions stay on it, so that they have to be waited for.
    pub keeps_sessions: bool,
}

impl RoleMember {
    /// Whether it serves requests: it gets new ones, or would if it had not just failed some.
    pub fn is_up(&self) -> bool {
        matches!(self.standing, Standing::Ready | Standing::Starting(_) | Standing::Ejected | Standing::Trial)
    }

    /// Whether it is on its way out.
    pub fn is_leaving(&self) -> bool {
        self.wanted != AdminState::Ready || matches!(self.standing, Standing::Draining | Standing::Maintenance)
    }
}

/// The nodes in the pools of one role, by id.
pub fn members_of<'a>(pools: impl IntoIterator<Item = &'a ShownPool>) -> BTreeMap<NodeId, RoleMember> {
    let mut members: BTreeMap<NodeId, RoleMember> = BTreeMap::new();
    for pool in pools {
        let keeps_sessions = matches!(pool.pool.settings.affinity, Affinity::Cookie(_) | Affinity::Route { .. });
        for shown in &pool.members {
            let new = RoleMember { standing: shown.standing, wanted: shown.node.wanted, keeps_sessions };
            let id = shown.node.node.id().clone();
            members.entry(id).and_modify(|known| known.join(new.clone())).or_insert(new);
        }
    }
    members
}

impl RoleMember {
    fn join(&mut self, other: RoleMember) {
        if rank(other.standing) < rank(self.standing) {
            self.standing = other.standing;
        }
        self.keeps_sessions |= other.keeps_sessions;
    }
}

/// The worst is 0.
fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Maintenance => 0,
        Standing::Down => 1,
        Standing::Draining => 2,
        Standing::Joining => 3,
        Standing::Unknown => 4,
        Standing::Ejected => 5,
        Standing::Trial => 6,
        Standing::Starting(_) => 7,
        Standing::Ready => 8,
    }
}

/// Remembers since when nodes have been starting.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Those that have not been up yet, and when they were seen first.
    starting: BTreeMap<NodeId, Instant>,
    joined: BTreeSet<NodeId>,
}

impl Arrivals {
    /// Counts the nodes at `now`, and says how long those took that are up for the first time.
    ///
    /// A node that was up and is down now is neither ready nor starting: nobody has started it.
    pub fn observe(&mut self, members: &BTreeMap<NodeId, RoleMember>, now: Instant) -> (Fleet, Vec<Duration>) {
        self.starting.retain(|id, _| members.contains_key(id));
        self.joined.retain(|id| members.contains_key(id));
        let mut fleet = Fleet::default();
        let mut took = Vec::new();
        for (id, member) in members {
            if member.is_up() && self.joined.insert(id.clone()) {
                // One that is up when it is first seen did not start just now.
                took.extend(self.starting.remove(id).map(|since| now.saturating_duration_since(since)));
            }
            if member.is_leaving() {
                fleet.draining += usize::from(member.standing == Standing::Draining);
            } else if member.is_up() {
                fleet.ready += 1;
            } else if !self.joined.contains(id) {
                let since = *self.starting.entry(id.clone()).or_insert(now);
                fleet.starting.push(now.saturating_duration_since(since));
            }
        }
        (fleet, took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    const SECOND: Duration = Duration::from_secs(1);

    fn member(standing: Standing) -> RoleMember {
        RoleMember { standing, wanted: AdminState::Ready, keeps_sessions: false }
    }

    fn named(members: &[(&str, RoleMember)]) -> BTreeMap<NodeId, RoleMember> {
        members.iter().map(|(id, member)| (Name::parse(id).unwrap(), member.clone())).collect()
    }

    #[test]
    fn a_node_is_what_its_worst_endpoint_is() {
        let slow_start = Standing::Starting(SECOND);
        for (standings, expected) in [
            ([Standing::Ready, Standing::Unknown], Standing::Unknown),
            ([Standing::Down, Standing::Ready], Standing::Down),
            ([slow_start, Standing::Ready], slow_start),
            ([Standing::Ejected, Standing::Trial], Standing::Ejected),
        ] {
            let [mut first, second] = standings.map(member);
            first.join(second);
            assert_eq!(first.standing, expected, "{standings:?}");
        }
    }

    #[test]
    fn nodes_are_counted_as_what_they_are() {
        let begin = Instant::now();
        let mut arrivals = Arrivals::default();
        let leaving = |standing| RoleMember { wanted: AdminState::Draining, ..member(standing) };
        let first = named(&[
            ("new", member(Standing::Unknown)),
            ("old", member(Standing::Ready)),
            ("drained", leaving(Standing::Draining)),
            ("by-agent", member(Standing::Draining)),
            ("drained-down", leaving(Standing::Down)),
            ("resting", RoleMember { wanted: AdminState::Maintenance, ..member(Standing::Maintenance) }),
        ]);
        let (fleet, took) = arrivals.observe(&first, begin);
        assert_eq!(fleet, Fleet { ready: 1, starting: vec![Duration::ZERO], draining: 2 });
        assert_eq!(took, []);
        let (fleet, took) = arrivals
            .observe(&named(&[("new", member(Standing::Down)), ("old", member(Standing::Trial))]), begin + SECOND * 3);
        assert_eq!((fleet.ready, fleet.starting, took), (1, vec![SECOND * 3], vec![]));
        let both = [("new", member(Standing::Starting(SECOND))), ("old", member(Standing::Down))];
        let (fleet, took) = arrivals.observe(&named(&both), begin + SECOND * 5);
        assert_eq!(
            (fleet.ready, fleet.starting.len(), took),
            (1, 0, vec![SECOND * 5]),
            "one that fails is not starting"
        );
        assert_eq!(arrivals.observe(&named(&both), begin + SECOND * 6).1, [], "it joins once");
        // Gone and come again: it starts anew.
        arrivals.observe(&named(&[]), begin + SECOND * 7);
        let (fleet, _) = arrivals.observe(&named(&[("old", member(Standing::Unknown))]), begin + SECOND * 8);
        assert_eq!(fleet.starting, [Duration::ZERO]);
    }
}
