//! Which member of a pool a request goes to: one algorithm a file, behind one contract.
//!
//! A [`Selector`] is built once for each snapshot of a pool's ready members and then only read, by any number of threads,
//! without a lock and without allocation. What has to survive a snapshot comes from outside: a [`Gauge`] for each member,
//! and the pool's turn and draws in a [`Pick`].
//!
//! All algorithms go by weight and never pick a member of weight 0. They ask a caller's function which members are usable;
//! if hardly any is they look at all members, otherwise a pick takes the same time for any number of them (from 65
//! on; and where sums over all are needed, they are made for one pick in 64 or ten times a second). Members that are equally
//! good get their shares, too: an idle pool is not always asked at its first member.

mod clock;
mod draws;
mod gauge;
mod hash;
mod least_in_flight;
mod load_aware;
mod members;
mod peak_ewma;
mod random;
mod round_robin;
mod two_choices;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub use self::clock::{Clock, Moment};
pub use self::draws::Draws;
pub use self::gauge::{Gauge, InFlight};
use self::hash::Hash;
use self::least_in_flight::LeastInFlight;
use self::load_aware::LoadAware;
use self::peak_ewma::PeakEwma;
use self::random::Random;
pub use self::round_robin::RoundRobin;
use self::two_choices::TwoChoices;
use crate::config::{Algorithm, PoolSettings};

/// What is known of a member when a selector is built.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Share of the load; 0: never picked. Only proportions count.
    pub weight: u32,
    /// Its load, now and in later snapshots.
    pub gauge: &'a Arc<Gauge>,
    /// A number that it keeps and no other member of the pool has: a hash of its id.
    pub identity: u64,
}

/// What is known when a member is picked.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// The time.
    pub now: Moment,
    /// The pool's counter of turns. It outlives snapshots, so that a new one does not begin again with the first member.
    pub turn: &'a AtomicUsize,
    /// The pool's random numbers.
    pub draws: &'a Draws,
    /// A hash of what names the member, for [`Algorithm::Hash`].
    pub key: u64,
}

/// Picks among the members of a snapshot.
#[derive(Debug)]
pub struct Selector(By);

#[derive(Debug)]
enum By {
    RoundRobin(RoundRobin),
    Random(Random),
    LeastInFlight(LeastInFlight),
    TwoChoices(TwoChoices),
    PeakEwma(PeakEwma),
    Hash(Hash),
    LoadAware(LoadAware),
}

impl Selector {
    /// The algorithm of a pool for these members.
    pub fn new(settings: &PoolSettings, members: &[Candidate<'_>]) -> Self {
        Selector(match settings.balance {
            Algorithm::RoundRobin => {
                By::RoundRobin(RoundRobin::new(&members.iter().map(|member| member.weight).collect::<Vec<_>>()))
            }
            Algorithm::Random => By::Random(Random::new(members)),
            Algorithm::LeastInFlight => By::LeastInFlight(LeastInFlight::new(members)),
            Algorithm::TwoChoices => By::TwoChoices(TwoChoices::new(members)),
            Algorithm::PeakEwma => By::PeakEwma(PeakEwma::new(members)),
            Algorithm::Hash => By::Hash(Hash::new(members, Some(settings.hash.bound))),
            Algorithm::LoadAware => By::LoadAware(LoadAware::new(members, settings.load.fade)),
        })
    }

    /// The member that a key names, however busy it is: for affinity by hash, whatever the pool balances by.
    pub fn by_key(members: &[Candidate<'_>]) -> Self {
        Selector(By::Hash(Hash::new(members, None)))
    }

    /// Picks a member: its position among the candidates, or `None` if none is usable.
    ///
    /// `usable` tells which positions may be picked: a request that tries its second member leaves out the first one. It
    /// may be asked for a position more than once, and not for all.
    pub fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.0 {
            By::RoundRobin(algorithm) => algorithm.pick(request.turn, usable),
            By::Random(algorithm) => algorithm.pick(request, usable),
            By::LeastInFlight(algorithm) => algorithm.pick(request, usable),
            By::TwoChoices(algorithm) => algorithm.pick(request, usable),
            By::PeakEwma(algorithm) => algorithm.pick(request, usable),
            By::Hash(algorithm) => algorithm.pick(request, usable),
            By::LoadAware(algorithm) => algorithm.pick(request, usable),
        }
    }
}

#[cfg(test)]
mod tests;
