//! A node of the cluster model.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum State {
    Starting { ready_at: f64 },
    Ready,
    Draining,
}

/// A request, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Job {
    pub(super) arrived: f64,
    /// When it got to a node.
    pub(super) began: f64,
    /// How long it takes at full speed.
    pub(super) work: f64,
}

/// A job on a node. Greater is the one that is done first, for the heap.
#[derive(Debug)]
struct Running {
    /// The job is done when each of the node's jobs has got so many seconds of work since the node began.
    done: f64,
    job: Job,
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Running {}
impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Running {
    fn cmp(&self, other: &Self) -> Ordering {
        other.done.total_cmp(&self.done)
    }
}

/// A node. Its jobs share it evenly, so that one number, the work that each has got, says how far all of them are.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) state: State,
    pub(super) started: f64,
    running: BinaryHeap<Running>,
    /// Seconds of work that a job has got that has been there since the beginning.
    served: f64,
    /// Up to when `served` counts.
    at: f64,
}

impl Node {
    fn new(state: State, started: f64) -> Self {
        Node { state, started, running: BinaryHeap::new(), served: 0.0, at: started }
    }

    pub(super) fn ready(now: f64) -> Self {
        Node::new(State::Ready, now)
    }

    pub(super) fn starting(now: f64, ready_at: f64) -> Self {
        Node::new(State::Starting { ready_at }, now)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.running.len()
    }

    /// Seconds of work that each job gets in a second.
    fn rate(&self, cores: usize, speed: f64) -> f64 {
        speed * (cores as f64 / self.running.len().max(1) as f64).min(1.0)
    }

    /// Brings `served` up to `now`.
    pub(super) fn advance(&mut self, now: f64, cores: usize, speed: f64) {
        self.served += (now - self.at).max(0.0) * self.rate(cores, speed);
        self.at = now;
    }

    pub(super) fn next_completion(&self, cores: usize, speed: f64) -> Option<f64> {
        let first = self.running.peek()?;
        Some(self.at + (first.done - self.served).max(0.0) / self.rate(cores, speed))
    }

    pub(super) fn begin(&mut self, job: Job, now: f64, cores: usize, speed: f64) {
        self.advance(now, cores, speed);
        self.running.push(Running { done: self.served + job.work, job });
    }

    pub(super) fn complete(&mut self, now: f64, cores: usize, speed: f64) -> Option<Job> {
        self.advance(now, cores, speed);
        self.running.pop().map(|running| running.job)
    }

    /// The work of its largest job.
    pub(super) fn slowest(&self) -> Option<f64> {
        self.running.iter().map(|running| running.job.work).max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(work: f64) -> Job {
        Job { arrived: 0.0, began: 0.0, work }
    }

    #[test]
    fn jobs_share_the_cores_evenly() {
        let mut node = Node::ready(0.0);
        node.begin(job(1.0), 0.0, 1, 1.0);
        assert_eq!(node.next_completion(1, 1.0), Some(1.0));
        // From 0.5 on both get half: the first is done at 1.5, the second has 0.5 left then.
        node.begin(job(1.0), 0.5, 1, 1.0);
        assert_eq!(node.next_completion(1, 1.0), Some(1.5));
        assert_eq!(node.complete(1.5, 1, 1.0), Some(job(1.0)));
        assert_eq!(node.next_completion(1, 1.0), Some(2.0));
        // At half the speed the rest takes twice as long.
        assert_eq!(node.next_completion(1, 0.5), Some(2.5));
        assert_eq!(node.in_flight(), 1);
    }

    #[test]
    fn with_a_core_for_each_none_slows_another() {
        let mut node = Node::ready(0.0);
        (0..5).for_each(|_| node.begin(job(2.0), 0.0, 5, 1.0));
        assert_eq!(node.next_completion(5, 1.0), Some(2.0));
        assert_eq!(node.slowest(), Some(2.0));
    }
}
