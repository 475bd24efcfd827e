//! Why so many nodes are wanted, with the figures that a person needs to follow.

use std::fmt;
use std::time::Duration;

/// Why so many nodes are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reason {
    /// What says so.
    pub why: Why,
    /// What kept it from being what `why` says.
    pub limit: Option<Limit>,
}

/// What says how many nodes are needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// Too little has been seen yet.
    NoSamples,
    /// The load in the mean of the window.
    Average {
        /// Nodes that are needed.
        needed: usize,
        /// Requests in flight or waiting.
        load: f64,
        /// The window.
        window: Duration,
        /// Requests in flight that a node should have.
        target: usize,
    },
    /// The load in the mean of the panic window.
    Burst {
        /// Nodes that are needed.
        needed: usize,
        /// Requests in flight or waiting.
        load: f64,
        /// The window.
        window: Duration,
        /// Requests in flight that a node should have.
        target: usize,
    },
    /// The load as it will be when a node that is started now is ready.
    Forecast {
        /// Nodes that are needed.
        needed: usize,
        /// Requests in flight or waiting, now.
        load: f64,
        /// And then.
        expected: f64,
        /// When that is.
        ahead: Duration,
        /// Requests in flight that a node should have.
        target: usize,
    },
    /// The load that nodes report.
    NodeLoad {
        /// Nodes that are needed.
        needed: usize,
        /// Their load in percent.
        percent: f64,
        /// The percentage that it should be.
        target: u8,
    },
    /// Requests wait, and there is no node.
    FromZero {
        /// How many wait.
        queued: usize,
    },
    /// No request for so long that not even one node is needed.
    Idle {
        /// How long.
        idle: Duration,
    },
}

/// What kept a decision from being what was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The fewest nodes.
    Min(usize),
    /// The most nodes.
    Max(usize),
    /// So many may be starting at a time.
    StepUp(usize),
    /// So many may be draining at a time.
    StepDown(usize),
    /// So many were needed a moment ago, and it must be less for a time before nodes are stopped.
    CoolDown {
        /// So many.
        needed: usize,
        /// The time.
        time: Duration,
    },
    /// With fewer nodes, those would soon be too few again.
    Margin {
        /// Percent of its target that each would be allowed.
        percent: u8,
    },
}

impl Why {
    /// Nodes that are needed; `None` if that is not known.
    pub fn needed(&self) -> Option<usize> {
        match *self {
            Why::NoSamples => None,
            Why::Average { needed, .. }
            | Why::Burst { needed, .. }
            | Why::Forecast { needed, .. }
            | Why::NodeLoad { needed, .. } => Some(needed),
            Why::FromZero { .. } => Some(1),
            Why::Idle { .. } => Some(0),
        }
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Why::NoSamples => "no_samples",
            Why::Average { .. } => "average",
            Why::Burst { .. } => "burst",
            Why::Forecast { .. } => "forecast",
            Why::NodeLoad { .. } => "node_load",
            Why::FromZero { .. } => "from_zero",
            Why::Idle { .. } => "idle",
        }
    }
}

impl Limit {
    const fn as_str(&self) -> &'static str {
        match self {
            Limit::Min(_) => "min",
            Limit::Max(_) => "max",
            Limit::StepUp(_) => "step_up",
            Limit::StepDown(_) => "step_down",
            Limit::CoolDown { .. } => "cool_down",
            Limit::Margin { .. } => "margin",
        }
    }
}

impl Reason {
    /// One word for logs and metric labels: that of the limit if there was one, else what says how many are needed.
    pub const fn as_str(&self) -> &'static str {
        match &self.limit {
            Some(limit) => limit.as_str(),
            None => self.why.as_str(),
        }
    }
}

/// `1 node`, `2 nodes`.
struct Nodes(usize);

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nodes(count) = *self;
        write!(f, "{count} {}", if count == 1 { "node" } else { "nodes" })
    }
}

/// A duration without what nobody reads.
fn short(time: Duration) -> humantime::FormattedDuration {
    let unit = if time.as_secs() > 0 { 1_000 } else { 1 };
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis - millis % unit))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Why::NoSamples => f.write_str("nothing was measured yet"),
            Why::Average { needed, load, window, target } => {
                let (nodes, window) = (Nodes(needed), short(window));
                write!(f, "{load:.1} requests in the mean of {window} need {nodes} at {target} each")
            }
            Why::Burst { needed, load, window, target } => {
                let (nodes, window) = (Nodes(needed), short(window));
                write!(f, "a burst: {load:.1} requests in the mean of {window} need {nodes} at {target} each")
            }
            Why::Forecast { needed, load, expected, ahead, target } => {
                let (nodes, ahead) = (Nodes(needed), short(ahead));
                write!(f, "{load:.1} requests now, and {expected:.1} in {ahead} need {nodes} at {target} each")
            }
            Why::NodeLoad { needed, percent, target } => {
                write!(f, "nodes report {percent:.0}% of load: {} would have {target}%", Nodes(needed))
            }
            Why::FromZero { queued } => write!(f, "{queued} requests wait, and there is no node"),
            Why::Idle { idle } => write!(f, "no request for {}", short(idle)),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Limit::Min(nodes) => write!(f, "at least {} (min)", Nodes(nodes)),
            Limit::Max(nodes) => write!(f, "at most {} (max)", Nodes(nodes)),
            Limit::StepUp(nodes) => write!(f, "at most {} may be starting at a time (step_up)", Nodes(nodes)),
            Limit::StepDown(nodes) => write!(f, "at most {} may be draining at a time (step_down)", Nodes(nodes)),
            Limit::CoolDown { needed, time } => {
                write!(f, "{} were needed in the last {} (cool_down)", Nodes(needed), short(time))
            }
            Limit::Margin { percent } => {
                write!(f, "fewer would have more than {percent}% of their target (scale_down_at)")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.limit {
            Some(limit) => write!(f, "{}; {limit}", self.why),
            None => write!(f, "{}", self.why),
        }
    }
}
