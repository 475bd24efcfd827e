//! What one balancer has been told of members, and what it has to be told next. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Key, Member};

/// What a balancer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is a member, or still is one.
    Register(Key, Member),
    /// It is a member no more.
    Deregister(Key),
}

/// How a balancer took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it was meant.
    Done,
    /// It will not do it, now and if it is asked again.
    Refused,
    /// Nobody knows.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    member: Member,
    /// `None`: nobody knows whether it was heard.
    at: Option<Instant>,
}

/// What one balancer has been told.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The time between two renewals.
    renew: Duration,
    told: BTreeMap<Key, Told>,
}

/// A lease is renewed so often that two renewals may be lost.
pub(super) fn renewal(lease: Duration) -> Duration {
    lease / 3
}

impl Ledger {
    /// Of a balancer that has been told nothing.
    pub(super) fn new(lease: Duration) -> Self {
        Ledger { renew: renewal(lease), told: BTreeMap::new() }
    }

    /// What to tell now: first who has left.
    pub(super) fn steps(&self, wanted: &BTreeMap<Key, Member>, now: Instant) -> Vec<Step> {
        let gone = self.told.keys().filter(|key| !wanted.contains_key(*key));
        let is_known =
            |told: &&Told, member: &Member| told.member == *member && told.at.is_some_and(|at| now < at + self.renew);
        let due = |key: &Key, member: &Member| self.told.get(key).filter(|told| is_known(told, member)).is_none();
        let here = wanted.iter().filter(|(key, member)| due(key, member));
        let gone = gone.cloned().map(Step::Deregister);
        gone.chain(here.map(|(key, member)| Step::Register(key.clone(), member.clone()))).collect()
    }

    /// Takes in what became of a step. What failed is due again at once, and may have been heard all the same: how soon it
    /// is said again is the caller's business.
    pub(super) fn record(&mut self, step: Step, outcome: Outcome, now: Instant) {
        let heard = outcome != Outcome::Failed;
        match step {
            Step::Register(key, member) => _ = self.told.insert(key, Told { member, at: heard.then_some(now) }),
            Step::Deregister(key) if heard => _ = self.told.remove(&key),
            Step::Deregister(key) => {
                if let Some(told) = self.told.get_mut(&key) {
                    told.at = None;
                }
            }
        }
    }

    /// When something is due by itself; `None`: never, as long as nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.told.values().filter_map(|told| Some(told.at? + self.renew)).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Name, Role};

    const LEASE: Duration = Duration::from_secs(30);

    fn key(id: &str) -> Key {
        (Name::parse("esb").unwrap(), Name::parse(id).unwrap())
    }

    fn member(weight: u16) -> Member {
        let address = [127, 0, 0, 1].into();
        Member {
            address,
            role: Role::Worker,
            weight,
            ports: [None; 2],
            backup: false,
            max_in_flight: None,
            route: None,
        }
    }

    fn wanted(members: &[(&str, u16)]) -> BTreeMap<Key, Member> {
        members.iter().map(|(id, weight)| (key(id), member(*weight))).collect()
    }

    fn shown(steps: &[Step]) -> String {
        let step = |step: &Step| match step {
            Step::Register((_, id), member) => format!("{id}x{}", member.weight),
            Step::Deregister((_, id)) => format!("-{id}"),
        };
        steps.iter().map(step).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_balancer_is_told_what_is_new_and_reminded_in_time() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut ledger = Ledger::new(LEASE);
        let rows = [
            (0, vec![("a", 1), ("b", 1)], Outcome::Done, "ax1 bx1"),
            (1, vec![("a", 1), ("b", 1)], Outcome::Done, ""),
            (2, vec![("a", 2), ("b", 1), ("c", 1)], Outcome::Failed, "ax2 cx1"), // a change, and a new one
            (3, vec![("a", 2), ("b", 1), ("c", 1)], Outcome::Done, "ax2 cx1"),   // once more
            (4, vec![("b", 1), ("c", 1)], Outcome::Failed, "-a"),
            (5, vec![("b", 1), ("c", 1)], Outcome::Done, "-a"),
            (6, vec![("b", 1), ("c", 1)], Outcome::Done, ""),
            (10, vec![("b", 1), ("c", 1)], Outcome::Done, "bx1"), // a third of the lease has passed
            (13, vec![("b", 1), ("c", 1)], Outcome::Done, "cx1"),
            (14, vec![], Outcome::Refused, "-b -c"), // it does not know them: gone is gone
            (15, vec![], Outcome::Done, ""),
            (16, vec![("d", 1)], Outcome::Refused, "dx1"),
            (17, vec![("d", 1)], Outcome::Refused, ""), // it said no: not again until a renewal would be due
            (26, vec![("d", 1)], Outcome::Refused, "dx1"),
        ];
        for (seconds, members, outcome, expected) in rows {
            let steps = ledger.steps(&wanted(&members), at(seconds));
            assert_eq!(shown(&steps), expected, "after {seconds} s");
            steps.into_iter().for_each(|step| ledger.record(step, outcome, at(seconds)));
        }
        assert_eq!(ledger.next(), Some(at(36)));
        assert_eq!(Ledger::new(LEASE).next(), None);
    }

    proptest! {
        /// Whatever fails on the way: a balancer that takes in what it is told has the members that are wanted, and each
        /// lease is renewed before it ends.
        #[test]
        fn a_balancer_that_answers_knows_the_members(
            rounds in proptest::collection::vec((proptest::collection::vec((0..4u8, 1..3u16), 0..4), 0..3u8, 0..15u64), 1..40),
        ) {
            let mut now = Instant::now() + Duration::from_secs(3600);
            let mut ledger = Ledger::new(LEASE);
            let mut balancer: BTreeMap<Key, (Member, Instant)> = BTreeMap::new();
            for (members, fate, pause) in rounds {
                let members: BTreeMap<Key, Member> =
                    members.into_iter().map(|(id, weight)| (key(&format!("n{id}")), member(weight))).collect();
                for step in ledger.steps(&members, now) {
                    // 0: all goes well; 1: it is not heard; 2: the answer is lost.
                    if fate != 1 {
                        match &step {
                            Step::Register(key, member) => _ = balancer.insert(key.clone(), (member.clone(), now)),
                            Step::Deregister(key) => _ = balancer.remove(key),
                        }
                    }
                    ledger.record(step, if fate == 0 { Outcome::Done } else { Outcome::Failed }, now);
                }
                if fate == 0 {
                    let known: BTreeMap<_, _> = balancer.iter().map(|(key, (member, _))| (key.clone(), member.clone())).collect();
                    prop_assert!(ledger.steps(&known, now).is_empty());
                    prop_assert_eq!(known, members);
                    prop_assert!(balancer.values().all(|(_, at)| *at + renewal(LEASE) > now));
                    prop_assert!(balancer.is_empty() || ledger.next().is_some_and(|next| next <= now + renewal(LEASE)));
                }
                now += Duration::from_secs(pause);
            }
        }
    }
}
