//! The better of two members that are drawn by weight: the one that answers sooner, as its latency and its requests in
//! flight let expect.
//!
//! The latency is a moving average that jumps to each peak at once and comes down slowly (Finagle's peak-EWMA, 2015), and
//! fades while nobody waits for an answer: see [`Gauge::latency`](super::gauge::Gauge). It is multiplied by one and the
//! requests in flight, these in proportion to the mean weight by the member's own. While one of the two has never
//! answered, requests in flight decide: latency 0 would draw all requests to a new member until it answers.

use std::cmp::Ordering;

use super::clock::Moment;
use super::least_in_flight::less_busy;
use super::members::{Member, Members};
use super::{Candidate, Pick};

/// See [`Algorithm::PeakEwma`](crate::config::Algorithm::PeakEwma).
#[derive(Debug)]
pub(super) struct PeakEwma {
    members: Members,
    mean_weight: f32,
}

impl PeakEwma {
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        let members = Members::new(candidates);
        let weights = members.all().iter().map(|member| f64::from(member.weight));
        let mean_weight = weights.sum::<f64>() / members.all().len().max(1) as f64;
        PeakEwma { members, mean_weight: mean_weight as f32 } // rounded to 24 bits
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (first, second) = self.members.draw_two(&mut request.draws.stream(), usable)?;
        let better = second.filter(|second| self.compare(second, first, request.now).is_lt());
        Some(better.unwrap_or(first).position)
    }

    /// Less: the one answers sooner than the other.
    fn compare(&self, one: &Member, other: &Member, now: Moment) -> Ordering {
        let [a, b] = [one, other].map(|member| member.gauge.in_flight());
        match [one, other].map(|member| member.gauge.latency(now)) {
            [Some(latency), Some(other_latency)] => {
                // Rounded to 24 bits.
                let queue = |in_flight: usize, weight: u32| 1.0 + in_flight as f32 * self.mean_weight / weight as f32;
                (latency * queue(a, one.weight)).total_cmp(&(other_latency * queue(b, other.weight)))
            }
            _ => less_busy((a, one.weight), (b, other.weight)),
        }
    }
}
