//! What the choice of a member costs, and what a new snapshot does.
//!
//! `cargo bench --bench select`

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use carbon_elb::config::{Algorithm, PoolSettings};
use carbon_elb::ids::Role;
use carbon_elb::select::{Candidate, Clock, Draws, Gauge, InFlight, Moment, Pick, Selector};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const MEMBERS: &[usize] = &[3, 100, 1_000];
const THREADS: &[usize] = &[1, 2, 4];

/// An algorithm as a type, so that each has benchmarks by number of members.
trait By {
    const ALGORITHM: Algorithm;
}

macro_rules! algorithms {
    ($($name:ident),*) => { $(
        struct $name;
        impl By for $name {
            const ALGORITHM: Algorithm = Algorithm::$name;
        }
    )* };
}

algorithms!(RoundRobin, Random, LeastInFlight, TwoChoices, PeakEwma, Hash, LoadAware);

/// A pool with some requests in flight, latencies and reports of load.
struct Pool {
    weights: Vec<u32>,
    gauges: Vec<Arc<Gauge>>,
    turn: AtomicUsize,
    draws: Draws,
    _in_flight: Vec<InFlight>,
}

/// A moment in the life of the pool, in milliseconds.
fn at(millis: u64) -> Moment {
    Moment::after(Duration::from_millis(millis))
}

impl Pool {
    /// Different weights without a common divisor.
    fn new(members: usize) -> Self {
        Pool::with((1..).take(members).map(|i| i % 7 + 1).collect())
    }

    /// Weights as large as the configuration allows.
    fn heaviest(members: usize) -> Self {
        Pool::with((0..).take(members).map(|i| 256 - i % 2).collect())
    }

    fn with(weights: Vec<u32>) -> Self {
        let gauges: Vec<_> = weights.iter().map(|_| Arc::new(Gauge::new())).collect();
        let mut in_flight = Vec::new();
        for (gauge, i) in gauges.iter().zip(0_u8..=255_u8).cycle().take(gauges.len()) {
            gauge
                .try_start(None, at(0))
                .into_iter()
                .for_each(|mut request| request.answered(at(10 + u64::from(i % 5))));
            gauge.report(f32::from(i % 5) / 50.0, at(10));
            in_flight.extend((0..i % 4).filter_map(|_| gauge.try_start(None, at(10))));
        }
        Pool { weights, gauges, turn: AtomicUsize::new(0), draws: Draws::new(1), _in_flight: in_flight }
    }

    fn selector<B: By>(&self) -> Selector {
        let mut settings = PoolSettings::of(Role::Worker);
        settings.balance = B::ALGORITHM;
        let candidates = (0..).zip(&self.weights).zip(&self.gauges);
        let candidates = candidates.map(|((identity, &weight), gauge)| Candidate { weight, gauge, identity });
        Selector::new(&settings, &candidates.collect::<Vec<_>>())
    }

    fn request(&self, key: u64) -> Pick<'_> {
        Pick { now: at(1_000), turn: &self.turn, draws: &self.draws, key }
    }
}

/// One thread, and several that share the turn and the draws.
#[divan::bench(types = [RoundRobin, Random, LeastInFlight, TwoChoices, PeakEwma, Hash, LoadAware], args = MEMBERS, threads = THREADS)]
fn pick<B: By>(bencher: Bencher<'_, '_>, members: usize) {
    let pool = Pool::new(members);
    let (selector, key) = (pool.selector::<B>(), Draws::new(2));
    let input = || key.draw(); // not timed
    bencher.with_inputs(input).bench_values(|key| selector.pick(&pool.request(black_box(key)), |_| true));
}

/// A request whose first member could not be reached.
#[divan::bench(types = [RoundRobin, Random, LeastInFlight, TwoChoices, PeakEwma, Hash, LoadAware], args = MEMBERS)]
fn pick_another<B: By>(bencher: Bencher<'_, '_>, members: usize) {
    let pool = Pool::new(members);
    let (selector, key) = (pool.selector::<B>(), Draws::new(2));
    let input = || key.draw();
    bencher.with_inputs(input).bench_local_values(|key| selector.pick(&pool.request(key), |member| member != 0));
}

/// The worst case: only one member is usable.
#[divan::bench(types = [RoundRobin, Random, LeastInFlight, TwoChoices, PeakEwma, Hash, LoadAware], args = MEMBERS)]
fn pick_the_last<B: By>(bencher: Bencher<'_, '_>, members: usize) {
    let pool = Pool::new(members);
    let (selector, key) = (pool.selector::<B>(), Draws::new(2));
    let input = || key.draw();
    bencher.with_inputs(input).bench_local_values(|key| selector.pick(&pool.request(key), |member| member == 1));
}

/// What a request does to a gauge: it starts, is answered and ends. All threads have the same member.
#[divan::bench(threads = THREADS)]
fn gauge(bencher: Bencher<'_, '_>) {
    let (gauge, clock, now) = (Arc::new(Gauge::new()), Clock::new(Instant::now()), Instant::now());
    bencher.bench(|| {
        let now = clock.at(black_box(now));
        let request = gauge.try_start(Some(100), now);
        request.map(|mut request| request.answered(now))
    });
}

/// A new snapshot with ordinary weights.
#[divan::bench(types = [RoundRobin, Random, PeakEwma, Hash, LoadAware], args = MEMBERS)]
fn build<B: By>(bencher: Bencher<'_, '_>, members: usize) {
    let pool = Pool::new(members);
    bencher.bench_local(|| black_box(&pool).selector::<B>());
}

/// A new snapshot with weights as large as the configuration allows.
#[divan::bench(types = [RoundRobin, Hash], args = MEMBERS)]
fn build_heaviest<B: By>(bencher: Bencher<'_, '_>, members: usize) {
    let pool = Pool::heaviest(members);
    bencher.bench_local(|| black_box(&pool).selector::<B>());
}
