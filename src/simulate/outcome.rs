//! What a run of the simulation cost, and what it was worth.

use std::time::Duration;

/// Two steps in opposite directions within this time, in seconds: the second undoes the first.
const FLAP: f64 = 180.0;

/// From one point of the plot to the next, in seconds, for short traces.
const POINT: f64 = 1.0;
const POINTS: usize = 4_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Hours of all nodes, from start to stop.
    pub node_hours: f64,
    /// Requests that came.
    pub requests: usize,
    /// Requests that took longer than the goal, or were refused.
    pub over_goal: usize,
    /// Requests that found the queue full or waited too long.
    pub refused: usize,
    /// The 99th percentile of the time that served requests took, in seconds.
    pub p99: f64,
    /// The most requests that waited at a time.
    pub queue_peak: usize,
    /// How often more nodes were wanted than before.
    pub steps_up: usize,
    /// How often fewer nodes were wanted than before.
    pub steps_down: usize,
    /// Steps that undid the one before within three minutes.
    pub flaps: usize,
    /// For the plot.
    pub points: Vec<Point>,
}

/// The state at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Point {
    /// Seconds since the beginning.
    pub at: f64,
    /// Requests in flight or waiting.
    pub load: usize,
    /// Nodes that are wanted.
    pub wanted: usize,
    /// Nodes that serve.
    pub ready: usize,
}

/// Counts while the simulation runs.
#[derive(Debug)]
pub(super) struct Tally {
    goal: f64,
    outcome: Outcome,
    /// Seconds of all nodes.
    seconds: f64,
    /// Whether the trace is over, so that nodes cost no more.
    closed: bool,
    times: Vec<f32>,
    wanted: Option<usize>,
    /// When the last step was, and whether it was up.
    last_step: Option<(f64, bool)>,
    every: f64,
}

impl Tally {
    pub(super) fn new(goal: Duration) -> Self {
        Tally {
            goal: goal.as_secs_f64(),
            outcome: Outcome::default(),
            seconds: 0.0,
            closed: false,
            times: Vec::new(),
            wanted: None,
            last_step: None,
            every: POINT,
        }
    }

    pub(super) fn time(&mut self, nodes: usize, seconds: f64) {
        if !self.closed {
            self.seconds += nodes as f64 * seconds;
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn queue(&mut self, length: usize) {
        self.outcome.queue_peak = self.outcome.queue_peak.max(length);
    }

    pub(super) fn refused(&mut self) {
        self.outcome.requests += 1;
        self.outcome.refused += 1;
        self.outcome.over_goal += 1;
    }

    pub(super) fn finished(&mut self, seconds: f64) {
        self.outcome.requests += 1;
        self.outcome.over_goal += usize::from(seconds > self.goal);
        self.times.push(seconds as f32); // seven digits are enough for a percentile
    }

    pub(super) fn wanted(&mut self, now: f64, wanted: usize) {
        let before = self.wanted.replace(wanted).unwrap_or(wanted);
        if wanted == before || self.closed {
            return;
        }
        let up = wanted > before;
        *(if up { &mut self.outcome.steps_up } else { &mut self.outcome.steps_down }) += 1;
        let undone = self.last_step.is_some_and(|(at, was_up)| was_up != up && now - at < FLAP);
        self.outcome.flaps += usize::from(undone);
        self.last_step = Some((now, up));
    }

    pub(super) fn sample(&mut self, now: f64, load: usize, ready: usize) {
        let due = self.outcome.points.last().is_none_or(|last| now - last.at >= self.every);
        if self.closed || !due {
            return;
        }
        let wanted = self.wanted.unwrap_or(ready);
        self.outcome.points.push(Point { at: now, load, wanted, ready });
        if self.outcome.points.len() > POINTS {
            // Every other point goes: a long trace is plotted as coarsely as it is drawn.
            let mut kept = false;
            self.outcome.points.retain(|_| {
                kept = !kept;
                kept
            });
            self.every *= 2.0;
        }
    }

    pub(super) fn outcome(mut self) -> Outcome {
        self.outcome.node_hours = self.seconds / 3600.0;
        let rank = (self.times.len() * 99).div_ceil(100).saturating_sub(1);
        if rank < self.times.len() {
            self.outcome.p99 = f64::from(*self.times.select_nth_unstable_by(rank, f32::total_cmp).1);
        }
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_undoes_the_last_one_soon_is_a_flap() {
        let mut tally = Tally::new(Duration::from_secs(1));
        let steps = [(0.0, 2), (10.0, 3), (20.0, 3), (30.0, 2), (300.0, 1), (600.0, 4), (610.0, 5), (700.0, 4)];
        steps.iter().for_each(|(at, wanted)| tally.wanted(*at, *wanted));
        let outcome = tally.outcome();
        assert_eq!((outcome.steps_up, outcome.steps_down, outcome.flaps), (3, 3, 2));
    }

    #[test]
    fn what_takes_too_long_or_is_refused_is_over_the_goal() {
        let mut tally = Tally::new(Duration::from_secs(1));
        (1..=100).for_each(|hundredths| tally.finished(f64::from(hundredths) / 50.0));
        tally.refused();
        tally.time(3, 1800.0);
        tally.close();
        tally.time(3, 1800.0);
        let outcome = tally.outcome();
        assert_eq!((outcome.requests, outcome.over_goal, outcome.refused), (101, 51, 1));
        assert!((outcome.p99 - 1.98).abs() < 1e-6, "{}", outcome.p99);
        assert_eq!(outcome.node_hours, 1.5);
    }

    #[test]
    fn long_traces_keep_few_points() {
        let mut tally = Tally::new(Duration::from_secs(1));
        (0..100_000).for_each(|second| tally.sample(f64::from(second), 1, 1));
        let points = tally.outcome().points;
        assert!((POINTS / 2..=POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!(points[1].at - points[0].at, points[1000].at - points[999].at);
    }
}
