//! What has to be remembered from one look at a pool to the next. All of it may be lost: then some waiting begins anew,
//! and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::world::{Health, Instance, World};
use crate::ids::NodeId;
use crate::member::AdminState;

/// The first pause after an instance that could not be started, and the longest: it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The pause after another step that failed.
const STEP_PAUSE: Duration = Duration::from_secs(5);

/// What is remembered of a pool.
#[derive(Debug, Default)]
pub struct Memory {
    /// Since when running instances have not been up.
    waiting: BTreeMap<NodeId, Instant>,
    /// Since when members have been draining.
    draining: BTreeMap<NodeId, Instant>,
    /// How often in a row members that get nothing had nothing to do.
    quiet: BTreeMap<NodeId, u32>,
    /// Those that were drained from here because there were too many, and what they were told last.
    spare: BTreeMap<NodeId, AdminState>,
    /// When leases were renewed last.
    renewed: BTreeMap<NodeId, Instant>,
    /// Until when steps are not tried again that failed.
    paused: BTreeMap<NodeId, Instant>,
    /// Those that had been up.
    joined: BTreeSet<NodeId>,
    starts: Backoff,
    /// Which balancers answered last, and whether it was said what is wanted.
    heard: Option<(Vec<bool>, bool)>,
}

/// Longer and longer pauses between starts that fail.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Memory {
    /// Takes in what is known now. To be called once before each [`super::plan::plan`].
    pub fn observe(&mut self, world: &World, now: Instant) {
        let since = |times: &mut BTreeMap<NodeId, Instant>, holds: &dyn Fn(&NodeId) -> bool, ids: &BTreeSet<NodeId>| {
            times.retain(|id, _| holds(id));
            for id in ids.iter().filter(|id| holds(id)) {
                times.entry(id.clone()).or_insert(now);
            }
        };
        let ids: BTreeSet<NodeId> = world.instances.keys().chain(world.members.keys()).cloned().collect();
        let running = |id: &NodeId| matches!(world.instances.get(id), Some(Instance::Running(_)));
        let up = |id: &NodeId| world.members.get(id).is_some_and(|member| member.health == Health::Up);
        let state = |id: &NodeId| world.members.get(id).map(|member| member.state);
        since(&mut self.waiting, &|id| running(id) && !up(id), &ids);
        since(&mut self.draining, &|id| state(id) == Some(AdminState::Draining), &ids);
        let quiet = |id: &NodeId| {
            world.complete
                && world.members.get(id).is_some_and(|member| {
                    member.state == AdminState::Maintenance && member.busy == 0 && member.is_agreed()
                })
        };
        self.quiet.retain(|id, _| quiet(id));
        for id in ids.iter().filter(|id| quiet(id)) {
            let times = self.quiet.entry(id.clone()).or_default();
            *times = times.saturating_add(1);
        }
        // In another state than it was told, it is somebody else's doing.
        self.spare.retain(|id, told| state(id) == Some(*told));
        self.renewed.retain(|id, _| running(id) && world.members.contains_key(id));
        self.paused.retain(|id, until| *until > now && ids.contains(id));
        self.joined.retain(|id| world.instances.contains_key(id));
        let new = ids.iter().filter(|id| running(id) && up(id));
        let before = self.joined.len();
        self.joined.extend(new.cloned());
        if self.joined.len() > before {
            // What is started does join.
            self.starts = Backoff::default();
        }
    }

    /// How long a running instance has not been up.
    pub(super) fn waiting(&self, id: &NodeId, now: Instant) -> Duration {
        age(&self.waiting, id, now)
    }

    /// How long a member has been draining.
    pub(super) fn draining(&self, id: &NodeId, now: Instant) -> Duration {
        age(&self.draining, id, now)
    }

    /// How often in a row a member that gets nothing had nothing to do.
    pub(super) fn quiet(&self, id: &NodeId) -> u32 {
        self.quiet.get(id).copied().unwrap_or(0)
    }

    /// Whether a member was drained from here because there were too many, and what it has been since is our doing too.
    pub(super) fn is_spare(&self, id: &NodeId) -> bool {
        self.spare.contains_key(id)
    }

    /// Whether a lease has to be renewed.
    pub(super) fn is_renewal_due(&self, id: &NodeId, every: Duration, now: Instant) -> bool {
        self.renewed.get(id).is_none_or(|last| now.saturating_duration_since(*last) >= every)
    }

    /// Whether a step that failed may be tried again.
    pub(super) fn may_try(&self, id: &NodeId, now: Instant) -> bool {
        self.paused.get(id).is_none_or(|until| *until <= now)
    }

    /// Whether instances may be started.
    pub(super) fn may_start(&self, now: Instant) -> bool {
        self.starts.until.is_none_or(|until| until <= now)
    }

    /// Takes in that a member was drained because there are too many.
    pub fn drained(&mut self, id: &NodeId) {
        self.spare.insert(id.clone(), AdminState::Draining);
    }

    /// Takes in that a member gets nothing any more. That is for being too many only if it was drained for that.
    pub fn rested(&mut self, id: &NodeId) {
        if let Some(told) = self.spare.get_mut(id) {
            *told = AdminState::Maintenance;
        }
    }

    /// Takes in that a member was made ready: who drains it from now on, or lets it rest, has other reasons, and requests may
    /// have been given to it.
    pub fn kept(&mut self, id: &NodeId) {
        self.spare.remove(id);
        self.quiet.remove(id);
    }

    /// Takes in which balancers have answered, and whether one has said what is wanted. If that is not as it was, some
    /// balancer may have been started again and have forgotten its members: all leases are to be renewed.
    pub fn heard(&mut self, answered: Vec<bool>, decided: bool) {
        let heard = Some((answered, decided));
        if self.heard != heard {
            self.renewed.clear();
            self.heard = heard;
        }
    }

    /// Takes in that a lease was renewed.
    pub fn renewed(&mut self, id: &NodeId, now: Instant) {
        self.renewed.insert(id.clone(), now);
    }

    /// Takes in that a step for an instance failed: it is tried again, but not at once.
    pub fn failed(&mut self, id: &NodeId, now: Instant) {
        self.paused.insert(id.clone(), now + STEP_PAUSE);
    }

    /// Takes in that an instance could not be started, or did not join. Returns how long no other one is started.
    pub fn start_failed(&mut self, now: Instant) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(self.starts.failures).unwrap_or(u32::MAX));
        let pause = pause.min(LONGEST_PAUSE);
        self.starts.failures = self.starts.failures.saturating_add(1);
        self.starts.until = Some(now + pause);
        pause
    }

    /// Whether an instance has been up since this began to look.
    pub fn has_joined(&self, id: &NodeId) -> bool {
        self.joined.contains(id)
    }
}

fn age(times: &BTreeMap<NodeId, Instant>, id: &NodeId, now: Instant) -> Duration {
    times.get(id).map_or(Duration::ZERO, |since| now.saturating_duration_since(*since))
}
