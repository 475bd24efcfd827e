//! Any member, with a chance as its weight says.

use super::members::Members;
use super::{Candidate, Pick};

/// See [`Algorithm::Random`](crate::config::Algorithm::Random). A pick costs a draw, as long as most members are usable.
#[derive(Debug)]
pub(super) struct Random(Members);

impl Random {
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        Random(Members::new(candidates))
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        Some(self.0.draw_usable(&mut request.draws.stream(), usable)?.position)
    }
}
