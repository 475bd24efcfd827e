//! Which member of a pool a request goes to: one algorithm a file, behind one contract.
//!
//! A [`Selector`] is built once for each snapshot of a pool's ready members and then only read, by any number of threads.
//! What has to survive a snapshot (the turn) is the pool's and comes as an argument.

mod round_robin;

use std::sync::atomic::AtomicUsize;

pub use self::round_robin::RoundRobin;
use crate::config::Algorithm;

/// What a pool picks from: built once per snapshot, for its ready members.
#[derive(Debug)]
#[non_exhaustive]
pub enum Selector {
    /// Members take turns, evenly interleaved.
    RoundRobin(RoundRobin),
}

impl Selector {
    /// For members with these weights. A member of weight 0 is never picked.
    pub fn new(algorithm: Algorithm, weights: &[u16]) -> Self {
        match algorithm {
            // The other algorithms are not there yet; the configuration does not name them.
            _ => Selector::RoundRobin(RoundRobin::new(weights)),
        }
    }

    /// Picks a member: its position in the slice of weights, or `None` if all have been tried.
    ///
    /// `turn` lives with the pool and not with the snapshot, so that a new snapshot does not start again at the first
    /// member. `tried` tells the positions not to pick again; a request that tries its second member asks again with the
    /// first one in it.
    pub fn pick(&self, turn: &AtomicUsize, tried: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Selector::RoundRobin(algorithm) => algorithm.pick(turn, tried),
        }
    }
}
