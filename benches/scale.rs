//! What the default scaling policy, Knative's rule and the two algorithms of the old ELB make of ten traces: a simulation
//! with seeds. SCALE.md tells what is simulated and holds the outcome.
//!
//! `cargo bench --profile dev --bench scale`

#[path = "traces/mod.rs"]
mod traces;

use carbon_elb::autoscale::{ScalePolicy, Scaler};
use carbon_elb::simulate::{Elb, ElbRates, Knative, KnativeSettings, Outcome, Rule, play};
use traces::Case;

const RULES: [&str; 5] = ["default policy", "the same at 70 %", "Knative", "ELB, older", "ELB 2.0.5"];

fn main() {
    let cases = traces::all();
    println!("| trace | rule | node-hours | over the goal | of them refused | p99 | queue peak | up | down | flaps |");
    println!("| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut sums = [(0.0, 0, 0); RULES.len()];
    for case in &cases {
        for (index, name) in RULES.into_iter().enumerate() {
            let outcome = play(&case.trace, &case.model, &mut *rule(index, case));
            let held_out = if case.held_out { " (held out)" } else { "" };
            println!("| {}{held_out} | {name} | {}", case.name, row(&outcome));
            let sum = &mut sums[index];
            *sum = (sum.0 + outcome.node_hours, sum.1 + outcome.over_goal, sum.2 + outcome.refused);
        }
    }
    for (name, (node_hours, over_goal, refused)) in RULES.into_iter().zip(sums) {
        println!("| all | {name} | {node_hours:.2} | {over_goal} | {refused} | | | | | |");
    }
}

fn rule(index: usize, case: &Case) -> Box<dyn Rule> {
    let slots = case.model.slots as f64;
    let policy = |share: f64| {
        let mut policy = ScalePolicy::of((slots * share) as usize);
        policy.max = 20;
        policy
    };
    let (ours, policy) = (policy(0.8), policy(0.7));
    match index {
        0 => Box::new(Scaler::new(ours)),
        1 => Box::new(Scaler::new(policy)),
        2 => Box::new(Knative::new(KnativeSettings::of(slots), &policy)),
        3 => Box::new(Elb::older(policy.target as f64, &policy)),
        _ => Box::new(Elb::newer(ElbRates::of(slots / case.trace.mean_service()), &policy)),
    }
}

fn row(outcome: &Outcome) -> String {
    let Outcome { node_hours, over_goal, refused, p99, queue_peak, steps_up, steps_down, flaps, .. } = outcome;
    format!(
        "{node_hours:.2} | {over_goal} | {refused} | {p99:.1} s | {queue_peak} | {steps_up} | {steps_down} | {flaps} |"
    )
}
