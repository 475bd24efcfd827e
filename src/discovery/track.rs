//! What is known of a source: its last good answer, and whether it answers now. Pure.

use std::collections::BTreeMap;

use crate::config::Node;
use crate::ids::NodeId;

/// Why a source has no members to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// In a few words that stay the same while it fails in this way.
    pub(super) reason: String,
    /// What else there is to say. It may differ from time to time.
    pub(super) detail: String,
}

/// A change for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// It does not answer any more, or in another way than before.
    Failed(Failure),
    /// It answers again.
    Recovered,
}

/// What differs between two sets, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) joined: Vec<NodeId>,
    pub(super) left: Vec<NodeId>,
    pub(super) changed: Vec<NodeId>,
}

/// What follows from an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// The members now, in the order of their ids, and what is new. Only if something is.
    pub(super) update: Option<(Vec<Node>, Difference)>,
    pub(super) news: Option<News>,
}

/// What a source has answered.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// By id. `None`: no good answer yet.
    last: Option<BTreeMap<NodeId, Node>>,
    failing: Option<String>,
}

impl Track {
    /// Takes in an answer. A failure changes nothing of the members; the order of an answer says nothing, and of
    /// several nodes of one id the first counts.
    pub(super) fn take(&mut self, answer: Result<Vec<Node>, Failure>) -> Step {
        match answer {
            Err(failure) => {
                let news = self.failing.as_ref() != Some(&failure.reason);
                self.failing = Some(failure.reason.clone());
                Step { update: None, news: news.then_some(News::Failed(failure)) }
            }
            Ok(members) => {
                let news = self.failing.take().map(|_| News::Recovered);
                let mut next = BTreeMap::new();
                for member in members {
                    next.entry(member.id.clone()).or_insert(member);
                }
                let update = (self.last.as_ref() != Some(&next)).then(|| {
                    let difference = difference(self.last.as_ref().unwrap_or(&BTreeMap::new()), &next);
                    (next.values().cloned().collect(), difference)
                });
                self.last = Some(next);
                Step { update, news }
            }
        }
    }

    /// The members of the last good answer.
    pub(super) fn members(&self) -> impl Iterator<Item = &Node> {
        self.last.iter().flat_map(|last| last.values())
    }

    /// Whether the last answer was good.
    pub(super) fn is_good(&self) -> bool {
        self.last.is_some() && self.failing.is_none()
    }
}

fn difference(before: &BTreeMap<NodeId, Node>, after: &BTreeMap<NodeId, Node>) -> Difference {
    let ids = |pick: &dyn Fn(&NodeId, &Node) -> bool, of: &BTreeMap<NodeId, Node>| {
        of.iter().filter(|(id, node)| pick(id, node)).map(|(id, _)| id.clone()).collect()
    };
    Difference {
        joined: ids(&|id, _| !before.contains_key(id), after),
        left: ids(&|id, _| !after.contains_key(id), before),
        changed: ids(&|id, node| before.get(id).is_some_and(|other| other != node), after),
    }
}

impl Difference {
    /// In words, as `+wk-4 -wk-1 ~wk-2`.
    pub(super) fn to_text(&self) -> String {
        let groups = [('+', &self.joined), ('-', &self.left), ('~', &self.changed)];
        let words = groups.iter().flat_map(|(sign, ids)| ids.iter().map(move |id| format!("{sign}{id}")));
        words.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::discovery::tests::node;

    fn failure(reason: &str, detail: &str) -> Failure {
        Failure { reason: reason.into(), detail: detail.into() }
    }

    fn ids(update: &Option<(Vec<Node>, Difference)>) -> Option<String> {
        let text = |(members, difference): &(Vec<Node>, Difference)| {
            let ids: Vec<_> = members.iter().map(|node| node.id.as_str()).collect();
            format!("{} ({})", ids.join(" "), difference.to_text())
        };
        update.as_ref().map(text)
    }

    #[test]
    fn only_changes_are_told() {
        let mut track = Track::default();
        let moved = Node { weight: 9, ..node("a") };
        /// An answer; the members after it and what is new in them, if anything is; and what is logged.
        type Row<'a> = (Result<Vec<Node>, Failure>, Option<&'a str>, Option<News>);
        let rows: [Row<'_>; 9] = [
            // The first failure comes before any good answer.
            (Err(failure("gone", "1")), None, Some(News::Failed(failure("gone", "1")))),
            (Ok(vec![node("b"), node("a")]), Some("a b (+a +b)"), Some(News::Recovered)),
            (Ok(vec![node("a"), node("b")]), None, None), // in another order
            (Err(failure("gone", "2")), None, Some(News::Failed(failure("gone", "2")))),
            (Err(failure("gone", "3")), None, None), // said already
            (Err(failure("empty", "")), None, Some(News::Failed(failure("empty", "")))),
            (Ok(vec![node("a"), node("b")]), None, Some(News::Recovered)), // the old ones are still good
            (Ok(vec![moved, node("c")]), Some("a c (+c -b ~a)"), None),
            (Ok(vec![]), Some(" (-a -c)"), None), // who decides that nobody is too few is the source
        ];
        for (number, (answer, update, news)) in rows.into_iter().enumerate() {
            let step = track.take(answer);
            assert_eq!(ids(&step.update).as_deref(), update, "row {number}");
            assert_eq!(step.news, news, "row {number}");
        }
        assert!(track.is_good());
    }

    proptest! {
        /// Whoever applies the updates has what was answered last, whatever failed meanwhile.
        #[test]
        fn updates_lead_to_the_last_good_answer(
            answers in proptest::collection::vec(proptest::option::of(proptest::collection::vec((0..6u8, 1..4u16), 0..5)), 1..40),
        ) {
            let mut track = Track::default();
            let (mut held, mut last) = (Vec::new(), Vec::new());
            let mut told = 0;
            for answer in &answers {
                let nodes = answer.as_ref().map(|ids| {
                    ids.iter().map(|(id, weight)| Node { weight: *weight, ..node(&format!("n{id}")) }).collect::<Vec<_>>()
                });
                if let Some(nodes) = &nodes {
                    let mut unique: BTreeMap<_, _> = BTreeMap::new();
                    nodes.iter().for_each(|node| _ = unique.entry(node.id.clone()).or_insert_with(|| node.clone()));
                    last = unique.into_values().collect();
                }
                let step = track.take(nodes.ok_or_else(|| failure("x", "")));
                if let Some((members, _)) = step.update {
                    prop_assert!(told == 0 || members != held, "told what is known");
                    held = members;
                    told += 1;
                }
                prop_assert_eq!(&held, &last);
                prop_assert_eq!(track.is_good(), answer.is_some());
            }
        }
    }
}
