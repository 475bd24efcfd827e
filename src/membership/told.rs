//! What is told of members: what happened to them, and what is known of them.

use std::time::Duration;

use super::Source;
use super::admission::Refusal;
use crate::config::Node;
use crate::ids::{ClusterName, NodeId, Role};

/// Something that happened to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its id.
    pub id: NodeId,
    /// Who named it.
    pub source: Source,
    /// Its first role; members that come and go have one.
    pub role: Role,
    /// What happened.
    pub event: Event,
}

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It is a member now.
    Joined,
    /// Something that is said of it is new.
    Changed,
    /// It was leaving, and is named again.
    Back,
    /// Its lease was renewed.
    Renewed,
    /// It was deregistered, and is leaving.
    Deregistered,
    /// Its lease has ended, and it is leaving.
    Expired,
    /// Its source does not find it any more, and it is leaving.
    Left,
    /// Another one registered with its address, and it is leaving.
    Superseded,
    /// It is drained, and no longer a member.
    Removed,
    /// A new configuration does not allow it any more, or has its id.
    Forbidden,
}

impl Event {
    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Joined => "joined",
            Event::Changed => "changed",
            Event::Back => "back",
            Event::Renewed => "renewed",
            Event::Deregistered => "deregistered",
            Event::Expired => "expired",
            Event::Left => "left",
            Event::Superseded => "superseded",
            Event::Removed => "removed",
            Event::Forbidden => "forbidden",
        }
    }
}

/// What became of the nodes that a source finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Those that are its members now.
    pub members: usize,
    /// Those that are not, and why.
    pub left_out: Vec<(NodeId, Refusal)>,
}

/// What is known of a member that is not the file's.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// What is said of it; `leaving` if it is drained.
    pub node: Node,
    /// Who names it.
    pub source: Source,
    /// How long its lease was given for, and how long it still lasts. `None` if it has none.
    pub lease: Option<(Duration, Duration)>,
}

/// The weight of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// The one that it has.
    pub weight: u16,
    /// The one that it would have if no operator had set another one.
    pub configured: u16,
}
