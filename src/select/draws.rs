//! Random numbers that threads draw without a lock and tests draw again: SplitMix64 (Steele, Lea and Flood, 2014), a
//! counter behind a mixing function.

use std::sync::atomic::{AtomicU64, Ordering};

/// The golden ratio in 64 bits: steps of it spread over all numbers evenly.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator shared by threads. The same seed gives the same numbers; not for secrets.
#[derive(Debug)]
pub struct Draws(AtomicU64);

impl Draws {
    /// A generator that begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Draws(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn draw(&self) -> u64 {
        self.stream().0
    }

    /// Numbers for one request: one shared step, however many it draws.
    pub(super) fn stream(&self) -> Stream {
        // Relaxed: only the number counts. Mixed, so that the streams of two requests do not overlap.
        Stream(mix(self.0.fetch_add(STEP, Ordering::Relaxed)))
    }
}

/// A generator of one owner.
#[derive(Debug, Clone)]
pub(super) struct Stream(u64);

impl Stream {
    /// A generator that begins with `seed`. Seeds that differ by little do not give numbers that do.
    pub(super) fn new(seed: u64) -> Self {
        Stream(mix(seed))
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// The next number from 0 to `limit - 1`; 0 for the limit 0. Off evenness by less than `limit / 2^64`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64 // the upper half, which fits
    }

    /// The next number above 0 and up to 1.
    pub(super) fn unit(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64; // 2^53 is exact
        ((self.next() >> 11) + 1) as f64 * SCALE // up to 2^53, so exact
    }
}

/// Every number to another one, so that each bit of the result depends on each bit of the number.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let draws = Draws::new(seed);
            let request = |_| [(); 3].map(|()| draws.stream()).map(|mut stream| [stream.next(), stream.next()]);
            (0..100).flat_map(request).flatten().collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        let different: HashSet<_> = numbers(1).into_iter().collect();
        assert_eq!(different.len(), 600, "streams of different requests do not overlap");
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut stream = Stream::new(7);
        let mut seen = [0; 10];
        (0..100_000).for_each(|_| seen[stream.below(10) as usize] += 1);
        assert!(seen.iter().all(|count| (9_700..10_300).contains(count)), "{seen:?}");
        let mean = (0..100_000).map(|_| stream.unit()).sum::<f64>() / 100_000.0;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert_eq!(stream.below(0), 0);
    }
}
