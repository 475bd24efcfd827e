//! What the default scaling policy, Knative's rule and the two algorithms of the old ELB make of ten traces: a simulation
//! with seeds. SCALE.md tells what is simulated and holds the outcome.
//!
//! `cargo bench --profile dev --bench scale`

#[path = "traces/mod.rs"]
mod traces;

use carbon_elb::autoscale::{ScalePolicy, Scaler};
use carbon_elb::simulate::{Elb, ElbRates, Knative, KnativeSettings, Outcome, Rule, play};
use traces::Case;

const RULES: [&str; 5] = ["default policy", "default policy, target 70 %", "Knative", "ELB, older", "ELB 2.0.5"];

fn main() {
    println!("| trace | rule | node-hours | over the goal | of them refused | p99 | queue peak | up | down | flaps |");
    println!("| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut sums = [Cost::default(); RULES.len()];
    let mut beaten = Vec::new();
    for case in &traces::all() {
        let title = format!("{}{}", case.name, if case.held_out { " (held out)" } else { "" });
        let mut costs = [Cost::default(); RULES.len()];
        for (index, name) in RULES.into_iter().enumerate() {
            let outcome = play(&case.trace, &case.model, &mut *rule(index, case));
            println!("| {title} | {name} | {}", row(&outcome));
            costs[index] = Cost { node_hours: outcome.node_hours, over_goal: outcome.over_goal };
            sums[index].node_hours += outcome.node_hours;
            sums[index].over_goal += outcome.over_goal;
        }
        beaten.extend(better(&costs).map(|rule| format!("{title}: {rule}")));
    }
    for (name, Cost { node_hours, over_goal }) in RULES.into_iter().zip(sums) {
        println!("| all | {name} | {node_hours:.2} | {over_goal} | | | | | | |");
    }
    beaten.extend(better(&sums).map(|rule| format!("all: {rule}")));
    let beaten = if beaten.is_empty() { "none".to_owned() } else { beaten.join("; ") };
    println!(
        "\nRules of others that are not worse than the default policy on either cost, and better on one: {beaten}."
    );
}

/// What a rule costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    node_hours: f64,
    over_goal: usize,
}

/// The rules of others that are on no cost worse than the default policy, and better on one.
fn better(costs: &[Cost; RULES.len()]) -> impl Iterator<Item = &'static str> {
    let ours = costs[0];
    let beats = move |cost: &Cost| {
        cost.node_hours <= ours.node_hours
            && cost.over_goal <= ours.over_goal
            && (cost.node_hours < ours.node_hours || cost.over_goal < ours.over_goal)
    };
    RULES.into_iter().zip(*costs).skip(2).filter(move |(_, cost)| beats(cost)).map(|(name, _)| name)
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
