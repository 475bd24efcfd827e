//! Algorithms that look at what members are busy with serve a fleet of unequal members better than turns do. The simulation
//! is the one whose tables are in benches/FLEET.md.

#[path = "../benches/fleet/sim.rs"]
mod sim;

use carbon_elb::config::Algorithm;
use sim::Fleet;

#[test]
fn who_looks_at_the_members_has_a_lower_p99_than_turns() {
    for (members, load, weights_fit, seed) in [
        (3, 0.7, false, 1),
        (3, 0.9, false, 2),
        (10, 0.8, false, 3),
        (3, 0.8, true, 4), // turns by weight overload nobody, and are still worse
        (10, 0.9, true, 5),
    ] {
        let fleet = Fleet { members, load, weights_fit, requests: 20_000, seed };
        let turns = sim::run(&fleet, Algorithm::RoundRobin);
        for algorithm in [Algorithm::LeastInFlight, Algorithm::TwoChoices, Algorithm::PeakEwma] {
            let outcome = sim::run(&fleet, algorithm);
            assert!(outcome.p99 < 0.95 * turns.p99, "{algorithm:?}, {fleet:?}: {outcome:?}, turns: {turns:?}");
            let also_lower = outcome.mean < turns.mean && outcome.p999 < turns.p999;
            assert!(also_lower, "{algorithm:?}, {fleet:?}: {outcome:?}, turns: {turns:?}");
        }
    }
}

#[test]
fn reported_load_makes_up_for_weights_that_do_not_fit() {
    let fleet = Fleet { members: 3, load: 0.7, weights_fit: false, requests: 20_000, seed: 1 };
    let [turns, load_aware] =
        [Algorithm::RoundRobin, Algorithm::LoadAware].map(|algorithm| sim::run(&fleet, algorithm));
    assert!(load_aware.imbalance < 1.15 && turns.imbalance > 1.25, "{load_aware:?}, turns: {turns:?}");
    assert!(load_aware.p99 < turns.p99 / 5.0, "{load_aware:?}, turns: {turns:?}");
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let fleet = Fleet { members: 10, load: 0.7, weights_fit: false, requests: 2_000, seed: 1 };
    let run = |seed| format!("{:?}", sim::run(&Fleet { seed, ..fleet }, Algorithm::PeakEwma));
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
