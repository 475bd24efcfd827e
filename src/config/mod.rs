//! The configuration file: from YAML text to [`checked::Config`], the type that the program runs on.
//!
//! ```text
//! text ─ tree ─→ nodes with lines ─ expand ─→ ${VAR} replaced ─ raw, decode ─→ what was written ─ check ─→ Config
//!         │                          │                           │                                │
//!         └──────────────────────────┴───────── problem ─────────┴────────────────────────────────┘
//! ```
//!
//! Each step goes on after a problem where it can, so that one run reports all of them, each with its line. A part of
//! the file that could not be read is marked as such, and later steps draw no conclusions from it: one mistake is one
//! problem. The key reference for operators is in `README.md`.

pub mod checked;

mod check;
pub(crate) mod decode;
pub mod diff;
mod expand;
mod presets;
mod print;
pub(crate) mod problem;
mod raw;
pub(crate) mod secrets;
mod suggest;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod units;
pub(crate) mod values;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use self::checked::*;
pub use self::print::effective;
pub use self::problem::{Problem, Problems, Severity};

pub(crate) use self::raw::IN_FLIGHT;
pub(crate) use self::values::is_route;

use self::check::Context;
pub(crate) use self::expand::Environment;
use self::expand::expand;
use self::problem::Spot;
use self::raw::{RawConfig, RawMembers};

/// A configuration that can be run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the operator should know all the same, in the order of the file's lines.
    pub warnings: Vec<Problem>,
}

/// A configuration file is a page or a hundred; nobody writes more by hand.
const LARGEST_FILE: u64 = 1 << 20;

/// Reads and checks a configuration file. Relative paths in it start from the folder that it is in.
///
/// # Errors
/// All problems of the file, warnings included, if one of them is an error.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    parse(&text_of(path)?, folder_of(path))
}

/// The folder that relative paths in a file start from.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a file of another kind in the same way: `read` makes of its tree what it holds. Relative paths start from the
/// folder that `read` is told.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_other<T>(
    path: &Path,
    read: impl FnOnce(&tree::Node, &Path, &mut Problems) -> Option<T>,
) -> Result<(T, Vec<Problem>), Problems> {
    parse_other(&text_of(path)?, folder_of(path), &|name| std::env::var(name).ok(), read)
}

/// The same with a text.
pub(crate) fn parse_other<T>(
    text: &str,
    base_dir: &Path,
    environment: &Environment<'_>,
    read: impl FnOnce(&tree::Node, &Path, &mut Problems) -> Option<T>,
) -> Result<(T, Vec<Problem>), Problems> {
    let mut problems = Problems::default();
    let mut root = tree::read(text, &mut problems)?;
    expand(&mut root, &Spot::root(1), environment, &mut problems);
    let base_dir = std::path::absolute(base_dir).unwrap_or_else(|_| base_dir.to_owned());
    let value = read(&root, &base_dir, &mut problems);
    problems.sort();
    match value {
        Some(value) if !problems.has_errors() => Ok((value, problems.into_iter().collect())),
        _ => Err(problems),
    }
}

/// Whether a file has a key at its top: what kind of file it is meant to be. One that cannot be read has none.
pub(crate) fn has_key(path: &Path, key: &str) -> bool {
    let mut problems = Problems::default();
    let root = text_of(path).ok().and_then(|text| tree::read(&text, &mut problems).ok());
    matches!(root, Some(tree::Node { value: tree::Value::Map(entries), .. }) if entries.iter().any(|entry| entry.key == key))
}

fn text_of(path: &Path) -> Result<String, Problems> {
    Ok(text(&read(path)?)?.to_owned())
}

/// Reads a file that is not too large.
///
/// # Errors
/// One problem: it cannot be read, is none, or is too large.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let read = || -> io::Result<Vec<u8>> {
        // Opening something like a named pipe would block.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| Problem::of_file(None, format!("can't be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Problem::of_file(None, format!("is larger than {LARGEST_FILE} bytes")));
    }
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        Problem::of_file(Some(line), "is not UTF-8 text")
    })
}

/// Reads the file of a source, see [`members`].
///
/// # Errors
/// All problems of the file.
pub fn load_members(path: &Path, rules: &MemberRules) -> Result<Vec<Node>, Problems> {
    members(&read(path)?, rules)
}

/// Reads what the file of a source holds: YAML or JSON, a map with the key `nodes` as a cluster of the configuration
/// has it. An empty list is one; an empty file is not.
///
/// Variables are not replaced: whoever writes the file may not know the environment of the balancer.
///
/// # Errors
/// All problems of the file.
pub fn members(bytes: &[u8], rules: &MemberRules) -> Result<Vec<Node>, Problems> {
    let mut problems = Problems::default();
    let root = tree::read(text(bytes)?, &mut problems)?;
    let members = RawMembers::read(&root, &mut problems).map(|raw| check::sources::members(&raw, rules, &mut problems));
    problems.sort();
    match members {
        Some(members) if !problems.has_errors() => Ok(members),
        _ => Err(problems),
    }
}

/// Checks a configuration given as text. Relative paths in it start from `base_dir`.
///
/// # Errors
/// All problems of the text, warnings included, if one of them is an error.
pub fn parse(text: &str, base_dir: &Path) -> Result<Loaded, Problems> {
    let environment = |name: &str| std::env::var(name).ok();
    parse_with(text, base_dir, &environment, &crate::admin_services::is_known_admin_service)
}

/// As [`parse`], in an environment of the tests.
#[cfg(test)]
pub(crate) fn parse_in_environment(
    text: &str,
    base_dir: &Path,
    environment: &Environment<'_>,
) -> Result<Loaded, Problems> {
    parse_with(text, base_dir, environment, &crate::admin_services::is_known_admin_service)
}

fn parse_with(
    text: &str,
    base_dir: &Path,
    environment: &Environment<'_>,
    is_admin_service: &dyn Fn(&str) -> bool,
) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut root = tree::read(text, &mut problems)?;
    expand(&mut root, &Spot::root(1), environment, &mut problems);
    // A path that the program prints must mean the same wherever it is read.
    let base_dir = std::path::absolute(base_dir).unwrap_or_else(|_| base_dir.to_owned());
    let context = Context { base_dir: &base_dir, is_admin_service };
    let config = RawConfig::read(&root, &mut problems).map(|raw| check::check(&raw, &context, &mut problems));
    problems.sort();
    match config {
        Some(config) if !problems.has_errors() => Ok(Loaded { config, warnings: problems.into_iter().collect() }),
        _ => Err(problems),
    }
}
