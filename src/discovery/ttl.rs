//! When a name is asked for again. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The pause after a failed look-up; doubled with each further failure, up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// How long an answer counts: as long as the first of its records to end, within bounds.
///
/// The uppermost bit of a time to live must not be set (RFC 2181, 8.): such a one is no time at all.
pub(super) fn good_for(ttls: impl IntoIterator<Item = u32>, bounds: &RangeInclusive<Duration>) -> Duration {
    let least = ttls.into_iter().map(|ttl| if ttl > i32::MAX as u32 { 0 } else { ttl }).min().unwrap_or(0);
    Duration::from_secs(u64::from(least)).clamp(*bounds.start(), *bounds.end())
}

/// Pauses between failures.
#[derive(Debug)]
pub(super) struct Retry {
    next: Duration,
    longest: Duration,
}

impl Retry {
    /// None of them is longer than `longest`, the time after which a good answer would be asked for again.
    pub(super) fn new(longest: Duration) -> Self {
        let longest = longest.min(LONGEST_RETRY);
        Retry { next: FIRST_RETRY.min(longest), longest }
    }

    /// The pause after one more failure.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// It has worked.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_RETRY.min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_counts_for_its_shortest_life_within_bounds() {
        let cases: [(&[u32], _, _); 9] = [
            (&[30], s(1)..=s(300), s(30)),
            (&[60, 5, 600], s(1)..=s(300), s(5)),
            (&[0], s(1)..=s(300), s(1)),
            (&[86_400], s(1)..=s(300), s(300)),
            (&[], s(1)..=s(300), s(1)),
            (&[30], s(60)..=s(60), s(60)),
            (&[2], s(5)..=s(300), s(5)),
            (&[i32::MAX as u32], s(1)..=s(86_400), s(86_400)),
            (&[1 << 31], s(1)..=s(300), s(1)), // the bit that must not be set
        ];
        for (ttls, bounds, expected) in cases {
            assert_eq!(good_for(ttls.iter().copied(), &bounds), expected, "{ttls:?} in {bounds:?}");
        }
    }

    #[test]
    fn retries_slow_down_up_to_a_limit() {
        let mut retry = Retry::new(s(300));
        let pauses: Vec<_> = (0..7).map(|_| retry.pause().as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        retry.reset();
        assert_eq!(retry.pause().as_millis(), 500);
        // Whoever asks every second asks again after a second.
        let mut often = Retry::new(s(1));
        assert_eq!([often.pause(), often.pause(), often.pause()], [Duration::from_millis(500), s(1), s(1)]);
        assert_eq!(Retry::new(Duration::from_millis(100)).pause(), Duration::from_millis(100));
    }
}
