//! Takes a tree apart key by key: wrong types, missing keys and unknown keys are reported on the way.
//!
//! A *reader* turns one node into a value. It returns `None` if it has reported why it can't.

use std::collections::HashSet;

use super::problem::{Problems, Spot, quoted};
use super::suggest::nearest;
use super::tree::{Entry, Node, Scalar, Value};
use crate::ids::{NAME_RULE, Name};

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Spot,
}

/// What the file says about one key.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// Nothing: the default applies.
    #[default]
    Absent,
    /// Something wrong, which was reported. No conclusions may be drawn from it, so that one mistake is one problem.
    Bad,
    /// A value.
    Given(At<T>),
}

impl<T> Field<T> {
    pub(crate) fn given(&self) -> Option<&At<T>> {
        if let Field::Given(given) = self { Some(given) } else { None }
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Field::Bad)
    }

    /// Whether `condition` holds for the value, or the key is absent; not if it was bad.
    pub(crate) fn absent_or(&self, condition: impl Fn(&T) -> bool) -> bool {
        !self.is_bad() && self.value().is_none_or(condition)
    }

    /// The value, if it is a given one.
    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|given| &given.value)
    }
}

impl<T> Field<Items<T>> {
    /// The same with a part of each item.
    pub(crate) fn map_items<U>(&self, part: impl Fn(&T) -> U) -> Field<Items<U>> {
        match self {
            Field::Absent => Field::Absent,
            Field::Bad => Field::Bad,
            Field::Given(list) => {
                let item = |item: &At<T>| At { value: part(&item.value), at: item.at.clone() };
                let items = list.value.items.iter().map(item).collect();
                Field::Given(At { value: Items { items, complete: list.value.complete }, at: list.at.clone() })
            }
        }
    }
}

impl<T: Copy> Field<T> {
    /// The value, or the default. For a bad one too: the file is refused anyway.
    pub(crate) fn or(&self, default: T) -> T {
        self.value().copied().unwrap_or(default)
    }

    /// The value or the default; `None` if the file says something wrong.
    pub(crate) fn known_or(&self, default: T) -> Option<T> {
        if self.is_bad() { None } else { Some(self.or(default)) }
    }
}

impl<T: Default + Clone> Field<T> {
    /// A section, empty if it is absent.
    pub(crate) fn or_empty(&self) -> T {
        self.value().cloned().unwrap_or_default()
    }
}

/// The items of a list, or the entries of a map from names.
#[derive(Debug, Clone)]
pub(crate) struct Items<T> {
    pub(crate) items: Vec<At<T>>,
    /// Whether every item could be read. If not, nothing may be concluded from what is absent.
    pub(crate) complete: bool,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Items { items: Vec::new(), complete: true }
    }
}

impl<T: Clone> Items<T> {
    pub(crate) fn values(&self) -> Vec<T> {
        self.items.iter().map(|item| item.value.clone()).collect()
    }
}

/// The keys of a map, taken one by one.
pub(crate) struct Fields<'n, 'p> {
    at: Spot,
    entries: Vec<Option<&'n Entry>>,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// `None` if the node is not a map, which is reported.
    pub(crate) fn open(node: &'n Node, at: &Spot, problems: &'p mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, at, "a map", problems);
            return None;
        };
        let entries = entries.iter().map(Some).collect();
        Some(Fields { at: at.clone(), entries, known: Vec::new(), problems })
    }

    /// Reads the value of `key`.
    pub(crate) fn field<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
    ) -> Field<T> {
        self.known.push(key);
        let found = self.entries.iter_mut().find(|entry| entry.is_some_and(|entry| entry.key == key));
        let Some(entry) = found.and_then(Option::take) else { return Field::Absent };
        let at = self.at.key(key, entry.line);
        match read(&entry.value, &at, self.problems) {
            Some(value) => Field::Given(At { value, at }),
            None => Field::Bad,
        }
    }

    /// Reads the value of `key` and reports if there is none.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
    ) -> Field<T> {
        let field = self.field(key, read);
        if matches!(field, Field::Absent) {
            // A slip of the finger in the key is one problem, and `close` reports it.
            let mistyped = self.entries.iter().flatten().any(|entry| nearest(&entry.key, &[key]).is_some());
            if mistyped {
                return Field::Bad;
            }
            self.problems.error(&self.at.missing(key), "is missing", expected);
            return Field::Bad;
        }
        field
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn close(self) {
        let allowed = self.known.join(", ");
        for entry in self.entries.into_iter().flatten() {
            let mut what = "unknown key".to_owned();
            if let Some(near) = nearest(&entry.key, &self.known) {
                what += &format!(" (did you mean {near:?}?)");
            }
            self.problems.error(&self.at.key(&entry.key, entry.line), what, allowed.as_str());
        }
    }
}

/// Reports that a node is not what was expected.
pub(crate) fn wrong_type(node: &Node, at: &Spot, expected: &str, problems: &mut Problems) {
    let found = match &node.value {
        Value::Broken => return,
        Value::Scalar(scalar) if scalar.is_null() => "has no value".to_owned(),
        // What a variable holds may be a secret at a wrong place.
        Value::Scalar(scalar) => format!("found {}", quoted(scalar.written.as_ref().unwrap_or(&scalar.text))),
        Value::List(_) => "found a list".to_owned(),
        Value::Map(_) => "found a map".to_owned(),
    };
    problems.error(at, found, expected);
}

/// The node as a scalar that is not null.
pub(crate) fn scalar<'n>(node: &'n Node, at: &Spot, expected: &str, problems: &mut Problems) -> Option<&'n Scalar> {
    match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() => Some(scalar),
        _ => {
            wrong_type(node, at, expected, problems);
            None
        }
    }
}

/// A reader of lists.
pub(crate) fn list<T>(
    expected: &'static str,
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Items<T>> {
    move |node, at, problems| {
        let Value::List(nodes) = &node.value else {
            wrong_type(node, at, expected, problems);
            return None;
        };
        let mut list = Items::default();
        for (index, node) in nodes.iter().enumerate() {
            let at = at.item(index, node.line);
            match read(node, &at, problems) {
                Some(value) => list.items.push(At { value, at }),
                None => list.complete = false,
            }
        }
        Some(list)
    }
}

/// A reader of lists that takes a single scalar for a list of one.
pub(crate) fn list_or_one<T>(
    expected: &'static str,
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T> + Clone,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Items<T>> {
    move |node, at, problems| match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() => {
            let value = read(node, at, problems)?;
            Some(Items { items: vec![At { value, at: at.clone() }], complete: true })
        }
        _ => list(expected, read.clone())(node, at, problems),
    }
}

/// A reader of lists in which nothing may appear twice.
pub(crate) fn set<T: Eq + std::hash::Hash + Clone>(
    expected: &'static str,
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Items<T>> {
    let read = list(expected, read);
    move |node, at, problems| {
        let mut items = read(node, at, problems)?;
        let mut seen = HashSet::new();
        items.items.retain(|item| {
            let new = seen.insert(item.value.clone());
            if !new {
                problems.error(&item.at, "is in the list twice", "each entry once");
            }
            new
        });
        Some(items)
    }
}

/// A reader of maps whose keys are names that the operator chose.
pub(crate) fn named<T>(
    expected: &'static str,
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Items<(Name, T)>> {
    move |node, at, problems| {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, at, expected, problems);
            return None;
        };
        let mut named = Items::default();
        for entry in entries {
            let at = at.key(&entry.key, entry.line);
            let name = Name::parse(&entry.key);
            if name.is_none() {
                problems.error(&at, "is not a name", NAME_RULE);
            }
            // The value is read even without a name, for its own problems.
            match (name, read(&entry.value, &at, problems)) {
                (Some(name), Some(value)) => named.items.push(At { value: (name, value), at }),
                _ => named.complete = false,
            }
        }
        Some(named)
    }
}
