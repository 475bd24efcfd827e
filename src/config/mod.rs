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
mod decode;
pub mod diff;
mod expand;
mod presets;
mod print;
mod problem;
mod raw;
mod secrets;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod values;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use self::checked::*;
pub use self::print::effective;
pub use self::problem::{Problem, Problems, Severity};

use self::check::Context;
use self::expand::{Environment, expand};
use self::problem::Spot;
use self::raw::RawConfig;

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
    let bytes = read(path).map_err(|error| Problem::of_file(None, format!("can't be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Problem::of_file(None, format!("is larger than {LARGEST_FILE} bytes")).into());
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        Problem::of_file(Some(line), "is not UTF-8 text")
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(text, folder)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks a configuration given as text. Relative paths in it start from `base_dir`.
///
/// # Errors
/// All problems of the text, warnings included, if one of them is an error.
pub fn parse(text: &str, base_dir: &Path) -> Result<Loaded, Problems> {
    let environment = |name: &str| std::env::var(name).ok();
    parse_with(text, base_dir, &environment, &crate::admin_services::is_known_admin_service)
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
