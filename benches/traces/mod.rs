//! Ten traces, made anew from their seeds, and the cluster that each is played against.
//!
//! They and the costs (hours of nodes; requests over the goal) were fixed before the default policy was tuned. Two of
//! them are held out: the policy was not tuned on them.

use std::time::Duration;

use carbon_elb::select::Draws;
use carbon_elb::simulate::{Arrival, Model, Trace};

/// A trace and its cluster.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whether the policy may be tuned on it.
    pub(crate) held_out: bool,
    pub(crate) trace: Trace,
    pub(crate) model: Model,
}

/// Requests take a second in the mean (lognormal, at most 3 s), so that requests per second and in flight are the same
/// number while none waits.
const SIGMA: f64 = 0.5;
const LONGEST: f64 = 3.0;

/// An hour, in seconds.
const HOUR: f64 = 3600.0;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let walk_10 = walk(71);
    let walk_120 = walk(72);
    let slow = vec![(0.4 * HOUR, 0.5), (0.7 * HOUR, 1.0)];
    let startup = |seconds| Model { startup: Duration::from_secs(seconds), ..Model::default() };
    vec![
        case("steady", 1, HOUR, Model::default(), &|_| 30.0),
        case("step", 2, HOUR, Model::default(), &|t| if (1200.0..2700.0).contains(&t) { 60.0 } else { 10.0 }),
        case("spikes", 3, HOUR, Model::default(), &|t| {
            if t % 900.0 >= 600.0 && t % 900.0 < 690.0 { 80.0 } else { 12.0 }
        }),
        case("daily wave", 4, 2.0 * HOUR, Model::default(), &|t| {
            32.0 - 28.0 * (std::f64::consts::TAU * t / HOUR).cos()
        }),
        case("sawtooth", 5, HOUR, Model::default(), &|t| 5.0 + 55.0 * (t % 600.0) / 600.0),
        case("slow nodes", 6, HOUR, Model { speeds: slow, ..Model::default() }, &|_| 20.0),
        case("start-up 10 s", 7, HOUR, startup(10), &|t| level(&walk_10, t)),
        case("start-up 120 s", 8, HOUR, startup(120), &|t| level(&walk_120, t)),
        Case {
            held_out: true,
            ..case("flash crowds", 9, HOUR, Model::default(), &|t| {
                let since = (t - 900.0).rem_euclid(1500.0);
                8.0 + 60.0 * (since / 45.0).min(1.0) * (-since / 300.0).exp()
            })
        },
        Case {
            held_out: true,
            ..case("shared cores", 10, HOUR, Model { slots: 10, cores: 6, ..startup(60) }, &|t| {
                let day = 18.0 - 12.0 * (std::f64::consts::TAU * t / HOUR).cos();
                if (2100.0..2220.0).contains(&t) { day + 20.0 } else { day }
            })
        },
    ]
}

fn case(name: &'static str, seed: u64, end: f64, model: Model, rate: &dyn Fn(f64) -> f64) -> Case {
    let draws = Draws::new(seed);
    let mut arrivals = Vec::new();
    let mut at = 0.0;
    // Poisson with a rate that changes: candidates at the highest rate, of which each is taken with its share.
    let highest = (0..=end as usize).map(|second| rate(second as f64)).fold(0.0, f64::max);
    loop {
        at += -unit(&draws).ln() / highest;
        if at > end {
            break;
        }
        if unit(&draws) * highest <= rate(at) {
            arrivals.push(Arrival { at, service: service(&draws) });
        }
    }
    let nodes = ((rate(0.0) / (0.7 * model.slots as f64)).ceil() as usize).max(1);
    let trace = Trace::new(arrivals, end).expect("generated times are in order");
    Case { name, held_out: false, trace, model: Model { nodes, ..model } }
}

/// A level for every two minutes: each between half and twice the one before, from 6 to 70.
fn walk(seed: u64) -> Vec<f64> {
    let draws = Draws::new(seed);
    let mut level: f64 = 15.0;
    (0..=31)
        .map(|_| {
            level = (level * (2.0 * unit(&draws) - 1.0).exp2()).clamp(6.0, 70.0);
            level
        })
        .collect()
}

/// From one level to the next in a straight line.
fn level(walk: &[f64], t: f64) -> f64 {
    let step = (t / 120.0).floor();
    let index = (step as usize).min(walk.len() - 2);
    let share = (t / 120.0 - step).clamp(0.0, 1.0);
    walk[index] * (1.0 - share) + walk[index + 1] * share
}

fn service(draws: &Draws) -> f64 {
    // Box and Muller, 1958.
    let normal = (-2.0 * unit(draws).ln()).sqrt() * (std::f64::consts::TAU * unit(draws)).cos();
    (SIGMA * normal - SIGMA * SIGMA / 2.0).exp().min(LONGEST)
}

/// A number above 0 and up to 1.
fn unit(draws: &Draws) -> f64 {
    ((draws.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}
