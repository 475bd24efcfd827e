//! Path prefixes, aligned to segments.

use ahash::AHashMap;

use super::segments::{is_plain, split};
use crate::admin_services::{Folded, fold};

/// What a table says about a path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// For managers only.
    Management,
    /// For workers only.
    Service,
    /// For whatever role the listener serves.
    Shared,
}

/// What all prefixes of a path together say about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether any prefix is marked [`Mark::Management`].
    pub(super) management: bool,
    /// The other mark ([`Mark::Service`] or [`Mark::Shared`]) of the longest prefix that has one.
    pub(super) listed: Option<Mark>,
}

/// Path prefixes by segment: `/carbon` covers `/carbon` and `/carbon/...`, not `/carbonara`.
///
/// A look-up costs one hash for each segment, and no more of them than the longest prefix has; how many prefixes there
/// are makes no difference.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Segments are compared folded (see [`fold`]), not exactly.
    folding: bool,
    /// Bytes of the longest segment of all prefixes; a longer one is not looked up.
    longest: usize,
}

#[derive(Debug, Default)]
struct Node {
    found: Found,
    children: AHashMap<Box<[u8]>, usize>,
}

impl Trie {
    /// For tables that allow: case matters.
    pub(super) fn exact() -> Self {
        Trie { nodes: vec![Node::default()], folding: false, longest: 0 }
    }

    /// For tables that deny: case does not matter.
    pub(super) fn folding() -> Self {
        Trie { folding: true, ..Trie::exact() }
    }

    /// Adds a prefix. Of [`Mark::Service`] and [`Mark::Shared`] for the same prefix, the latter wins.
    pub(super) fn insert(&mut self, prefix: &str, mark: Mark) {
        let mut at = 0;
        for segment in prefix.split('/').filter(|segment| !segment.is_empty()) {
            let key = if self.folding { fold(segment.as_bytes()) } else { Folded::from_slice(segment.as_bytes()) };
            self.longest = self.longest.max(key.len());
            let new = self.nodes.len();
            let node = &mut self.nodes[at]; // the root, or pushed below
            at = *node.children.entry(key[..].into()).or_insert(new);
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        let found = &mut self.nodes[at].found; // the root, or pushed above
        match mark {
            Mark::Management => found.management = true,
            Mark::Shared => found.listed = Some(Mark::Shared),
            Mark::Service => found.listed = found.listed.or(Some(Mark::Service)),
        }
    }

    /// What the prefixes of `tail` say.
    pub(super) fn look_up(&self, mut tail: &[u8]) -> Found {
        let mut node = &self.nodes[0]; // every constructor puts the root there
        let mut found = node.found;
        while !node.children.is_empty()
            && let Some((segment, after)) = split(tail)
            && let Some(child) = self.child(node, segment)
        {
            node = child;
            found.management |= node.found.management;
            found.listed = node.found.listed.or(found.listed);
            tail = after;
        }
        found
    }

    fn child(&self, node: &Node, segment: &[u8]) -> Option<&Node> {
        // A character takes up to three bytes and folds to one.
        let at = if self.folding && segment.len() <= 3 * self.longest && needs_folding(segment) {
            node.children.get(&fold(segment)[..])
        } else if segment.len() <= self.longest {
            node.children.get(segment)
        } else {
            None
        };
        at.and_then(|&at| self.nodes.get(at))
    }
}

fn needs_folding(segment: &[u8]) -> bool {
    !is_plain(segment) || segment.iter().any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie() -> Trie {
        let mut trie = Trie::exact();
        for (prefix, mark) in [
            ("/carbon", Mark::Management),
            ("/a", Mark::Service),
            ("/a/b/", Mark::Shared), // a trailing slash adds nothing
            ("/tie", Mark::Shared),
            ("/tie", Mark::Service),
            ("/a/admin", Mark::Management),
        ] {
            trie.insert(prefix, mark);
        }
        trie
    }

    #[test]
    fn prefixes_are_aligned_to_segments_and_the_longest_wins() {
        for (path, management, listed) in [
            ("/carbon", true, None),
            ("/carbon/", true, None),
            ("/carbon/x/y", true, None),
            ("/carbonara", false, None),
            ("/Carbon", false, None),
            ("/a", false, Some(Mark::Service)),
            ("/a/x", false, Some(Mark::Service)),
            ("/a/b", false, Some(Mark::Shared)),
            ("/a/b/c", false, Some(Mark::Shared)),
            ("/a/admin/x", true, Some(Mark::Service)),
            ("/tie", false, Some(Mark::Shared)),
            ("/", false, None),
            ("", false, None),
        ] {
            assert_eq!(trie().look_up(path.as_bytes()), Found { management, listed }, "{path}");
        }
    }

    #[test]
    fn a_folding_trie_ignores_case() {
        let mut trie = Trie::folding();
        trie.insert("/keymanager-Operations", Mark::Management);
        for path in ["/KeyManager-operations/x", "/\u{212a}eymanager-operationſ", "/keymanager-operations?/x"] {
            assert!(trie.look_up(path.as_bytes()).management, "{path}");
        }
        assert!(!trie.look_up(b"/keymanager-operation").management);
    }

    #[test]
    fn the_root_covers_everything() {
        let mut trie = Trie::exact();
        trie.insert("/", Mark::Service);
        assert_eq!(trie.look_up(b"/x/y").listed, Some(Mark::Service));
    }
}
