//! Picks members so many times, for a tool that counts instructions: `benches/picks/count` runs it twice and tells the
//! difference.
//!
//! `cargo bench --bench picks -- ALGORITHM MEMBERS PICKS`

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use carbon_elb::config::{Algorithm, PoolSettings};
use carbon_elb::ids::Role;
use carbon_elb::select::{Candidate, Draws, Gauge, Moment, Pick, Selector};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [algorithm, members, picks] = &arguments[..] else {
        // `cargo test` and `cargo bench` without arguments run every bench.
        println!("picks ALGORITHM MEMBERS PICKS");
        return;
    };
    let algorithm = Algorithm::ALL.into_iter().find(|known| known.as_str() == algorithm).expect("a known algorithm");
    let (members, picks): (u32, u64) = (members.parse().expect("a number"), picks.parse().expect("a number"));

    let after = |millis| Moment::after(Duration::from_millis(millis));
    let gauges: Vec<Arc<Gauge>> = (0..members).map(|_| Arc::new(Gauge::new())).collect();
    for (gauge, latency) in gauges.iter().zip((10..50).cycle()) {
        gauge.try_start(None, after(0)).expect("no limit").answered(after(latency));
        gauge.report(latency as f32 / 100.0, after(latency)); // below 50
    }
    let candidates = (0_u64..).zip(&gauges).map(|(number, gauge)| Candidate {
        weight: (number % 7 + 1) as u32, // below 8
        gauge,
        identity: Draws::new(number).draw(),
    });
    let mut settings = PoolSettings::of(Role::Worker);
    settings.balance = algorithm;
    let selector = Selector::new(&settings, &candidates.collect::<Vec<_>>());
    let (turn, draws) = (AtomicUsize::new(0), Draws::new(1));
    let mut sum = 0;
    for key in 0..picks {
        let request = Pick { now: after(100), turn: &turn, draws: &draws, key };
        sum += selector.pick(&request, |_| true).expect("all are usable");
    }
    // So that nothing is left out.
    println!("{sum}");
}
