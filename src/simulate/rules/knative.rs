//! Knative's pod autoscaler (KPA), as its documentation and its published code describe the rule. Written from those
//! facts, for comparison only.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Rule, bounds};
use crate::autoscale::{Fleet, Sample, ScalePolicy};

/// The keys of Knative's `config-autoscaler` that matter here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnativeSettings {
    /// Requests that a pod should have: `container-concurrency` times `container-concurrency-target-percentage`.
    pub target: f64,
    /// `stable-window`.
    pub stable_window: Duration,
    /// `panic-window-percentage` of the stable window.
    pub panic_window: Duration,
    /// `panic-threshold-percentage`, 2 for 200 %.
    pub panic_threshold: f64,
    /// `max-scale-up-rate`.
    pub max_scale_up_rate: f64,
    /// `max-scale-down-rate`.
    pub max_scale_down_rate: f64,
    /// `scale-down-delay`.
    pub scale_down_delay: Duration,
    /// `tick-interval`.
    pub tick: Duration,
}

impl KnativeSettings {
    /// The defaults, for a container that serves `concurrency` requests at a time.
    pub fn of(concurrency: f64) -> Self {
        KnativeSettings {
            target: concurrency * 0.7,
            stable_window: Duration::from_secs(60),
            panic_window: Duration::from_secs(6),
            panic_threshold: 2.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            scale_down_delay: Duration::ZERO,
            tick: Duration::from_secs(2),
        }
    }
}

/// The rule.
#[derive(Debug)]
pub struct Knative {
    settings: KnativeSettings,
    policy: ScalePolicy,
    samples: VecDeque<(Duration, f64)>,
    panic: Option<Duration>,
    most_in_panic: f64,
    delayed: VecDeque<(Duration, f64)>,
}

impl Knative {
    /// One that has seen nothing, with the bounds of `policy`.
    pub fn new(settings: KnativeSettings, policy: &ScalePolicy) -> Self {
        Knative {
            settings,
            policy: bounds(policy),
            samples: VecDeque::new(),
            panic: None,
            most_in_panic: 0.0,
            delayed: VecDeque::new(),
        }
    }

    fn mean(&self, now: Duration, window: Duration) -> Option<f64> {
        let recent = self.samples.iter().rev().take_while(|(at, _)| *at + window > now);
        let (count, sum) = recent.fold((0, 0.0), |(count, sum), (_, load)| (count + 1, sum + load));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The wanted number of pods for these concurrencies in the stable and in the panic window, before the bounds.
    pub fn scale(&mut self, stable: f64, panic: f64, ready: usize, now: Duration) -> f64 {
        let settings = self.settings;
        let ready = ready.max(1) as f64;
        let most = (settings.max_scale_up_rate * ready).ceil();
        let least = (ready / settings.max_scale_down_rate).floor();
        let wanted = |concurrency: f64| (concurrency / settings.target).ceil();
        let limited = |pods: f64| pods.max(least).min(most);
        let (for_stable, for_panic) = (limited(wanted(stable)), limited(wanted(panic)));
        if wanted(panic) / ready >= settings.panic_threshold {
            self.panic = Some(now);
        } else if self.panic.is_some_and(|since| since + settings.stable_window < now) {
            self.panic = None;
            self.most_in_panic = 0.0;
        }
        let mut pods = for_stable;
        if self.panic.is_some() {
            // In panic mode pods only become more.
            self.most_in_panic = self.most_in_panic.max(for_stable).max(for_panic);
            pods = self.most_in_panic;
        }
        self.delay(pods, now)
    }

    /// The largest number of the last `scale_down_delay`.
    fn delay(&mut self, pods: f64, now: Duration) -> f64 {
        if self.settings.scale_down_delay.is_zero() {
            return pods;
        }
        self.delayed.push_back((now, pods));
        let delay = self.settings.scale_down_delay;
        self.delayed.retain(|(at, _)| *at + delay >= now);
        self.delayed.iter().map(|(_, pods)| *pods).fold(0.0, f64::max)
    }
}

impl Rule for Knative {
    fn interval(&self) -> Duration {
        self.settings.tick
    }

    fn observe(&mut self, sample: &Sample) {
        self.samples.push_back((sample.at, (sample.in_flight + sample.queued) as f64));
        let kept = self.settings.stable_window.max(self.settings.panic_window);
        while self.samples.front().is_some_and(|(at, _)| *at + kept < sample.at) {
            self.samples.pop_front();
        }
    }

    fn wanted(&mut self, fleet: &Fleet, now: Duration) -> usize {
        let (stable, panic) = (self.settings.stable_window, self.settings.panic_window);
        match (self.mean(now, stable), self.mean(now, panic)) {
            (Some(stable), Some(panic)) => {
                let pods = self.scale(stable, panic, fleet.ready, now);
                (pods as usize).clamp(self.policy.min, self.policy.max) // saturates
            }
            _ => fleet.present(&self.policy).clamp(self.policy.min, self.policy.max),
        }
    }

    fn policy(&self) -> &ScalePolicy {
        &self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn knative(settings: KnativeSettings) -> Knative {
        Knative::new(settings, &ScalePolicy::of(10))
    }

    fn with_target(target: f64) -> KnativeSettings {
        KnativeSettings { target, max_scale_up_rate: 10.0, ..KnativeSettings::of(1.0) }
    }

    /// The comments of Knative's `config-autoscaler`, and its documentation of the KPA.
    #[test]
    fn the_examples_of_the_documentation() {
        // A container for 10 at 70 % is kept at 7.
        assert_eq!(KnativeSettings::of(10.0).target, 7.0);
        // 50 requests with a target of 10 need 5 pods; 100 with 10 at 70 % need 15.
        assert_eq!(knative(with_target(10.0)).scale(50.0, 50.0, 5, MINUTE), 5.0);
        assert_eq!(knative(KnativeSettings::of(10.0)).scale(100.0, 100.0, 14, MINUTE), 15.0);
        // With a rate of 2, N pods become 2 N at the most, and N / 2 at the least.
        let settings = KnativeSettings { max_scale_up_rate: 2.0, ..with_target(1.0) };
        assert_eq!(knative(settings).scale(100.0, 100.0, 10, MINUTE), 20.0);
        assert_eq!(knative(settings).scale(1.0, 1.0, 10, MINUTE), 5.0);
        // But at least one more: 3 requests, 2 pods, a rate of 1.1.
        let settings = KnativeSettings { max_scale_up_rate: 1.1, ..with_target(1.0) };
        assert_eq!(knative(settings).scale(3.0, 3.0, 2, MINUTE), 3.0);
    }

    /// Panic mode begins at twice what there is, holds the maximum, and ends a stable window after the last cause.
    #[test]
    fn panic_mode_holds_until_the_stable_window_has_passed() {
        let mut rule = knative(with_target(1.0));
        assert_eq!(rule.scale(11.0, 25.0, 10, MINUTE), 25.0);
        assert_eq!(rule.panic, Some(MINUTE));
        assert_eq!(rule.scale(30.0, 41.0, 40, MINUTE + MINUTE / 2), 41.0);
        assert_eq!(rule.panic, Some(MINUTE), "not extended");
        assert_eq!(rule.scale(50.0, 56.0, 55, MINUTE * 2 + SECOND * 2), 50.0, "over");
        assert_eq!(rule.panic, None);
        let mut rule = knative(with_target(1.0));
        assert_eq!(rule.scale(11.0, 25.0, 10, MINUTE), 25.0);
        assert_eq!(rule.scale(30.0, 80.0, 40, MINUTE + MINUTE / 2), 80.0);
        assert_eq!(rule.panic, Some(MINUTE + MINUTE / 2), "extended");
        // Nothing is stopped meanwhile.
        assert_eq!(rule.scale(20.0, 5.0, 80, MINUTE * 2), 80.0);
    }

    /// Each step brings the concurrency back to the target, and then it grows sixfold again.
    #[test]
    fn a_load_that_grows_exponentially_is_followed() {
        let mut rule = knative(with_target(1.0));
        let mut ready = 1;
        for (step, load) in [6.0, 36.0, 216.0, 1296.0].into_iter().enumerate() {
            let pods = rule.scale(load, load, ready, MINUTE + SECOND * u32::try_from(step).unwrap());
            assert_eq!(pods, load);
            ready = pods as usize;
        }
        assert_eq!(rule.scale(1296.0, 1296.0, 1296, MINUTE * 3), 1296.0);
    }

    #[test]
    fn stable_mode_follows_the_stable_window() {
        let mut rule = knative(with_target(10.0));
        assert_eq!(rule.scale(100.0, 100.0, 8, MINUTE), 10.0);
        assert_eq!(rule.scale(50.0, 50.0, 8, MINUTE), 5.0);
        assert_eq!(rule.scale(1.0, 0.0, 1, MINUTE), 1.0);
        assert_eq!(rule.scale(0.0, 0.0, 1, MINUTE), 0.0);
    }

    #[test]
    fn the_scale_down_delay_keeps_the_maximum() {
        let settings = KnativeSettings {
            scale_down_delay: MINUTE * 5,
            panic_threshold: 100.0,
            max_scale_down_rate: 10.0,
            ..with_target(10.0)
        };
        let mut rule = knative(settings);
        assert_eq!(rule.scale(40.0, 40.0, 0, SECOND * 2), 4.0);
        assert_eq!(rule.scale(0.0, 0.0, 0, MINUTE * 5), 4.0);
        assert_eq!(rule.scale(0.0, 0.0, 0, MINUTE * 5 + SECOND * 4), 0.0);
        let loads = [(9, 40.0, 4.0), (10, 30.0, 4.0), (11, 0.0, 4.0), (14, 0.0, 4.0), (15, 0.0, 3.0), (17, 0.0, 0.0)];
        for (minute, load, pods) in loads {
            assert_eq!(rule.scale(load, load, 0, MINUTE * minute), pods, "minute {minute}");
        }
    }

    #[test]
    fn windows_are_means_of_their_samples() {
        let mut rule = knative(KnativeSettings::of(10.0));
        for second in 1..=120_usize {
            let in_flight = if second > 114 { 30 } else { 10 };
            rule.observe(&Sample { at: SECOND * second as u32, in_flight, queued: 5, ..Sample::default() });
        }
        let now = SECOND * 120;
        assert_eq!(rule.mean(now, SECOND * 6), Some(35.0));
        assert_eq!(rule.mean(now, MINUTE), Some(17.0));
        let fleet = Fleet { ready: 3, ..Fleet::default() };
        assert_eq!(rule.wanted(&fleet, now), 3, "no panic yet: 35 need 5 pods, which is less than twice 3");
    }
}
