//! Which member is stopped when there are too many.

use crate::ids::{NodeId, Role};

/// A member as far as it matters for this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node's id.
    pub id: NodeId,
    /// The roles of the node.
    pub roles: Vec<Role>,
    /// Whether the balancer has started it, or may stop it; a node of the configuration file is not elastic.
    pub elastic: bool,
    /// Whether it is draining already.
    pub draining: bool,
    /// Sessions that it has.
    pub sessions: usize,
    /// Requests that it is busy with.
    pub in_flight: usize,
}

/// The member of the pool of `role` that is missed least: the one with the fewest sessions, then with the fewest requests
/// in flight, then the last by id, so that the choice is always the same.
///
/// `None` if no member may be stopped. Never one that is not elastic; never a worker that is a manager too (in dual mode
/// there is one, and the others know it by its address); never the last manager that is not draining.
pub fn victim(role: Role, members: &[Candidate]) -> Option<&Candidate> {
    let manages = |member: &Candidate| member.roles.contains(&Role::Manager);
    let managers = members.iter().filter(|member| manages(member) && !member.draining).count();
    let may_stop = |member: &&Candidate| {
        let kept = match role {
            Role::Worker => manages(member),
            Role::Manager => member.roles.contains(&Role::Worker) || managers < 2,
        };
        member.elastic && !member.draining && !kept
    };
    let missed = |a: &Candidate, b: &Candidate| {
        (a.sessions, a.in_flight).cmp(&(b.sessions, b.in_flight)).then_with(|| b.id.cmp(&a.id))
    };
    members.iter().filter(may_stop).min_by(|a, b| missed(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    fn member(id: &str, roles: &[Role], sessions: usize, in_flight: usize) -> Candidate {
        let id = Name::parse(id).unwrap();
        Candidate { id, roles: roles.to_vec(), elastic: true, draining: false, sessions, in_flight }
    }

    fn chosen(role: Role, members: &[Candidate]) -> Option<&str> {
        victim(role, members).map(|member| member.id.as_str())
    }

    const WORKER: &[Role] = &[Role::Worker];
    const MANAGER: &[Role] = &[Role::Manager];
    const DUAL: &[Role] = &[Role::Manager, Role::Worker];

    #[test]
    fn the_one_that_is_missed_least_is_stopped() {
        let mut members = [
            member("a", WORKER, 3, 0),
            member("b", WORKER, 1, 5),
            member("c", WORKER, 1, 4),
            member("d", WORKER, 1, 4),
            member("dual", DUAL, 0, 0),
        ];
        assert_eq!(chosen(Role::Worker, &members), Some("d"));
        members[3].draining = true;
        assert_eq!(chosen(Role::Worker, &members), Some("c"));
        members[2].elastic = false;
        assert_eq!(chosen(Role::Worker, &members), Some("b"));
        members.iter_mut().for_each(|member| member.elastic = false);
        assert_eq!(chosen(Role::Worker, &members), None);
        assert_eq!(chosen(Role::Worker, &[]), None);
    }

    #[test]
    fn the_last_manager_and_the_dual_node_stay() {
        let mut managers = [member("a", MANAGER, 0, 0), member("b", MANAGER, 9, 9), member("dual", DUAL, 0, 0)];
        assert_eq!(chosen(Role::Manager, &managers), Some("a"));
        assert_eq!(chosen(Role::Manager, &managers[..1]), None, "the last one");
        assert_eq!(chosen(Role::Manager, &managers[2..]), None, "the dual one, and the last one");
        managers[1].draining = true;
        assert_eq!(chosen(Role::Manager, &managers[..2]), None, "the last one that will remain");
        assert_eq!(chosen(Role::Worker, &managers), None);
    }
}
