//! The one request that may find out whether an ejected member is well again.

use std::sync::Arc;

use crate::health::passive::{Outcome, Trial};
use crate::queue::Queue;

/// The trial of a member. If it ends without an outcome, whoever waits may be the next one: there need be no limit whose
/// end would wake somebody.
#[derive(Debug)]
pub(super) struct OnTrial {
    /// `None` only while it ends.
    trial: Option<Trial>,
    queue: Arc<Queue>,
}

impl OnTrial {
    /// A trial, and the queue of those that may be the next one.
    pub(super) fn new(trial: Trial, queue: Arc<Queue>) -> Self {
        OnTrial { trial: Some(trial), queue }
    }

    /// Tells the outcome; see [`Trial::end`].
    pub(super) fn end(mut self, outcome: Outcome) -> bool {
        self.trial.take().is_some_and(|trial| trial.end(outcome))
    }
}

impl Drop for OnTrial {
    fn drop(&mut self) {
        // First the room, then the news of it.
        if self.trial.take().is_some() {
            self.queue.released();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::time::timeout;

    use super::*;
    use crate::config::{OutlierPolicy, QueuePolicy};
    use crate::health::passive::{Outliers, Recorder};

    /// The recorder of a member that is on trial.
    fn on_trial() -> Arc<Recorder> {
        let (policy, now) = (OutlierPolicy::default(), Instant::now());
        let mut outliers = Outliers::new(policy, now);
        outliers.retain([0, 1]);
        let recorder = outliers.recorder(&0).unwrap().clone();
        while !recorder.record(Outcome::GatewayError, Duration::ZERO) {}
        assert!(outliers.decide(&0, now).is_some());
        outliers.tick(now + policy.eject_for);
        recorder
    }

    #[test]
    fn a_trial_without_outcome_lets_the_next_one_try() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wait = Duration::from_secs(5);
            for outcome in [None, Some(Outcome::Good)] {
                let (recorder, queue) = (on_trial(), Arc::new(Queue::new(QueuePolicy { length: 1, wait })));
                let trial = OnTrial::new(recorder.try_trial().unwrap(), queue.clone());
                let mut waits = std::pin::pin!(queue.wait(wait, |_| recorder.try_trial().into()));
                assert!(timeout(wait / 2, &mut waits).await.is_err(), "one at a time");
                match outcome {
                    None => drop(trial),
                    Some(outcome) => assert!(trial.end(outcome), "there is something to decide"),
                }
                // Time passes only when nobody has anything to do.
                assert_eq!(waits.await.is_ok(), outcome.is_none(), "{outcome:?}");
            }
        });
    }
}
