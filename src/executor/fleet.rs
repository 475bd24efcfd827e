//! What several balancers tell of a pool, put together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::excerpt::{SENTENCE, excerpt};
use super::world::{Health, Member, PoolName, Sessions};
use crate::autoscale::published::{ScaledMember, ScaledPool, Scaling};
use crate::ids::{NodeId, Role};

/// A decision is too old when there should have been so many others since, and not before [`FRESH`] seconds: what decides
/// in the balancer hangs, and what it wanted then says nothing of the load now.
const MISSED: f64 = 5.0;
const FRESH: f64 = 10.0;

/// What the balancers tell of a pool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fleet {
    pub(super) wanted: usize,
    pub(super) max: usize,
    /// How long a node may take to join.
    pub(super) startup_limit: Duration,
    /// Why so many, as it can be logged.
    pub(super) because: String,
    pub(super) members: BTreeMap<NodeId, Member>,
    /// Whether all balancers have told of the pool.
    pub(super) complete: bool,
}

/// Why nothing is done for a pool. Renewals go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// No balancer that has answered acts for it.
    Nobody,
    /// More than one does, and it cannot be known who is meant.
    Several,
    /// The one that does has decided nothing for long.
    Stale,
}

impl Idle {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Idle::Nobody => {
                "no balancer that answers has `scale` with `acts: true` for it: nothing is started or stopped"
            }
            Idle::Stale => "the balancer that acts for it has decided nothing for long: nothing is started or stopped",
            Idle::Several => "more than one balancer has `acts: true` for it: nothing is started or stopped",
        }
    }
}

/// Puts together what the balancers have answered; `None`: one has not.
pub(super) fn fleet(name: &PoolName, answers: &[Option<Scaling>]) -> Result<Fleet, Idle> {
    let of_pool = |scaling: &'_ Scaling| -> Option<ScaledPool> {
        scaling.pools.iter().find(|pool| pool.cluster == name.cluster && pool.role == name.role).cloned()
    };
    let told: Vec<ScaledPool> = answers.iter().flatten().filter_map(of_pool).collect();
    let mut acting = told.iter().filter(|pool| pool.acts);
    let first = acting.next().ok_or(Idle::Nobody)?;
    if acting.next().is_some() {
        return Err(Idle::Several);
    }
    if first.age > FRESH.max(MISSED * first.interval) {
        return Err(Idle::Stale);
    }
    let of = |pool: &'_ ScaledPool| pool.members.clone().unwrap_or_default();
    let mut members: BTreeMap<NodeId, Member> =
        of(first).iter().map(|shown| (shown.id.clone(), member(shown))).collect();
    for other in told.iter().filter(|pool| !pool.acts) {
        let shown: BTreeMap<NodeId, ScaledMember> =
            of(other).into_iter().map(|shown| (shown.id.clone(), shown)).collect();
        for (id, member) in &mut members {
            member.add(shown.get(id));
        }
        // One that the acting one does not know yet may be busy all the same.
        for (id, unknown) in shown.iter().filter(|(id, _)| !members.contains_key(*id)).collect::<Vec<_>>() {
            members.insert(id.clone(), Member { health: Health::Unknown, unknown: true, ..member(unknown) });
        }
    }
    Ok(Fleet {
        wanted: first.wanted,
        max: first.max,
        startup_limit: Duration::try_from_secs_f64(first.startup_limit).unwrap_or(Duration::MAX),
        because: excerpt(&first.because, SENTENCE),
        members,
        complete: told.len() == answers.len(),
    })
}

impl Fleet {
    /// Bounds what the balancers want.
    pub(super) fn at_most(self, max: Option<usize>) -> Self {
        let bound = max.unwrap_or(usize::MAX);
        Fleet { wanted: self.wanted.min(bound), max: self.max.min(bound), ..self }
    }
}

/// A member as one balancer tells of it.
fn member(shown: &ScaledMember) -> Member {
    let health = match shown.standing.as_str() {
        _ if shown.up => Health::Up,
        "unknown" | "joining" => Health::Unknown,
        _ => Health::Down,
    };
    Member {
        state: shown.state,
        health,
        busy: shown.in_flight + shown.queued,
        sessions: shown.sessions.map(|sessions| Sessions { left: sessions.left, at_least: sessions.at_least }),
        manager: shown.roles.contains(&Role::Manager),
        worker: shown.roles.contains(&Role::Worker),
        registered: shown.registered,
        lapsed: shown.leaving,
        unknown: false,
        differs: false,
    }
}

impl Member {
    /// Adds what another balancer tells of it.
    fn add(&mut self, other: Option<&ScaledMember>) {
        let Some(other) = other.map(member) else {
            self.unknown = true;
            return;
        };
        self.unknown |= other.lapsed;
        self.differs |= other.state != self.state;
        self.busy += other.busy;
        if let Some(more) = other.sessions {
            let sessions = self.sessions.get_or_insert_default();
            sessions.left += more.left;
            sessions.at_least |= more.at_least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::published::{ScaledPorts, ScaledSessions};
    use crate::ids::Name;
    use crate::member::AdminState;

    fn pool_name() -> PoolName {
        PoolName { cluster: Name::parse("esb").unwrap(), role: Role::Worker }
    }

    fn shown(id: &str, standing: &str) -> ScaledMember {
        ScaledMember {
            id: Name::parse(id).unwrap(),
            roles: vec![Role::Worker],
            address: Some("10.0.0.7".parse().unwrap()),
            ports: ScaledPorts { servlet: 1, passthrough: 2 },
            registered: true,
            leaving: false,
            state: AdminState::Ready,
            standing: standing.to_owned(),
            up: matches!(standing, "ready" | "starting" | "draining"),
            in_flight: 2,
            queued: 1,
            sessions: None,
        }
    }

    fn answer(acts: bool, wanted: usize, members: &[ScaledMember]) -> Option<Scaling> {
        let pool = ScaledPool {
            cluster: pool_name().cluster,
            role: Role::Worker,
            acts,
            wanted,
            current: 1,
            ready: 1,
            starting: 0,
            draining: 0,
            min: 1,
            max: 9,
            reason: "average".to_owned(),
            because: "so\nmany".to_owned(),
            at: String::new(),
            age: 0.1,
            interval: 1.0,
            startup_limit: 60.0,
            in_flight: 0,
            queued: 0,
            members: Some(members.to_vec()),
        };
        Some(Scaling { pools: vec![pool] })
    }

    fn id(text: &str) -> NodeId {
        Name::parse(text).unwrap()
    }

    #[test]
    fn exactly_one_balancer_decides() {
        let (acts, follows) = (answer(true, 3, &[]), answer(false, 7, &[]));
        let fleet_of = |answers: &[Option<Scaling>]| fleet(&pool_name(), answers).map(|f| (f.wanted, f.complete));
        assert_eq!(fleet_of(std::slice::from_ref(&acts)), Ok((3, true)));
        assert_eq!(fleet_of(&[follows.clone(), acts.clone()]), Ok((3, true)));
        assert_eq!(fleet(&pool_name(), std::slice::from_ref(&acts)).unwrap().because, "so\\nmany");
        assert_eq!(fleet_of(&[None, acts.clone()]), Ok((3, false)), "one is silent");
        let elsewhere = Some(Scaling { pools: Vec::new() });
        assert_eq!(fleet_of(&[elsewhere.clone(), acts.clone()]), Ok((3, false)), "one does not tell of the pool");
        assert_eq!(fleet_of(&[acts.clone(), acts]), Err(Idle::Several));
        for nobody in [&[follows][..], &[None], &[elsewhere], &[]] {
            assert_eq!(fleet_of(nobody), Err(Idle::Nobody), "{nobody:?}");
        }
    }

    #[test]
    fn a_bound_of_our_own_counts_whatever_is_wanted() {
        let bounded = |max| {
            let fleet = fleet(&pool_name(), &[answer(true, 7, &[])]).unwrap().at_most(max);
            (fleet.wanted, fleet.max)
        };
        assert_eq!([None, Some(3), Some(8), Some(20)].map(bounded), [(7, 9), (3, 3), (7, 8), (7, 9)]);
    }

    #[test]
    fn an_old_decision_is_not_carried_out() {
        let of = |acts: bool, age: f64, interval: f64| {
            let mut scaling = answer(acts, 3, &[]).unwrap();
            (scaling.pools[0].age, scaling.pools[0].interval) = (age, interval);
            Some(scaling)
        };
        let rows = [
            (10.0, 1.0, Ok(3)),
            (10.1, 1.0, Err(Idle::Stale)),
            (10.1, 2.1, Ok(3)),
            (300.0, 60.0, Ok(3)),
            (300.1, 60.0, Err(Idle::Stale)),
        ];
        for (age, interval, expected) in rows {
            let wanted = fleet(&pool_name(), &[of(true, age, interval)]).map(|fleet| fleet.wanted);
            assert_eq!(wanted, expected, "{age} s, each {interval} s");
        }
        let follows = [of(true, 0.1, 1.0), of(false, 99.0, 1.0)];
        assert!(fleet(&pool_name(), &follows).is_ok(), "what another one wants is of no interest");
    }

    #[test]
    fn what_balancers_tell_of_a_member_is_put_together() {
        let drained = |left, at_least| ScaledMember {
            state: AdminState::Draining,
            sessions: Some(ScaledSessions { left, at_least }),
            ..shown("b", "draining")
        };
        let first = [shown("a", "ready"), drained(2, false), shown("c", "down"), shown("d", "unknown")];
        let second = [shown("a", "down"), drained(3, true), shown("d", "ready"), shown("e", "ready")];
        let fleet = fleet(&pool_name(), &[answer(true, 1, &first), answer(false, 1, &second)]).unwrap();
        let of = |name| &fleet.members[&id(name)];
        assert_eq!((of("a").health, of("a").busy, of("a").is_agreed()), (Health::Up, 6, true), "the acting one's view");
        assert_eq!(of("b").sessions, Some(Sessions { left: 5, at_least: true }));
        assert_eq!((of("c").health, of("c").unknown), (Health::Down, true), "the other one does not know it");
        assert_eq!((of("d").health, of("d").is_agreed()), (Health::Unknown, true));
        assert_eq!((of("e").health, of("e").unknown, of("e").busy), (Health::Unknown, true, 3));
        let gone = ScaledMember { leaving: true, ..shown("a", "draining") };
        let leaving = super::fleet(&pool_name(), &[answer(true, 1, &[gone])]).unwrap();
        assert!(leaving.members[&id("a")].lapsed);

        let ready_there = fleet_of_states(AdminState::Draining, AdminState::Ready);
        let of = |fleet: &Fleet| (fleet.members[&id("a")].unknown, fleet.members[&id("a")].differs);
        assert_eq!(of(&ready_there), (false, true), "a drain that has not come to all");
        let drains_there = fleet_of_states(AdminState::Ready, AdminState::Draining);
        assert_eq!(of(&drains_there), (false, true), "the end of a drain that has not come to all");
        assert_eq!(of(&fleet_of_states(AdminState::Draining, AdminState::Draining)), (false, false));
    }

    fn fleet_of_states(first: AdminState, second: AdminState) -> Fleet {
        let with = |state| [ScaledMember { state, ..shown("a", "ready") }];
        fleet(&pool_name(), &[answer(true, 1, &with(first)), answer(false, 1, &with(second))]).unwrap()
    }
}
