//! How long a report counts, and how much: what was true ten seconds ago may be true no more, and a node that has fallen
//! silent must not be judged by its last word for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The least and the greatest of [`weight_factor`].
const LEAST: f32 = 0.1;
const GREATEST: f32 = 1.0;

/// The utilisation up to which a member has its whole weight: a node always has something to do.
const IDLE: f32 = 0.1;

/// Something that was reported at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faded<T> {
    /// What was reported.
    pub value: T,
    /// When.
    pub at: Instant,
}

impl<T: Copy> Faded<T> {
    /// The value, and how far it is to be trusted: 1 until it is as old as `fade`, then linearly less. `None` from twice
    /// that age on. A value of the future (another thread was a little later) is trusted.
    pub fn at(&self, now: Instant, fade: Duration) -> Option<(T, f32)> {
        let trust = trust(now.saturating_duration_since(self.at), fade);
        (trust > 0.0).then_some((self.value, trust))
    }
}

fn trust(age: Duration, fade: Duration) -> f32 {
    if age <= fade {
        return 1.0;
    }
    // `fade` may be zero: then the quotient is infinite.
    (2.0 - age.as_secs_f32() / fade.as_secs_f32()).max(0.0)
}

/// The newest utilisation that a node has reported. Any number of threads may write and read it, without a lock.
///
/// It holds the share as `f32` and the time in tenths of a second since it was made, which is enough for 13 years.
#[derive(Debug)]
pub struct LoadCell {
    since: Instant,
    /// The time in the upper half, one more than it is; the bits of the share in the lower half. 0: nothing yet.
    packed: AtomicU64,
}

/// The unit of time.
const TICK: Duration = Duration::from_millis(100);

impl LoadCell {
    /// Before the first report. No report may be older than `now`.
    pub fn new(now: Instant) -> Self {
        LoadCell { since: now, packed: AtomicU64::new(0) }
    }

    /// Takes in a report. Of two at once, one stays.
    pub fn record(&self, utilisation: f32, now: Instant) {
        let ticks = now.saturating_duration_since(self.since).as_millis() / TICK.as_millis();
        let time = u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1);
        self.packed.store(u64::from(time) << 32 | u64::from(utilisation.to_bits()), Ordering::Relaxed);
    }

    /// The newest report, as [`Faded::at`] has it. It counts as up to a tenth of a second older than it is.
    pub fn at(&self, now: Instant, fade: Duration) -> Option<(f32, f32)> {
        let packed = self.packed.load(Ordering::Relaxed);
        let time = u32::try_from(packed >> 32).ok()?.checked_sub(1)?;
        let value = f32::from_bits(packed as u32); // the lower half
        Faded { value, at: self.since.checked_add(TICK.saturating_mul(time))? }.at(now, fade)
    }
}

/// What a member's weight is multiplied with if it reports this utilisation, and the report is trusted so far: from 0.1
/// to 1. Without trust, and for what is no number, it is 1: the member counts as configured.
///
/// It is `sqrt(0.1 / utilisation)`: 1 up to 0.1, 0.45 at 0.5, 0.32 at 1, and 0.1 from 10 on. Why not simply what is left
/// (`1 - utilisation`)? The factor moves requests, those move the utilisation, and the next report brings that back; in
/// between there is a delay. A loop like this swings if a change of one percent in a member's utilisation moves its share
/// by more than one percent back, and `1 - utilisation` does so from one half on: at 0.9 it moves it by nine. The root
/// moves it by half a percent, always. So what one round gets wrong the next one halves, however late reports are and
/// however many balancers act on them. The price is that members do not become equally full: a node that is half as fast
/// gets four fifths of a share as large as the others', not half of it. For what is known of a node for good there are
/// configured weights.
///
/// It is never less than 0.1, so that a member that was full for a moment still gets requests whose answers tell that it
/// is full no more.
pub fn weight_factor(utilisation: f32, trust: f32) -> f32 {
    if utilisation.is_nan() || trust.is_nan() {
        return GREATEST;
    }
    let trusted = (IDLE / utilisation.max(IDLE)).sqrt().max(LEAST);
    (GREATEST - trust.clamp(0.0, 1.0) * (GREATEST - trusted)).clamp(LEAST, GREATEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn is_near(a: f32, b: f32) -> bool {
        (a - b).abs() < 0.001
    }

    #[test]
    fn reports_fade() {
        let (start, fade) = (Instant::now(), 10 * SECOND);
        let report = Faded { value: 'x', at: start };
        for (age, expected) in
            [(0.0, Some(1.0)), (10.0, Some(1.0)), (12.5, Some(0.75)), (15.0, Some(0.5)), (20.0, None), (9e9, None)]
        {
            let read = report.at(start + Duration::from_secs_f64(age), fade);
            assert_eq!(read.map(|(value, _)| value), expected.map(|_| 'x'), "{age}");
            assert!(
                read.zip(expected).is_none_or(|((_, trust), expected)| is_near(trust, expected)),
                "{age}: {read:?}"
            );
        }
        let later = Faded { at: start + SECOND, ..report };
        assert_eq!(later.at(start, fade), Some(('x', 1.0)));
        assert_eq!(report.at(start, Duration::ZERO), Some(('x', 1.0)));
        assert_eq!(report.at(start + SECOND, Duration::ZERO), None);
    }

    #[test]
    fn the_newest_load_is_kept_with_its_time() {
        let (start, fade) = (Instant::now(), 10 * SECOND);
        let cell = LoadCell::new(start);
        assert_eq!(cell.at(start, fade), None);
        cell.record(0.0, start);
        assert_eq!(cell.at(start, fade), Some((0.0, 1.0)), "idle is not the same as nothing");
        let second = start + Duration::from_secs(86_400 * 365);
        cell.record(0.75, second);
        assert_eq!(cell.at(second, fade), Some((0.75, 1.0)));
        assert_eq!(cell.at(second + 9 * SECOND, fade), Some((0.75, 1.0)));
        let (_, trust) = cell.at(second + 15 * SECOND, fade).unwrap();
        assert!(is_near(trust, 0.5), "{trust}");
        assert_eq!(cell.at(second + 20 * SECOND, fade), None);
        // Too far away to be written down: it is old at once, and not new for ever.
        let far = start + Duration::from_secs(86_400 * 365 * 20);
        cell.record(0.5, far);
        assert_eq!(cell.at(far, fade), None);
    }

    #[test]
    fn the_busier_a_member_the_less_it_gets() {
        for (utilisation, trust, expected) in [
            (0.0, 1.0, 1.0),
            (0.1, 1.0, 1.0),
            (0.4, 1.0, 0.5),
            (0.5, 1.0, 0.447),
            (1.0, 1.0, 0.316),
            (2.5, 1.0, 0.2),
            (10.0, 1.0, 0.1),
            (f32::MAX, 1.0, 0.1),
            (f32::INFINITY, 1.0, 0.1),
            (0.4, 0.5, 0.75),
            (0.4, 0.0, 1.0),
            (0.4, 7.0, 0.5),
            (0.4, -7.0, 1.0),
            (-1.0, 1.0, 1.0),
            (f32::NAN, 1.0, 1.0),
            (0.4, f32::NAN, 1.0),
        ] {
            let factor = weight_factor(utilisation, trust);
            assert!(is_near(factor, expected), "{utilisation} {trust}: {factor}");
        }
    }

    /// Nodes of different speed, whose reports come late: the shares that the reports lead to, round by round.
    fn shares(speeds: [f32; 3], load: f32, delay: usize, factor: impl Fn(f32) -> f32) -> Vec<[f32; 3]> {
        let mut rounds = vec![[1.0 / 3.0; 3]];
        for round in 0..100 {
            let reported = rounds[round.max(delay) - delay];
            let utilisation = |node: usize| reported[node] * load / speeds[node];
            let weights = [0, 1, 2].map(|node| factor(utilisation(node)));
            rounds.push(weights.map(|weight| weight / weights.iter().sum::<f32>()));
        }
        rounds
    }

    fn last_swing(rounds: &[[f32; 3]]) -> f32 {
        let last = &rounds[rounds.len() - 10..];
        let swing = |node: usize| {
            let of_node = last.iter().map(|shares| shares[node]);
            of_node.clone().fold(0.0, f32::max) - of_node.fold(1.0, f32::min)
        };
        [0, 1, 2].map(swing).into_iter().fold(0.0, f32::max)
    }

    #[test]
    fn shares_settle_however_late_reports_are() {
        for speeds in [[1.0, 1.0, 1.0], [1.0, 2.0, 4.0], [1.0, 1.0, 0.1]] {
            for load in [0.1, 0.5, 0.9, 2.0] {
                for delay in [0, 1, 5] {
                    let rounds = shares(speeds, load * speeds.iter().sum::<f32>(), delay, |u| weight_factor(u, 1.0));
                    let [slow, .., fast] = rounds[rounds.len() - 1];
                    assert!(last_swing(&rounds) < 0.001, "{speeds:?} {load} {delay}: {:?}", &rounds[90..]);
                    assert!((speeds[0] < speeds[2]) <= (slow < fast), "{speeds:?} {load} {delay}");
                }
            }
        }
        // What is described as swinging does.
        let headroom = |utilisation: f32| (1.0 - utilisation).clamp(LEAST, GREATEST);
        assert!(last_swing(&shares([1.0, 2.0, 4.0], 0.9 * 7.0, 1, headroom)) > 0.1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn factors_stay_in_their_range_and_order(a in any::<f32>(), b in any::<f32>(), trust in any::<f32>()) {
            let [low, high] = if a < b { [a, b] } else { [b, a] };
            let factors = [low, high].map(|utilisation| weight_factor(utilisation, trust));
            prop_assert!(factors.iter().all(|factor| (LEAST..=GREATEST).contains(factor)), "{:?}", factors);
            prop_assert!(low.is_nan() || high.is_nan() || factors[0] >= factors[1], "{:?}", factors);
        }
    }
}
