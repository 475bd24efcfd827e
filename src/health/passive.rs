//! Passive health: members of a pool that fail requests are ejected, which means not asked for a time.
//!
//! Each member has a [`Recorder`], which the requests feed. [`Outliers`] draws the conclusions, off the request path
//! and behind the lock of the caller:
//!
//! ```text
//!            errors in a row, too many errors or too slow in an interval
//!   Active ───────────────────────────────────────────────────────────────→ Ejected
//!     ↑                                                                     │     ↑
//!     │ the trial was good                             the time is over     │     │ the trial failed,
//!     └───────────────────────────────── HalfOpen ←─────────────────────────┘     │ for longer
//!                                           └─────────────────────────────────────┘
//! ```
//!
//! An ejection lasts as many times the policy's time as there were ejections, and each good interval takes one off that
//! number. Ejecting for growing times, the limit on ejected members and the comparison of an interval are ideas of
//! Envoy's outlier detection. The trial of a single request is that of Nygard's circuit breaker ("Release It!", 2007):
//! without it, a member that is still broken would get its whole share again after every ejection.

mod recorder;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::recorder::Measured;
pub use self::recorder::{Outcome, Recorder, Trial};
use crate::config::OutlierPolicy;

/// Whether a member may be asked, as far as its requests tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// It may not.
    Ejected {
        /// When it is put on trial.
        until: Instant,
    },
    /// It may be asked by the one request that [`Recorder::try_trial`] lets through.
    HalfOpen,
}

impl Standing {
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Ejected { .. } => "ejected",
            Standing::HalfOpen => "half_open",
        }
    }
}

/// Why a [`Standing`] has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So many gateway errors came in a row.
    Consecutive(u32),
    /// So many of the requests of an interval were gateway errors, in percent, rounded down.
    Errors(u32),
    /// The mean latency of an interval was too much above the pool's median.
    Slow {
        /// The member's mean, in microseconds.
        mean: u64,
        /// The median of the means of the pool's members, in microseconds.
        median: u64,
    },
    /// The ejection has ended.
    TimeOver,
    /// The request that was let through was answered.
    TrialGood,
    /// The request that was let through was not answered.
    TrialFailed,
    /// The pool has become smaller, and too large a part of it was ejected.
    SmallerPool,
    /// What was known of the member no longer holds.
    Forgotten,
}

impl Why {
    /// The words of those that eject.
    pub const EJECTS: [&'static str; 4] = ["errors_in_a_row", "error_rate", "slow", "trial_failed"];

    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Consecutive(_) => "errors_in_a_row",
            Why::Errors(_) => "error_rate",
            Why::Slow { .. } => "slow",
            Why::TimeOver => "time_over",
            Why::TrialGood => "trial_good",
            Why::TrialFailed => "trial_failed",
            Why::SmallerPool => "smaller_pool",
            Why::Forgotten => "forgotten",
        }
    }
}

/// A change of a member's [`Standing`], for the caller to publish and to log once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K> {
    /// Whose.
    pub member: K,
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// The reason.
    pub why: Why,
    /// The number that the next ejection's time grows with, after the change.
    pub ejections: u32,
}

/// The members of a pool, and which of them are ejected.
///
/// `K` names a member for as long as it is in the pool: an index or an id.
#[derive(Debug)]
pub struct Outliers<K> {
    policy: OutlierPolicy,
    members: BTreeMap<K, Member>,
    interval_end: Instant,
}

#[derive(Debug)]
struct Member {
    recorder: Arc<Recorder>,
    standing: Standing,
    /// How many ejections there were, less the good intervals.
    ejections: u32,
    /// Whether it was active when the interval began and has been since.
    whole_interval: bool,
}

impl<K: Clone + Ord> Outliers<K> {
    /// A pool without members, whose first interval begins `now`.
    pub fn new(policy: OutlierPolicy, now: Instant) -> Self {
        Outliers { policy, members: BTreeMap::new(), interval_end: after(now, policy.interval) }
    }

    /// Takes in who is in the pool now. Those that stay keep what is known of them, those that come are active.
    ///
    /// If too large a part of what is left is ejected, members are brought back: those on trial first, then those whose
    /// ejection would end next.
    pub fn retain(&mut self, members: impl IntoIterator<Item = K>) -> Vec<Change<K>> {
        let mut before = std::mem::take(&mut self.members);
        self.members = members
            .into_iter()
            .map(|member| {
                let kept = before.remove(&member).unwrap_or_else(|| Member::new(&self.policy));
                (member, kept)
            })
            .collect();
        let mut ejected: Vec<(Option<Instant>, K)> = self
            .members
            .iter()
            .filter_map(|(member, known)| match known.standing {
                Standing::Active => None,
                Standing::HalfOpen => Some((None, member.clone())), // `None` is before any time
                Standing::Ejected { until } => Some((Some(until), member.clone())),
            })
            .collect();
        ejected.sort();
        let too_many = ejected.len().saturating_sub(self.most_ejected());
        let back = ejected.into_iter().take(too_many);
        back.filter_map(|(_, member)| self.put(&member, Standing::Active, Why::SmallerPool)).collect()
    }

    /// What the requests of a member tell goes in here. `None` if it is not in the pool.
    pub fn recorder(&self, member: &K) -> Option<&Arc<Recorder>> {
        self.members.get(member).map(|known| &known.recorder)
    }

    /// Whether a member may be asked. `None` if it is not in the pool.
    pub fn standing(&self, member: &K) -> Option<Standing> {
        self.members.get(member).map(|known| known.standing)
    }

    /// Decides about one member, after its [`Recorder`] or [`Trial`] has said that there is something to decide.
    pub fn decide(&mut self, member: &K, now: Instant) -> Option<Change<K>> {
        let known = self.members.get(member)?;
        match (known.standing, known.recorder.verdict()) {
            (Standing::HalfOpen, Some(Outcome::Good)) => self.put(member, Standing::Active, Why::TrialGood),
            // It has been among the ejected all the time, so there is room for it.
            (Standing::HalfOpen, Some(Outcome::GatewayError)) => self.eject(member, Why::TrialFailed, now),
            (Standing::Active, _) if known.recorder.runs_too_long() => {
                let why = Why::Consecutive(known.recorder.run());
                self.eject_if_room(member, why, now)
            }
            _ => None,
        }
    }

    /// Does what is due at `now`: puts members on trial whose ejection is over, makes up for calls of
    /// [`Outliers::decide`] that were not made or found no room, and judges the interval if it has ended.
    pub fn tick(&mut self, now: Instant) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        let members: Vec<K> = self.members.keys().cloned().collect();
        for member in &members {
            changes.extend(self.decide(member, now));
            if let Some(Standing::Ejected { until }) = self.standing(member)
                && until <= now
            {
                changes.extend(self.put(member, Standing::HalfOpen, Why::TimeOver));
            }
        }
        if self.interval_end <= now {
            self.interval_end = after(now, self.policy.interval);
            changes.extend(self.judge_interval(now));
        }
        changes
    }

    /// Forgets what is known of a member: it has moved to another address, say. It has another recorder then: requests
    /// that are on their way say nothing of what the member is now.
    pub fn forget(&mut self, member: &K) -> Option<Change<K>> {
        let known = self.members.get_mut(member)?;
        known.ejections = 0;
        known.whole_interval = false;
        known.recorder = Arc::new(Recorder::new(&self.policy));
        match known.standing {
            Standing::Active => None,
            Standing::Ejected { .. } | Standing::HalfOpen => self.put(member, Standing::Active, Why::Forgotten),
        }
    }

    /// Ejects the outliers of the interval that has ended, and begins the next one.
    fn judge_interval(&mut self, now: Instant) -> Vec<Change<K>> {
        let mut measured = Vec::new();
        for (member, known) in &mut self.members {
            let interval = known.recorder.take();
            if known.standing == Standing::Active {
                measured.push((member.clone(), interval));
            }
        }
        let outliers = find_outliers(&self.policy, &measured);
        let changes: Vec<_> =
            outliers.into_iter().filter_map(|(member, why)| self.eject_if_room(&member, why, now)).collect();
        for known in self.members.values_mut() {
            let active = known.standing == Standing::Active;
            // While errors come one after the other it is not good, even if there were too few so far.
            if known.whole_interval && active && known.recorder.run() == 0 {
                known.ejections = known.ejections.saturating_sub(1);
            }
            known.whole_interval = active;
        }
        changes
    }

    /// Ejects an active member, unless too many are ejected.
    fn eject_if_room(&mut self, member: &K, why: Why, now: Instant) -> Option<Change<K>> {
        let ejected = self.members.values().filter(|known| known.standing != Standing::Active).count();
        let active = self.standing(member) == Some(Standing::Active);
        if active && ejected < self.most_ejected() { self.eject(member, why, now) } else { None }
    }

    fn eject(&mut self, member: &K, why: Why, now: Instant) -> Option<Change<K>> {
        let OutlierPolicy { eject_for, eject_at_most, .. } = self.policy;
        let known = self.members.get_mut(member)?;
        // The number stops where the time does, so that it does not take longer to forget than to learn.
        if eject_for.saturating_mul(known.ejections) < eject_at_most {
            known.ejections = known.ejections.saturating_add(1);
        }
        let time = eject_for.saturating_mul(known.ejections).min(eject_at_most);
        self.put(member, Standing::Ejected { until: after(now, time) }, why)
    }

    fn put(&mut self, member: &K, to: Standing, why: Why) -> Option<Change<K>> {
        let known = self.members.get_mut(member)?;
        let from = std::mem::replace(&mut known.standing, to);
        known.whole_interval = false;
        match to {
            Standing::Active => known.recorder.open(),
            Standing::Ejected { .. } => known.recorder.close(),
            Standing::HalfOpen => known.recorder.half_open(),
        }
        Some(Change { member: member.clone(), from, to, why, ejections: known.ejections })
    }

    /// How many members may be ejected or on trial at a time.
    fn most_ejected(&self) -> usize {
        match self.members.len() {
            0 | 1 => 0,
            members => (members.saturating_mul(usize::from(self.policy.max_ejected)) / 100).clamp(1, members),
        }
    }
}

impl Member {
    fn new(policy: &OutlierPolicy) -> Self {
        Member {
            recorder: Arc::new(Recorder::new(policy)),
            standing: Standing::Active,
            ejections: 0,
            whole_interval: false,
        }
    }
}

/// Which active members are to be ejected for what an interval has measured of them: those with the largest share of
/// errors first, then the slowest. There may not be room for all, and a member may be named twice.
fn find_outliers<K: Clone>(policy: &OutlierPolicy, measured: &[(K, Measured)]) -> Vec<(K, Why)> {
    let mut failing: Vec<(u32, K)> = Vec::new();
    for (member, interval) in measured {
        let (errors, requests) = (u64::from(interval.errors) * 100, interval.requests());
        let too_many = errors > requests * u64::from(policy.error_percent);
        if policy.error_percent > 0 && requests >= u64::from(policy.requests) && too_many {
            failing.push(((errors / requests.max(1)) as u32, member.clone())); // 100 at most
        }
    }
    failing.sort_by_key(|&(percent, _)| Reverse(percent));

    let enough = |interval: &Measured| interval.good >= policy.requests.max(1);
    let mut means: Vec<(u64, K)> = Vec::new();
    if policy.latency_percent > 0 {
        let measured = measured.iter().filter(|(_, interval)| enough(interval));
        means.extend(measured.map(|(member, interval)| (interval.mean_latency(), member.clone())));
    }
    means.sort_by_key(|&(mean, _)| Reverse(mean));
    // Of an even number, the faster of the middle two: with their mean, the slow one of two members would be compared
    // with itself for one half, and never be twice as slow. One member is compared with nobody.
    let median = if means.len() > 1 { means.get(means.len() / 2).map(|&(mean, _)| mean) } else { None };
    let slow = median.into_iter().flat_map(|median| {
        let most = u128::from(median) * u128::from(policy.latency_percent);
        let too_slow = means.iter().filter(move |&&(mean, _)| u128::from(mean) * 100 > most);
        too_slow.map(move |&(mean, ref member)| (member.clone(), Why::Slow { mean, median }))
    });
    failing.into_iter().map(|(percent, member)| (member, Why::Errors(percent))).chain(slow).collect()
}

/// `now + time`; `now` if no clock will ever show that, which no configuration asks for.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

#[cfg(test)]
mod tests;
