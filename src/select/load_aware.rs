//! Turns, with weights scaled by the load that the nodes report.
//!
//! Turns come from smooth weighted round robin. A member gets its turn with a chance that halves with each
//! [`HALVES`] of load more than the least loaded member has; else the next turn is looked at. So a member has turns in
//! proportion to `weight / 2^(load / HALVES)`. That only differences of load count keeps shares as the weights say while all
//! are equally busy, and needs no special case for a node that reports more than 1. Shares follow an average of the
//! reports, see [`Gauge::report`](super::Gauge::report): load follows shares with a delay, and would swing otherwise.
//!
//! A report counts fully for the time `fade`. From then on it is replaced by the pool's mean, wholly after twice the time;
//! the mean is also what a member has that never reported.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Moment;
use super::draws::Stream;
use super::members::{Member, Members};
use super::round_robin::RoundRobin;
use super::{Candidate, Pick};

/// How much more load halves the share.
const HALVES: f32 = 0.07;

/// Turns that a pick looks at before it takes the best member that it saw.
const LOOKS: usize = 32;

/// Ticks (of about a millisecond) for which the pool's load is not looked at again.
const LOOK_AGAIN: u64 = 100;

/// See [`Algorithm::LoadAware`](crate::config::Algorithm::LoadAware).
#[derive(Debug)]
pub(super) struct LoadAware {
    turns: RoundRobin,
    members: Members,
    /// Seconds.
    fade: f32,
    /// The pool's load, in one word.
    pool: AtomicU64,
    /// When it was looked at: ticks since the epoch, or [`u64::MAX`] if it never was.
    looked: AtomicU64,
}

/// The load of a whole pool.
#[derive(Debug, Clone, Copy, Default)]
struct PoolLoad {
    mean: f32,
    least: f32,
}

impl LoadAware {
    pub(super) fn new(candidates: &[Candidate<'_>], fade: Duration) -> Self {
        let members = Members::new(candidates);
        // Turns are of indices into `members`, which has nobody of weight 0.
        let weights: Vec<u32> = members.all().iter().map(|member| member.weight).collect();
        LoadAware {
            turns: RoundRobin::new(&weights),
            members,
            fade: fade.as_secs_f32(),
            pool: AtomicU64::new(PoolLoad::default().pack()),
            looked: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn pick(&self, request: &Pick<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut stream, pool) = (request.draws.stream(), self.pool_load(request.now));
        let mut best: Option<(f32, &Member)> = None;
        for _ in 0..LOOKS {
            let member = self.members.all().get(self.turns.pick(request.turn, |_| true)?)?;
            if !usable(member.position) {
                continue;
            }
            let load = self.load(member, request.now, pool.mean);
            if has_turn(load - pool.least, &mut stream) {
                return Some(member.position);
            }
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, member));
            }
        }
        let any =
            || self.turns.pick(request.turn, |index| self.members.all().get(index).is_some_and(|m| usable(m.position)));
        match best {
            Some((_, member)) => Some(member.position),
            None => Some(self.members.all().get(any()?)?.position),
        }
    }

    /// The load of a member, or the mean as far as nothing is known.
    fn load(&self, member: &Member, now: Moment, mean: f32) -> f32 {
        self.known(member, now).map_or(mean, |(load, counts)| mean + (load - mean) * counts)
    }

    /// The reported load and how far it counts, from 0 to 1.
    fn known(&self, member: &Member, now: Moment) -> Option<(f32, f32)> {
        let (load, age) = member.gauge.load(now)?;
        Some((load, (2.0 - age / self.fade).clamp(0.0, 1.0))).filter(|(_, counts)| *counts > 0.0)
    }

    /// The pool's load; from time to time one thread looks at all members for it.
    fn pool_load(&self, now: Moment) -> PoolLoad {
        // Relaxed: a thread that sees the new time and the old load is as well off as one that came before.
        let (tick, looked) = (now.ticks(), self.looked.load(Ordering::Relaxed));
        let is_old = looked == u64::MAX || tick >= looked.saturating_add(LOOK_AGAIN);
        if is_old && self.looked.compare_exchange(looked, tick, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let load = self.look(now);
            self.pool.store(load.pack(), Ordering::Relaxed);
            return load;
        }
        PoolLoad::unpack(self.pool.load(Ordering::Relaxed))
    }

    fn look(&self, now: Moment) -> PoolLoad {
        let all = self.members.all().iter();
        let (sum, count) = all
            .filter_map(|member| self.known(member, now))
            .fold((0.0, 0.0), |(sum, count), (load, counts)| (sum + load * counts, count + counts));
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        let loads = self.members.all().iter().map(|member| self.load(member, now, mean));
        PoolLoad { mean, least: loads.fold(mean, f32::min) }
    }
}

/// Whether a member gets its turn that has so much more load than the least loaded one.
fn has_turn(more: f32, stream: &mut Stream) -> bool {
    more <= 0.0 || stream.unit() <= f64::from((-more / HALVES).exp2())
}

impl PoolLoad {
    fn pack(self) -> u64 {
        (u64::from(self.mean.to_bits()) << 32) | u64::from(self.least.to_bits())
    }

    fn unpack(word: u64) -> Self {
        let (upper, lower) = ((word >> 32) as u32, word as u32); // the halves
        PoolLoad { mean: f32::from_bits(upper), least: f32::from_bits(lower) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, shares};
    use super::*;

    const FADE: Duration = Duration::from_secs(10);

    fn shares_at(bench: &Bench, algorithm: &LoadAware, seconds: u64) -> Vec<f64> {
        let pick = |_| algorithm.pick(&bench.request_at(0, Duration::from_secs(seconds)), |_| true).unwrap();
        shares(bench.len(), (0..20_000).map(pick))
    }

    fn assert_close(shares: &[f64], expected: &[f64]) {
        assert!(shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02), "{shares:?}, not {expected:?}");
    }

    #[test]
    fn load_takes_turns_away() {
        let bench = Bench::new(&[2, 1, 1]);
        let algorithm = LoadAware::new(&bench.candidates(), FADE);
        assert_close(&shares_at(&bench, &algorithm, 0), &[0.5, 0.25, 0.25]);
        (0..3).for_each(|position| bench.gauge(position).report(0.8, Moment::default()));
        assert_close(&shares_at(&bench, &algorithm, 1), &[0.5, 0.25, 0.25]);

        let bench = Bench::new(&[2, 1, 1]);
        let algorithm = LoadAware::new(&bench.candidates(), FADE);
        for (position, load) in [(0, 0.4 + HALVES), (1, 0.4 + HALVES), (2, 0.4)] {
            bench.gauge(position).report(load, Moment::default());
        }
        assert_close(&shares_at(&bench, &algorithm, 1), &[0.4, 0.2, 0.4]); // 2/2 : 1/2 : 1
    }

    #[test]
    fn stale_reports_fade_out() {
        // (`fade`, age of the report, how far the difference of the two loads counts), in seconds.
        for (fade, age, counts) in [
            (10, 10, 1.0),
            (10, 15, 0.5),
            (10, 20, 0.0),
            (10, 3_600, 0.0),
            (2, 2, 1.0),
            (2, 3, 0.5),
            (2, 4, 0.0),
            (60, 60, 1.0),
            (60, 90, 0.5),
        ] {
            let bench = Bench::new(&[1, 1]);
            let algorithm = LoadAware::new(&bench.candidates(), Duration::from_secs(fade));
            bench.gauge(0).report(0.4 + 2.0 * HALVES, Moment::default());
            bench.gauge(1).report(0.4, Moment::default());
            let ratio = (2.0_f64 * counts).exp2(); // a quarter of the other's share, if it counts wholly
            assert_close(&shares_at(&bench, &algorithm, age), &[1.0 / (1.0 + ratio), ratio / (1.0 + ratio)]);
        }
    }

    #[test]
    fn who_has_fallen_silent_counts_as_the_mean_of_the_others() {
        let bench = Bench::new(&[1; 3]);
        let algorithm = LoadAware::new(&bench.candidates(), FADE);
        bench.gauge(0).report(0.9, Moment::default());
        for (position, load) in [(1, 0.3), (2, 0.3)] {
            bench.gauge(position).report(load, Moment::after(2 * FADE));
        }
        assert_close(&shares_at(&bench, &algorithm, 20), &[1.0 / 3.0; 3]);
    }

    #[test]
    fn who_never_reported_counts_as_the_mean() {
        let bench = Bench::new(&[1; 3]);
        let algorithm = LoadAware::new(&bench.candidates(), FADE);
        bench.gauge(0).report(0.3, Moment::default());
        bench.gauge(1).report(0.3 + 2.0 * HALVES, Moment::default());
        assert_close(&shares_at(&bench, &algorithm, 1), &[4.0 / 7.0, 1.0 / 7.0, 2.0 / 7.0]);
    }

    #[test]
    fn one_idle_member_among_many_full_ones_is_found_or_nearly() {
        let bench = Bench::new(&[1; 200]);
        let algorithm = LoadAware::new(&bench.candidates(), FADE);
        for position in 0..200 {
            bench.gauge(position).report(if position == 7 { 0.0 } else { 2.0 }, Moment::default());
        }
        let shares = shares_at(&bench, &algorithm, 1);
        assert!(shares[7] > 0.1, "{}", shares[7]);
    }
}
