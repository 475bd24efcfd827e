//! The better of two members that are drawn by weight: the one with fewer requests in flight for its weight.
//!
//! Nearly as even as asking all (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996), in constant
//! time; and threads that pick at the same time do not all run to the same member. Members are drawn by weight, since a
//! heavy one could otherwise not get more than two in as many requests as there are members. Of two that are as busy, the
//! one drawn first is taken, so that idle members get their share.

use super::least_in_flight::less_busy;
use super::members::Members;
use super::{Candidate, Pick};

/// See [`Algorithm::TwoChoices`](crate::config::Algorithm::TwoChoices).
#[derive(Debug)]
pub(super) struct TwoChoices(Members);

impl TwoChoices {
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        TwoChoices(Members::new(candidates))
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (first, second) = self.0.draw_two(&mut request.draws.stream(), usable)?;
        let better = second.filter(|second| {
            less_busy((second.gauge.in_flight(), second.weight), (first.gauge.in_flight(), first.weight)).is_lt()
        });
        Some(better.unwrap_or(first).position)
    }
}
