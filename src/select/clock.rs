//! Time in one machine word, as gauges keep it in atomics.

use std::time::{Duration, Instant};

/// A point in time: nanoseconds since the epoch of the [`Clock`] that made it, for 584 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Turns instants into moments. All that share a gauge need copies of one clock; the program has one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose moments count from `epoch`; what was before it counts as the epoch.
    pub fn new(epoch: Instant) -> Self {
        Clock { epoch }
    }

    /// The moment of an instant.
    pub fn at(self, instant: Instant) -> Moment {
        Moment::after(instant.saturating_duration_since(self.epoch))
    }
}

impl Moment {
    /// The moment at which so much time has passed since the epoch.
    pub fn after(time: Duration) -> Self {
        Moment(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since `earlier`; 0 if that is later.
    pub(super) fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment in ticks.
    pub(super) fn tick(self) -> Tick {
        Tick(self.ticks() as u32) // cut off: ticks wrap around
    }

    /// The same, not cut off.
    pub(super) fn ticks(self) -> u64 {
        self.0 >> Tick::SHIFT
    }
}

/// A moment in steps of 2^20 ns (1.05 ms), modulo 2^32 (52 days). Of two, the one that seems to be up to [`Tick::LATE`]
/// ahead of now was written by a thread that was faster; everything else is past. So what was written 52 days ago and not
/// since seems to be new, for a minute; and what was written any time in between is as old as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    const SHIFT: u32 = 20;

    /// How much later, in ticks, a thread may write a moment down than another one that took its own after it: 69 s.
    const LATE: u32 = 1 << 16;

    /// Whether it is before another one.
    pub(super) fn is_before(self, other: Tick) -> bool {
        (1..=Self::LATE).contains(&other.0.wrapping_sub(self.0))
    }

    /// Seconds since `earlier`; 0 if that is later: threads take their moments before they get to write them down.
    pub(super) fn seconds_since(self, earlier: Tick) -> f32 {
        let ticks = if self.is_before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) };
        const SECONDS: f32 = (1_u32 << Tick::SHIFT) as f32 / 1e9; // 2^20 is exact
        ticks as f32 * SECONDS // rounded to 24 bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_count_from_the_epoch() {
        let epoch = Instant::now() + Duration::from_secs(60);
        let clock = Clock::new(epoch);
        assert_eq!(clock.at(epoch + Duration::from_nanos(7)), Moment::after(Duration::from_nanos(7)));
        assert_eq!(clock.at(epoch - Duration::from_secs(1)), Moment::default());
        assert_eq!(clock.at(epoch + Duration::from_secs(2)).nanos_since(clock.at(epoch)), 2_000_000_000);
        assert_eq!(clock.at(epoch).nanos_since(clock.at(epoch + Duration::from_secs(2))), 0);
    }

    #[test]
    fn ticks_wrap_around() {
        let days = |days: u64| Moment::after(Duration::from_secs(days * 86_400)).tick();
        for (now, earlier, seconds) in [
            (51, 51, 0.0),
            (53, 51, 172_800.0),
            (120, 100, 1_728_000.0),
            (140, 100, 3_456_000.0),
            (151, 100, 4_406_400.0),
        ] {
            let since = days(now).seconds_since(days(earlier));
            assert!((since - seconds).abs() < 1.0, "{now}, {earlier}: {since}");
        }
    }

    #[test]
    fn a_thread_may_be_late() {
        let seconds = |seconds| Moment::after(Duration::from_secs(seconds)).tick();
        // The second pair is on both sides of the wrap.
        for (now, written) in [(100, 130), (4_503_590, 4_503_610), (100, 168)] {
            assert!(seconds(now).is_before(seconds(written)) && !seconds(written).is_before(seconds(now)));
            assert_eq!(seconds(now).seconds_since(seconds(written)), 0.0, "{now}, {written}");
        }
        assert!(!seconds(100).is_before(seconds(100)) && !seconds(100).is_before(seconds(200)));
    }
}
