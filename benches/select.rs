//! What the choice of a member costs, and what a new snapshot does.
//!
//! `cargo bench --bench select`

use std::sync::atomic::AtomicUsize;

use carbon_elb::config::Algorithm;
use carbon_elb::select::Selector;
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const MEMBERS: &[usize] = &[3, 100, 1_000];

/// Different weights without a common divisor.
fn weights(members: usize) -> Vec<u16> {
    (1_u16..).take(members).map(|i| i % 7 + 1).collect()
}

#[divan::bench(args = MEMBERS)]
fn pick(bencher: Bencher<'_, '_>, members: usize) {
    let (selector, turn) = (Selector::new(Algorithm::RoundRobin, &weights(members)), AtomicUsize::new(0));
    bencher.bench_local(|| selector.pick(black_box(&turn), |_| false));
}

/// Two threads on one turn: the price of sharing it.
#[divan::bench(args = MEMBERS, threads = 2)]
fn pick_shared(bencher: Bencher<'_, '_>, members: usize) {
    let (selector, turn) = (Selector::new(Algorithm::RoundRobin, &weights(members)), AtomicUsize::new(0));
    bencher.bench(|| selector.pick(black_box(&turn), |_| false));
}

/// A request whose first member could not be reached.
#[divan::bench(args = MEMBERS)]
fn pick_another(bencher: Bencher<'_, '_>, members: usize) {
    let (selector, turn) = (Selector::new(Algorithm::RoundRobin, &weights(members)), AtomicUsize::new(0));
    bencher.bench_local(|| selector.pick(black_box(&turn), |member| member == 0));
}

/// A new snapshot with ordinary weights.
#[divan::bench(args = MEMBERS)]
fn build(bencher: Bencher<'_, '_>, members: usize) {
    let weights = weights(members);
    bencher.bench_local(|| Selector::new(Algorithm::RoundRobin, black_box(&weights)));
}

/// A new snapshot with weights as large as the configuration allows.
#[divan::bench(args = MEMBERS)]
fn build_heaviest(bencher: Bencher<'_, '_>, members: usize) {
    let weights: Vec<u16> = (0_u16..).take(members).map(|i| 256 - i % 2).collect();
    bencher.bench_local(|| Selector::new(Algorithm::RoundRobin, black_box(&weights)));
}
