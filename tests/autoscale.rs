//! The autoscaler over random traces: what holds whatever the load does.

use std::time::Duration;

use carbon_elb::autoscale::{Decision, Fleet, Limit, Sample, ScalePolicy, Scaler};
use carbon_elb::select::Draws;
use carbon_elb::simulate::{Arrival, Elb, Model, Outcome, Rule, Trace, play};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// The scaler, and everything that it has decided.
struct Watched {
    scaler: Scaler,
    decided: Vec<(Duration, Fleet, Decision)>,
}

impl Watched {
    fn new(policy: ScalePolicy) -> Self {
        Watched { scaler: Scaler::new(policy), decided: Vec::new() }
    }
}

impl Rule for Watched {
    fn interval(&self) -> Duration {
        self.scaler.policy().interval
    }
    fn observe(&mut self, sample: &Sample) {
        self.scaler.observe(sample);
    }
    fn joined(&mut self, took: Duration) {
        self.scaler.joined(took);
    }
    fn wanted(&mut self, fleet: &Fleet, now: Duration) -> usize {
        let decision = self.scaler.decide(fleet, now);
        self.decided.push((now, fleet.clone(), decision));
        decision.wanted
    }
    fn policy(&self) -> &ScalePolicy {
        self.scaler.policy()
    }
}

fn unit(draws: &Draws) -> f64 {
    ((draws.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Requests that come at random: so many in a second, for a minute each; each takes `service` seconds in the mean.
fn poisson(seed: u64, rates: &[f64], service: f64) -> Trace {
    let draws = Draws::new(seed);
    let mut arrivals = vec![Arrival { at: 0.0, service }];
    for (minute, rate) in rates.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
        let mut at = minute as f64 * 60.0;
        loop {
            at -= unit(&draws).ln() / rate;
            if at >= (minute + 1) as f64 * 60.0 {
                break;
            }
            arrivals.push(Arrival { at, service: -unit(&draws).ln() * service });
        }
    }
    Trace::new(arrivals, rates.len() as f64 * 60.0).unwrap()
}

fn watched(trace: &Trace, model: &Model, policy: ScalePolicy) -> (Outcome, Watched) {
    let mut rule = Watched::new(policy);
    let outcome = play(trace, model, &mut rule);
    (outcome, rule)
}

prop_compose! {
    fn policies()(
        target in 2_usize..12,
        (min, more) in (1_usize..4, 0_usize..20),
        step_up in prop::option::of(1_usize..5),
        step_down in 1_usize..4,
        (window, panic) in (20_u64..120, any::<bool>()),
        startup in prop::option::of(5_u64..90),
        cool_down in prop::option::of(0_u64..120),
        scale_down_at in 50_u8..=100,
        scale_to_zero in prop::option::of(30_u64..300),
    ) -> ScalePolicy {
        let mut policy = ScalePolicy::of(target);
        (policy.min, policy.max) = (min, min + more);
        (policy.step_up, policy.step_down) = (step_up, Some(step_down));
        policy.window = SECOND * window as u32;
        policy.panic = policy.panic.filter(|_| panic);
        policy.startup = SECOND * startup.unwrap_or(0) as u32;
        policy.startup_limit = SECOND * 150;
        policy.cool_down = cool_down.map(Duration::from_secs);
        policy.scale_down_at = scale_down_at;
        policy.scale_to_zero = scale_to_zero.map(Duration::from_secs);
        policy
    }
}

prop_compose! {
    fn models()(
        nodes in 1_usize..4,
        startup in 1_u64..120,
        jitter in 0.0..1.0,
        lost in prop_oneof![Just(0.0), 0.0..0.6],
        cores in 2_usize..=12,
        seed in any::<u64>(),
    ) -> Model {
        Model { nodes, slots: 12, cores, startup: SECOND * startup as u32, jitter, lost, seed, ..Model::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_load_does(
        policy in policies(),
        model in models(),
        rates in prop::collection::vec(prop_oneof![Just(0.0), 0.0..30.0, 0.0..120.0], 5..20),
        seed in any::<u64>(),
    ) {
        let model = Model { nodes: model.nodes.clamp(policy.min, policy.max), ..model };
        let (outcome, rule) = watched(&poisson(seed, &rates, 0.5), &model, policy);
        prop_assert!(outcome.requests > 0 && !rule.decided.is_empty());
        let step_down = policy.step_down.unwrap();
        for (now, fleet, decision) in &rule.decided {
            let Decision { wanted, reason } = decision;
            let told = format!("{now:?}: {fleet:?} to {wanted}: {reason}");
            prop_assert!(*wanted <= policy.max, "{}", told);
            let idle = policy.scale_to_zero.is_some() && reason.as_str() == "idle" || *wanted >= policy.min;
            prop_assert!(idle || reason.limit.is_some() && policy.scale_to_zero.is_some(), "{}", told);
            prop_assert!(!reason.as_str().is_empty());
            let text = reason.to_string();
            prop_assert!(text.chars().any(|c| c.is_ascii_digit()) || text == "nothing was measured yet", "{}", text);
            // Nodes that are starting count.
            let starting = fleet.starting.iter().filter(|age| **age < policy.startup_limit).count();
            prop_assert!(fleet.ready + starting <= policy.max, "{}", told);
            let steps = fleet.steps(*wanted, &policy);
            prop_assert!(fleet.ready + starting + steps.resume + steps.start <= (*wanted).max(fleet.ready + starting));
            if let Some(step_up) = policy.step_up {
                prop_assert!(starting + steps.start <= step_up.max(starting), "{}", told);
            }
            // No drain is overtaken by the next.
            prop_assert!(fleet.draining + steps.drain <= step_down, "{}", told);
            prop_assert!(*wanted + step_down >= fleet.ready + fleet.draining, "{}", told);
            // One that is late is given up, and another one started if it is still needed.
            let late = fleet.starting.len() - starting;
            prop_assert_eq!(steps.give_up, late);
        }
    }

    #[test]
    fn the_number_rests_while_the_load_does(
        load in 1_usize..200,
        queued in 0_usize..3,
        on_node in 50_u64..2_000,
        policy in policies(),
        start in 1_usize..30,
    ) {
        let mut policy = policy;
        policy.max = 300;
        policy.scale_to_zero = None;
        let mut scaler = Scaler::new(policy);
        let mut fleet = Fleet { ready: start.max(policy.min), ..Fleet::default() };
        let mut last_change = 0;
        let mut finished = 0.0;
        for second in 1..1_800_u32 {
            for quarter in 0..4 {
                finished += load as f64 / 4.0 / (on_node as f64 / 1e3);
                let count = finished as u64;
                finished -= count as f64;
                scaler.observe(&Sample {
                    at: SECOND * second - SECOND / 4 * (3 - quarter),
                    in_flight: load,
                    queued,
                    arrivals: count,
                    completions: count,
                    time_on_nodes: Duration::from_millis(on_node) * count as u32,
                    node_load: None,
                });
            }
            let Decision { wanted, .. } = scaler.decide(&fleet, SECOND * second);
            if wanted != fleet.ready {
                last_change = second;
            }
            fleet.ready = wanted; // at once
        }
        // The longest cool-down, the window, and a second for each of the steps of a large surplus.
        prop_assert!(last_change <= 120 + 120 + 60, "{} at {}", fleet.ready, last_change);
        let exact = (load as f64 / policy.target as f64).ceil() as usize;
        // What chance may have made counts for a twentieth at most.
        prop_assert!(fleet.ready as f64 * policy.target as f64 >= load as f64 * 0.95 - 1e-6, "{} for {exact}", fleet.ready);
        let most = (load as f64 * 100.0 / f64::from(policy.scale_down_at) / policy.target as f64 * 1.6).ceil() as usize;
        prop_assert!(fleet.ready <= (most + 2).max(policy.min), "{} for {exact}", fleet.ready);
    }

    #[test]
    fn a_step_of_the_load_is_followed_in_few_steps(
        (before, after) in (1_usize..12, 30_usize..80),
        startup in 1_u32..40,
        step_up in prop::option::of(1_usize..6),
    ) {
        let mut policy = ScalePolicy::of(8);
        policy.max = 20;
        policy.step_up = step_up;
        let mut rates = vec![before as f64; 4];
        let seconds = startup as usize * (20 / step_up.unwrap_or(20)) + 180;
        rates.resize(4 + seconds / 60, after as f64);
        let model = Model {
            nodes: before.div_ceil(8),
            startup: SECOND * startup,
            jitter: 0.0,
            queue: 10_000,
            wait: SECOND * 3600,
            ..Model::default()
        };
        let (_, rule) = watched(&poisson(7, &rates, 1.0), &model, policy);
        let needed = after.div_ceil(8).saturating_sub(1);
        let after_step = || rule.decided.iter().filter(|(now, ..)| *now > SECOND * 240);
        let reached = after_step().position(|(_, fleet, _)| fleet.ready >= needed);
        prop_assert!(reached.is_some(), "{:?}", rule.decided.last());
        let wanted: Vec<_> = after_step().take(reached.unwrap()).map(|(.., decision)| decision.wanted).collect();
        let ups = wanted.windows(2).filter(|pair| pair[1] > pair[0]).count();
        // The burst is seen in three slices of its window; with a limit, one round of starts after the other.
        let rounds = step_up.map_or(0, |step| needed.div_ceil(step) + 20);
        prop_assert!(ups <= 8 + rounds, "{ups} steps up: {wanted:?}");
        let downs = wanted.windows(2).filter(|pair| pair[1] < pair[0]).count();
        prop_assert!(downs <= ups, "{wanted:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_outcome(
        rates in prop::collection::vec(0.0..40.0, 4..8),
        model in models(),
        seed in any::<u64>(),
    ) {
        let mut policy = ScalePolicy::of(8);
        policy.max = 12;
        let trace = poisson(seed, &rates, 0.5);
        let outcome = watched(&trace, &model, policy).0;
        prop_assert_eq!(&outcome, &watched(&trace, &model, policy).0);
        prop_assert_eq!(outcome.requests, trace.arrivals().len(), "none is lost");
    }

    /// The older algorithm of the ELB as a policy: the same number round by round, once its first window is over.
    #[test]
    fn the_older_elb_is_a_policy(
        loads in prop::collection::vec(0_usize..3_000, 11..60),
        (min, max) in (1_usize..3, 3_usize..8),
    ) {
        const ROUNDS: usize = 10;
        let mut policy = ScalePolicy::of(400);
        (policy.min, policy.max) = (min, max);
        policy.interval = SECOND * 60;
        policy.window = policy.interval * ROUNDS as u32;
        (policy.panic, policy.startup, policy.cool_down) = (None, Duration::ZERO, Some(Duration::ZERO));
        (policy.scale_down_at, policy.step_up, policy.step_down) = (100, Some(1), Some(1));
        let mut elb = Elb::older(400.0, &policy);
        let mut scaler = Scaler::new(policy);
        let mut fleet = Fleet { ready: min, ..Fleet::default() };
        for (round, load) in loads.iter().enumerate() {
            let at = policy.interval * (round as u32 + 1);
            let sample = Sample { at, in_flight: *load, ..Sample::default() };
            Rule::observe(&mut elb, &sample);
            scaler.observe(&sample);
            let (old, new) = (elb.wanted(&fleet, at), scaler.decide(&fleet, at));
            let recent = &loads[(round + 1).saturating_sub(ROUNDS)..=round];
            let sum: usize = recent.iter().sum();
            // At the threshold itself the old one stops none.
            let at_threshold = sum == (fleet.ready - 1) * 400 * ROUNDS;
            // The new one stops none in its first window.
            if round >= ROUNDS && !at_threshold {
                prop_assert_eq!(old, new.wanted, "round {}: {}", round, new.reason);
            }
            fleet.ready = old;
        }
    }
}

/// Half of all starts never come to an end, and yet there are enough nodes in the end.
#[test]
fn nodes_that_do_not_join_are_replaced() {
    let mut policy = ScalePolicy::of(8);
    policy.max = 10;
    policy.startup_limit = SECOND * 60;
    let mut rates = vec![8.0; 2];
    rates.resize(30, 50.0);
    for seed in 0..10 {
        let model = Model { lost: 0.5, seed, ..Model::default() };
        let (_, rule) = watched(&poisson(3, &rates, 1.0), &model, policy);
        let late =
            rule.decided.iter().any(|(_, fleet, _)| fleet.starting.iter().any(|age| *age >= policy.startup_limit));
        assert!(late, "seed {seed}: every start came to an end");
        let (_, fleet, decision) = rule.decided.last().unwrap();
        assert!((6..=8).contains(&fleet.ready), "seed {seed}: {fleet:?}, {}", decision.reason);
    }
}

/// Requests that come at random are a constant load, too.
#[test]
fn chance_makes_no_flapping() {
    for (seed, rate) in [(1, 3.0), (2, 8.0), (3, 15.0), (4, 24.0), (5, 33.0), (6, 47.0), (7, 64.0), (8, 80.0)] {
        let mut policy = ScalePolicy::of(8);
        policy.max = 20;
        let model = Model { nodes: (rate / 8.0_f64).ceil() as usize, ..Model::default() };
        let (outcome, _) = watched(&poisson(seed, &[rate; 120], 1.0), &model, policy);
        let steps = outcome.steps_up + outcome.steps_down;
        assert!(outcome.flaps <= 2 && steps <= 12, "{rate}/s: {} flaps, {steps} steps in two hours", outcome.flaps);
        assert_eq!(outcome.refused, 0, "{rate}/s");
    }
}

/// A first request brings the first node, and a long silence takes the last.
#[test]
fn to_zero_and_back() {
    let mut policy = ScalePolicy::of(8);
    policy.scale_to_zero = Some(SECOND * 120);
    let mut rates = vec![5.0; 2];
    rates.resize(10, 0.0);
    rates.extend([5.0; 4]);
    let model = Model { wait: SECOND * 60, goal: SECOND * 40, ..Model::default() };
    let (outcome, rule) = watched(&poisson(5, &rates, 0.5), &model, policy);
    let zero = rule.decided.iter().filter(|(_, fleet, _)| fleet.ready + fleet.starting.len() == 0).count();
    assert!((300..=400).contains(&zero), "{zero} s without a node");
    assert_eq!((outcome.refused, outcome.over_goal), (0, 0), "all were held until there was a node");
    let first = rule.decided.iter().find(|(now, _, decision)| *now > SECOND * 300 && decision.wanted > 0).unwrap();
    assert!((600..=604).contains(&first.0.as_secs()), "{first:?}");
    assert_eq!(first.2.reason.as_str(), "from_zero");
}

/// Where there is no node, a request brings one even if it has given up before the next decision; silence brings none.
#[test]
fn a_request_that_has_given_up_brings_a_node() {
    let mut policy = ScalePolicy::of(8);
    policy.interval = SECOND * 5;
    policy.scale_to_zero = Some(SECOND * 120);
    let wanted = |arrival: Option<u32>| -> Vec<usize> {
        let mut scaler = Scaler::new(policy);
        let mut wanted = Vec::new();
        for tenth in 1..=300 {
            let arrivals = u64::from(arrival == Some(tenth));
            scaler.observe(&Sample { at: SECOND * tenth / 10, arrivals, ..Sample::default() });
            if tenth % 50 == 0 {
                wanted.push(scaler.decide(&Fleet::default(), SECOND * tenth / 10).wanted);
            }
        }
        wanted
    };
    assert_eq!(wanted(None), [0; 6], "nor does the start of the balancer");
    assert_eq!(Scaler::new(policy).decide(&Fleet::default(), SECOND).wanted, 0, "without a sample neither");
    assert_eq!(wanted(Some(51)), [0, 1, 1, 0, 0, 0], "right after a decision");
    assert_eq!(wanted(Some(99)), [0, 1, 1, 0, 0, 0], "right before one");
}

/// After a start of the balancer its nodes register one after the other, and nearly nothing is known of their load.
#[test]
fn nodes_that_register_again_after_a_start_are_kept() {
    for (cool_down, longest) in [(None, 60), (Some(SECOND * 120), 120), (Some(Duration::ZERO), 60)] {
        let mut policy = ScalePolicy::of(10);
        (policy.max, policy.step_down, policy.cool_down) = (9, None, cool_down);
        let mut scaler = Scaler::new(policy);
        let mut first_down = None;
        for second in 1..=400 {
            // A static node; from the third second on those that register.
            let ready = if second < 3 { 1 } else { 7.min(second as usize - 1) };
            scaler.observe(&Sample { at: SECOND * second, in_flight: 5, ..Sample::default() });
            let decision = scaler.decide(&Fleet { ready, ..Fleet::default() }, SECOND * second);
            if decision.wanted < ready {
                first_down = first_down.or(Some((second, decision.wanted)));
            }
        }
        let cool_down = cool_down.unwrap_or(policy.startup).as_secs() as u32;
        // The first sample was at 1, and the last that is kept a second before it was enough.
        assert_eq!(first_down, Some((1 + longest + cool_down, 1)), "{cool_down}");
    }
}

/// What stops a number from following the load is told.
#[test]
fn limits_are_told() {
    let mut policy = ScalePolicy::of(10);
    (policy.min, policy.max, policy.step_up) = (2, 6, Some(2));
    let decide = |ready: usize, load: usize| {
        let mut scaler = Scaler::new(policy);
        let fleet = Fleet { ready, ..Fleet::default() };
        let sample = |second: u32| Sample { at: SECOND * second, in_flight: load, ..Sample::default() };
        let mut decision = scaler.decide(&fleet, Duration::ZERO);
        assert_eq!(decision.reason.to_string(), "nothing was measured yet");
        for second in 1..=100 {
            scaler.observe(&sample(second));
            decision = scaler.decide(&fleet, SECOND * second);
        }
        decision
    };
    let rows = [
        (
            2,
            0,
            2,
            Some(Limit::Min(2)),
            "0.0 requests in the mean of 1m need 0 nodes at 10 each; at least 2 nodes (min)",
        ),
        (2, 20, 2, None, "20.0 requests in the mean of 1m need 2 nodes at 10 each"),
        (2, 31, 4, None, "31.0 requests in the mean of 1m need 4 nodes at 10 each"),
        (
            2,
            60,
            4,
            Some(Limit::StepUp(2)),
            "60.0 requests in the mean of 1m need 6 nodes at 10 each; at most 2 nodes may be starting at a time (step_up)",
        ),
        (
            5,
            99,
            6,
            Some(Limit::Max(6)),
            "99.0 requests in the mean of 1m need 10 nodes at 10 each; at most 6 nodes (max)",
        ),
        (
            6,
            20,
            4,
            Some(Limit::StepDown(2)),
            "20.0 requests in the mean of 1m need 2 nodes at 10 each; at most 2 nodes may be draining at a time (step_down)",
        ),
        (
            3,
            20,
            3,
            Some(Limit::Margin { percent: 95 }),
            "20.0 requests in the mean of 1m need 2 nodes at 10 each; fewer would have more than 95% of their target (scale_down_at)",
        ),
        (4, 20, 3, None, "20.0 requests in the mean of 1m need 2 nodes at 10 each"),
    ];
    for (ready, load, wanted, limit, text) in rows {
        let decision = decide(ready, load);
        assert_eq!((decision.wanted, decision.reason.limit), (wanted, limit), "{ready} nodes, {load} in flight");
        assert_eq!(decision.reason.to_string(), text);
    }
}
