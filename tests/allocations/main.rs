//! What an ordinary request allocates once the balancer is warm, and which of it this program's own functions ask for.
//!
//! The balancer runs in this process, in front of nodes and a client that allocate nothing while they talk. One test in a
//! program of its own: the allocator is the whole process's.

mod sites;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use sites::Sites;
use stage::{Client, Stage};
use support::TempDir;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Requests that are counted, after so many others that fill what is kept: connections, idle memory, sessions.
const COUNTED: u32 = 200;
const WARM_UP: u32 = 50;

/// Frames that are looked at for the function that asked: without inlining those of collections and futures are many.
const FRAMES: usize = 40;

/// How far a count may be from what is written down: chance decides which of two futures the framework asks first, and
/// whether the next request is there before it is asked for.
const ABOUT: f64 = 0.5;

/// Allocations of a request, by anybody. The figure only goes down.
const ALL: f64 = 79.0;

/// The functions of this program that allocate for an ordinary request, and how often. The list only gets shorter.
const OWN: &str = include_str!("own");

#[test]
fn an_ordinary_request_allocates_what_is_known_and_no_more() {
    let stage = Stage::start();
    let mut client = Client::new(&stage);
    (0..WARM_UP).for_each(|_| client.ask());

    let dir = TempDir::new("allocations");
    let file = dir.path().join("dhat.json");
    let profiler = dhat::Profiler::builder().file_name(&file).trim_backtraces(Some(FRAMES)).build();
    (0..COUNTED).for_each(|_| client.ask());
    drop(profiler);

    let sites = Sites::read(&file, COUNTED);
    let (report, all) = (sites.report(), sites.all());
    assert!(sites.nobodys() < ABOUT, "{FRAMES} frames do not reach the function that asked\n{report}");
    let differences = differences(&sites.own());
    assert!(differences.is_empty(), "tests/allocations/own is not what is there:\n{differences}\n{report}");
    assert!(all <= ALL * 1.02, "{all:.1} allocations for a request are more than {ALL}\n{report}");
    // So that the figure goes down with what is counted.
    assert!(all >= ALL * 0.98, "only {all:.1} allocations for a request: lower ALL from {ALL}\n{report}");
}

/// `COUNT FILE FUNCTION` in each line that is no comment.
fn known() -> BTreeMap<String, f64> {
    let lines = OWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &'static str| {
        let (count, function) = line.trim().split_once(' ').unwrap_or_else(|| panic!("own: {line}"));
        (function.to_owned(), count.parse().unwrap_or_else(|e| panic!("own: {line}: {e}")))
    };
    lines.map(parse).collect()
}

/// What functions allocate that are not on the list, or do so more or less often than it says.
fn differences(counted: &BTreeMap<String, f64>) -> String {
    let known = known();
    let functions: BTreeSet<_> = known.keys().chain(counted.keys()).collect();
    let difference = |function: &String| {
        let of = |list: &BTreeMap<String, f64>| list.get(function).copied().unwrap_or_default();
        let (is, was) = (of(counted), of(&known));
        ((is - was).abs() > ABOUT).then(|| format!("{is:.1} {function} (the list says {was:.1})\n"))
    };
    functions.into_iter().filter_map(difference).collect()
}
