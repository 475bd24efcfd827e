//! What requests tell of a member, in atomics: nothing here locks or allocates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::OutlierPolicy;

/// What a request says of the member that it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The member answered.
    Good,
    /// The member, or what it depends on, could not answer: 502, 503, 504, a connection that could not be made or broke
    /// off, an answer that did not come in time. What the client broke off is no outcome at all.
    GatewayError,
}

impl Outcome {
    /// What a status says.
    ///
    /// 500 is an answer: SOAP 1.1 sends each fault with it, a fault that the request's sender has caused, too, and a
    /// client must not be able to eject a member by sending nonsense.
    pub const fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Outcome::GatewayError,
            _ => Outcome::Good,
        }
    }
}

/// Takes in the outcomes of one member's requests.
///
/// A counter may be read while another one is a request ahead: an interval is judged by many requests, or not at all.
#[derive(Debug)]
pub struct Recorder {
    /// Errors in a row that are too many; 0: no number is.
    longest_run: u32,
    /// Whether somebody wants to know of the requests of an interval.
    measures: bool,
    /// Errors in a row.
    run: AtomicU32,
    /// Good requests of the interval.
    good: AtomicU32,
    /// Gateway errors of the interval.
    errors: AtomicU32,
    /// Of the good requests of the interval, in microseconds.
    latency: AtomicU64,
    gate: Gate,
}

/// What was recorded in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) good: u32,
    pub(super) errors: u32,
    /// Sum over the good ones, in microseconds.
    pub(super) latency: u64,
}

impl Measured {
    pub(super) fn requests(self) -> u64 {
        u64::from(self.good) + u64::from(self.errors)
    }

    /// Of the good ones, in microseconds.
    pub(super) fn mean_latency(self) -> u64 {
        self.latency / u64::from(self.good.max(1))
    }
}

/// Latencies are cut here, so that no sum of an interval overflows: 5,000,000,000 requests fit.
const LONGEST_LATENCY: Duration = Duration::from_secs(60 * 60);

impl Recorder {
    pub(super) fn new(policy: &OutlierPolicy) -> Self {
        Recorder {
            longest_run: policy.consecutive,
            measures: policy.error_percent > 0 || policy.latency_percent > 0,
            run: AtomicU32::new(0),
            good: AtomicU32::new(0),
            errors: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            gate: Gate::default(),
        }
    }

    /// Takes in the outcome of a request; `latency` is the time from its end to the first byte of the answer, and counts
    /// for good ones only (an error may be very fast).
    ///
    /// Returns whether [`super::Outliers::decide`] has something to do: the errors in a row have just become too many.
    /// If nobody asks it, the next tick does.
    #[must_use]
    pub fn record(&self, outcome: Outcome, latency: Duration) -> bool {
        match outcome {
            Outcome::Good => {
                // Reading first leaves the line shared among the cores.
                if self.run.load(Ordering::Relaxed) != 0 {
                    self.run.store(0, Ordering::Relaxed);
                }
                if self.measures {
                    let latency = latency.min(LONGEST_LATENCY).as_micros() as u64; // an hour at most
                    self.good.fetch_add(1, Ordering::Relaxed);
                    self.latency.fetch_add(latency, Ordering::Relaxed);
                }
                false
            }
            Outcome::GatewayError => {
                if self.measures {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                }
                let run = self.run.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                run == self.longest_run
            }
        }
    }

    /// Lets one request through to a member on trial; `None` if the member is not on trial or another request is on its
    /// way. The outcome is told to the [`Trial`] and not to [`Recorder::record`].
    #[must_use]
    pub fn try_trial(self: &Arc<Self>) -> Option<Trial> {
        let word = self.gate.step(self.gate.word(), Phase::Free, Phase::Trial)?;
        Some(Trial { recorder: self.clone(), word })
    }

    /// Whether [`Recorder::try_trial`] would let a request through now.
    pub fn awaits_trial(&self) -> bool {
        Phase::of(self.gate.word()) == Phase::Free
    }

    /// Errors in a row.
    pub(super) fn run(&self) -> u32 {
        self.run.load(Ordering::Relaxed)
    }

    /// Whether the errors in a row are too many.
    pub(super) fn runs_too_long(&self) -> bool {
        self.longest_run > 0 && self.run() >= self.longest_run
    }

    /// Ends the interval.
    pub(super) fn take(&self) -> Measured {
        Measured {
            good: self.good.swap(0, Ordering::Relaxed),
            errors: self.errors.swap(0, Ordering::Relaxed),
            latency: self.latency.swap(0, Ordering::Relaxed),
        }
    }

    /// Lets every request through, and forgets what they told so far.
    pub(super) fn open(&self) {
        self.run.store(0, Ordering::Relaxed);
        self.take();
        self.gate.set(Phase::Open);
    }

    /// Lets no request through on trial.
    pub(super) fn close(&self) {
        self.gate.set(Phase::Closed);
    }

    /// Lets one request at a time through on trial.
    pub(super) fn half_open(&self) {
        self.gate.set(Phase::Free);
    }

    /// How a trial has ended that nothing has been done about.
    pub(super) fn verdict(&self) -> Option<Outcome> {
        match Phase::of(self.gate.word()) {
            Phase::Passed => Some(Outcome::Good),
            Phase::Failed => Some(Outcome::GatewayError),
            Phase::Open | Phase::Closed | Phase::Free | Phase::Trial => None,
        }
    }
}

/// The one request that a member on trial gets. If it is dropped without an outcome (its client has left), the next
/// request is the trial.
#[derive(Debug)]
#[must_use]
pub struct Trial {
    recorder: Arc<Recorder>,
    /// The gate's when this trial began. If it has another one now, somebody has decided without this trial.
    word: u64,
}

impl Trial {
    /// Tells the outcome, as soon as the head of the answer is there: no other request is let through until then.
    ///
    /// Returns whether [`super::Outliers::decide`] has something to do. If nobody asks it, the next tick does.
    #[must_use]
    pub fn end(self, outcome: Outcome) -> bool {
        let phase = if outcome == Outcome::Good { Phase::Passed } else { Phase::Failed };
        self.recorder.gate.step(self.word, Phase::Trial, phase).is_some()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // After `end`, the word is another one, and nothing happens.
        let _ = self.recorder.gate.step(self.word, Phase::Trial, Phase::Free);
    }
}

/// A [`Phase`] in the three low bits, and above them how many there have been, so that a trial which everybody has
/// forgotten cannot end a later one.
#[derive(Debug, Default)]
struct Gate(AtomicU64);

const PHASE_BITS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Active: there is no need of a trial.
    Open = 0,
    /// Ejected: it is too early for one.
    Closed = 1,
    /// On trial, and no request is on its way.
    Free = 2,
    /// On trial, and one is.
    Trial = 3,
    /// The trial was good, but nobody has brought the member back yet.
    Passed = 4,
    /// The trial failed, but nobody has ejected the member again yet.
    Failed = 5,
}

impl Phase {
    const fn of(word: u64) -> Self {
        match word & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Open,
            2 => Phase::Free,
            3 => Phase::Trial,
            4 => Phase::Passed,
            5 => Phase::Failed,
            _ => Phase::Closed, // 1; nobody writes 6 and 7
        }
    }

    /// The word that follows `word`.
    const fn after(self, word: u64) -> u64 {
        ((word >> PHASE_BITS).wrapping_add(1) << PHASE_BITS) | self as u64
    }
}

impl Gate {
    fn word(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Goes from one phase to another if the word is still `seen`. Returns the new word.
    fn step(&self, seen: u64, from: Phase, to: Phase) -> Option<u64> {
        let next = to.after(seen);
        let stepped =
            Phase::of(seen) == from && self.0.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        stepped.then_some(next)
    }

    fn set(&self, phase: Phase) {
        // It never fails, as the closure always has a next word.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(phase.after(word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(consecutive: u32, error_percent: u8) -> Arc<Recorder> {
        Arc::new(Recorder::new(&OutlierPolicy { consecutive, error_percent, ..OutlierPolicy::default() }))
    }

    #[test]
    fn statuses_of_a_gateway_are_errors() {
        for (status, error) in [(200, false), (404, false), (500, false), (501, false), (505, false)]
            .into_iter()
            .chain([502, 503, 504].map(|status| (status, true)))
        {
            assert_eq!(Outcome::of_status(status) == Outcome::GatewayError, error, "{status}");
        }
    }

    #[test]
    fn a_run_of_errors_is_told_once() {
        for (consecutive, outcomes, told) in [
            (3, "--+---", "000001"), // a good one ends the run
            (3, "-----", "00100"),   // once for each run
            (1, "-+-", "101"),
            (0, "-----", "00000"), // they do not count
        ] {
            let recorder = recorder(consecutive, 0);
            let outcome = |c| if c == '+' { Outcome::Good } else { Outcome::GatewayError };
            let said: String =
                outcomes.chars().map(|c| if recorder.record(outcome(c), Duration::ZERO) { '1' } else { '0' }).collect();
            assert_eq!(said, told, "{outcomes}");
        }
    }

    #[test]
    fn an_interval_is_counted_if_somebody_wants_to_know() {
        for (error_percent, measured) in [
            (0, Measured { good: 0, errors: 0, latency: 0 }),
            (50, Measured { good: 2, errors: 1, latency: 3_600_000_000 + 5_000 }),
        ] {
            let recorder = recorder(0, error_percent);
            let _ = recorder.record(Outcome::Good, Duration::from_millis(5));
            let _ = recorder.record(Outcome::Good, Duration::MAX);
            let _ = recorder.record(Outcome::GatewayError, Duration::from_secs(9));
            assert_eq!(recorder.take(), measured);
            assert_eq!(recorder.take(), Measured { good: 0, errors: 0, latency: 0 });
        }
    }

    #[test]
    fn one_request_at_a_time_is_on_trial() {
        let recorder = recorder(5, 0);
        assert!(recorder.try_trial().is_none(), "active");
        recorder.close();
        assert!(recorder.try_trial().is_none(), "ejected");
        recorder.half_open();
        let first = recorder.try_trial();
        assert!(first.is_some() && recorder.try_trial().is_none() && !recorder.awaits_trial());
        drop(first);
        assert!(recorder.awaits_trial(), "a trial without outcome frees the gate");
        let second = recorder.try_trial().unwrap();
        assert_eq!(recorder.verdict(), None);
        assert!(second.end(Outcome::GatewayError));
        assert_eq!(recorder.verdict(), Some(Outcome::GatewayError));
        assert!(recorder.try_trial().is_none(), "until somebody has decided");
    }

    #[test]
    fn a_forgotten_trial_does_not_touch_a_later_one() {
        let recorder = recorder(5, 0);
        recorder.half_open();
        let [told, dropped] = [(); 2].map(|()| {
            let trial = recorder.try_trial().unwrap();
            recorder.open();
            recorder.half_open();
            trial
        });
        let present = recorder.try_trial().unwrap();
        assert!(!told.end(Outcome::Good));
        drop(dropped);
        assert_eq!((recorder.verdict(), recorder.awaits_trial()), (None, false));
        assert!(present.end(Outcome::Good));
        assert_eq!(recorder.verdict(), Some(Outcome::Good));
    }

    #[test]
    fn of_many_threads_one_gets_the_trial() {
        let recorder = recorder(5, 0);
        for _ in 0..50 {
            recorder.half_open();
            let barrier = std::sync::Barrier::new(4);
            let trials: Vec<Option<Trial>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            recorder.try_trial()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(trials.iter().flatten().count(), 1);
        }
    }
}
