//! Picking a member, counting a request on it and taking in its answer allocate nothing.
//!
//! One test in a file of its own: the counter is the whole process's.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use carbon_elb::config::{Algorithm, PoolSettings};
use carbon_elb::ids::Role;
use carbon_elb::select::{Candidate, Clock, Draws, Gauge, Pick, Selector};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocations of 100 runs. The test harness has threads that may allocate at the same time, so that the least of
/// several attempts counts.
fn allocations(mut run: impl FnMut()) -> usize {
    let attempt = |_| {
        let region = Region::new(ALLOCATOR);
        (0..100).for_each(|_| run());
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..20).map(attempt).min().unwrap_or_default()
}

#[test]
fn a_request_allocates_nothing() {
    let (clock, now, turn, draws) = (Clock::new(Instant::now()), Instant::now(), AtomicUsize::new(0), Draws::new(1));
    for balance in [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::LeastInFlight,
        Algorithm::TwoChoices,
        Algorithm::PeakEwma,
        Algorithm::Hash,
        Algorithm::LoadAware,
    ] {
        for members in [1, 3, 1_000] {
            let gauges: Vec<_> = (0..members).map(|_| Arc::new(Gauge::new())).collect();
            let candidates = (0..).zip(&gauges).map(|(identity, gauge)| Candidate { weight: 3, gauge, identity });
            let mut settings = PoolSettings::of(Role::Worker);
            settings.balance = balance;
            let selector = Selector::new(&settings, &candidates.collect::<Vec<_>>());
            let mut key = 0;
            // Also if hardly any is usable.
            for usable in [|_| true, |position| position != 0, |position| position == 0, |_| false] {
                let run = || {
                    key += 1;
                    let request = Pick { now: clock.at(now), turn: &turn, draws: &draws, key };
                    let Some(position) = black_box(selector.pick(&request, usable)) else { return };
                    let gauge = &gauges[position];
                    if let Some(mut in_flight) = gauge.try_start(Some(1), request.now) {
                        in_flight.answered(clock.at(now + Duration::from_millis(key)));
                        gauge.report(0.5, request.now);
                    }
                };
                assert_eq!(allocations(run), 0, "{balance:?}, {members}");
            }
        }
    }

    // The counter counts.
    assert!(allocations(|| drop(black_box(Box::new(1)))) >= 100);
}
