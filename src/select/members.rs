//! The members that can be picked, and how one is drawn with a chance as its weight says.

use std::sync::Arc;

use super::Candidate;
use super::draws::Stream;
use super::gauge::Gauge;

/// Draws for a usable member before all members are looked at. If half of the weight is usable, one pick in 256 looks.
const DRAWS: usize = 8;

/// A member with a weight.
#[derive(Debug)]
pub(super) struct Member {
    /// Its position among the candidates: what `usable` is asked and a pick answers.
    pub(super) position: usize,
    /// At least 1.
    pub(super) weight: u32,
    /// What it is busy with.
    pub(super) gauge: Arc<Gauge>,
}

/// All members with a weight.
#[derive(Debug)]
pub(super) struct Members {
    list: Box<[Member]>,
    wheel: Box<[Sector]>,
}

/// One of as many equal sectors of a wheel of fortune as there are members: the first `keep` parts in 2^32 of it are its
/// own member's, the rest is one other's.
#[derive(Debug, Clone, Copy)]
struct Sector {
    keep: u32,
    other: u32,
}

impl Members {
    /// The candidates that have a weight, in their order.
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        let weighed = candidates.iter().enumerate().filter(|(_, candidate)| candidate.weight > 0);
        let list: Box<[Member]> = weighed
            .map(|(position, candidate)| Member { position, weight: candidate.weight, gauge: candidate.gauge.clone() })
            .collect();
        let wheel = wheel(&list);
        Members { list, wheel }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Member] {
        &self.list
    }

    /// Draws a member in constant time; `None` if there is none.
    pub(super) fn draw(&self, stream: &mut Stream) -> Option<&Member> {
        let draw = stream.next();
        let (upper, lower) = (draw >> 32, draw as u32); // the halves
        let index = ((upper * self.wheel.len() as u64) >> 32) as usize; // there are less than 2^32, so below their number
        let sector = self.wheel.get(index)?;
        self.list.get(if lower < sector.keep { index } else { sector.other as usize })
    }

    /// Draws a member that is usable; `None` if none is.
    pub(super) fn draw_usable(&self, stream: &mut Stream, usable: impl Fn(usize) -> bool) -> Option<&Member> {
        (0..DRAWS)
            .find_map(|_| self.draw(stream).filter(|member| usable(member.position)))
            .or_else(|| self.scan(stream, usable))
    }

    /// Draws two members that are usable; the second is missing if only one is.
    pub(super) fn draw_two(
        &self,
        stream: &mut Stream,
        usable: impl Fn(usize) -> bool,
    ) -> Option<(&Member, Option<&Member>)> {
        let first = self.draw_usable(stream, &usable)?;
        let second = match self.list.len() {
            1 => None,
            _ => self.draw_usable(stream, |position| position != first.position && usable(position)),
        };
        Some((first, second))
    }

    /// The same in one pass over all members, for when few are usable: each usable one replaces the one before it with
    /// the chance of its weight among those so far (Chao, 1982).
    fn scan(&self, stream: &mut Stream, usable: impl Fn(usize) -> bool) -> Option<&Member> {
        let mut lot = Lot::default();
        for member in self.list.iter().filter(|member| usable(member.position)) {
            lot.enter(member, stream);
        }
        lot.drawn()
    }
}

/// One of several members that come one after the other, drawn with a chance as its weight says.
#[derive(Debug, Default)]
pub(super) struct Lot<'a> {
    drawn: Option<&'a Member>,
    weight: u64,
}

impl<'a> Lot<'a> {
    /// With one member in it.
    pub(super) fn of(member: &'a Member) -> Self {
        Lot { drawn: Some(member), weight: u64::from(member.weight) }
    }

    /// One more.
    pub(super) fn enter(&mut self, member: &'a Member, stream: &mut Stream) {
        let weight = u64::from(member.weight);
        self.weight += weight;
        if self.drawn.is_none() || stream.below(self.weight) < weight {
            self.drawn = Some(member);
        }
    }

    /// The one.
    pub(super) fn drawn(self) -> Option<&'a Member> {
        self.drawn
    }
}

/// Fills sectors one after the other: what a light member leaves of its own is given to a heavy one (Walker, 1977, in the
/// form of Vose, 1991).
fn wheel(members: &[Member]) -> Box<[Sector]> {
    let total: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    let count = members.len() as u128;
    // In units in which a sector holds `total`; the sum is exactly what all sectors hold.
    let mut left: Vec<u128> = members.iter().map(|member| u128::from(member.weight) * count).collect();
    // As many as there are indexes.
    let (mut light, mut heavy): (Vec<usize>, Vec<usize>) = (0..members.len()).partition(|&index| left[index] < total);
    let mut sectors: Vec<Sector> = (0..).take(members.len()).map(|other| Sector { keep: u32::MAX, other }).collect();
    while let (Some(small), Some(&big)) = (light.pop(), heavy.last()) {
        // Both come from `0..members.len()`. Light means less than `total`, so that is not 0 and the quotient below 2^32.
        sectors[small] = Sector { keep: ((left[small] << 32) / total) as u32, other: big as u32 };
        left[big] -= total - left[small];
        if left[big] < total {
            heavy.pop();
            light.push(big);
        }
    }
    sectors.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, shares};
    use super::*;

    fn members(weights: &[u32]) -> Members {
        Members::new(&Bench::new(weights).candidates())
    }

    #[test]
    fn the_wheel_gives_each_member_its_share() {
        for weights in
            [&[1][..], &[1, 1], &[3, 1], &[1, 2, 3, 4, 5, 6], &[25_600, 1, 0, 77], &[0, 1], &[u32::MAX, u32::MAX]]
        {
            let members = members(weights);
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut shares = vec![0.0; weights.len()];
            for (index, sector) in members.wheel.iter().enumerate() {
                let keep = f64::from(sector.keep) / f64::from(u32::MAX) / members.wheel.len() as f64;
                shares[members.list[index].position] += keep;
                shares[members.list[sector.other as usize].position] += 1.0 / members.wheel.len() as f64 - keep;
            }
            for (share, &weight) in shares.iter().zip(weights) {
                assert!((share - f64::from(weight) / total as f64).abs() < 1e-9, "{weights:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn a_scan_draws_by_weight() {
        let (members, mut stream) = (members(&[90, 2, 0, 1]), Stream::new(1));
        let scan = |_| members.scan(&mut stream, |position| position != 0).unwrap().position;
        let shares = shares(4, (0..30_000).map(scan));
        assert!((shares[1] - 2.0 / 3.0).abs() < 0.01 && (shares[3] - 1.0 / 3.0).abs() < 0.01, "{shares:?}");
        assert!(members.scan(&mut stream, |_| false).is_none());
    }

    #[test]
    fn two_are_two() {
        let mut stream = Stream::new(1);
        for weights in [&[1, 1][..], &[10_000, 1], &[1, 0, 10_000, 1]] {
            let members = members(weights);
            for _ in 0..1_000 {
                let (first, second) = members.draw_two(&mut stream, |_| true).unwrap();
                assert_ne!(first.position, second.unwrap().position);
                let (first, second) = members.draw_two(&mut stream, |position| position == 0).unwrap();
                assert!(first.position == 0 && second.is_none());
            }
            assert!(members.draw_two(&mut stream, |_| false).is_none());
        }
    }
}
