//! YAML text → a tree of nodes that know their line.
//!
//! Duplicate keys are reported here and dropped. Aliases are supported by copying, within limits on the size and the
//! depth of the whole tree, so that a small file cannot become a huge one.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Seen;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Problem, Problems, Spot};

/// The size of a tree: nodes and keys, and one for every 256 bytes of their text.
const LARGEST: usize = 200_000;
/// How deep maps and lists may be nested.
const DEEPEST: usize = 64;

/// A value in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where the value begins, from 1.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file, without duplicates.
    Map(Vec<Entry>),
    /// Already reported; whoever meets it says nothing more.
    Broken,
}

/// A value that is neither map nor list. It has no type yet: that depends on the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, and so possibly a number, a boolean or nothing at all.
    pub(crate) plain: bool,
    /// The text in the file, if variables in it were replaced. What they hold may be a secret.
    pub(crate) written: Option<String>,
}

impl Scalar {
    /// `key:` with nothing after it, or one of YAML's words for that.
    pub(crate) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: usize,
    pub(crate) value: Node,
}

/// Reads one document. Problems that leave a usable tree go to `problems`; one that does not is returned.
pub(crate) fn read(text: &str, problems: &mut Problems) -> Result<Node, Problem> {
    let mut builder = Builder { frames: Vec::new(), anchors: HashMap::new(), size: 0, root: None, problems };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax_problem(&error))?;
        builder.event(event, span)?;
    }
    builder.root.ok_or_else(|| Problem::of_file(None, "the file is empty"))
}

fn syntax_problem(error: &ScanError) -> Problem {
    let mark = error.marker();
    Problem::of_file(Some(mark.line().max(1)), format!("not YAML: {} (column {})", error.info(), mark.col() + 1))
}

struct Builder<'p> {
    /// The maps and lists that are open.
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    /// Of the tree and of everything in `anchors`.
    size: usize,
    root: Option<Node>,
    problems: &'p mut Problems,
}

struct Frame {
    anchor: usize,
    line: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Line of each key.
        seen: HashMap<String, usize>,
        next: Next,
    },
}

/// What a map waits for.
enum Next {
    Key,
    Value {
        key: String,
        line: usize,
    },
    /// The value of a key that was reported.
    Dropped,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::of_file(Some(line), "a second YAML document: only one is read"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), line);
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, written: None };
                self.complete(Node { line, value: Value::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), line);
                self.open(Frame { anchor, line, body: Body::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), line);
                let body = Body::Map { entries: Vec::new(), seen: HashMap::new(), next: Next::Key };
                self.open(Frame { anchor, line, body })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Ok(())
            }
        }
    }

    fn refuse_tag(&mut self, tagged: bool, line: usize) {
        if tagged {
            self.problems.push(Problem::of_file(Some(line), "YAML tags (\"!…\") are not supported"));
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Problem> {
        if self.frames.len() >= DEEPEST {
            return Err(too_deep(frame.line));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.body {
            Body::List(items) => Value::List(items),
            Body::Map { entries, .. } => Value::Map(entries),
        };
        self.complete(Node { line: frame.line, value }, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::of_file(Some(line), "an alias (\"*…\") inside the value that it stands for"));
        };
        if self.frames.len() + depth(node) > DEEPEST {
            return Err(too_deep(line));
        }
        self.size += size(node);
        if self.size > LARGEST {
            return Err(too_large(line));
        }
        let node = node.clone();
        self.deliver(node)
    }

    /// A node is complete: remembers it under its anchor and hands it to what it belongs to.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.size += own_size(&node.value);
        if anchor > 0 {
            self.size += size(&node);
        }
        if self.size > LARGEST {
            return Err(too_large(node.line));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.deliver(node)
    }

    fn deliver(&mut self, node: Node) -> Result<(), Problem> {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let (entries, next) = match &mut frame.body {
            Body::List(items) => {
                items.push(node);
                return Ok(());
            }
            Body::Map { entries, next, .. } => (entries, next),
        };
        match std::mem::replace(next, Next::Key) {
            Next::Key => self.key(node),
            Next::Value { key, line } => entries.push(Entry { key, line, value: node }),
            Next::Dropped => {}
        }
        Ok(())
    }

    fn key(&mut self, node: Node) {
        let line = node.line;
        let here = self.spot(line);
        let Some(Frame { body: Body::Map { seen, next, .. }, .. }) = self.frames.last_mut() else { return };
        let Value::Scalar(Scalar { text, .. }) = node.value else {
            *next = Next::Dropped;
            self.problems.error(&here, "a map or list as a key", "a plain word as a key");
            return;
        };
        match seen.entry(text.clone()) {
            Seen::Vacant(entry) => {
                entry.insert(line);
                *next = Next::Value { key: text, line };
            }
            Seen::Occupied(first) => {
                *next = Next::Dropped;
                let what = format!("duplicate key, first given on line {}", first.get());
                self.problems.error(&here.key(&text, line), what, "each key once");
            }
        }
    }

    /// Where the innermost open map or list is.
    fn spot(&self, line: usize) -> Spot {
        let mut spot = Spot::root(line);
        // The innermost frame is what the caller adds to; it has no step of its own yet.
        let outer = self.frames.len().saturating_sub(1);
        for frame in self.frames.iter().take(outer) {
            spot = match &frame.body {
                Body::List(items) => spot.item(items.len(), line),
                Body::Map { next: Next::Value { key, .. }, .. } => spot.key(key, line),
                Body::Map { .. } => spot.key("?", line),
            };
        }
        spot
    }
}

fn too_deep(line: usize) -> Problem {
    Problem::of_file(Some(line), format!("maps and lists are nested more than {DEEPEST} deep"))
}

fn too_large(line: usize) -> Problem {
    Problem::of_file(Some(line), format!("more than {LARGEST} values, aliases included"))
}

fn text_size(text: &str) -> usize {
    1 + text.len() / 256
}

/// The size of a node without the values inside it.
fn own_size(value: &Value) -> usize {
    match value {
        Value::Scalar(scalar) => text_size(&scalar.text),
        Value::Map(entries) => 1 + entries.iter().map(|entry| text_size(&entry.key)).sum::<usize>(),
        Value::List(_) | Value::Broken => 1,
    }
}

/// The size of a node with everything inside it. The recursion is at most [`DEEPEST`] deep.
fn size(node: &Node) -> usize {
    let inside = match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        Value::Scalar(_) | Value::Broken => 0,
    };
    own_size(&node.value) + inside
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
        Value::Scalar(_) | Value::Broken => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::default();
        let node = match read(text, &mut problems) {
            Ok(node) => Some(node),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        (node, problems.iter().map(ToString::to_string).collect())
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Scalar(scalar) if scalar.plain => format!("{}@{}", scalar.text, node.line),
            Value::Scalar(scalar) => format!("{:?}@{}", scalar.text, node.line),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let show = |entry: &Entry| format!("{}@{}={}", entry.key, entry.line, show(&entry.value));
                format!("{{{}}}", entries.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Value::Broken => "broken".to_owned(),
        }
    }

    #[test]
    fn nodes_know_their_lines() {
        let cases = [
            ("a: 1\nb:\n  - x\n  - 'y'\n", "{a@1=1@1 b@2=[x@3 \"y\"@4]}"),
            ("# c\n\n{ a: { b: [1,\n 2] } }\n", "{a@3={b@3=[1@3 2@4]}}"),
            // The values behind an alias keep the lines where they are written.
            ("a: &x [1]\nb: *x\n", "{a@1=[1@1] b@2=[1@1]}"),
            ("a: &x 1\nb: {*x : 2}\n", "{a@1=1@1 b@2={1@1=2@2}}"),
            ("\u{feff}a: 1\n", "{a@1=1@1}"),
            ("---\na: 1\n...\n", "{a@2=1@2}"),
        ];
        for (text, expected) in cases {
            let (node, problems) = read_all(text);
            assert_eq!(problems, Vec::<String>::new(), "{text}");
            assert_eq!(show(&node.unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_remains_after_a_problem_is_still_read() {
        let cases = [
            ("a: 1\nb: 2\na: 3\n", "{a@1=1@1 b@2=2@2}", "line 3: a: duplicate key, first given on line 1"),
            ("x:\n- k: 1\n- {k: 1, k: 2}\n", "{x@1=[{k@2=1@2} {k@3=1@3}]}", "line 3: x[1].k: duplicate key"),
            ("a: !!int 1\n", "{a@1=1@1}", "line 1: YAML tags"),
            ("a:\n  ? [1, 2]\n  : 3\n  b: 4\n", "{a@1={b@4=4@4}}", "line 2: a: a map or list as a key"),
        ];
        for (text, expected, problem) in cases {
            let (node, problems) = read_all(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].starts_with(problem), "{text}: {problems:?}");
            assert_eq!(show(&node.unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn some_files_give_no_tree() {
        let deep = "[".repeat(65);
        let nested_alias =
            format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let items = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{items}]\n");
        }
        let fat = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(","));
        let cases = [
            ("", "the file is empty"),
            ("a: 1\n---\nb: 2\n", "line 2: a second YAML document"),
            ("a: 1\nb: [1, 2\n", "line 3: not YAML"),
            ("a: *b\n", "line 1: not YAML"),
            ("a: &a [*a]\n", "line 1: an alias"),
            (&deep, "line 1: maps and lists are nested more than 64 deep"),
            (&nested_alias, "line 2: maps and lists are nested more than 64 deep"),
            (&bomb, "line 5: more than 200000 values"),
            (&fat, "line 2: more than 200000 values"),
        ];
        for (text, problem) in cases {
            let (node, problems) = read_all(text);
            assert_eq!(node, None, "{text}");
            assert_eq!(problems.len(), 1);
            assert!(problems[0].starts_with(problem), "{problem}: {problems:?}");
        }
    }
}
