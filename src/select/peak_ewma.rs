//! The better of two members that are drawn by weight: the one that answers sooner, as its latency and its requests in
//! flight let expect.
//!
//! The latency is a moving average that jumps to each peak at once and comes down slowly (Finagle's peak-EWMA, 2015), and
//! fades while nobody waits for an answer: see [`Gauge::latency`](super::gauge::Gauge). It is multiplied by one and the
//! requests in flight, these in proportion to the mean weight by the member's own. While one of the two has never
//! answered, requests in flight decide: latency 0 would draw all requests to a new member until it answers. The first one
//! drawn is also taken if the other one is better by little ([`MARGIN`]), so that members that are equally good have shares
//! by weight.

use super::clock::Moment;
use super::least_in_flight::less_busy;
use super::members::{Member, Members};
use super::{Candidate, Pick};

/// How many times as long the first one drawn may take to answer as the other.
const MARGIN: f32 = 1.1;

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
        let better = second.filter(|second| self.is_better(second, first, request.now));
        Some(better.unwrap_or(first).position)
    }

    /// Whether a member is clearly better than another one.
    fn is_better(&self, one: &Member, other: &Member, now: Moment) -> bool {
        let [busy, other_busy] = [one, other].map(|member| (member.gauge.in_flight(), member.weight));
        match [one, other].map(|member| member.gauge.latency(now)) {
            [Some(latency), Some(other_latency)] => {
                MARGIN * latency * self.queue(busy) < other_latency * self.queue(other_busy)
            }
            _ => less_busy(busy, other_busy).is_lt(),
        }
    }

    /// How many requests a new one stands in a row with, itself included.
    fn queue(&self, (in_flight, weight): (usize, u32)) -> f32 {
        1.0 + in_flight as f32 * self.mean_weight / weight as f32 // rounded to 24 bits
    }
}
