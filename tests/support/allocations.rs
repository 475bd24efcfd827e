//! Counts what is allocated, for tests that say that nothing is.
//!
//! The counter is the whole process's: such a test is the only one of its file.

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocations of 100 runs. The test harness has threads that may allocate at the same time, so that the least of
/// several attempts counts.
pub(crate) fn allocations(mut run: impl FnMut()) -> usize {
    let attempt = |_| {
        let region = Region::new(ALLOCATOR);
        (0..100).for_each(|_| run());
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..20).map(attempt).min().unwrap_or_default()
}

/// The counter counts.
#[track_caller]
pub(crate) fn assert_counted() {
    assert!(allocations(|| drop(black_box(Box::new(1)))) >= 100);
}
