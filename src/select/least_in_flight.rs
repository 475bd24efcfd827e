//! The member with the fewest requests in flight for its weight.
//!
//! Up to [`EXACT`] members all are looked at. Of more, [`SAMPLE`] are drawn by weight: with as many choices a member that
//! is busier than most is hardly ever the best (Mitzenmacher, 1996), and a pick costs the same for any number of members.

use std::cmp::Ordering;

use super::draws::Stream;
use super::members::{Lot, Member, Members};
use super::{Candidate, Pick};

/// The most members that are all looked at.
pub(super) const EXACT: usize = 64;

/// How many are looked at if there are more.
const SAMPLE: usize = 16;

/// See [`Algorithm::LeastInFlight`](crate::config::Algorithm::LeastInFlight).
#[derive(Debug)]
pub(super) struct LeastInFlight(Members);

impl LeastInFlight {
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        LeastInFlight(Members::new(candidates))
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut stream, members) = (request.draws.stream(), &self.0);
        let is_usable = |member: &&Member| usable(member.position);
        let best = if members.all().len() <= EXACT {
            least(members.all().iter().filter(is_usable), &mut stream)
        } else {
            let drawn = (0..SAMPLE).filter_map(|_| members.draw(&mut stream));
            least_of_drawn(drawn.filter(is_usable)).or_else(|| members.draw_usable(&mut stream, &usable))
        };
        Some(best?.position)
    }
}

/// Compares two members by requests in flight for the weight.
pub(super) fn less_busy(one: (usize, u32), other: (usize, u32)) -> Ordering {
    // Each at most 2^32 - 1, so that the product fits.
    let product = |(in_flight, _): (usize, u32), (_, weight): (usize, u32)| in_flight as u64 * u64::from(weight);
    product(one, other).cmp(&product(other, one))
}

/// The least busy member; of several, one that is drawn by weight.
fn least<'a>(members: impl Iterator<Item = &'a Member>, stream: &mut Stream) -> Option<&'a Member> {
    let mut best = ((0, 0), Lot::default());
    for member in members {
        let busy = (member.gauge.in_flight(), member.weight);
        match less_busy(busy, best.0) {
            _ if best.0.1 == 0 => best = (busy, Lot::of(member)), // the first one
            Ordering::Less => best = (busy, Lot::of(member)),
            Ordering::Equal => best.1.enter(member, stream),
            Ordering::Greater => {}
        }
    }
    best.1.drawn()
}

/// The least busy member; of several, the first, since they come by weight.
fn least_of_drawn<'a>(members: impl Iterator<Item = &'a Member>) -> Option<&'a Member> {
    let busy = members.map(|member| ((member.gauge.in_flight(), member.weight), member));
    Some(busy.min_by(|(one, _), (other, _)| less_busy(*one, *other))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_make_room() {
        for (one, other, expected) in [
            ((0, 1), (0, 256), Ordering::Equal),
            ((1, 1), (2, 2), Ordering::Equal),
            ((1, 1), (1, 2), Ordering::Greater),
            ((0, 1), (1, 256), Ordering::Less),
            ((3, 25_600), (4, 25_600), Ordering::Less),
        ] {
            assert_eq!(less_busy(one, other), expected, "{one:?} {other:?}");
        }
    }
}
