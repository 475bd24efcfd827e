//! What each balancing algorithm makes of a fleet whose members are not equally fast: a simulation with a seed. FLEET.md
//! tells what is simulated and holds the outcome.
//!
//! `cargo bench --profile dev --bench fleet`

#[path = "fleet/sim.rs"]
mod sim;

use carbon_elb::config::Algorithm;
use sim::Fleet;

const SEED: u64 = 2;

const ALGORITHMS: [(Algorithm, &str); 7] = [
    (Algorithm::RoundRobin, "round robin"),
    (Algorithm::Random, "random"),
    (Algorithm::Hash, "hash, bound 125 %"),
    (Algorithm::LoadAware, "load-aware"),
    (Algorithm::LeastInFlight, "least in flight"),
    (Algorithm::TwoChoices, "two choices"),
    (Algorithm::PeakEwma, "peak-EWMA"),
];

fn main() {
    for (weights_fit, title) in [(false, "Equal weights"), (true, "Weights that fit the speeds")] {
        println!("### {title}\n");
        println!("| members | load | algorithm | mean | p99 | p99.9 | imbalance |");
        println!("| ---: | ---: | :--- | ---: | ---: | ---: | ---: |");
        for members in [3, 10, 100] {
            for percent in [30_u8, 70, 90] {
                // More members need more requests for as long a time.
                let (load, requests) = (f64::from(percent) / 100.0, if members < 100 { 60_000 } else { 200_000 });
                let fleet = Fleet { members, load, weights_fit, requests, seed: SEED };
                for (algorithm, name) in ALGORITHMS {
                    let sim::Outcome { mean, p99, p999, imbalance } = sim::run(&fleet, algorithm);
                    println!(
                        "| {members} | {percent} % | {name} | {mean:.2} | {p99:.1} | {p999:.1} | {imbalance:.2} |"
                    );
                }
            }
        }
        println!();
    }
}
