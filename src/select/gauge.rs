//! What is known of a member's load: its requests in flight, how fast it answers, and what its node reports.
//!
//! A gauge outlives the snapshots of its pool and is written by all threads, so it is made of atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Moment, Tick};

/// Seconds in which the latency of an answer fades to 1/e: in the average of later answers, and while none comes. So a
/// member that answered a hundred times as slowly as the others once is asked again after 23 seconds. Finagle has 10 here;
/// for simulated fleets anything from 3 to 10 is as good.
const LATENCY_FADES: f32 = 5.0;

/// Seconds in which a report of load fades to 1/e in the average of later ones.
const REPORTS_FADE: f32 = 8.0;

/// The most that one report counts in the average: what a member is given follows from its load and changes it, with a
/// delay, and would swing if it followed faster.
const REPORT_COUNTS: f32 = 0.125;

/// Seconds without a report after which the next one counts alone.
const REPORTS_FORGOTTEN: f32 = 60.0;

/// The load of a member of a pool.
// A line of the cache to itself: members next to each other in memory are written by different threads.
#[derive(Debug)]
#[repr(align(64))]
pub struct Gauge {
    counts: AtomicU64,
    /// Peak-sensitive moving average of nanoseconds from the end of a request to the header of its answer.
    latency: Stamped,
    /// Moving average of reported utilisation.
    load: Stamped,
}

/// Requests on a member, in one word: those in flight in its lower half, those of them that wait for an answer in the
/// upper half. Neither reaches 2^32: each request needs memory.
#[derive(Debug, Clone, Copy)]
struct Counts(u64);

impl Counts {
    const IN_FLIGHT: u64 = 1;
    const WAITING: u64 = 1 << 32;

    fn in_flight(self) -> usize {
        (self.0 & (Self::WAITING - 1)) as usize // 32 bits
    }

    fn waiting(self) -> bool {
        self.0 >= Self::WAITING
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Gauge::new()
    }
}

impl Gauge {
    /// The gauge of a member of which nothing is known.
    pub fn new() -> Self {
        Gauge { counts: AtomicU64::new(0), latency: Stamped::new(), load: Stamped::new() }
    }

    /// Requests that the member has been given and that are not finished.
    pub fn in_flight(&self) -> usize {
        self.counts().in_flight()
    }

    /// Counts a request until the guard is dropped. `None` if `limit` are in flight already; several threads together do
    /// not exceed it.
    pub fn try_start(self: &Arc<Self>, limit: Option<usize>, now: Moment) -> Option<InFlight> {
        const ONE: u64 = Counts::IN_FLIGHT + Counts::WAITING;
        // Relaxed here and below: only the numbers count, nothing else is published with them.
        match limit {
            None => _ = self.counts.fetch_add(ONE, Ordering::Relaxed),
            Some(limit) => {
                let started = |counts| (Counts(counts).in_flight() < limit).then_some(counts + ONE);
                self.counts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, started).ok()?;
            }
        }
        Some(InFlight { gauge: self.clone(), since: now, waiting: true })
    }

    /// Takes in that the node reports so much load, from 0 (idle) to 1 (full) or more. What is no number does not count.
    pub fn report(&self, utilisation: f32, now: Moment) {
        if utilisation.is_nan() {
            return;
        }
        let utilisation = utilisation.clamp(0.0, 10.0);
        self.load.update(
            now.tick(),
            |average, age| {
                let counts = match age > REPORTS_FORGOTTEN {
                    true => 1.0,
                    false => (1.0 - (-age / REPORTS_FADE).exp()).min(REPORT_COUNTS),
                };
                average + (utilisation - average) * counts
            },
            utilisation,
        );
    }

    /// The average of reported load, unless the last report is older than `longest`.
    pub fn reported(&self, now: Moment, longest: Duration) -> Option<f32> {
        let (load, age) = self.load(now)?;
        (age <= longest.as_secs_f32()).then_some(load)
    }

    /// The average of reported load, and the seconds since the last report; `None` if there was none.
    pub(super) fn load(&self, now: Moment) -> Option<(f32, f32)> {
        let (load, since) = self.load.get()?;
        Some((load, now.tick().seconds_since(since)))
    }

    /// Nanoseconds that the member takes to answer, `None` if it never did. While no answer is waited for the average
    /// fades, so that a member that was slow is asked again; from then on it counts fully until the answer is there, so
    /// that only one request finds out.
    pub(super) fn latency(&self, now: Moment) -> Option<f32> {
        let (average, since) = self.latency.get()?;
        match self.counts().waiting() {
            true => Some(average),
            false => Some(average * (-now.tick().seconds_since(since) / LATENCY_FADES).exp()),
        }
    }

    /// A slow answer counts at once, faster ones by and by.
    fn answered(&self, nanos: u64, now: Moment) {
        let nanos = nanos as f32; // rounded to 24 bits
        let peak = |average: f32, age: f32| match nanos >= average {
            true => nanos,
            false => nanos + (average - nanos) * (-age / LATENCY_FADES).exp(),
        };
        self.latency.update(now.tick(), peak, nanos);
    }

    fn counts(&self) -> Counts {
        Counts(self.counts.load(Ordering::Relaxed))
    }
}

/// Counts one request on a member for as long as it lives.
#[derive(Debug)]
pub struct InFlight {
    gauge: Arc<Gauge>,
    since: Moment,
    waiting: bool,
}

impl InFlight {
    /// Takes in that the request was there as a whole at `now`: what the client took for its body says nothing of the
    /// member. Nothing happens after the answer's header.
    pub fn received(&mut self, now: Moment) {
        if self.waiting {
            self.since = now;
        }
    }

    /// Takes in that the header of the answer came at `now`. Only the first time counts.
    pub fn answered(&mut self, now: Moment) {
        if std::mem::take(&mut self.waiting) {
            self.gauge.answered(now.nanos_since(self.since), now);
            self.gauge.counts.fetch_sub(Counts::WAITING, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let waiting = if self.waiting { Counts::WAITING } else { 0 };
        self.gauge.counts.fetch_sub(Counts::IN_FLIGHT + waiting, Ordering::Relaxed);
    }
}

/// A number and when it was written, in one word, so that threads see and change both together.
#[derive(Debug)]
struct Stamped(AtomicU64);

impl Stamped {
    /// Its upper half is not a number, and no number that is written is that.
    const NEVER: u64 = u64::MAX;

    fn new() -> Self {
        Stamped(AtomicU64::new(Self::NEVER))
    }

    fn get(&self) -> Option<(f32, Tick)> {
        Self::unpack(self.0.load(Ordering::Relaxed))
    }

    /// Writes what `next` makes of the number and the seconds since it was written, or `first` if there was none.
    fn update(&self, now: Tick, next: impl Fn(f32, f32) -> f32, first: f32) {
        let packed = |word| {
            let (number, stamp) = match Self::unpack(word) {
                // A thread that comes late does not turn the time back.
                Some((number, since)) if now.is_before(since) => (next(number, 0.0), since),
                Some((number, since)) => (next(number, now.seconds_since(since)), now),
                None => (first, now),
            };
            Some((u64::from(number.to_bits()) << 32) | u64::from(stamp.0))
        };
        // Never refused.
        _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, packed);
    }

    fn unpack(word: u64) -> Option<(f32, Tick)> {
        let (upper, lower) = ((word >> 32) as u32, word as u32); // the halves
        (word != Self::NEVER).then_some((f32::from_bits(upper), Tick(lower)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after(Duration::from_millis(millis))
    }

    /// A request that begins and is answered so many milliseconds after the epoch.
    fn request(gauge: &Arc<Gauge>, from: u64, to: u64) {
        gauge.try_start(None, at(from)).unwrap().answered(at(to));
    }

    fn latency(gauge: &Gauge, millis: u64) -> f32 {
        gauge.latency(at(millis)).unwrap() / 1e6
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 0.02 * b.abs()
    }

    #[test]
    fn a_guard_counts_while_it_lives() {
        let gauge = Arc::new(Gauge::new());
        let mut first = gauge.try_start(None, at(0)).unwrap();
        let second = gauge.try_start(Some(2), at(0)).unwrap();
        assert_eq!(gauge.in_flight(), 2);
        assert!(gauge.try_start(Some(2), at(0)).is_none() && gauge.try_start(Some(0), at(0)).is_none());
        assert!(gauge.try_start(Some(3), at(0)).is_some(), "and is dropped again");
        first.answered(at(1));
        first.answered(at(9));
        assert_eq!(gauge.in_flight(), 2, "an answer has a body");
        assert!(gauge.counts().waiting() && Arc::ptr_eq(&first.gauge, &gauge));
        drop(second);
        assert!(!gauge.counts().waiting());
        drop(first);
        assert_eq!(gauge.counts().0, 0);
        assert!(close(latency(&gauge, 1), 1.0), "the second call said nothing");
    }

    #[test]
    fn the_time_of_a_request_counts_from_its_end() {
        let gauge = Arc::new(Gauge::new());
        let mut upload = gauge.try_start(None, at(0)).unwrap();
        upload.received(at(5_000));
        upload.answered(at(5_010));
        upload.received(at(9_000));
        assert!(close(latency(&gauge, 5_010), 10.0), "{}", latency(&gauge, 5_010));
        let mut early = gauge.try_start(None, at(6_000)).unwrap();
        early.answered(at(6_300));
        early.received(at(7_000));
        assert!(close(latency(&gauge, 6_300), 300.0), "an answer that does not wait for it");
    }

    #[test]
    fn threads_do_not_exceed_the_limit() {
        let gauge = Arc::new(Gauge::new());
        let most: usize = std::thread::scope(|scope| {
            let worker = || {
                let start = |_| {
                    let guard = gauge.try_start(Some(3), at(0));
                    let seen = gauge.in_flight();
                    drop(guard);
                    seen
                };
                (0..20_000).map(start).max().unwrap()
            };
            let workers = [(); 4].map(|()| scope.spawn(worker));
            workers.into_iter().map(|worker| worker.join().unwrap()).max().unwrap()
        });
        assert!((1..=3).contains(&most), "{most}");
        assert_eq!(gauge.counts().0, 0);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_fades() {
        let gauge = Arc::new(Gauge::new());
        assert_eq!(gauge.latency(at(0)), None);
        request(&gauge, 0, 10);
        request(&gauge, 10, 1_010);
        assert!(close(latency(&gauge, 1_010), 1_000.0));
        assert!(close(latency(&gauge, 6_010), 1_000.0 / std::f32::consts::E), "fades while nobody waits");
        let probe = gauge.try_start(None, at(6_010)).unwrap();
        assert!(close(latency(&gauge, 6_010), 1_000.0), "until its answer the old average holds");
        drop(probe);
        assert!(close(latency(&gauge, 6_010), 1_000.0 / std::f32::consts::E), "it said nothing");
        request(&gauge, 6_010, 6_020);
        assert!(close(latency(&gauge, 6_020), 10.0 + 990.0 * (-1.002_f32).exp()), "{}", latency(&gauge, 6_020));
        (0..1_000).for_each(|i| request(&gauge, 6_020 + i * 100, 6_030 + i * 100));
        assert!(close(latency(&gauge, 106_000), 10.0), "{}", latency(&gauge, 106_000));
    }

    #[test]
    fn late_writers_do_not_turn_the_time_back() {
        let gauge = Arc::new(Gauge::new());
        request(&gauge, 0, 5_000);
        request(&gauge, 3_990, 4_000);
        assert!(close(latency(&gauge, 5_000), 5_000.0));
        assert!(close(latency(&gauge, 4_000), 5_000.0));
    }

    #[test]
    fn what_was_long_ago_is_never_fresh_again() {
        const DAY: u64 = 86_400_000;
        for days in [1, 20, 26, 27, 40, 51] {
            let (gauge, later) = (Arc::new(Gauge::new()), days * DAY);
            request(&gauge, 0, 10_000);
            gauge.report(0.9, at(10_000));
            assert!(latency(&gauge, later) < 1.0, "after {days} days: {}", latency(&gauge, later));
            assert!(gauge.load(at(later)).unwrap().1 > 86_000.0, "after {days} days: {:?}", gauge.load(at(later)));
            request(&gauge, later, later + 10);
            gauge.report(0.1, at(later));
            assert!(close(latency(&gauge, later + 10), 10.0), "after {days} days: {}", latency(&gauge, later + 10));
            let (load, age) = gauge.load(at(later)).unwrap();
            assert!(close(load, 0.1) && age == 0.0, "after {days} days: {load}, {age}");
        }
    }

    #[test]
    fn reports_are_averaged() {
        let gauge = Gauge::new();
        assert_eq!(gauge.load(at(0)), None);
        let load = |millis| gauge.load(at(millis)).unwrap();
        gauge.report(0.4, at(0));
        assert_eq!(load(0), (0.4, 0.0), "the first one counts alone");
        gauge.report(f32::NAN, at(1_000));
        assert!(close(load(1_000).1, 1.0), "no report");
        gauge.report(0.8, at(1_000));
        assert!(close(load(1_000).0, 0.4 + 0.4 * (1.0 - (-0.125_f32).exp())));
        gauge.report(0.4, at(1_000));
        assert!(close(load(1_000).0, 0.447), "no time has passed for another one to count");
        gauge.report(1.447, at(31_000));
        assert!(close(load(31_000).0, 0.447 + 0.125), "one alone does not count much");
        gauge.report(-3.0, at(100_000));
        assert_eq!(load(100_000).0, 0.0, "the last one was forgotten");
        gauge.report(f32::INFINITY, at(200_000));
        assert_eq!(load(200_000).0, 10.0);
    }
}
