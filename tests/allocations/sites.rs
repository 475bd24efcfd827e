//! Who allocated, from the file that dhat writes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Crates that allocate because others tell them to: collections, boxes, text.
const PLUMBING: [&str; 18] = [
    "alloc",
    "core",
    "std",
    "__rustc",
    "dhat",
    "backtrace",
    "hashbrown",
    "bytes",
    "http",
    "smallvec",
    "serde",
    "serde_core",
    "serde_json",
    "ahash",
    "arc_swap",
    "indexmap",
    "itoa",
    "zmij",
];

/// The crate under test.
const OWN: &str = "carbon_elb";

/// Functions that allocate as often as the clock says, which is more on a slower machine: timers are shared by what ends in
/// the same ten milliseconds, and members are looked at every second.
const BY_THE_CLOCK: [&str; 2] = ["pingora_timeout::timer::", "::tick"];

/// The functions that asked for memory, and how often a request makes each do so.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    own: BTreeMap<Place, f64>,
    others: BTreeMap<Place, f64>,
    /// What nobody could be found for.
    nobodys: f64,
}

/// A function and the line where it asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    function: String,
    file: String,
    line: String,
}

/// What dhat writes, as far as it is needed.
#[derive(Deserialize)]
struct Written {
    pps: Vec<Point>,
    ftbl: Vec<String>,
}

/// A stack, innermost frame first, and how many blocks were allocated there.
#[derive(Deserialize)]
struct Point {
    tbk: u64,
    fs: Vec<usize>,
}

/// Whose a frame is.
enum Frame {
    Own(Place),
    Others(Place),
    Plumbing,
}

impl Sites {
    /// Reads what was counted during so many requests, and leaves out what goes by the clock.
    #[track_caller]
    pub(crate) fn read(file: &Path, requests: u32) -> Sites {
        let text = std::fs::read(file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
        let written: Written = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let frames: Vec<_> = written.ftbl.iter().map(|frame| Frame::of(frame)).collect();
        let mut sites = Sites::default();
        for point in &written.pps {
            let count = point.tbk as f64 / f64::from(requests);
            let asked = point.fs.iter().map(|&frame| &frames[frame]).find(|frame| !matches!(frame, Frame::Plumbing));
            match asked {
                Some(Frame::Own(place) | Frame::Others(place)) if place.is_by_the_clock() => {}
                Some(Frame::Own(place)) => *sites.own.entry(place.clone()).or_default() += count,
                Some(Frame::Others(place)) => *sites.others.entry(place.clone()).or_default() += count,
                _ => sites.nobodys += count,
            }
        }
        sites
    }

    /// All of a request.
    pub(crate) fn all(&self) -> f64 {
        self.own.values().chain(self.others.values()).sum::<f64>() + self.nobodys
    }

    /// What nobody could be found for.
    pub(crate) fn nobodys(&self) -> f64 {
        self.nobodys
    }

    /// This program's own functions, as `FILE FUNCTION`.
    pub(crate) fn own(&self) -> BTreeMap<String, f64> {
        let mut own = BTreeMap::new();
        for (place, count) in &self.own {
            *own.entry(format!("{} {}", place.file, last_segment(&place.function))).or_default() += count;
        }
        own
    }

    /// A line for each place, most first.
    pub(crate) fn report(&self) -> String {
        let lines = |places: &BTreeMap<Place, f64>| {
            let mut places: Vec<_> = places.iter().filter(|(_, count)| **count >= 0.005).collect();
            places.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            let line = |(place, count): (&Place, &f64)| {
                format!("{count:7.2} {} ({}:{})\n", place.function, place.file, place.line)
            };
            places.into_iter().map(line).collect::<String>()
        };
        let (own, others) = (lines(&self.own), lines(&self.others));
        format!("{:.1} allocations a request\nof this program:\n{own}of others:\n{others}", self.all())
    }
}

impl Place {
    fn is_by_the_clock(&self) -> bool {
        BY_THE_CLOCK.iter().any(|known| self.function.contains(known))
    }
}

impl Frame {
    /// Whose a frame such as `0x55d0c0de: carbon_elb::proxy::reply::header (src/proxy/reply.rs:12:5)` is. Of frames
    /// without a path, such as `{async_fn#0} (src/proxy/reply.rs:12:5)`, the file tells: of dependencies the name of their
    /// directory has a version. The other files are those of collections, or of async functions in deep directories.
    fn of(frame: &str) -> Frame {
        let Some((_, rest)) = frame.split_once(": ") else { return Frame::Plumbing };
        let (function, at) = rest.rsplit_once(" (").unwrap_or((rest, ""));
        let mut at = at.split(':');
        let (file, line) = (at.next().unwrap_or_default(), at.next().unwrap_or_default());
        let place = Place { function: without_closures(function).into(), file: file.into(), line: line.into() };
        match krate(function).or_else(|| directory(file)) {
            Some(OWN) => Frame::Own(place),
            Some(krate) if PLUMBING.contains(&krate) => Frame::Plumbing,
            Some(_) => Frame::Others(place),
            None if is_own_file(file) => Frame::Own(place),
            None if function.starts_with("{async_") => Frame::Others(place),
            None => Frame::Plumbing,
        }
    }
}

/// The crate that a function's path begins with: `a` of `<a::B as c::D>::e`, `c` of `<T as c::D>::e`.
fn krate(function: &str) -> Option<&str> {
    let path = function.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = path.trim_start_matches("mut ").trim_start_matches("dyn ");
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    if path[end..].starts_with("::") {
        return Some(&path[..end]);
    }
    krate(path[end..].strip_prefix(" as ")?)
}

/// `bytes` of `bytes-1.12.2/src/bytes_mut.rs`.
fn directory(file: &str) -> Option<&str> {
    let (name, version) = file.split('/').next()?.rsplit_once('-')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(name)
}

fn is_own_file(file: &str) -> bool {
    file.starts_with("src/") && Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file()
}

/// Compilers name closures and the bodies of async functions differently.
fn without_closures(function: &str) -> &str {
    let mut text = function;
    while text.ends_with('}')
        && let Some(begin) = text.rfind("::{")
    {
        text = &text[..begin];
    }
    text
}

/// `e` of `<a::B as c::D>::e`, and of `a::B<c::D>::e::<f::G>`.
fn last_segment(function: &str) -> &str {
    let function = match function.rfind("::<") {
        Some(begin) if function.ends_with('>') => &function[..begin],
        _ => function,
    };
    let last = function.rfind("::").map_or(function, |begin| &function[begin + 2..]);
    last.split('<').next().unwrap_or(last)
}
