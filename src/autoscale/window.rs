//! What was seen in the last minutes, in buckets, so that a long window costs as little as a short one.

use std::collections::VecDeque;
use std::time::Duration;

use super::Sample;

/// Buckets in the longest window, and in the shortest one.
const LONGEST: u32 = 60;
const SHORTEST: u32 = 6;

/// Standard errors that a trend must differ from none: by chance one does once in 700 windows.
const SIGNIFICANT: f64 = 3.0;

/// Samples of one slice of time, summed up.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Which slice: the time divided by the width.
    index: u128,
    samples: u32,
    in_flight: f64,
    queued: f64,
    arrivals: u64,
    completions: u64,
    on_nodes: Duration,
}

impl Bucket {
    fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        self.in_flight += sample.in_flight as f64;
        self.queued += sample.queued as f64;
        self.arrivals += sample.arrivals;
        self.completions += sample.completions;
        self.on_nodes += sample.time_on_nodes;
    }
}

/// The samples of the longest window.
#[derive(Debug)]
pub(super) struct Window {
    width: Duration,
    longest: Duration,
    /// By index.
    buckets: VecDeque<Bucket>,
}

/// Means of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Means {
    /// Requests in flight.
    pub(super) in_flight: f64,
    /// Requests that wait.
    pub(super) queued: f64,
    /// Requests that come in a second.
    pub(super) arrivals: f64,
    /// Seconds that a request is on a node; `None` if none was finished.
    pub(super) on_node: Option<f64>,
}

/// A line through the requests that come in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// How many there are now.
    pub(super) now: f64,
    /// By how many more a second later.
    pub(super) slope: f64,
}

impl Window {
    /// Keeps what windows up to `longest` need, in buckets that fit windows of `shortest`.
    pub(super) fn new(longest: Duration, shortest: Duration) -> Self {
        let width = (longest / LONGEST).min(shortest / SHORTEST).max(Duration::from_millis(1));
        Window { width, longest, buckets: VecDeque::new() }
    }

    fn index(&self, at: Duration) -> u128 {
        at.as_nanos() / self.width.as_nanos().max(1)
    }

    /// Takes in a sample that is not older than the last one.
    pub(super) fn push(&mut self, sample: &Sample) {
        let index = self.index(sample.at);
        match self.buckets.back_mut() {
            Some(last) if last.index >= index => last.add(sample),
            _ => {
                let mut bucket = Bucket { index, ..Bucket::default() };
                bucket.add(sample);
                self.buckets.push_back(bucket);
            }
        }
        let kept = index.saturating_sub(self.index(self.longest));
        while self.buckets.front().is_some_and(|first| first.index < kept) {
            self.buckets.pop_front();
        }
    }

    /// The buckets of the last `length`.
    fn last(&self, now: Duration, length: Duration) -> impl Iterator<Item = &Bucket> {
        let newest = self.index(now);
        let count = self.index(length).max(1);
        self.buckets.iter().rev().take_while(move |bucket| bucket.index + count > newest)
    }

    /// The means of the last `length`, or of as much as there is; `None` if that is nothing.
    pub(super) fn means(&self, now: Duration, length: Duration) -> Option<Means> {
        let mut sum = Bucket::default();
        // From the first to the last of them: where a sample came late, there is a bucket less, and no time.
        let mut span = None;
        for bucket in self.last(now, length) {
            sum.samples += bucket.samples;
            sum.in_flight += bucket.in_flight;
            sum.queued += bucket.queued;
            sum.arrivals += bucket.arrivals;
            sum.completions += bucket.completions;
            sum.on_nodes += bucket.on_nodes;
            let (newest, _) = span.unwrap_or((bucket.index, bucket.index));
            span = Some((newest, bucket.index));
        }
        let samples = f64::from(sum.samples);
        let (newest, oldest) = span?;
        let seconds = (newest - oldest + 1) as f64 * self.width.as_secs_f64();
        (sum.samples > 0).then(|| Means {
            in_flight: sum.in_flight / samples,
            queued: sum.queued / samples,
            arrivals: sum.arrivals as f64 / seconds,
            on_node: (sum.completions > 0).then(|| sum.on_nodes.as_secs_f64() / sum.completions as f64),
        })
    }

    /// The line with the least squares through the arrivals of the last `length`, if it rises or falls by more than
    /// chance would make it. `None` also if less than half of that was seen.
    pub(super) fn trend(&self, now: Duration, length: Duration) -> Option<Trend> {
        let newest = self.index(now);
        let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for bucket in self.last(now, length).filter(|bucket| bucket.index < newest) {
            let x = -(newest.saturating_sub(bucket.index) as f64) + 0.5; // its middle
            let y = bucket.arrivals as f64;
            n += 1.0;
            sx += x;
            sy += y;
            sxx += x * x;
            sxy += x * y;
        }
        let spread = sxx - sx * sx / n;
        let enough = n * 2.0 >= self.index(length) as f64;
        if !enough || spread <= 0.0 {
            return None;
        }
        let (mean, slope) = (sy / n, (sxy - sx * sy / n) / spread);
        // Requests that come independently of each other vary in number as much as there are (Poisson).
        let error = (mean / spread).sqrt();
        let width = self.width.as_secs_f64();
        (slope.abs() > SIGNIFICANT * error)
            .then(|| Trend { now: ((mean - slope * sx / n) / width).max(0.0), slope: slope / width / width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PANIC: Duration = Duration::from_secs(6);

    /// Four samples a second; requests in flight, and those that come in a second, from the second.
    fn seen(seconds: u64, load: impl Fn(f64) -> f64) -> (Window, Duration) {
        let mut window = Window::new(MINUTE, PANIC);
        let (mut now, mut due) = (Duration::ZERO, 0.0);
        for step in 0..seconds * 4 {
            now = Duration::from_millis(step * 250);
            let load = load(now.as_secs_f64());
            due += load / 4.0;
            let arrivals = due as u64; // what is left comes later
            due -= arrivals as f64;
            window.push(&Sample {
                at: now,
                in_flight: load as usize,
                queued: 1,
                arrivals,
                completions: 2,
                time_on_nodes: Duration::from_secs(1),
                node_load: None,
            });
        }
        (window, now)
    }

    #[test]
    fn means_are_of_the_window_or_of_what_there_is() {
        let (window, now) = seen(200, |second| if second >= 194.0 { 40.0 } else { 10.0 });
        let panic = window.means(now, PANIC).unwrap();
        assert_eq!((panic.in_flight, panic.queued), (40.0, 1.0));
        assert_eq!((panic.arrivals, panic.on_node), (40.0, Some(0.5)));
        assert!((window.means(now, MINUTE).unwrap().in_flight - 13.0).abs() < 1e-9);
        assert!(window.buckets.len() <= 61);
        let (window, now) = seen(3, |_| 10.0);
        assert_eq!(window.means(now, MINUTE).unwrap().in_flight, 10.0);
        assert_eq!(window.means(now + MINUTE * 2, MINUTE), None, "too long ago");
        assert_eq!(Window::new(MINUTE, PANIC).means(now, MINUTE), None);
    }

    #[test]
    fn samples_that_come_late_lose_no_time() {
        // Buckets of 0.5 s, and a sample each second: every other one is empty.
        let mut window = Window::new(MINUTE / 2, PANIC / 2);
        for second in 0..20 {
            window.push(&Sample { at: Duration::from_secs(second), arrivals: 10, ..Sample::default() });
        }
        let arrivals = window.means(Duration::from_secs(19), MINUTE / 2).unwrap().arrivals;
        assert!((10.0..10.5).contains(&arrivals), "{arrivals}");
    }

    #[test]
    fn a_trend_is_more_than_chance() {
        let (window, now) = seen(120, |second| 10.0 + second);
        let trend = window.trend(now, MINUTE).unwrap();
        assert!((trend.slope - 1.0).abs() < 0.05 && (trend.now - 129.5).abs() < 1.0, "{trend:?}");
        let (window, now) = seen(120, |second| 150.0 - second);
        let trend = window.trend(now, MINUTE).unwrap();
        assert!((trend.slope + 1.0).abs() < 0.05, "{trend:?}");
        let (window, now) = seen(120, |second| if second % 7.0 < 3.0 { 13.0 } else { 7.0 });
        assert_eq!(window.trend(now, MINUTE), None, "ups and downs");
        let (window, now) = seen(20, |second| second * 10.0);
        assert_eq!(window.trend(now, MINUTE), None, "too little was seen");
    }
}
