//! What is done next for a pool: decided from what is known, and done elsewhere.
//!
//! The rules, in the order of their weight:
//!
//! 1. Nothing is stopped that may have a request: a running instance is stopped only after the balancers have given it
//!    nothing new (maintenance) and have told twice, one after the other, that nothing is in flight or waits for it. If
//!    a balancer does not answer, nothing is stopped.
//! 2. Neither a dual node nor the last manager is stopped.
//! 3. Whatever runs is a member: an instance that no balancer knows is registered, not stopped. So after a crash of the
//!    balancer, or of this program, everything is found again, and only then is decided whether it is too much.
//! 4. What is on its way out (draining, or in maintenance, whoever wanted that) is not counted on. If it is wanted again
//!    before it is stopped, it is had back, unless somebody else has put it there.
//! 5. There are never more than the policy's `max`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::memory::Memory;
use super::world::{Health, Instance, Member, World};
use crate::autoscale::{Candidate, Fleet, ScalePolicy, victim};
use crate::ids::NodeId;
use crate::member::AdminState;

/// How often a member must have been seen with nothing to do before it is stopped. Once is not enough: a request may have
/// been given to it just before it was told to rest.
const QUIET: u32 = 2;

/// What the executor keeps to, besides what the balancer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instances that are started at the same time.
    pub starts: usize,
    /// How long an instance may take until the balancer finds it healthy.
    pub join: Duration,
    /// How long a draining member may keep its sessions.
    pub drain: Duration,
    /// How often leases are renewed.
    pub renew: Duration,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the balancers of a running instance, or that it still runs.
    Register(NodeId),
    /// Start so many instances.
    Start(usize),
    /// Let a member have its share again, at all balancers.
    Keep(NodeId),
    /// Give a member no new requests.
    Drain(NodeId, Why),
    /// Give a member nothing at all.
    Rest(NodeId),
    /// Stop and remove an instance.
    Stop(NodeId),
    /// Remove an instance that has ended.
    Remove(NodeId),
    /// Tell the balancers that a member is gone.
    Deregister(NodeId),
}

/// Why a member is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There are more than wanted.
    Spare,
    /// It was not up in time.
    NotJoined,
    /// Another balancer is not as far.
    Behind,
}

impl Why {
    /// In words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Spare => "there are more than wanted",
            Why::NotJoined => "it was not up in time",
            Why::Behind => "not all balancers have it so",
        }
    }
}

/// Decides what is done next. `prefix` begins the ids of all instances of the pool.
pub fn plan(world: &World, memory: &Memory, limits: &Limits, prefix: &str, now: Instant) -> Vec<Step> {
    let planner = Planner { world, memory, limits, now };
    let mut steps = planner.gone(prefix);
    steps.extend(planner.leases());
    steps.extend(planner.leaving());
    let hung = planner.hung();
    steps.extend(hung.and_then(|id| planner.give_up(id)));
    // No `step_up` or `step_down`: what is wanted keeps to the policy's already, with what was there when it was decided. A
    // second limit from here could only be a smaller one. Nothing else of the policy counts here.
    let policy = ScalePolicy { startup_limit: limits.join, step_up: None, step_down: None, ..ScalePolicy::of(1) };
    let wanted = planner.fleet().steps(world.wanted, &policy);
    let resumed: BTreeSet<NodeId> = planner.spare().take(wanted.resume).cloned().collect();
    steps.extend(resumed.iter().cloned().map(Step::Keep));
    steps.extend(planner.start(wanted.start, wanted.resume));
    steps.extend(planner.cancel(wanted.cancel, hung));
    steps.extend(planner.drain(wanted.drain));
    settle(&mut steps, &resumed);
    steps
}

/// One thing is done with a member. What is had back is neither stopped nor led further out; what is drained now is not
/// made ready first.
fn settle(steps: &mut Vec<Step>, resumed: &BTreeSet<NodeId>) {
    steps.retain(|step| match step {
        Step::Drain(id, _) | Step::Rest(id) | Step::Stop(id) => !resumed.contains(id),
        _ => true,
    });
    let drained = steps.iter().filter_map(|step| match step {
        Step::Drain(id, _) => Some(id.clone()),
        _ => None,
    });
    let drained: BTreeSet<NodeId> = drained.collect();
    steps.retain(|step| !matches!(step, Step::Keep(id) if drained.contains(id)));
}

struct Planner<'a> {
    world: &'a World,
    memory: &'a Memory,
    limits: &'a Limits,
    now: Instant,
}

impl Planner<'_> {
    /// The running instances, and what the balancers know of them.
    fn running(&self) -> impl Iterator<Item = (&NodeId, Option<&Member>)> {
        let running = self.world.instances.iter().filter(|(_, instance)| matches!(instance, Instance::Running(_)));
        running.map(|(id, _)| (id, self.world.members.get(id)))
    }

    /// Those that may be touched now.
    fn may_try(&self, id: &NodeId) -> bool {
        self.memory.may_try(id, self.now)
    }

    /// What has ended, and members of whom nothing is left.
    fn gone(&self, prefix: &str) -> Vec<Step> {
        let ended = self.world.instances.iter().filter(|(_, instance)| **instance == Instance::Ended);
        let orphans = self.world.members.iter().filter(|(id, member)| {
            let ours = member.registered && !member.lapsed && id.as_str().starts_with(prefix);
            ours && !self.world.instances.contains_key(*id)
        });
        let removed = ended.map(|(id, _)| id).filter(|id| self.may_try(id)).map(|id| Step::Remove(id.clone()));
        let orphans = orphans.map(|(id, _)| id).filter(|id| self.may_try(id));
        removed.chain(orphans.map(|id| Step::Deregister(id.clone()))).collect()
    }

    /// Running instances that the balancers have to be told of.
    fn leases(&self) -> Vec<Step> {
        let due = self.running().filter(|(id, member)| {
            member.is_none_or(|member| member.unknown || member.lapsed)
                || self.memory.is_renewal_due(id, self.limits.renew, self.now)
        });
        due.filter(|(id, _)| self.may_try(id)).map(|(id, _)| Step::Register(id.clone())).collect()
    }

    /// The next step of each member that is on its way out, or that should not be at one of the balancers.
    fn leaving(&self) -> Vec<Step> {
        let step = |(id, member): (&NodeId, Option<&Member>)| {
            let member = member.filter(|_| self.may_try(id))?;
            match member.state {
                // Its drain has come to another balancer only, or the end of it not to all: what the acting one has counts.
                AdminState::Ready => member.differs.then(|| Step::Keep(id.clone())),
                AdminState::Draining if self.has_drained(id, member) => Some(Step::Rest(id.clone())),
                AdminState::Draining => (!member.is_agreed()).then(|| Step::Drain(id.clone(), Why::Behind)),
                AdminState::Maintenance if !member.is_agreed() => Some(Step::Rest(id.clone())),
                AdminState::Maintenance => self.may_stop(id, member).then(|| Step::Stop(id.clone())),
            }
        };
        self.running().filter_map(step).collect()
    }

    /// Whether nobody has to be waited for any more: a member that is down has lost its sessions.
    fn has_drained(&self, id: &NodeId, member: &Member) -> bool {
        let empty = member.sessions.is_none_or(|sessions| sessions.left == 0 && !sessions.at_least);
        empty || member.health == Health::Down || self.memory.draining(id, self.now) >= self.limits.drain
    }

    fn may_stop(&self, id: &NodeId, member: &Member) -> bool {
        self.world.complete && member.busy == 0 && self.memory.quiet(id) >= QUIET && !self.is_needed(id, member)
    }

    /// Whether a member is a dual node, or the last manager.
    fn is_needed(&self, id: &NodeId, member: &Member) -> bool {
        let other_manager = || {
            self.world
                .members
                .iter()
                .any(|(other, known)| other != id && known.manager && !known.is_leaving() && known.health == Health::Up)
        };
        member.manager && (member.worker || !other_manager())
    }

    /// An instance that was not up in time, the one that is waited for the longest. One after the other: if all are down
    /// at once, the fault is rather between the balancer and them, and requests may still be sent to them in panic.
    fn hung(&self) -> Option<&NodeId> {
        let given_up = |member: &Member| member.state == AdminState::Draining && member.health != Health::Up;
        if self.running().any(|(_, member)| member.is_some_and(given_up)) {
            return None;
        }
        let waits = |id: &NodeId| self.memory.waiting(id, self.now);
        let late = self.running().filter(|(id, member)| {
            let counted = member.is_none_or(|member| !member.is_leaving());
            counted && waits(id) >= self.limits.join && self.may_try(id)
        });
        late.map(|(id, _)| id).max_by_key(|id| waits(id))
    }

    /// Drains it; one that no balancer takes is stopped: it cannot have a request.
    fn give_up(&self, id: &NodeId) -> Option<Step> {
        match self.world.members.contains_key(id) {
            true => Some(Step::Drain(id.clone(), Why::NotJoined)),
            false => self.world.complete.then(|| Step::Stop(id.clone())),
        }
    }

    /// Running instances that may become spare: those that are counted on.
    fn counted(&self) -> impl Iterator<Item = (&NodeId, Option<&Member>)> {
        self.running().filter(|(_, member)| member.is_none_or(|member| !member.is_leaving()))
    }

    /// Members that somebody else has started. One that is down is no help.
    fn others(&self) -> impl Iterator<Item = &Member> {
        let others = self.world.members.iter().filter(|(id, _)| !self.world.instances.contains_key(*id));
        others.map(|(_, member)| member).filter(|member| !member.is_leaving() && member.health != Health::Down)
    }

    fn starting(&self) -> usize {
        self.world.instances.values().filter(|instance| **instance == Instance::Starting).count()
    }

    /// The members on their way out that could be had back: first those that drain, which have their sessions still.
    fn spare(&self) -> impl Iterator<Item = &NodeId> {
        [AdminState::Draining, AdminState::Maintenance].into_iter().flat_map(move |state| {
            let back = move |member: &Member| member.state == state && member.health == Health::Up;
            let spare = self.running().filter(move |(_, member)| member.is_some_and(back));
            spare.map(|(id, _)| id).filter(|id| self.memory.is_spare(id) && self.may_try(id))
        })
    }

    fn fleet(&self) -> Fleet {
        let is_up = |member: Option<&Member>| member.is_some_and(|member| member.health == Health::Up);
        let late = self.counted().filter(|(_, member)| !is_up(*member));
        let waiting = late.map(|(id, _)| self.memory.waiting(id, self.now));
        Fleet {
            ready: self.counted().filter(|(_, member)| is_up(*member)).count() + self.others().count(),
            starting: waiting.chain(std::iter::repeat_n(Duration::ZERO, self.starting())).collect(),
            draining: self.spare().count(),
        }
    }

    fn start(&self, count: usize, resumed: usize) -> Option<Step> {
        let have = self.counted().count() + self.others().count() + self.starting() + resumed;
        let room = self.world.max.saturating_sub(have);
        let starts = count.min(room).min(self.limits.starts.saturating_sub(self.starting()));
        (starts > 0 && self.memory.may_start(self.now)).then_some(Step::Start(starts))
    }

    /// Takes back what was started and is not up yet, the youngest first. What is given up anyway is no choice.
    fn cancel(&self, count: usize, hung: Option<&NodeId>) -> Vec<Step> {
        let mut young: Vec<_> = self
            .counted()
            .filter_map(|(id, member)| Some((id, member?)))
            .filter(|(id, member)| member.health != Health::Up && Some(*id) != hung)
            .filter(|(id, member)| !self.is_needed(id, member) && self.may_try(id))
            .map(|(id, _)| (self.memory.waiting(id, self.now), id))
            .filter(|(age, _)| *age < self.limits.join)
            .collect();
        young.sort();
        young.into_iter().take(count).map(|(_, id)| Step::Drain(id.clone(), Why::Spare)).collect()
    }

    /// Drains those that are missed least, see [`victim`].
    fn drain(&self, count: usize) -> Vec<Step> {
        let candidate = |(id, member): (&NodeId, &Member)| Candidate {
            id: id.clone(),
            roles: member.roles(),
            elastic: matches!(self.world.instances.get(id), Some(Instance::Running(_))) && self.may_try(id),
            draining: member.is_leaving() || member.health != Health::Up,
            sessions: member.sessions.map_or(0, |sessions| sessions.left),
            in_flight: member.busy,
        };
        let mut candidates: Vec<Candidate> = self.world.members.iter().map(candidate).collect();
        let mut steps = Vec::new();
        for _ in 0..count {
            let Some(id) = victim(self.world.role, &candidates).map(|chosen| chosen.id.clone()) else { break };
            candidates.iter_mut().filter(|candidate| candidate.id == id).for_each(|chosen| chosen.draining = true);
            steps.push(Step::Drain(id, Why::Spare));
        }
        steps
    }
}
