//! What is wrong with a configuration file, where, and what would be right.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Whether a file with the problem can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; the operator should know.
    Warning,
}

/// One problem of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// The line, from 1; `None` if the problem is with the file as a whole.
    pub line: Option<usize>,
    /// The key path, such as `clusters.esb.nodes[1].weight`; empty for the top level.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would be right, if that can be said in short.
    pub allowed: Option<String>,
}

impl Problem {
    /// An error without a key path: the file can't be read or is not YAML.
    pub(crate) fn of_file(line: Option<usize>, what: impl Into<String>) -> Self {
        Problem { severity: Severity::Error, line, path: String::new(), what: what.into(), allowed: None }
    }

    /// The problem on one line, as `conf.yaml:12: clusters.esb.nodes[1].weight: 0 is out of range; allowed: 1 to 256`.
    pub fn in_file<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        InFile { file, problem: self }
    }
}

/// The problem on one line, as `line 12: clusters.esb.nodes[1].weight: 0 is out of range; allowed: 1 to 256`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        one_line(&self.what, f)?;
        self.allowed.iter().try_for_each(|allowed| write!(f, "; allowed: {allowed}"))
    }
}

/// Text that may hold anything, such as the name of a file: without what would begin another line or move the cursor.
fn one_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

struct InFile<'a> {
    file: &'a Path,
    problem: &'a Problem,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(line) = self.problem.line else {
            return write!(f, "{}: {}", self.file.display(), self.problem);
        };
        // The position is written the way compilers do, so that editors can jump to it.
        let rest = Problem { line: None, ..self.problem.clone() };
        write!(f, "{}:{line}: {rest}", self.file.display())
    }
}

/// A file with more problems than this is not worth a longer report.
const MOST: usize = 1_000;

/// All problems of a configuration file, in the order of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the order of the file's lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are, warnings included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the file is refused.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// One line for each problem, see [`Problem::in_file`].
    pub fn in_file<'a>(&'a self, file: &'a Path) -> impl fmt::Display + 'a {
        InFileAll { file, problems: self }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.0.len() < MOST {
            self.0.push(problem);
        } else if problem.severity == Severity::Error && !self.has_errors() {
            // However many warnings there are, a file with an error is refused.
            self.0.pop();
            self.0.push(problem);
        }
    }

    pub(crate) fn error(&mut self, at: &Spot, what: impl Into<String>, allowed: impl Into<String>) {
        self.push(at.problem(Severity::Error, what.into(), Some(allowed.into())));
    }

    pub(crate) fn warning(&mut self, at: &Spot, what: impl Into<String>) {
        self.push(at.problem(Severity::Warning, what.into(), None));
    }

    /// Stable, so that several problems of one line keep the order in which they were found.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|problem| problem.line);
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems(vec![problem])
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

struct InFileAll<'a> {
    file: &'a Path,
    problems: &'a Problems,
}

impl fmt::Display for InFileAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| writeln!(f, "{}", problem.in_file(self.file)))
    }
}

/// A place in the file: line and key path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// From 1.
    pub(crate) line: usize,
    path: Arc<str>,
}

impl Spot {
    /// The top level of the file.
    pub(crate) fn root(line: usize) -> Self {
        Spot { line, path: Arc::from("") }
    }

    /// The value of `key` in the map at this place.
    pub(crate) fn key(&self, key: &str, line: usize) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Spot { line, path: format!("{}{dot}{}", self.path, key_text(key)).into() }
    }

    /// An item of the list at this place.
    pub(crate) fn item(&self, index: usize, line: usize) -> Self {
        Spot { line, path: format!("{}[{index}]", self.path).into() }
    }

    /// A key that the map at this place lacks; its line is that of the map.
    pub(crate) fn missing(&self, key: &str) -> Self {
        self.key(key, self.line)
    }

    fn problem(&self, severity: Severity, what: String, allowed: Option<String>) -> Problem {
        Problem { severity, line: Some(self.line), path: self.path.to_string(), what, allowed }
    }
}

/// A key as a part of a key path: as it is if that is unambiguous, quoted otherwise.
fn key_text(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !key.is_empty() && key.len() <= 64 && key.chars().all(plain) { key.to_owned() } else { quoted(key) }
}

/// A value from the file inside a message: on one line and not endless.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().nth(LONGEST).is_none() {
        return format!("{text:?}");
    }
    format!("{:?}…", text.chars().take(LONGEST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let spot = Spot::root(1).key("clusters", 3).key("esb", 4).key("nodes", 9).item(1, 12).key("weight", 12);
        let mut problems = Problems::default();
        problems.error(&spot, "0 is out of range", "1 to 256");
        problems.warning(&Spot::root(1).key("a\nb", 2), "odd");
        problems.push(Problem::of_file(None, "no such file"));
        problems.sort();
        assert_eq!(
            problems.in_file(Path::new("conf.yaml")).to_string(),
            "conf.yaml: no such file\n\
             conf.yaml:2: warning: \"a\\nb\": odd\n\
             conf.yaml:12: clusters.esb.nodes[1].weight: 0 is out of range; allowed: 1 to 256\n"
        );
        assert!(problems.to_string().contains("line 12: clusters.esb.nodes[1].weight: 0 is"));
        assert!(problems.has_errors());
    }

    #[test]
    fn reports_are_bounded() {
        let mut problems = Problems::default();
        for _ in 0..2 * MOST {
            problems.warning(&Spot::root(1), "again");
        }
        assert_eq!(problems.len(), MOST);
        assert!(!problems.has_errors());
        problems.error(&Spot::root(1), "the last", "none");
        assert!(problems.has_errors());
        assert_eq!(problems.len(), MOST);
        assert!(quoted(&"x".repeat(10_000)).len() < 100);
    }
}
